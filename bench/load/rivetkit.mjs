// A load by RivetKit's own client: increments over HTTP, or pipelined over connections.
//
// node rivetkit.mjs MODULES ENDPOINT http|connection PREFIX ACTORS, where MODULES has a version of
// rivetkit installed. Over HTTP each call is an action of the handle of one of ACTORS actors in turn;
// over connections at most 16 actors each have a connection. It is asked by a line of JSON each, and
// answers so, as bench/load/driver.py says.
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [modules, endpoint, kind, prefix, actors] = process.argv.slice(2);
const CONNECTIONS = 16;
const MARKS = [50, 90, 99, 99.9, 100];

const root = resolve(modules, "node_modules", "rivetkit");
const entry = JSON.parse(readFileSync(join(root, "package.json"))).exports["./client"];
const { createClient } = await import(pathToFileURL(join(root, entry.import.default)));

const client = createClient(endpoint);
const count = kind === "http" ? Number(actors) : Math.min(Number(actors), CONNECTIONS);
const handles = Array.from({ length: count }, (_, index) =>
  client.getOrCreate("counter", [prefix, String(index)]),
);
// Whom to call: handles, or connections to the first of them.
async function callees(inFlight) {
  if (kind === "http") return handles;
  const connections = handles.slice(0, inFlight).map((handle) => handle.connect());
  await Promise.all(connections.map((connection) => connection.increment(0)));
  return connections;
}

async function run(inFlight, seconds) {
  const called = await callees(inFlight);
  const latencies = [];
  let next = 0;
  const cpu = process.cpuUsage();
  const began = performance.now();
  const ends = began + seconds * 1000;
  let last = began;
  const caller = async () => {
    for (let sent = performance.now(); sent < ends; sent = last) {
      await called[next++ % called.length].increment(1);
      last = performance.now();
      latencies.push(last - sent);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, caller));
  const used = process.cpuUsage(cpu);
  if (kind !== "http") await Promise.all(called.map((connection) => connection.dispose()));
  latencies.sort((a, b) => a - b);
  const at = (mark) => latencies[Math.round((mark / 100) * (latencies.length - 1))] * 1000;
  return {
    calls: latencies.length,
    seconds: (last - began) / 1000,
    cpu_seconds: (used.user + used.system) / 1e6,
    percentiles: Object.fromEntries(MARKS.map((mark) => [String(mark), at(mark)])),
  };
}

async function total() {
  let sum = 0;
  for (const handle of handles) sum += Number(await handle.value());
  return { total: sum };
}

// All exist before anything is measured; what fails once is asked again.
const exists = async (handle) => handle.increment(0);
for (const handle of handles) await exists(handle).catch(() => exists(handle));
console.log("{}");
for await (const line of createInterface({ input: process.stdin })) {
  const question = JSON.parse(line);
  const answer = question.total ? await total() : await run(question.in_flight, question.seconds);
  console.log(JSON.stringify(answer));
}
process.exit(0);
