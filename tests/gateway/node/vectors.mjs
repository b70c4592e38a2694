// What one version of RivetKit's client writes, and what it reads, as JSON.
//
//   node vectors.mjs DIRECTORY sent            the bytes that it sends for each case
//   node vectors.mjs DIRECTORY read < frames   what it understands of bytes that it is sent
import { CASES, INPUTS, KEYS } from "./cases.mjs";
import { describe, load, stand } from "./stand.mjs";

const [directory, what] = process.argv.slice(2);
const { createClient, WebSocketServer } = await load(directory);
const ENCODINGS = ["json", "cbor", "bare"];

const open = (endpoint, encoding) => createClient({ endpoint, encoding, logLevel: "silent" });
const action = (name) => `case:${name}:`;
const caseOf = (text) => /case:(\w+):/.exec(text)?.[1];

const outcome = async (call) => {
  try {
    return { value: describe(await call) };
  } catch (error) {
    const { group, code, message, metadata } = error;
    return { error: { group, code, message, metadata: describe(metadata) } };
  }
};

// The bytes of a call, or null where the client refuses to write it; nothing answers.
async function bytesOf(call, box) {
  const arrived = new Promise((done) => (box.take = done));
  const refused = Promise.resolve()
    .then(call)
    .then(() => new Promise(() => {}))
    .catch((error) => (error instanceof TypeError ? null : new Promise(() => {})));
  return await Promise.race([arrived, refused]);
}

async function sent(encoding) {
  const box = {};
  const answers = {
    init: Buffer.from(INIT[encoding], encoding === "json" ? "utf8" : "hex"),
    http: (_, body) => {
      box.take(body.toString("hex"));
      return { status: 400, body: '{"group":"user","code":"enough","message":"seen"}' };
    },
    frames: (frame) => {
      box.take(frame.toString("hex"));
      return [];
    },
  };
  const server = await stand(WebSocketServer, true, encoding === "json", answers);
  const handle = open(server.endpoint, encoding).getOrCreate("probe", ["one"]);
  const bodies = {};
  for (const [name, args] of Object.entries(CASES)) {
    bodies[name] = await bytesOf(() => handle.action({ name, args }), box);
  }
  const connection = handle.connect();
  const frames = {};
  frames.subscribe = await bytesOf(() => void connection.on("event", () => {}), box);
  for (const [name, args] of Object.entries(CASES)) {
    frames[name] = await bytesOf(() => connection.action({ name, args }), box);
  }
  return { bodies, frames };
}

// What creating an actor says of its input, and of its key.
async function created() {
  const box = {};
  const server = await stand(WebSocketServer, true, true, {
    create: (body) => (box.body = JSON.parse(body)),
  });
  const client = open(server.endpoint, "json");
  const bodyOf = async (key, options) => {
    box.body = {};
    await client.create("probe", key, options).catch(() => {});
    return box.body;
  };
  const inputs = {};
  const keys = {};
  for (const [name, input] of Object.entries(INPUTS)) {
    // Null where a client stumbles over a bigint before it sends anything.
    inputs[name] = (await bodyOf(["one"], { input })).input ?? null;
  }
  for (const [name, key] of Object.entries(KEYS)) keys[name] = (await bodyOf(key)).key;
  return { inputs, keys };
}

// The first frame of a connection, which the clients wait for.
const INIT = {
  json: '{"body":{"tag":"Init","val":{"actorId":"a","connectionId":"c"}}}',
  cbor:
    "a164626f6479a26374616764496e69746376616ca2676163746f7249646161" +
    "6c636f6e6e656374696f6e49646163",
  bare: "02000001610163",
};

async function read(encoding, given) {
  const bytes = (hex) => Buffer.from(hex, "hex");
  const answers = {
    init: bytes(given.init),
    http: (name) => {
      const { status, hex } = given.bodies[caseOf(name)];
      return { status, body: bytes(hex) };
    },
    // Subscriptions name no case.
    frames: (frame) => (given.frames[caseOf(frame.toString("latin1"))] ?? []).map(bytes),
  };
  const server = await stand(WebSocketServer, false, encoding === "json", answers);
  const handle = open(server.endpoint, encoding).getOrCreate("probe", ["one"]);
  const bodies = {};
  for (const name of Object.keys(given.bodies)) {
    bodies[name] = await outcome(handle.action({ name: action(name), args: [] }));
  }
  const connection = handle.connect();
  let events = [];
  connection.on("event", (...args) => events.push(args.map(describe)));
  const frames = {};
  for (const name of Object.keys(given.frames)) {
    events = [];
    const result = await outcome(connection.action({ name: action(name), args: [] }));
    frames[name] = events.length ? { ...result, events } : result;
  }
  return { bodies, frames };
}

const input = async () => {
  const parts = [];
  for await (const part of process.stdin) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString());
};

const result = {};
if (what === "sent") {
  for (const encoding of ENCODINGS) result[encoding] = await sent(encoding);
  Object.assign(result, await created());
} else {
  const given = await input();
  for (const encoding of ENCODINGS) result[encoding] = await read(encoding, given[encoding]);
}
// On a line of its own, below what the client has to say.
process.stdout.write(`\n${JSON.stringify(result)}\n`, () => process.exit(0));
