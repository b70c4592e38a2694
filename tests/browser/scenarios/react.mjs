// RivetKit's hooks in a page of React, and its client in a browser by itself.
import assert from "node:assert/strict";

// The page with a room and who is in it.
async function opened(stage, room, names, user = undefined) {
  const url = new URL(stage.given.page);
  url.searchParams.set("encoding", stage.given.encoding);
  if (room) url.searchParams.set("room", `${stage.given.key} ${room}`);
  for (const name of names) url.searchParams.append("name", name);
  return stage.page(url.href, user);
}

// One member's part of the page.
class Member {
  constructor(page, name) {
    this.root = page.getByTestId(name);
  }

  shows(what, text) {
    return this.root.getByTestId(what).getByText(text, { exact: true }).waitFor();
  }

  press(button) {
    return this.root.getByRole("button", { name: button, exact: true }).click();
  }

  heard() {
    return this.root.getByTestId("heard").locator("li").allTextContents();
  }
}

export async function actionsAndEvents(stage) {
  const [here, there] = [await opened(stage, "one", ["ada"]), await opened(stage, "one", ["grace"])];
  const [ada, grace] = [new Member(here, "ada"), new Member(there, "grace")];
  await Promise.all([ada.shows("status", "connected"), grace.shows("status", "connected")]);
  await ada.press("say");
  await ada.shows("answer", "1");
  await Promise.all([ada.shows("heard", "said ada: hello"), grace.shows("heard", "said ada: hello")]);
  await grace.press("say");
  await ada.shows("heard", "said grace: hello");
  await grace.shows("answer", "2");
}

export async function errors(stage) {
  const page = await opened(stage, "errors", ["ada"]);
  const ada = new Member(page, "ada");
  await ada.shows("status", "connected");
  await ada.press("missing");
  await ada.shows("answer", "action.not_found");
  await ada.press("say");
  await ada.shows("answer", "1");
}

// Whoever is refused is told why, and others are not disturbed.
export async function refused(stage) {
  const page = await opened(stage, "refused", ["banned", "ada"]);
  await new Member(page, "banned").root.getByTestId("errors").getByText("banned").first().waitFor();
  await new Member(page, "ada").shows("status", "connected");
}

export async function enabledAndUnmounted(stage) {
  const page = await opened(stage, "switched", ["ada", "grace"]);
  const [ada, grace] = [new Member(page, "ada"), new Member(page, "grace")];
  await Promise.all([ada.shows("status", "connected"), grace.shows("status", "connected")]);
  await ada.press("switch");
  await grace.shows("heard", "left ada");
  await ada.press("switch");
  await grace.shows("heard", "came ada");
  await ada.shows("status", "connected");
  await page.getByRole("button", { name: "unmount" }).click();
  await ada.shows("heard", "left grace");
}

export async function anotherKey(stage) {
  const page = await opened(stage, "first", ["ada"]);
  const ada = new Member(page, "ada");
  await ada.shows("status", "connected");
  await ada.press("say");
  await ada.shows("answer", "1");
  await ada.press("say");
  await ada.shows("answer", "2");
  await page.getByRole("button", { name: "move" }).click();
  // Its connection is another one, to an actor where nobody said anything.
  await ada.root.getByTestId("status").getByText("connected").waitFor();
  const answer = async () => Number(await ada.root.getByTestId("answer").textContent());
  // What is said before the hook has moved is counted by the first actor.
  let [last, now] = [await answer(), NaN];
  while (!(now < last)) {
    last = Math.max(last, now || 0);
    await ada.press("say");
    const until = Date.now() + 1000;
    do now = await answer();
    while (now === last && Date.now() < until);
  }
  assert.equal((await ada.heard()).at(-1), "said ada: hello");
}

export async function acrossAKill(stage) {
  const [here, there] = [await opened(stage, "kill", ["ada"]), await opened(stage, "kill", ["grace"])];
  const [ada, grace] = [new Member(here, "ada"), new Member(there, "grace")];
  await Promise.all([ada.shows("status", "connected"), grace.shows("status", "connected")]);
  await ada.press("say");
  await ada.shows("answer", "1");
  await stage.outside("kill");
  await Promise.all([ada.shows("status", "connected"), grace.shows("status", "connected")]);
  await ada.press("say");
  await ada.shows("answer", "2");
  await there.waitForFunction(
    () => [...document.querySelectorAll("li")].filter((item) => item.textContent === "said ada: hello").length >= 2,
  );
}

// The client by itself

export async function values(stage) {
  const page = await opened(stage, null, []);
  const told = await page.evaluate(async (key) => {
    const connection = window.client.counter.getOrCreate([key]).connect();
    const counts = window.listen(connection, "count");
    const first = await connection.increment(2);
    const bytes = await connection.echo(new Uint8Array([1, 255]));
    const big = await connection.big();
    const nested = await connection.echo({ zoë: [1.5, null, "💥"] });
    const refused = await connection.increment(-1).catch((error) => [error.code, error.message, error.metadata]);
    const crashed = await connection.crash().catch((error) => error.code);
    await connection.dispose();
    return { first, bytes: [...bytes], big: String(big), nested, refused, crashed, counts };
  }, `${stage.given.key} values`);
  assert.deepEqual(told, {
    first: 2,
    bytes: [1, 255],
    big: String(2n ** 60n),
    nested: { zoë: [1.5, null, "💥"] },
    refused: ["negative", "it only grows", { by: -1 }],
    crashed: "internal_error",
    counts: [[2]],
  });
}

// A call over HTTP. A client that streams its request fails, unless the page keeps it from that.
export async function overHttp(stage) {
  const page = await opened(stage, null, []);
  const call = () =>
    page.evaluate(
      (key) =>
        window.client.counter
          .getOrCreate([key])
          .increment(2)
          .catch((error) => String(error)),
      `${stage.given.key} http`,
    );
  if (stage.given.streams) {
    const failed = await call();
    assert.match(failed, /Failed to fetch/);
    assert.match(stage.said.join(), /ERR_(H2_OR_QUIC_REQUIRED|ALPN_NEGOTIATION_FAILED)/);
    await page.addScriptTag({ content: stage.given.streams });
  }
  assert.equal(await call(), 2);
}

export async function rawFetchAndWebSocket(stage) {
  const page = await opened(stage, null, []);
  const told = await page.evaluate(async ([key, open]) => {
    const counter = window.client.counter.getOrCreate([key]);
    const answer = await counter.fetch("count");
    const text = await answer.text();
    const socket = await counter[open]("talk?name=ada");
    const hello = await new Promise((done) => socket.addEventListener("message", (event) => done(event.data)));
    socket.close();
    return [answer.status, text.startsWith("data: 0"), hello];
  }, [`${stage.given.key} raw`, stage.given.socket]);
  assert.deepEqual(told, [200, true, "hello ada"]);
}

// A front end that is served elsewhere calls the gateway by its address.
export async function otherOrigin(stage) {
  const { elsewhere, url, script, key } = stage.given;
  const page = await stage.page(`${elsewhere}/?encoding=bare&endpoint=${url}`);
  await page.addScriptTag({ path: script, type: "module" });
  await page.waitForFunction(() => window.client);
  const told = await page.evaluate(async (key) => {
    const counter = window.client.counter.getOrCreate([key]);
    const answer = await counter.fetch("count");
    const connection = counter.connect();
    const value = await connection.increment(3);
    await connection.dispose();
    return [answer.status, value, await counter.resolve()];
  }, key);
  assert.deepEqual(told.slice(0, 2), [200, 3]);
  assert.equal(typeof told[2], "string");
}

// Where HTTP/2 is spoken, actions over HTTP, connections and raw requests all work.
export async function overHttp2(stage) {
  const { url, script } = stage.given;
  const user = await stage.user({ ignoreHTTPSErrors: true });
  const page = await stage.page(`${url}/?encoding=bare`, user);
  assert.equal(await page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol), "h2");
  await page.addScriptTag({ path: script, type: "module" });
  await page.waitForFunction(() => window.client);
  const told = await page.evaluate(async () => {
    const counter = window.client.counter.getOrCreate(["h2"]);
    const first = await counter.increment(2);
    const connection = counter.connect();
    const second = await connection.increment(3);
    await connection.dispose();
    const mirrored = await counter.fetch("mirror", { method: "POST", body: "whole" });
    return [first, second, await mirrored.text()];
  });
  assert.deepEqual(told, [2, 5, "whole"]);
}

// What an actor sends to whoever connects arrives where a listener was there from the start; what
// it broadcasts at that moment goes to those who had subscribed before.
export async function greeting(stage) {
  const page = await opened(stage, null, []);
  const heard = await page.evaluate(async (key) => {
    const connect = (name) => {
      const connection = window.client.room.getOrCreate([key], { params: { name } }).connect();
      const [hello, came] = ["hello", "came"].map((event) => window.listen(connection, event));
      return { connection, hello, came };
    };
    const ada = connect("ada");
    await ada.connection.lines();
    const grace = connect("grace");
    await grace.connection.lines();
    while (!ada.came.length) await new Promise((done) => setTimeout(done, 10));
    await Promise.all([ada, grace].map(({ connection }) => connection.dispose()));
    return { ada: [ada.hello, ada.came], grace: [grace.hello, grace.came] };
  }, `${stage.given.key} room`);
  assert.deepEqual(heard, { ada: [[["ada"]], [["grace"]]], grace: [[["grace"]], []] });
}

// The page that the guide shows.
export async function guide(stage) {
  const page = await stage.page(stage.given.page);
  await page.getByText("connected: ?").click();
  await page.getByText("connected: 1").click();
  await page.getByText("connected: 2").waitFor();
}
