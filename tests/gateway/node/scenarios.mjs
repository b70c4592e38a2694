// What users of RivetKit's client do, done with one version of it against a running gateway.
//
//   node scenarios.mjs DIRECTORY ENCODING ENDPOINT [NAME...]
//
// DIRECTORY is one that tools/setup_gateway.sh has made. For each scenario there is a line of
// JSON: {"scenario": name, "ok": true}, or with "skipped" and why, or with "error". A scenario
// that needs something done to the server prints {"wanted": what} and waits for a line.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { RESTART, SCENARIOS, Skipped } from "./scenes.mjs";
import { load } from "./stand.mjs";

// Longer than the longest wait that a client makes by itself.
const SCENARIO_MS = 20_000;

const [directory, encoding, endpoint, ...chosen] = process.argv.slice(2);
const { createClient } = await load(directory);
const version = JSON.parse(
  readFileSync(`${directory}/node_modules/rivetkit/package.json`),
).version;

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const stage = {
  endpoint,
  encoding,
  version,
  // Whether this client is of at least a version, "2.3" for instance.
  since(wanted) {
    const [major, minor] = version.split(".").map(Number);
    const [thatMajor, thatMinor] = wanted.split(".").map(Number);
    return major > thatMajor || (major === thatMajor && minor >= thatMinor);
  },
  client: (options = {}) => createClient({ endpoint, encoding, logLevel: "silent", ...options }),
  async outside(wanted) {
    print({ wanted });
    await lines.next();
  },
};

async function run(name, scenario) {
  // Nobody else's actors.
  const key = (...more) => [basename(directory), encoding, name, String(process.pid), ...more];
  const late = sleep(SCENARIO_MS, undefined, { ref: false }).then(() => {
    throw new Error(`took more than ${SCENARIO_MS} ms`);
  });
  try {
    await Promise.race([scenario({ ...stage, key }), late]);
    print({ scenario: name, ok: true });
  } catch (error) {
    if (error instanceof Skipped) print({ scenario: name, ok: true, skipped: error.message });
    else print({ scenario: name, ok: false, error: error?.stack ?? String(error) });
  }
}

// A client leaves a rejection of its own where a connection ends.
process.on("unhandledRejection", () => {});
const everything = { ...SCENARIOS, ...RESTART };
for (const name of chosen.length ? chosen : Object.keys(SCENARIOS)) {
  await run(name, everything[name]);
}
process.exit(0);
