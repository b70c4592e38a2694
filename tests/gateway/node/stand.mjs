// A server that stands in for the gateway: it keeps what a client sends and answers what it is
// told to. And what a value is in JavaScript, as JSON.
import http from "node:http";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

// The client of one version, below a directory that tools/setup_gateway.sh has made.
export async function load(directory) {
  const require = createRequire(resolve(directory, "package.json"));
  const root = resolve(directory, "node_modules", "rivetkit");
  const entry = JSON.parse(readFileSync(join(root, "package.json"))).exports["./client"];
  const client = await import(pathToFileURL(join(root, entry.import.default)));
  return { createClient: client.createClient, WebSocketServer: require("ws").WebSocketServer };
}

const ACTOR = { actor_id: "actor-1", name: "probe", key: "one" };

// `answers` has some of `create(body)`, told of an actor's creation; `http(name, body)`, which
// gives status and body; `init`, the first frame; and `frames(frame)`, which gives what is sent
// after a frame of the client. All bytes are Buffers. Errors are in JSON where `plain`.
export async function stand(WebSocketServer, plain, text, answers) {
  const server = http.createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const path = request.url.split("?")[0];
    const json = (value) => {
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify(value));
    };
    if (path.endsWith("/metadata")) return json({});
    if (path.endsWith("/actors")) {
      answers.create?.(Buffer.concat(parts).toString());
      return json({ actor: ACTOR, actors: [ACTOR], created: true });
    }
    const name = decodeURIComponent(path.split("/action/")[1]);
    const { status, body } = answers.http(name, Buffer.concat(parts));
    response.statusCode = status;
    const binary = !text && !plain;
    response.setHeader("content-type", binary ? "application/octet-stream" : "application/json");
    return response.end(body);
  });
  const sockets = new WebSocketServer({ server, handleProtocols: () => "rivet" });
  sockets.on("connection", (socket) => {
    const send = (data) => socket.send(text ? data.toString() : data);
    send(answers.init);
    socket.on("message", (data) => {
      for (const frame of answers.frames(Buffer.from(data))) send(frame);
    });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    endpoint: `http://127.0.0.1:${server.address().port}`,
    close() {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      server.close();
    },
  };
}

const hex = (bytes) => Buffer.from(bytes).toString("hex");

// What a value is, told apart as far as JavaScript does.
export function describe(value) {
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (value === undefined) return { undefined: true };
  if (typeof value === "number") return Object.is(value, -0) ? { number: "-0" } : { number: String(value) };
  if (typeof value === "bigint") return { bigint: String(value) };
  if (value instanceof ArrayBuffer) return { buffer: hex(new Uint8Array(value)) };
  if (value instanceof Uint8Array) return { bytes: hex(value) };
  if (value instanceof Date) return { date: value.toISOString() };
  if (value instanceof Set) return { set: [...value].map(describe) };
  if (value instanceof Map) return { map: [...value].map((entry) => entry.map(describe)) };
  if (Array.isArray(value)) return value.map(describe);
  if (Object.getPrototypeOf(value) === Object.prototype) {
    return { object: Object.entries(value).map(([key, item]) => [key, describe(item)]) };
  }
  return { other: String(value) };
}
