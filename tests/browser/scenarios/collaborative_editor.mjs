// The collaborative editor: two who type, one who goes offline, a server that is killed.
import assert from "node:assert/strict";

// Where a document is.
const address = ({ url, key = "minutes" }) =>
  `${url}gateway/document/request/?rvt-namespace=default&rvt-method=getOrCreate&rvt-runner=default&rvt-key=${key}`;

// A window of somebody, once it follows the document.
async function arrive(stage, name, options = {}) {
  const user = await stage.user(options);
  const page = await stage.page(address(stage.given), user);
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Your name").press("Enter");
  await status(page, "saved");
  await page.locator(".cm-content").click();
  return { user, page };
}

const status = (page, state) => page.locator(`#status[data-state="${state}"]`).waitFor();

// What is written, without the names at other people's cursors; or whether it has a part.
const read = (part) => {
  const paper = document.querySelector(".cm-content").cloneNode(true);
  for (const other of paper.querySelectorAll(".cm-ySelectionCaret, .cm-placeholder")) other.remove();
  const text = [...paper.querySelectorAll(".cm-line")].map((line) => line.textContent).join("\n");
  return part === undefined ? text : text.includes(part);
};

const until = (page, part) => page.waitForFunction(read, part);

async function type(page, text) {
  await page.keyboard.press("ControlOrMeta+End");
  await page.keyboard.type(text);
}

const others = (page) => page.getByLabel("People here").locator("li").allTextContents();

const cursors = (page) => page.locator(".cm-ySelectionInfo");

export async function together(stage) {
  const [ada, grace] = [await arrive(stage, "ada"), await arrive(stage, "grace")];
  await type(ada.page, "Written by ada. ");
  await until(grace.page, "Written by ada. ");
  await type(grace.page, "Written by grace.");
  await until(ada.page, "Written by grace.");
  await cursors(ada.page).getByText("grace").waitFor();
  await cursors(grace.page).getByText("ada").waitFor();
  assert.deepEqual(await others(ada.page), ["grace"]);
  assert.deepEqual(await others(grace.page), ["ada"]);

  // Undo takes back one's own edits only; how many at a time is a matter of time.
  await grace.page.locator(".cm-content").click();
  while ((await grace.page.evaluate(read)) !== "Written by ada. ") {
    assert.ok(await grace.page.evaluate(read, "Written by ada. "));
    await grace.page.keyboard.press("ControlOrMeta+z");
  }
  await ada.page.waitForFunction(() => !document.querySelector(".cm-content").innerText.includes("by grace"));

  await grace.page.getByLabel("Your name").fill("grace hopper");
  await grace.page.getByLabel("Your name").press("Enter");
  await ada.page.getByLabel("People here").getByText("grace hopper").waitFor();

  await grace.user.close();
  await ada.page.waitForFunction(() => !document.querySelector("#people li, .cm-ySelectionInfo"));
  await status(ada.page, "saved");
  return ada.page.evaluate(read);
}

export async function offline(stage) {
  const [ada, grace] = [await arrive(stage, "ada"), await arrive(stage, "grace")];
  await type(ada.page, "Before.");
  await until(grace.page, "Before.");
  await grace.user.setOffline(true);
  await status(grace.page, "offline");
  await ada.page.waitForFunction(() => !document.querySelector("#people li"));

  await type(grace.page, " Grace, away.");
  await ada.page.keyboard.press("ControlOrMeta+Home");
  await ada.page.keyboard.type("Ada, here. ");
  await status(ada.page, "saved");
  assert.equal(await grace.page.evaluate(read), "Before. Grace, away.");
  assert.equal(await ada.page.evaluate(read), "Ada, here. Before.");

  await grace.user.setOffline(false);
  await until(ada.page, "Grace, away.");
  await until(grace.page, "Ada, here.");
  await status(grace.page, "saved");
  const text = await ada.page.evaluate(read);
  assert.equal(await grace.page.evaluate(read), text);

  // The button does the same for one window.
  await grace.page.getByText("Work offline").click();
  await status(grace.page, "offline");
  await type(ada.page, " More.");
  await status(ada.page, "saved");
  await grace.page.getByText("Work offline").click();
  await until(grace.page, " More.");
  return ada.page.evaluate(read);
}

export async function acrossAKill(stage) {
  const [ada, grace] = [await arrive(stage, "ada"), await arrive(stage, "grace")];
  await type(ada.page, "Saved by ada.");
  await until(grace.page, "Saved by ada.");
  await status(ada.page, "saved");

  await stage.outside("kill");
  await Promise.all([status(ada.page, "offline"), status(grace.page, "offline")]);
  await type(grace.page, " Typed by grace while nobody served.");
  await stage.outside("start");

  await until(ada.page, "while nobody served.");
  await Promise.all([status(ada.page, "saved"), status(grace.page, "saved")]);
  await cursors(ada.page).getByText("grace").waitFor();
  const text = await ada.page.evaluate(read);
  assert.equal(text, "Saved by ada. Typed by grace while nobody served.");
  await Promise.all([ada.page.reload(), grace.page.reload()]);
  await until(ada.page, text);
  await until(grace.page, text);
  // A name is kept in its tab.
  await grace.page.getByLabel("People here").getByText("ada").waitFor();
  return text;
}

export async function refused(stage) {
  const { page } = await arrive(stage, "ada");
  await page.keyboard.insertText("x".repeat(stage.given.size));
  await status(page, "refused");
  return page.locator("#status").textContent();
}

const POEM = `Minutes of Tuesday

The text is a CRDT. Each of us may type where they like, also on
a train without a network; what we wrote is merged when we are back.

- every update is on disk before its author sees "Saved"
- presence is not stored: a cursor is true for a moment
- while nobody types the actor sleeps, and our sockets stay open
`;

export async function program(stage) {
  const { page } = await arrive(stage, "ada");
  await type(page, "Typed by hand.\n");
  await status(page, "saved");
  const seen = cursors(page).getByText("Python").waitFor();
  await stage.outside("type");
  await seen;
  await until(page, stage.given.line.trim());
  await page.waitForFunction(() => !document.querySelector("#people li, .cm-ySelectionInfo"));
  return page.evaluate(read);
}

// The picture in docs/images.
export async function picture(stage) {
  const size = { viewport: { width: 860, height: 460 }, colorScheme: "light" };
  const ada = await arrive(stage, "Ada", size);
  await ada.page.keyboard.insertText(POEM);
  const [grace, alan] = [await arrive(stage, "Grace"), await arrive(stage, "Alan")];
  await until(grace.page, "sockets stay open");
  await grace.page.bringToFront();
  await grace.page.locator(".cm-line", { hasText: "presence is" }).click();
  await grace.page.keyboard.press("Home");
  for (let letter = 0; letter < 13; letter += 1) await grace.page.keyboard.press("Shift+ArrowRight");
  await cursors(ada.page).getByText("Grace").waitFor();
  await type(alan.page, "\nAnd I am just adding this line");
  await until(ada.page, "adding this line");
  await cursors(ada.page).getByText("Alan").waitFor();
  await status(ada.page, "saved");
  await ada.page.bringToFront();
  await ada.page.screenshot({ path: stage.given.path });
}
