// The chat of examples/chat_react, with two people in it.
import assert from "node:assert/strict";

// Somebody comes in, and into a room if it is told.
async function entered(stage, name, room = undefined) {
  const page = await stage.page(stage.given.url);
  await page.getByPlaceholder("Your name").fill(name);
  await page.getByRole("button", { name: "Come in" }).click();
  await connected(page);
  if (room) await added(page, room);
  return page;
}

async function added(page, room) {
  await page.getByPlaceholder("New room").fill(room);
  await page.getByPlaceholder("New room").press("Enter");
  await page.getByRole("heading", { name: `# ${room}` }).waitFor();
  await connected(page);
}

const connected = (page) => page.getByRole("status").getByText("connected", { exact: true }).waitFor();

const compose = (page) => page.getByPlaceholder("Say something");

async function say(page, text) {
  await compose(page).fill(text);
  await compose(page).press("Enter");
  await said(page, text);
}

const said = (page, text) => page.getByRole("list", { name: "messages" }).getByText(text).waitFor();

const here = (page, name) => page.getByRole("list", { name: "present" }).getByTitle(name);

async function texts(page) {
  return page.getByRole("list", { name: "messages" }).locator("p").allTextContents();
}

async function open(page, room) {
  await page.getByRole("list", { name: "rooms" }).getByRole("button", { name: `# ${room}` }).click();
  await page.getByRole("heading", { name: `# ${room}` }).waitFor();
  await connected(page);
}

export async function twoPeople(stage) {
  const [ada, grace] = [await entered(stage, "Ada"), await entered(stage, "Grace")];
  // Each sees who is here.
  for (const page of [ada, grace]) {
    await here(page, "Ada").waitFor();
    await here(page, "Grace").waitFor();
  }
  await compose(grace).pressSequentially("hel");
  await ada.getByText("Grace is typing…").waitFor();
  await say(grace, "hello Ada");
  await said(ada, "hello Ada");
  await say(ada, "hello Grace");
  await said(grace, "hello Grace");
  assert.deepEqual(await texts(grace), ["hello Ada", "hello Grace"]);

  // A room of their own: what is said there is not heard in the other one.
  await added(ada, "engines");
  await here(grace, "Ada").waitFor({ state: "detached" });
  await say(ada, "the difference engine");
  await grace.getByRole("button", { name: "# engines 1" }).waitFor();
  assert.deepEqual(await texts(grace), ["hello Ada", "hello Grace"]);
  await open(grace, "engines");
  await said(grace, "the difference engine");

  // Whoever comes later finds everything.
  await ada.reload();
  await connected(ada);
  await said(ada, "hello Grace");
  await open(ada, "engines");
  await said(ada, "the difference engine");
  await here(grace, "Ada").waitFor();
  await ada.context().close();
  await here(grace, "Ada").waitFor({ state: "detached" });
}

// What was said is there after a kill, and the page comes back by itself.
export async function acrossAKill(stage) {
  const [ada, grace] = [await entered(stage, "Ada", "killed"), await entered(stage, "Grace", "killed")];
  await say(ada, "before the kill");
  await stage.outside("kill");
  await ada.getByRole("status").getByText("connecting…").waitFor();
  await stage.outside("start");
  await Promise.all([connected(ada), connected(grace)]);
  await here(ada, "Grace").waitFor();
  await say(grace, "after the kill");
  await said(ada, "after the kill");
  for (const page of [ada, grace]) {
    assert.deepEqual(await texts(page), ["before the kill", "after the kill"]);
  }
}

// What the actors refuse is shown, and what was written is kept.
export async function refusals(stage) {
  const page = await entered(stage, "Ada");
  await page.evaluate(() => {
    for (const input of document.querySelectorAll("input")) input.removeAttribute("maxLength");
  });
  await compose(page).fill("x".repeat(2001));
  await compose(page).press("Enter");
  await page.getByText("a message has 1 to 2000 characters").waitFor();
  assert.equal((await compose(page).inputValue()).length, 2001);
  await page.getByPlaceholder("New room").fill("x".repeat(33));
  await page.getByPlaceholder("New room").press("Enter");
  await page.getByText("a room has a name of 1 to 32 characters").waitFor();
}

// More than a page of messages: the earlier ones are there when they are asked for.
export async function earlier(stage) {
  const page = await entered(stage, "Ada", "long");
  for (let number = 0; number <= 50; number += 1) await say(page, `line ${number}.`);
  await page.reload();
  await open(page, "long");
  await said(page, "line 50.");
  assert.equal((await texts(page)).length, 50);
  await page.getByRole("button", { name: "Earlier messages" }).click();
  await said(page, "line 0.");
  assert.equal((await texts(page)).length, 51);
}

// The picture in docs/images.
export async function picture(stage) {
  const ada = await entered(stage, "Ada");
  const grace = await entered(stage, "Grace");
  const alan = await entered(stage, "Alan");
  for (const room of ["engines", "compilers"]) {
    await added(alan, room);
  }
  await say(alan, "A compiler that compiles itself?");
  await say(alan, "I will ask in the lounge.");
  await open(alan, "lounge");
  await say(grace, "The build is green again. It was a moth in relay 70.");
  await say(ada, "Again? Keep it for the museum.");
  await say(ada, "Now I kill the server, with -9.");
  await stage.outside("kill");
  await stage.outside("start");
  await Promise.all([ada, grace, alan].map(connected));
  await say(grace, "Nothing was lost: I still see all of it.");
  await say(alan, "So do I. The page was away for a second, and came back by itself.");
  for (const name of ["Ada", "Alan", "Grace"]) await here(ada, name).waitFor();
  await ada.getByRole("button", { name: "# compilers 2" }).waitFor();
  await said(ada, "So do I");
  await compose(grace).pressSequentially("Then le");
  await ada.getByText("Grace is typing…").waitFor();
  await compose(ada).fill("That is what durable means.");
  await ada.evaluate(() => {
    for (const [index, time] of [...document.querySelectorAll("time")].entries()) {
      time.textContent = `10:4${index}`;
    }
  });
  await ada.screenshot({ path: stage.given.path });
}
