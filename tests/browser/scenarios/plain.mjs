// A page without a library: fetch, EventSource and WebSocket.
import assert from "node:assert/strict";

const query = (key) =>
  `rvt-namespace=default&rvt-method=getOrCreate&rvt-runner=default&rvt-key=${encodeURIComponent(key)}`;
const address = ({ url, key }, rest) => `${url}/gateway/counter/${rest}?${query(key)}`;

// An action by fetch, as a page does it.
const act = ({ url, args, headers }) =>
  fetch(url, { method: "POST", body: JSON.stringify({ args }), headers }).then(async (answer) => ({
    status: answer.status,
    ray: answer.headers.get("x-rivet-ray-id"),
    body: await answer.json(),
  }));

const caller = (stage, page) => (name, args = [], headers = {}) =>
  page.evaluate(act, { url: address(stage.given, `action/${name}`), args, headers });

export async function actions(stage) {
  const page = await stage.page(stage.given.page);
  const call = caller(stage, page);
  assert.deepEqual((await call("increment", [5])).body, { output: 5 });
  assert.deepEqual((await call("increment")).body, { output: 6 });
  const odd = { zoë: ["💥", null, 2.5] };
  assert.deepEqual((await call("echo", [odd])).body, { output: odd });
  const refused = await call("increment", [-1]);
  assert.equal(refused.status, 400);
  assert.deepEqual(refused.body, {
    group: "user",
    code: "negative",
    message: "it only grows",
    metadata: { by: -1 },
  });
  assert.ok(refused.ray);
  const crashed = await call("crash");
  assert.equal(crashed.body.code, "internal_error");
  assert.ok(!JSON.stringify(crashed.body).includes("secret"));
}

export async function rawRequests(stage) {
  const page = await stage.page(stage.given.page);
  const answers = await page.evaluate(async ({ mirror, missing }) => {
    const bytes = new Uint8Array([0, 1, 255]);
    const found = [];
    for (const [url, options] of [
      [mirror, { method: "PUT", body: bytes }],
      [mirror, { method: "PATCH", body: new Blob([bytes, "text"]) }],
      [missing, {}],
    ]) {
      const answer = await fetch(url, options);
      const body = [...new Uint8Array(await answer.arrayBuffer())];
      found.push([answer.status, answer.headers.get("x-method"), body]);
    }
    return found;
  }, { mirror: address(stage.given, "request/mirror"), missing: address(stage.given, "request/a/b") });
  const text = (words) => [...Buffer.from(words)];
  assert.deepEqual(answers, [
    [200, "PUT", [0, 1, 255]],
    [200, "PATCH", [0, 1, 255, ...text("text")]],
    [404, null, text("/a/b")],
  ]);
}

export async function streamByFetch(stage) {
  const page = await stage.page(stage.given.page);
  const [type, text] = await page.evaluate(async (url) => {
    const answer = await fetch(url);
    let text = "";
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return [answer.headers.get("content-type"), text];
      text += value;
    }
  }, address(stage.given, "request/count"));
  assert.match(type, /^text\/event-stream/);
  assert.equal(text, [...Array(10).keys()].map((number) => `data: ${number}\n\n`).join(""));
}

// EventSource comes back by itself when the server has been killed.
export async function eventSource(stage) {
  const page = await stage.page(stage.given.page);
  const call = caller(stage, page);
  await page.evaluate((url) => {
    window.heard = [];
    window.opened = 0;
    window.source = new EventSource(url);
    window.source.onopen = () => (window.opened += 1);
    window.source.addEventListener("count", (event) => window.heard.push(event.data));
  }, address(stage.given, "request/follow"));
  await page.waitForFunction(() => window.opened === 1);
  await call("increment", [2]);
  await page.waitForFunction(() => window.heard.length === 1);
  await stage.outside("kill");
  await page.waitForFunction(() => window.opened === 2);
  await call("increment", [2]);
  await page.waitForFunction(() => window.heard.length === 2);
  assert.deepEqual(await page.evaluate(() => window.heard), ["2", "4"]);
}

export async function rawWebSocket(stage) {
  const page = await stage.page(stage.given.page);
  const url = `${address(stage.given, "websocket/talk").replace("http", "ws")}&name=ada`;
  const heard = await page.evaluate(async (url) => {
    const heard = [];
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    const closed = new Promise((done) => {
      socket.onclose = ({ code, reason, wasClean }) => done([code, reason, wasClean]);
    });
    socket.onmessage = ({ data }) => {
      heard.push(typeof data === "string" ? data : [...new Uint8Array(data)]);
      if (heard.length === 1) socket.send("zoë");
      if (heard.length === 2) socket.send(new Uint8Array([1, 255]));
      if (heard.length === 3) socket.send("close");
    };
    return [...heard, ...(await closed.then((end) => [...heard, end]))];
  }, url);
  assert.deepEqual(heard, ["hello ada", "zoë", [1, 255], [4001, "as you wish", true]]);
  assert.equal((await caller(stage, page)("value")).body.output, 2);
}

// What was answered is there after a kill; a page opens its socket again by itself.
export async function webSocketAcrossAKill(stage) {
  const page = await stage.page(stage.given.page);
  const url = address(stage.given, "websocket/").replace("http", "ws");
  await page.evaluate((url) => {
    window.answers = [];
    window.codes = [];
    window.open = () => {
      const socket = (window.socket = new WebSocket(url));
      socket.onmessage = ({ data }) => window.answers.push(data);
      socket.onclose = ({ code }) => {
        window.codes.push(code);
        setTimeout(window.open, 50);
      };
    };
    window.open();
  }, url);
  await page.waitForFunction(() => window.answers.length === 1);
  await page.evaluate(() => window.socket.send("before"));
  await page.waitForFunction(() => window.answers.length === 2);
  await stage.outside("kill");
  await page.waitForFunction(() => window.answers.length === 3);
  await page.evaluate(() => window.socket.send("after"));
  await page.waitForFunction(() => window.answers.length === 4);
  const [answers, codes] = await page.evaluate(() => [window.answers, window.codes]);
  assert.deepEqual(answers, ["hello nobody", "before", "hello nobody", "after"]);
  assert.equal(codes[0], 1006);
  assert.ok(codes.slice(1).every((code) => [1006, 1011].includes(code)), codes);
  assert.equal((await caller(stage, page)("value")).body.output, 2);
}

// What a page of some origin gets of the gateway, by fetch and by WebSocket.
async function reached(stage, origin) {
  const page = await stage.page(origin);
  return page.evaluate(
    async ([action, socket]) => {
      // With headers that make a browser ask first.
      const headers = { "x-rivet-encoding": "json", "content-type": "application/json" };
      const options = { method: "POST", body: '{"args":[]}', headers, credentials: "include" };
      const fetched = await fetch(action, options).then(
        async (answer) => [answer.status, answer.headers.get("x-rivet-ray-id") !== null, await answer.json()],
        (error) => error.name,
      );
      const websocket = await new Promise((done) => {
        const opened = new WebSocket(socket);
        opened.onmessage = ({ data }) => done(data);
        opened.onclose = ({ code, reason }) => done([code, reason.split("#")[0]]);
      });
      return { fetched, websocket };
    },
    [address(stage.given, "action/value"), address(stage.given, "websocket/").replace("http", "ws")],
  );
}

export async function otherOrigins(stage) {
  const { allowed, strange } = stage.given;
  assert.deepEqual(await reached(stage, allowed), {
    fetched: [200, true, { output: 0 }],
    websocket: "hello nobody",
  });
  assert.deepEqual(await reached(stage, strange), {
    fetched: "TypeError",
    websocket: [1011, "auth.forbidden"],
  });
}

// A name of a stranger that leads to this machine: the page that comes of it is none of ours.
export async function rebinding(stage) {
  const page = await stage.page();
  const answer = await page.goto(stage.given.rebound);
  assert.equal(answer.status(), 403);
  assert.equal((await answer.json()).code, "forbidden");
}
