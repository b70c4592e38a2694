// Runs scenarios in one Chromium, each with a profile of its own.
//
//   node drive.mjs DIRECTORY CHROMIUM
//
// DIRECTORY has the driver's package.
// Each line of its input is {"script", "scenario", "given"}: a module, the name of what it
// exports, and anything. It answers with a line of JSON: {"ok": true, "result"}, or
// {"ok": false, "error"}. A scenario that needs something done outside of the browser prints
// {"wanted": what, "given"}, and goes on with the next line of the input.
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { createRequire } from "node:module";
import { resolve } from "node:path";

// Below the time limit of a test, so that what hangs is told with what the page said.
const SCENARIO_MS = 45_000;
const STEP_MS = 20_000;

const [directory, executablePath] = process.argv.slice(2);
const { chromium } = createRequire(resolve(directory, "package.json"))("playwright-core");
// The sandbox of Chromium does not run as root, as whom containers do.
const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
// Hosts of strangers, all on this machine.
args.push("--disable-dev-shm-usage", "--host-resolver-rules=MAP *.example 127.0.0.1");
const browser = await chromium.launch({ executablePath, args });

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

// What a scenario is given.
class Stage {
  constructor(given) {
    this.given = given;
    this.said = [];
    this.contexts = [];
  }

  // A user: a context with storage and connections of its own.
  async user(options = {}) {
    const context = await browser.newContext({ viewport: { width: 900, height: 640 }, ...options });
    context.setDefaultTimeout(STEP_MS);
    this.contexts.push(context);
    return context;
  }

  // A page of a new user, or of one that is given; errors of its scripts fail the scenario.
  async page(url, context = undefined) {
    const page = await (context ?? (await this.user())).newPage();
    page.on("console", (message) => this.said.push(`${message.type()}: ${message.text()}`));
    page.on("response", (answer) => {
      if (!answer.ok()) this.said.push(`${answer.status()}: ${answer.url()}`);
    });
    page.on("pageerror", (error) => {
      this.said.push(`uncaught: ${error.stack ?? error}`);
      this.broken ??= error;
    });
    if (url) await page.goto(url);
    return page;
  }

  // Have something done outside of the browser, and what came of it.
  async outside(wanted, given = null) {
    print({ wanted, given });
    return JSON.parse((await lines.next()).value);
  }
}

async function run({ script, scenario, given }) {
  const stage = new Stage(given);
  const late = new AbortController();
  try {
    const play = (await import(pathToFileURL(script)))[scenario];
    if (!play) throw new Error(`${script} exports no ${scenario}`);
    const limit = sleep(SCENARIO_MS, undefined, { signal: late.signal }).then(() => {
      throw new Error(`took more than ${SCENARIO_MS} ms`);
    });
    limit.catch(() => {});
    const result = await Promise.race([play(stage), limit]);
    if (stage.broken) throw stage.broken;
    print({ ok: true, result: result ?? null });
  } catch (error) {
    print({ ok: false, error: [error?.stack ?? String(error), ...stage.said].join("\n") });
  } finally {
    late.abort();
    await Promise.all(stage.contexts.map((context) => context.close()));
  }
}

for await (const line of lines) await run(JSON.parse(line));
await browser.close();
