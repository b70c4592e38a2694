// A page that uses RivetKit's hooks as its users do. `window.client` and `window.listen` are for
// scenarios that use the client by itself.
import { createClient, createRivetKitWithClient } from "@rivetkit/react";
import { StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

const query = new URLSearchParams(location.search);
const client = createClient({
  endpoint: query.get("endpoint") ?? location.origin,
  encoding: query.get("encoding"),
});
const { useActor } = createRivetKitWithClient(client);

// What arrives on a connection, as it comes.
function listen(connection, name) {
  const heard = [];
  connection.on(name, (...args) => heard.push(args));
  return heard;
}
Object.assign(window, { client, listen });

function Room({ room, name }) {
  const [enabled, setEnabled] = useState(true);
  const [heard, setHeard] = useState([]);
  const [answer, setAnswer] = useState("");
  const [errors, setErrors] = useState([]);
  const actor = useActor({ name: "room", key: [room], params: { name }, enabled });
  const hear = (event) => (text) => setHeard((before) => [...before, `${event} ${text}`]);
  actor.useEvent("said", hear("said"));
  actor.useEvent("came", hear("came"));
  actor.useEvent("left", hear("left"));
  // An error is there until the next attempt.
  useEffect(() => {
    if (actor.error) setErrors((before) => [...before.slice(-5), actor.error.code]);
  }, [actor.error]);
  const call = async (method, ...args) => {
    try {
      setAnswer(JSON.stringify(await actor.connection[method](...args)));
    } catch (error) {
      setAnswer(`${error.group ?? "-"}.${error.code}`);
    }
  };
  return (
    <section data-testid={name}>
      <output data-testid="status">{actor.connStatus}</output>
      <output data-testid="errors">{errors.join(" ")}</output>
      <output data-testid="answer">{answer}</output>
      <ul data-testid="heard">
        {heard.map((line, index) => (
          <li key={index}>{line}</li>
        ))}
      </ul>
      <button onClick={() => call("say", "hello")}>say</button>
      <button onClick={() => call("missing")}>missing</button>
      <button onClick={() => setEnabled(!enabled)}>switch</button>
    </section>
  );
}

function Page() {
  const [room, setRoom] = useState(query.get("room"));
  const [names, setNames] = useState(query.getAll("name"));
  return (
    <>
      <button onClick={() => setRoom(`${room}-next`)}>move</button>
      <button onClick={() => setNames(names.slice(0, -1))}>unmount</button>
      {names.map((name, index) => (
        <Room key={index} room={room} name={name} />
      ))}
    </>
  );
}

if (query.has("room")) {
  createRoot(document.getElementById("root")).render(
    <StrictMode>
      <Page />
    </StrictMode>,
  );
}
