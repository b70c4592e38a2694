// The scenarios by name; tests/gateway/scene_actors.py has the actors that they call.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { describe } from "./stand.mjs";

export class Skipped extends Error {}

// What a promise is rejected with.
async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("nothing was raised");
}

const codeOf = (error) => `${error.group ?? "-"}.${error.code}`;

// Waits until something holds; fails by the limit of the scenario.
async function until(holds) {
  while (!(await holds())) await sleep(5);
}

// The next values of an event, as they come.
function listening(connection, name) {
  const heard = [];
  const stop = connection.on(name, (...args) => heard.push(args));
  return { heard, stop };
}

const room = (stage, ...more) => stage.client().getOrCreate("room", stage.key(...more));
const values = (stage) => stage.client().getOrCreate("values", stage.key());

// Ways to an actor

async function getOrCreateWithInput(stage) {
  const key = stage.key();
  const counter = stage.client().getOrCreate("counter", key, { createWithInput: { start: 40 } });
  assert.equal(await counter.increment(2), 42);
  // The input is that of the creation only.
  const again = stage.client().getOrCreate("counter", key, { createWithInput: { start: 7 } });
  assert.equal(await again.value(), 42);
}

async function getAndCreate(stage) {
  const key = stage.key();
  const client = stage.client();
  const missing = await failure(client.get("counter", key).value());
  assert.equal(codeOf(missing), "actor.not_found");
  const made = await client.create("counter", key, { input: { start: 1 } });
  assert.equal(await made.increment(1), 2);
  assert.equal(await client.get("counter", key).value(), 2);
  const duplicate = await failure(client.create("counter", key, {}));
  assert.equal(codeOf(duplicate), "actor.duplicate_key");
}

async function getForId(stage) {
  const client = stage.client();
  const handle = client.getOrCreate("counter", stage.key());
  await handle.increment(3);
  const id = await handle.resolve();
  assert.equal(typeof id, "string");
  assert.equal(await handle.resolve(), id);
  assert.equal(await client.getForId("counter", id).value(), 3);
  const unknown = await failure(client.getForId("counter", "a".repeat(26)).value());
  assert.equal(codeOf(unknown), "actor.not_found");
}

async function keys(stage) {
  const client = stage.client();
  const odd = [["a/b", "", "c"], ["zoë", "💥"], ["\\", "/"], ["a b", "+&=?#%"]];
  for (const parts of odd) {
    const key = stage.key(...parts);
    assert.deepEqual(await client.getOrCreate("counter", key).key(), key);
  }
  const [one, two] = [stage.key("a/b"), stage.key("a", "b")];
  await client.getOrCreate("counter", one).increment(1);
  assert.equal(await client.getOrCreate("counter", two).value(), 0);
  // A string is a key of one part.
  const single = stage.key().join("-");
  assert.deepEqual(await client.getOrCreate("counter", single).key(), [single]);
}

async function destroyAndRecreate(stage) {
  const client = stage.client();
  const handle = client.getOrCreate("counter", stage.key());
  await handle.increment(5);
  const before = await handle.resolve();
  await handle.destroy();
  const later = client.getOrCreate("counter", stage.key());
  assert.equal(await later.increment(1), 1);
  assert.notEqual(await later.resolve(), before);
  const gone = await failure(client.getForId("counter", before).value());
  assert.equal(gone.group, "actor");
}

async function basePath(stage) {
  const client = stage.client({ endpoint: `${stage.endpoint}/api/rivet` });
  const counter = client.getOrCreate("counter", stage.key());
  assert.equal(await counter.increment(1), 1);
  const connection = counter.connect();
  assert.equal(await connection.increment(1), 2);
  await connection.dispose();
}

// Actions

async function actions(stage) {
  const counter = stage.client().getOrCreate("counter", stage.key());
  assert.equal(await counter.increment(5), 5);
  assert.equal(await counter.increment(), 6);
  assert.equal(await counter.action({ name: "increment", args: [4] }), 10);
  assert.equal(await counter.action({ name: "nested.value", args: [] }), 10);
  assert.equal(await counter.nothing(), null);
}

async function manyActions(stage) {
  const counter = stage.client().getOrCreate("counter", stage.key());
  const connection = counter.connect();
  const calls = Array.from({ length: 150 }, () => connection.increment(1));
  const seen = (await Promise.all(calls)).sort((a, b) => a - b);
  assert.deepEqual(seen, Array.from({ length: 150 }, (_, i) => i + 1));
  await connection.dispose();
}

async function outOfOrder(stage) {
  const connection = stage.client().getOrCreate("waiter", stage.key()).connect();
  const order = [];
  const slow = connection.wait("slow").then((name) => order.push(name));
  await until(() => connection.waiting().then((names) => names.includes("slow")));
  await connection.release("slow", "fast").then(() => order.push("fast"));
  await slow;
  assert.deepEqual(order, ["fast", "slow"]);
  await connection.dispose();
}

async function errors(stage) {
  const handle = stage.client().getOrCreate("counter", stage.key());
  const connection = handle.connect();
  // The first action of a connection has the id 0, which some clients take for none.
  for (const caller of [connection, connection, handle]) {
    const told = await failure(caller.fail());
    assert.deepEqual([codeOf(told), told.message], ["user.closed", "not today: zoë"]);
    assert.deepEqual(told.metadata, { until: [1, null], tag: ["$x", 1] });
    const masked = await failure(caller.crash());
    assert.match(masked.code, /internal_error/);
    assert.ok(!masked.message.includes("secret"), masked.message);
    assert.match((await failure(caller.action({ name: "absent", args: [] }))).code, /not_found/);
    assert.match((await failure(caller.increment("many"))).code, /invalid/);
    assert.match((await failure(caller.increment(1, 2, 3))).code, /invalid/);
  }
  // None of it has ended the connection.
  assert.equal(await connection.value(), 0);
  await connection.dispose();
}

async function abort(stage) {
  const handle = stage.client().getOrCreate("waiter", stage.key());
  const controller = new AbortController();
  const call = handle.action({ name: "wait", args: ["aborted"], signal: controller.signal });
  call.catch(() => {});
  await until(() => handle.waiting().then((names) => names.includes("aborted")));
  controller.abort();
  await failure(call);
  // The caller's going is the turn's end.
  await until(() => handle.waiting().then((names) => !names.includes("aborted")));
}

async function sizeLimits(stage) {
  const handle = stage.client().getOrCreate("counter", stage.key());
  const connection = handle.connect();
  assert.equal(await handle.take("x".repeat(50_000)), 50_000);
  assert.equal(await connection.take("x".repeat(50_000)), 50_000);
  assert.equal((await handle.give(500_000)).length, 500_000);
  assert.equal((await connection.give(500_000)).length, 500_000);
  const incoming = await failure(handle.take("x".repeat(3 << 20)));
  assert.equal(codeOf(incoming), "message.incoming_too_long");
  for (const caller of [handle, connection]) {
    const outgoing = await failure(caller.give(3 << 20));
    assert.equal(codeOf(outgoing), "message.outgoing_too_long");
  }
  await connection.dispose();
}

// Values

const SAME = [
  null, true, false, 0, -1, 255, 65536, 2 ** 31, 2 ** 32, -(2 ** 31) - 1, 2 ** 53 - 1,
  -(2 ** 53) + 1, 1764000000123, 0.5, -2.25, 1e300, "", "zoë", "💥", "\u0000", [], {}, [[[1]]],
  { a: { "b c": [1, null, { d: "e" }] } }, ["$x", 1], ["$BigInt", "5"], ["$$", [["$Set", []]]],
  new Uint8Array([]), new Uint8Array([0, 1, 255]), 2n ** 53n, 2n ** 64n - 1n, 2n ** 64n,
  -(2n ** 64n), 2n ** 200n,
];

async function valuesComeBack(stage) {
  const handle = values(stage);
  const connection = handle.connect();
  for (const caller of [handle, connection]) {
    for (const value of SAME) {
      assert.deepEqual(describe(await caller.echo(value)), describe(value));
      assert.deepEqual(describe(await caller.echo({ in: [value] })), describe({ in: [value] }));
    }
    assert.deepEqual(describe(await caller.echo(SAME)), describe(SAME));
  }
  await connection.dispose();
}

async function valuesByType(stage) {
  const handle = values(stage);
  const connection = handle.connect();
  const json = stage.encoding === "json";
  const when = new Date("2026-11-24T10:00:00.123Z");
  for (const caller of [handle, connection]) {
    // A bigint that Python does not mark is a number again where it fits.
    assert.equal(await caller.echo(5n), 5);
    assert.equal(await caller.bigint(5n), 6n);
    assert.equal(await caller.bigint(5), 6n);
    assert.equal(await caller.bigint(2n ** 80n), 2n ** 80n + 1n);
    const later = new Date(when.getTime() + 1000);
    assert.deepEqual(new Date(await caller.later(when)), later);
    if (!json) assert.ok((await caller.later(when)) instanceof Date);
    const bytes = await caller.reversed(new Uint8Array([1, 2, 3]));
    assert.ok(bytes instanceof Uint8Array);
    assert.deepEqual([...bytes], [3, 2, 1]);
    assert.deepEqual(await caller.kinds(1, 1.5, "x", true, null, [1], { a: 1 }), [
      "int", "float", "str", "bool", "NoneType", "list", "dict",
    ]);
  }
  await connection.dispose();
}

async function setsAndMaps(stage) {
  const handle = values(stage);
  const connection = handle.connect();
  const json = stage.encoding === "json";
  for (const caller of [handle, connection]) {
    const set = await caller.tags(["b", "a", "b"]);
    if (json && !stage.since("2.3")) assert.deepEqual(set, ["b"]);
    else assert.deepEqual(set, new Set(["b"]));
    const map = await caller.squares(3);
    if (json) assert.deepEqual(map, { 1: 1, 2: 4, 3: 9 });
    else assert.deepEqual(map, new Map([[1, 1], [2, 4], [3, 9]]));
    if (!json) {
      assert.deepEqual(await caller.tags(new Set(["b"])), new Set(["b"]));
      assert.deepEqual(await caller.echo(new Map([["a", 1]])), { a: 1 });
      assert.deepEqual(await caller.echo(new Map([[1, "a"]])), new Map([[1, "a"]]));
    }
  }
  await connection.dispose();
}

async function undefinedValues(stage) {
  const handle = values(stage);
  const connection = handle.connect();
  for (const caller of [handle, connection]) {
    assert.deepEqual(await caller.echo({ a: undefined, b: 1 }), { b: 1 });
    assert.deepEqual(await caller.echo([1, undefined]), [1, null]);
    assert.equal(await caller.echo(), null);
    if (stage.encoding !== "json") assert.equal(await caller.withDefault("a", undefined), "a-none");
    assert.equal(await caller.withDefault("a"), "a-none");
    assert.equal(await caller.withDefault("a", "b"), "a-b");
  }
  await connection.dispose();
}

async function refusedValues(stage) {
  if (stage.encoding === "json") throw new Skipped("JSON writes them as something else");
  const connection = values(stage).connect();
  for (const value of [new Error("boom"), /x/, NaN, Infinity]) {
    const error = await failure(connection.echo(value));
    assert.notEqual(error.code, undefined);
  }
  assert.equal(await connection.echo(1), 1);
  await connection.dispose();
}

// Connections

async function events(stage) {
  const connection = room(stage).connect();
  const other = room(stage).connect();
  const [mine, theirs] = [listening(connection, "said"), listening(other, "said")];
  const silent = listening(connection, "never");
  await Promise.all([connection.lines(), other.lines()]); // the subscriptions have arrived
  await connection.say("one", { deep: [1, null] });
  await until(() => mine.heard.length === 1 && theirs.heard.length === 1);
  assert.deepEqual(mine.heard, [["one", { deep: [1, null] }]]);
  theirs.stop();
  await other.lines();
  await other.say("two");
  await until(() => mine.heard.length === 2);
  const once = [];
  connection.once("said", (...args) => once.push(args));
  await connection.say("three");
  await connection.say("four");
  await until(() => mine.heard.length === 4);
  assert.deepEqual(once, [["three"]]);
  assert.deepEqual(theirs.heard.length, 1);
  assert.deepEqual(silent.heard, []);
  await Promise.all([connection.dispose(), other.dispose()]);
}

async function eventsBeforeTheReply(stage) {
  const connection = room(stage).connect();
  const { heard } = listening(connection, "said");
  await connection.say("first"); // the subscription has arrived by then
  await connection.say("second");
  assert.deepEqual(heard.map(([text]) => text), ["first", "second"]);
  await connection.dispose();
}

async function eventValues(stage) {
  const connection = room(stage).connect();
  const { heard } = listening(connection, "values");
  await connection.tellValues();
  await until(() => heard.length === 1);
  const [big, bytes, set] = heard[0];
  assert.equal(big, 5n);
  assert.deepEqual([...bytes], [1, 2]);
  const array = stage.encoding === "json" && !stage.since("2.3");
  assert.deepEqual(set, array ? ["a"] : new Set(["a"]));
  await connection.dispose();
}

async function messagesToOne(stage) {
  const connection = room(stage).connect();
  const other = room(stage).connect();
  const [mine, theirs] = [listening(connection, "whisper"), listening(other, "whisper")];
  await Promise.all([connection.say("here"), other.say("here")]);
  await connection.whisper("psst");
  await until(() => mine.heard.length === 1);
  await other.say("done");
  assert.deepEqual([mine.heard, theirs.heard], [[["psst"]], []]);
  await Promise.all([connection.dispose(), other.dispose()]);
}

async function connectionParams(stage) {
  const params = { name: "zoë", tags: [1, { a: null }] };
  const handle = stage.client().getOrCreate("room", stage.key(), { params });
  assert.deepEqual(await handle.me(), params);
  const connection = handle.connect();
  assert.deepEqual(await connection.me(), params);
  const long = { name: "x".repeat(3900) };
  const wide = stage.client().getOrCreate("room", stage.key(), { params: long }).connect();
  assert.deepEqual(await wide.me(), long);
  await Promise.all([connection.dispose(), wide.dispose()]);
}

async function rejection(stage) {
  const params = { banned: true };
  const handle = stage.client().getOrCreate("room", stage.key(), { params });
  const told = await failure(handle.me());
  assert.deepEqual([codeOf(told), told.metadata], ["user.banned", { for: "ever" }]);
  const connection = handle.connect();
  const errors = [];
  connection.onError((error) => errors.push(error));
  connection.me().catch(() => {});
  await until(() => errors.length > 0);
  assert.match(errors[0].code, /banned/);
  await connection.dispose().catch(() => {});
}

async function dispose(stage) {
  const client = stage.client();
  const handle = client.getOrCreate("room", stage.key());
  const watcher = room(stage).connect();
  const [one, two] = [handle.connect(), handle.connect()];
  await Promise.all([one.say("a"), two.say("b")]);
  assert.equal(await watcher.present(), 3);
  await one.dispose();
  await until(async () => (await watcher.present()) === 2);
  await failure(one.say("c"));
  await client.dispose();
  await until(async () => (await watcher.present()) === 1);
  await watcher.dispose();
}

async function forcedDrop(stage) {
  const connection = room(stage).connect();
  const { heard } = listening(connection, "said");
  await connection.say("before");
  // The actor ends the connection; the client opens another and listens on.
  await connection.dropMe().catch(() => {});
  await until(async () => {
    await connection.say("after").catch(() => {});
    return heard.some(([text]) => text === "after");
  });
  await connection.dispose();
}

// Raw HTTP and WebSocket

async function rawFetch(stage) {
  const site = stage.client().getOrCreate("site", stage.key());
  const answer = await site.fetch("echo/a%20b?q=1%202", {
    method: "PUT",
    headers: { "x-mine": "yes", "content-type": "text/plain" },
    body: "hello",
  });
  assert.equal(answer.status, 207);
  assert.equal(answer.headers.get("x-site"), "ours");
  const seen = await answer.json();
  assert.deepEqual(
    [seen.method, seen.path, seen.query, seen.mine, seen.body],
    ["PUT", "/echo/a%20b", "q=1%202", "yes", "hello"],
  );
  assert.equal((await site.fetch("missing")).status, 404);
  const refused = await site.fetch("refuse");
  assert.equal(refused.ok, false);
  const { group, code } = await refused.json();
  assert.deepEqual([group, code], ["user", "refused"]);
}

async function rawFetchBytes(stage) {
  const site = stage.client().getOrCreate("site", stage.key());
  const sent = new Uint8Array(100_000).map((_, i) => i % 251);
  const answer = await site.fetch("mirror", { method: "POST", body: sent });
  assert.deepEqual(new Uint8Array(await answer.arrayBuffer()), sent);
}

async function rawWebSocket(stage) {
  const site = stage.client().getOrCreate("site", stage.key());
  const socket = await (stage.since("2.1") ? site.webSocket("chat?q=1") : site.websocket("chat?q=1"));
  socket.binaryType = "arraybuffer";
  const heard = [];
  const closed = new Promise((done) => socket.addEventListener("close", done));
  socket.addEventListener("message", (event) => heard.push(event.data));
  await until(() => heard.length === 1);
  assert.equal(heard[0], "/chat?q=1");
  socket.send("text");
  socket.send(new Uint8Array([1, 2]));
  await until(() => heard.length === 3);
  assert.equal(heard[1], "text");
  assert.deepEqual([...new Uint8Array(heard[2])], [1, 2]);
  socket.send("close");
  const { code, reason } = await closed;
  assert.deepEqual([code, reason], [4001, "bye"]);
}

async function gatewayUrl(stage) {
  if (!stage.since("2.1")) throw new Skipped("this client has no getGatewayUrl");
  const site = stage.client().getOrCreate("site", stage.key());
  const url = new URL(await site.getGatewayUrl());
  url.pathname += "/request/echo";
  const answer = await fetch(url);
  assert.equal((await answer.json()).path, "/echo");
}

// A restart of the server, which somebody else has to see to

async function reconnection(stage) {
  const connection = room(stage).connect();
  const { heard } = listening(connection, "said");
  await connection.say("before");
  await until(() => heard.length === 1);
  await stage.outside("restart");
  await until(async () => {
    await connection.say("after").catch(() => {});
    return heard.some(([text]) => text === "after");
  });
  // What was acknowledged before is still known.
  assert.ok((await connection.lines()).includes("before"));
  await connection.dispose();
}

async function callsAcrossARestart(stage) {
  const counter = stage.client().getOrCreate("counter", stage.key());
  await counter.increment(1);
  await stage.outside("restart");
  await until(() => counter.value().then((value) => value === 1, () => false));
}

export const SCENARIOS = {
  getOrCreateWithInput,
  getAndCreate,
  getForId,
  keys,
  destroyAndRecreate,
  basePath,
  actions,
  manyActions,
  outOfOrder,
  errors,
  abort,
  sizeLimits,
  valuesComeBack,
  valuesByType,
  setsAndMaps,
  undefinedValues,
  refusedValues,
  events,
  eventsBeforeTheReply,
  eventValues,
  messagesToOne,
  connectionParams,
  rejection,
  dispose,
  forcedDrop,
  rawFetch,
  rawFetchBytes,
  rawWebSocket,
  gatewayUrl,
};

export const RESTART = { reconnection, callsAcrossARestart };
