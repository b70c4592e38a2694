// What a front end does with one version of the client against a running server: each
// scenario by its name, and what came of it, as JSON. tests/gateway/test_clients.py says what
// should.
//
//     node scenarios.mjs DIRECTORY ENDPOINT ENCODING KEY
import { load } from "./stand.mjs";

const [directory, endpoint, encoding, key] = process.argv.slice(2);
const version = directory.split("/").pop();
const { createClient } = await load(directory);
const client = createClient({ endpoint, encoding });

const failure = (error) => [`${error.group}.${error.code}`, error.metadata ?? null];
const failed = async (promise) => {
  try {
    return ["no error", await promise];
  } catch (error) {
    return failure(error);
  }
};
const until = async (holds) => {
  while (!holds()) await new Promise((done) => setTimeout(done, 5));
};

// Values as JSON can tell them.
function shown(value) {
  if (value === undefined) return "undefined";
  if (typeof value === "bigint") return `${value}n`;
  if (value instanceof Uint8Array || value instanceof ArrayBuffer) {
    return { bytes: [...new Uint8Array(value)] };
  }
  if (value instanceof Date) return { date: value.toISOString() };
  if (value instanceof Set) return { set: [...value].map(shown) };
  if (value instanceof Map) return { map: [...value].map(([k, v]) => [shown(k), shown(v)]) };
  if (Array.isArray(value)) return value.map(shown);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, shown(v)]));
  }
  return value;
}

const VALUES = {
  integers: [0, -1, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 1764000000123],
  fractions: [0.5, -2.25],
  bigint: 2n ** 70n,
  texts: ["", "zoë", "💥"],
  none: [null, true],
  bytes: new Uint8Array([0, 1, 255]),
  nested: { a: [{ b: [] }], c: {} },
  likeTag: ["$x", 1],
};

const scenarios = {
  async keys() {
    const handle = client.counter.getOrCreate([key, "a/b", "c\\d"]);
    return [await handle.increment(5), await handle.increment(2), await client.counter.get([key, "a/b", "c\\d"]).value()];
  },
  async create() {
    const handle = await client.counter.create([key, "create"], { input: { start: 40 } });
    const again = await failed(client.counter.create([key, "create"]));
    const given = client.counter.getOrCreate([key, "input"], { createWithInput: { start: 9 } });
    return [await handle.increment(2), again[0], await given.increment(1)];
  },
  async byId() {
    const id = await client.counter.getOrCreate([key, "id"]).resolve();
    return [await client.counter.getForId(id).increment(3), await client.counter.getOrCreate([key, "id"]).value()];
  },
  async missing() {
    return (await failed(client.counter.get([key, "missing"]).value()))[0];
  },
  async errors() {
    const handle = client.counter.getOrCreate([key]);
    return [await failed(handle.fail()), (await failed(handle.crash()))[0], (await failed(handle.nope()))[0]];
  },
  async params() {
    const handle = (params) => client.door.getOrCreate([key, "params"], { params });
    return [await handle({ name: "zoë" }).me(), await failed(handle({ banned: true }).me())];
  },
  async values() {
    const handle = client.counter.getOrCreate([key]);
    const connection = handle.connect();
    const found = {};
    for (const [name, value] of Object.entries(VALUES)) {
      found[name] = [shown(await handle.echo(value)), shown(await connection.echo(value))];
    }
    found.undefined = [(await handle.echo()) ?? null, (await connection.echo(undefined)) ?? null];
    await connection.dispose();
    return found;
  },
  async marked() {
    const handle = client.counter.getOrCreate([key]);
    return shown(await handle.marked());
  },
  async events() {
    const handle = client.counter.getOrCreate([key, "events"]);
    const connection = handle.connect();
    const all = [], once = [], some = [];
    connection.on("count", (value) => all.push(value));
    connection.once("count", (value) => once.push(value));
    const off = connection.on("count", (value) => some.push(value));
    await connection.increment(1);
    off();
    await handle.increment(1);
    await connection.increment(1);
    await until(() => all.length === 3);
    await connection.dispose();
    return [all, once, some];
  },
  async pipelined() {
    const connection = client.counter.getOrCreate([key, "pipelined"]).connect();
    const all = await Promise.all(Array.from({ length: 300 }, () => connection.increment(1)));
    await connection.dispose();
    return all.at(-1);
  },
  async connectionErrors() {
    const connection = client.counter.getOrCreate([key]).connect();
    const told = [];
    for (const name of ["fail", "crash", "nope"]) told.push(await failed(connection[name]()));
    const after = await connection.increment(0);
    await connection.dispose();
    return [told[0], told[1][0], told[2][0], after];
  },
  async turnedAway() {
    const connection = client.door.getOrCreate([key, "away"], { params: { banned: true } }).connect();
    const error = await new Promise((done) => connection.onError(done));
    await connection.dispose();
    return failure(error);
  },
  async shownOut() {
    const handle = client.door.getOrCreate([key, "out"], { params: { name: "ada" } });
    const connection = handle.connect();
    const hellos = [];
    connection.on("hello", (name) => hellos.push(name));
    const first = await connection.me();
    await handle.show_out("ada");
    // It comes back by itself, as a new connection.
    await until(() => hellos.length >= 2);
    const again = await connection.me();
    await connection.dispose();
    return [first, again];
  },
  async destroyed() {
    const handle = () => client.counter.getOrCreate([key, "destroyed"]);
    await handle().increment(5);
    await handle().vanish();
    return await handle().increment(1);
  },
  async large() {
    const handle = client.counter.getOrCreate([key]);
    const text = await handle.echo("x".repeat(200_000));
    return [text.length, (await failed(handle.echo("x".repeat(1_200_000))))[0]];
  },
  async fetched() {
    const handle = client.site.getOrCreate([key], { params: { name: "ada" } });
    const response = await handle.fetch("a%20b?x=1", { method: "POST", body: "raw", headers: { "x-mine": "1" } });
    const seen = await response.json();
    const refused = await handle.fetch("refuse");
    const told = await refused.json();
    return [response.status, response.headers.get("x-site"), seen.method, new URL(seen.url).pathname, seen.body, seen.who, refused.status, told.code];
  },
  async rawSocket() {
    const handle = client.site.getOrCreate([key]);
    const socket = await (version === "2.0.33" ? handle.websocket("p?q=1") : handle.webSocket("p?q=1"));
    const heard = [];
    const closed = new Promise((done) => socket.addEventListener("close", (event) => done([event.code, event.reason])));
    socket.addEventListener("message", (message) => {
      heard.push(message.data);
      socket.send(heard.length === 1 ? "ping" : "close");
    });
    return [await closed, heard.length, heard[1]];
  },
  async aborted() {
    const controller = new AbortController();
    const handle = client.waiter.getOrCreate([key]);
    const call = failed(handle.action({ name: "wait", args: [`${key} aborted`], signal: controller.signal }));
    setTimeout(() => controller.abort(), 50);
    return (await call)[0] !== "no error";
  },
};

const outcomes = {};
await Promise.all(
  Object.entries(scenarios).map(async ([name, scenario]) => {
    try {
      outcomes[name] = await scenario();
    } catch (error) {
      outcomes[name] = `failed: ${error?.group}.${error?.code} ${error?.stack ?? error}`;
    }
  }),
);
await client.dispose();
console.log(JSON.stringify(outcomes));
process.exit(0);
