// A durable counter on workerd: a Durable Object for each path, over HTTP and WebSocket.
//
// A body, or a message, is what to add; the answer is the value. What is answered waits for the
// write before it, by the runtime's output gate.
import { DurableObject } from "cloudflare:workers";

export class Counter extends DurableObject {
  async increment(by) {
    const value = ((await this.ctx.storage.get("value")) ?? 0) + by;
    this.ctx.storage.put("value", value);
    return value;
  }

  async fetch(request) {
    if (request.headers.get("upgrade") !== "websocket") {
      return new Response(String(await this.increment(Number(await request.text()))));
    }
    const [client, server] = Object.values(new WebSocketPair());
    server.accept();
    server.addEventListener("message", async ({ data }) => {
      server.send(String(await this.increment(Number(data))));
    });
    return new Response(null, { status: 101, webSocket: client });
  }
}

export default {
  fetch(request, env) {
    const id = env.COUNTERS.idFromName(new URL(request.url).pathname);
    return env.COUNTERS.get(id).fetch(request);
  },
};
