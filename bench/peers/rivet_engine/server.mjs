// RivetKit's runner of a Rivet engine: a durable counter.
//
// node server.mjs ENDPOINT, beside the node_modules of package-lock.json; an engine listens at
// ENDPOINT.
import { actor, setup } from "rivetkit";

const [endpoint] = process.argv.slice(2);

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

const registry = setup({ use: { counter }, endpoint, startServices: false, noWelcome: true });
await registry.startAndWait();
console.log("ready");
