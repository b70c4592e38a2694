// A durable counter on Restate: a virtual object, served to a Restate server on 127.0.0.1.
//
// node service.mjs PORT, beside the node_modules of package-lock.json.
import { createServer } from "node:http2";
import { createEndpointHandler, handlers, object } from "@restatedev/restate-sdk";

const counter = object({
  name: "counter",
  handlers: {
    increment: async (ctx, by) => {
      const value = ((await ctx.get("value")) ?? 0) + by;
      ctx.set("value", value);
      return value;
    },
    value: handlers.object.shared(async (ctx) => (await ctx.get("value")) ?? 0),
  },
});

createServer(createEndpointHandler({ services: [counter] })).listen(
  Number(process.argv[2]),
  "127.0.0.1",
);
