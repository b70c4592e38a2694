// Connect's client for pages: calls, errors with their details, streams.
import assert from "node:assert/strict";

export async function calls(stage) {
  const { elsewhere, script, descriptors, url, binary, key } = stage.given;
  const page = await stage.page(elsewhere);
  await page.addScriptTag({ path: script, type: "module" });
  await page.waitForFunction(() => window.clients);
  const told = await page.evaluate(
    async ([descriptors, url, binary, key]) => {
      const { actors, events, ErrorInfo, Code, pack, unpack } = window.clients(descriptors, url, binary);
      const target = { target: { case: "getOrCreate", value: { name: "counter", key: [key] } } };
      const ask = (action, ...args) => ({ target, action, args: pack(args) });
      const value = unpack((await actors.invokeAction(ask("increment", 2))).result);
      const error = await actors.invokeAction(ask("increment", -1)).catch((error) => error);
      const [info] = error.findDetails(ErrorInfo);
      const items = [];
      for await (const response of actors.streamAction(ask("upTo", 3))) {
        items.push(...response.items.map(unpack));
      }
      const stopped = new AbortController();
      const request = { target, start: { case: "fromSequence", value: 1n } };
      let heard;
      try {
        for await (const { events: [event] } of events.subscribeEvents(request, { signal: stopped.signal })) {
          if (!event) continue;
          heard = event.name;
          stopped.abort();
        }
      } catch (ended) {
        if (ended.code !== Code.Canceled) throw ended;
      }
      return { value, error: [error.rawMessage, info.reason, info.metadata.code], items, heard };
    },
    [descriptors, url, binary, key],
  );
  assert.deepEqual(told, {
    value: 2,
    error: ["it only grows", "USER_ERROR", "negative"],
    items: [0, 1, 2],
    heard: "count",
  });
}
