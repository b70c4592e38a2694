// Makes a page: one script of ours and the packages that it imports.
//
//   node bundle.mjs DIRECTORY ENTRY OUTPUT PACKAGES [CLIENT]
//
// DIRECTORY has esbuild, PACKAGES the page's packages. With CLIENT, all of it uses the RivetKit
// client of that directory.
import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const [directory, entry, output, packages, client] = process.argv.slice(2);
const esbuild = createRequire(resolve(directory, "package.json"))("esbuild");

// The client as a bundler finds it: the browser's, where a version has one.
function clientOf(at) {
  const root = join(at, "node_modules", "rivetkit");
  let found = JSON.parse(readFileSync(join(root, "package.json"))).exports["./client"];
  while (typeof found !== "string") found = found.browser ?? found.import ?? found.default;
  return join(root, found);
}

await esbuild.build({
  entryPoints: [entry],
  outfile: join(output, "page.js"),
  bundle: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  jsx: "automatic",
  nodePaths: [join(packages, "node_modules")],
  alias: client ? { "rivetkit/client": clientOf(client) } : {},
  define: { "process.env.NODE_ENV": '"production"' },
  logLevel: "error",
});
writeFileSync(
  join(output, "index.html"),
  '<!doctype html><meta charset="utf-8"><title>page</title><link rel="icon" href="data:,">' +
    '<div id="root"></div><script type="module" src="page.js"></script>\n',
);
