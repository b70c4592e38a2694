// Makes one file of the page, dist/index.html or that of another --outDir, which the actor serves.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { build } from "esbuild";

const { outDir } = parseArgs({ options: { outDir: { type: "string", default: "dist" } } }).values;
const bundled = await build({
  entryPoints: ["main.js", "style.css"],
  bundle: true,
  minify: true,
  write: false,
  outdir: outDir,
  target: "es2022",
  legalComments: "none",
});
const [script, style] = [".js", ".css"].map(
  (end) => bundled.outputFiles.find((file) => file.path.endsWith(end)).text,
);
const page = (await readFile("index.html", "utf8"))
  .replace("/*STYLE*/", () => style)
  .replace("/*SCRIPT*/", () => script.replaceAll("</script", "<\\/script"));
await mkdir(outDir, { recursive: true });
await writeFile(join(outDir, "index.html"), page);
