// A client whose server is killed while it is connected. It prints a line when it is ready for
// that, and at last what came of it.
//
//     node reconnect.mjs DIRECTORY ENDPOINT ENCODING PID
import { load } from "./stand.mjs";

const [directory, endpoint, encoding, pid] = process.argv.slice(2);
const { createClient } = await load(directory);
const client = createClient({ endpoint, encoding });
const pause = () => new Promise((done) => setTimeout(done, 20));

const connection = client.counter.getOrCreate(["kept"]).connect();
const counts = [];
connection.on("count", (count) => counts.push(count));
const before = await connection.increment(1);
process.kill(Number(pid), "SIGKILL");
// A call that is under way when the connection breaks may have run or not.
let after;
while (after === undefined) after = await connection.increment(1).catch(pause);
const last = await connection.increment(1);
while (counts.at(-1) !== last) await pause();
const over_http = await client.counter.getOrCreate(["kept"]).value();
await connection.dispose();
console.log(JSON.stringify({ before, went_on: after > before, last: last - after, over_http: over_http - last }));
process.exit(0);
