// A page without a library: fetch, EventSource and WebSocket.
import assert from "node:assert/strict";

const address = (url, key, rest) =>
  `${url}/gateway/counter/${rest}rvt-namespace=default&rvt-method=getOrCreate&rvt-runner=default&rvt-key=${key}`;

// An action by fetch, as a page does it.
const act = ({ url, name, args }) =>
  fetch(url, { method: "POST", body: JSON.stringify({ args }) }).then(async (answer) => ({
    status: answer.status,
    ray: answer.headers.get("x-rivet-ray-id"),
    body: await answer.json(),
  }));

export async function actions(stage) {
  const { url, page: where, key } = stage.given;
  const page = await stage.page(where);
  const call = (name, ...args) => page.evaluate(act, { url: address(url, key, `action/${name}?`), args });
  assert.deepEqual((await call("increment", 5)).body, { output: 5 });
  assert.deepEqual((await call("increment")).body, { output: 6 });
  assert.deepEqual((await call("echo", { zoë: ["💥", null, 2.5] })).body, { output: { zoë: ["💥", null, 2.5] } });
  const refused = await call("increment", -1);
  assert.equal(refused.status, 400);
  assert.deepEqual(refused.body, { group: "user", code: "negative", message: "it only grows", metadata: { by: -1 } });
  assert.ok(refused.ray);
  const crashed = await call("crash");
  assert.equal(crashed.body.code, "internal_error");
  assert.ok(!JSON.stringify(crashed.body).includes("secret"));
}
