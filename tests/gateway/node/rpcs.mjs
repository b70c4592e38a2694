// What users of Connect's own clients do, done against a running gateway.
//
//   node rpcs.mjs DIRECTORY TRANSPORT ENCODING ENDPOINT DESCRIPTORS
//
// TRANSPORT is node, or web for what pages use: it is all made of fetch.
// DIRECTORY is one that tools/setup_gateway.sh has made, DESCRIPTORS a file with the descriptors
// of the protos. For each scenario there is a line of JSON: {"scenario": name, "error": null}.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [directory, transport, encoding, endpoint, descriptors] = process.argv.slice(2);
const { resolve } = createRequire(pathToFileURL(`${directory}/package.json`));
const load = (name) => import(pathToFileURL(resolve(name)));
const { createFileRegistry, fromBinary } = await load("@bufbuild/protobuf");
const { FileDescriptorSetSchema } = await load("@bufbuild/protobuf/wkt");
const { Code, ConnectError, createClient } = await load("@connectrpc/connect");
const { compressionGzip } = await load("@connectrpc/connect-node");
const { createConnectTransport } = await load(`@connectrpc/connect-${transport}`);

const registry = createFileRegistry(
  fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)),
);
const service = (name) => registry.getService(`holdfast.v1.${name}`);
const ErrorInfo = registry.getMessage("google.rpc.ErrorInfo");

const client = (name, options = {}) =>
  createClient(
    service(name),
    createConnectTransport({
      baseUrl: endpoint,
      httpVersion: "1.1",
      useBinaryFormat: encoding === "proto",
      ...options,
    }),
  );
const actors = client("ActorService");
const events = client("EventService");

const payload = (value) => ({ encoding: 1, data: Buffer.from(JSON.stringify(value)) });
const valueOf = ({ data }) => JSON.parse(Buffer.from(data).toString());
const desk = (key) => ({
  target: { case: "getOrCreate", value: { name: "desk", key: [encoding, key] } },
});
const ask = (key, action, ...args) => ({ target: desk(key), action, args: payload(args) });

async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    assert(error instanceof ConnectError, String(error));
    return error;
  }
  throw new Error("it did not fail");
}

const SCENARIOS = {
  async unary() {
    let header;
    const response = await actors.invokeAction(ask("unary", "add", 2), {
      onHeader: (headers) => (header = headers),
    });
    assert.equal(valueOf(response.result), 2);
    assert.match(header.get("x-rivet-ray-id"), /./);
    const large = await actors.invokeAction(ask("unary", "echo", "x".repeat(100_000)));
    assert.equal(valueOf(large.result).length, 100_000);
  },

  async compressed() {
    const zipped = client("ActorService", {
      sendCompression: compressionGzip,
      acceptCompression: [compressionGzip],
      compressMinBytes: 0,
    });
    const response = await zipped.invokeAction(ask("zip", "echo", "x".repeat(5000)));
    assert.equal(valueOf(response.result).length, 5000);
    const items = [];
    for await (const { items: [item] } of zipped.streamAction(ask("zip", "count", 3))) {
      items.push(valueOf(item));
    }
    assert.deepEqual(items, [0, 1, 2]);
  },

  async "a read by GET"() {
    await actors.invokeAction(ask("get", "add"));
    const cached = client("ActorService", { useHttpGet: true });
    const { actor } = await cached.getActor({ actor: { name: "desk", key: [encoding, "get"] } });
    assert.deepEqual(actor.key, [encoding, "get"]);
    const { actors: listed } = await cached.listActors({ name: "desk", keyPrefix: [encoding] });
    assert(listed.some(({ actorId }) => actorId === actor.actorId));
  },

  async "errors with details"() {
    const error = await failure(actors.invokeAction(ask("errors", "fail")));
    assert.equal(error.code, Code.Unknown);
    assert.equal(error.rawMessage, "not today");
    const [info] = error.findDetails(ErrorInfo);
    assert.equal(info.reason, "USER_ERROR");
    assert.deepEqual(JSON.parse(info.metadata.metadata_json), { until: [1, null] });
    const missing = await failure(actors.getActor({ actorId: "nobody" }));
    assert.equal(missing.code, Code.InvalidArgument);
    const absent = { actor: { name: "desk", key: ["absent"] } };
    assert.equal((await failure(actors.getActor(absent))).code, Code.NotFound);
    assert.equal((await failure(actors.createActor({}))).code, Code.InvalidArgument);
  },

  async "a key is answered once"() {
    const request = { ...ask("once", "add", 7), idempotencyKey: "k" };
    assert.equal((await actors.invokeAction(request)).replayed, false);
    const again = await actors.invokeAction(request);
    assert.deepEqual([again.replayed, valueOf(again.result)], [true, 7]);
  },

  async stream() {
    const items = [];
    for await (const response of actors.streamAction(ask("stream", "count", 4))) {
      items.push(...response.items.map(valueOf));
    }
    assert.deepEqual(items, [0, 1, 2, 3]);
  },

  async "a stream that fails after items"() {
    const items = [];
    const error = await failure(
      (async () => {
        for await (const response of actors.streamAction(ask("broken", "count", 2, "fail"))) {
          items.push(...response.items.map(valueOf));
        }
      })(),
    );
    assert.deepEqual(items, [0, 1]);
    assert.equal(error.code, Code.Unknown);
    assert.equal(error.findDetails(ErrorInfo)[0].metadata.code, "enough");
    const wrong = actors.streamAction(ask("broken", "nothing"))[Symbol.asyncIterator]();
    assert.equal((await failure(wrong.next())).code, Code.NotFound);
  },

  async "deadlines"() {
    const unary = await failure(
      actors.invokeAction(ask("late", "wait", "u"), { timeoutMs: 80 }),
    );
    assert.equal(unary.code, Code.DeadlineExceeded);
    // Long enough for its first item, however busy the machine.
    const stream = actors.streamAction(ask("late", "count", 1, "s"), { timeoutMs: 700 });
    const reading = stream[Symbol.asyncIterator]();
    assert.equal(valueOf((await reading.next()).value.items[0]), 0);
    assert.equal((await failure(reading.next())).code, Code.DeadlineExceeded);
  },

  async cancellation() {
    const controller = new AbortController();
    const options = { signal: controller.signal };
    const stream = actors.streamAction(ask("cancel", "count", 1, "never"), options);
    const reading = stream[Symbol.asyncIterator]();
    await reading.next();
    const unary = failure(actors.invokeAction(ask("cancel", "wait", "cancelled"), options));
    await actors.invokeAction(ask("cancel", "reached", "cancelled"));
    controller.abort();
    assert.equal((await failure(reading.next())).code, Code.Canceled);
    assert.equal((await unary).code, Code.Canceled);
    // The server has noticed both.
    await actors.invokeAction(ask("cancel", "reached", "count ended"));
    await actors.invokeAction(ask("cancel", "reached", "cancelled cancelled"));
  },

  async events() {
    await actors.invokeAction(ask("events", "add", 1));
    const request = { target: desk("events"), start: { case: "fromSequence", value: 1n } };
    for await (const { events: [event] } of events.subscribeEvents(request)) {
      if (event === undefined) continue;
      assert.deepEqual([event.name, event.sequence], ["sum", 1n]);
      break;
    }
  },

  async "a session is refused"() {
    const sessions = client("SessionService").openSession((async function* () {})());
    const error = await failure(sessions[Symbol.asyncIterator]().next());
    assert([Code.Unimplemented, Code.Unknown].includes(error.code), String(error));
  },
};

for (const [name, scenario] of Object.entries(SCENARIOS)) {
  let told = null;
  try {
    await scenario();
  } catch (error) {
    told = error?.stack ?? String(error);
  }
  process.stdout.write(`${JSON.stringify({ scenario: name, error: told })}\n`);
}
process.exit(0);
