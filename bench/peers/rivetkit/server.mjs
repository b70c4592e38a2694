// RivetKit's own server: a durable counter, kept by its file-system driver.
//
// node server.mjs PORT DATA, beside the node_modules of package-lock.json. RivetKit's start() would
// itself serve on every address of the machine; this serves the same on 127.0.0.1.
import { serve } from "@hono/node-server";
import { createNodeWebSocket } from "@hono/node-ws";
import { Hono } from "hono";
import { actor, createFileSystemDriver, setup } from "rivetkit";

const [port, data] = process.argv.slice(2);

const counter = actor({
  state: { value: 0 },
  actions: {
    increment: (c, by) => {
      c.state.value += by;
      return c.state.value;
    },
    value: (c) => c.state.value,
  },
  // As Holdfast's: it does not sleep while it is measured.
  options: { sleepTimeout: 86_400_000 },
});

let upgradeWebSocket;
const { fetch } = setup({ use: { counter } }).start({
  driver: createFileSystemDriver({ path: data }),
  disableDefaultServer: true,
  noWelcome: true,
  getUpgradeWebSocket: () => upgradeWebSocket,
});
const app = new Hono();
const webSocket = createNodeWebSocket({ app });
upgradeWebSocket = webSocket.upgradeWebSocket;
app.mount("/", fetch);
webSocket.injectWebSocket(serve({ fetch: app.fetch, port: Number(port), hostname: "127.0.0.1" }));
