import { useEffect, useRef, useState } from "react";
import { colourOf, useActor } from "./actors.js";

const TYPING_MS = 3000;
const PAGE = 50;

// Messages by their numbers, each once, whatever brought them.
function merged(before, more) {
  const known = new Map([...before, ...more].map((message) => [message.number, message]));
  return [...known.values()].sort((one, other) => one.number - other.number);
}

// One room. Its connection comes back by itself; what was said meanwhile is read again.
export function Room({ room, user }) {
  const [messages, setMessages] = useState([]);
  const [present, setPresent] = useState([]);
  const [problem, setProblem] = useState("");
  const [typing, setTyping] = useTyping();
  const end = useRef(null);
  const { connection, connStatus, useEvent } = useActor({
    name: "chat-room",
    key: [room],
    params: { user },
  });

  useEvent("message", (message) => {
    setMessages((before) => merged(before, [message]));
    setTyping(message.user, false);
  });
  useEvent("present", setPresent);
  useEvent("typing", (name) => name !== user && setTyping(name, true));

  useEffect(() => {
    if (connStatus !== "connected") return;
    connection.look(PAGE).then(
      (view) => {
        setMessages((before) => merged(before, view.messages));
        setPresent(view.present);
      },
      (error) => setProblem(error.message),
    );
  }, [connection, connStatus]);

  const last = messages.at(-1)?.number;
  useEffect(() => {
    end.current.scrollIntoView({ block: "end" });
  }, [last]);

  const earlier = async () => {
    const found = await connection.history(PAGE, messages[0].number);
    setMessages((before) => merged(before, found));
  };

  const say = async (text) => {
    try {
      await connection.say(text);
      setProblem("");
      return true;
    } catch (error) {
      setProblem(error.message);
      return false;
    }
  };

  return (
    <section className="room">
      <header>
        <h2># {room}</h2>
        <ul className="present" aria-label="present">
          {present.map((name) => (
            <li key={name} title={name} style={{ background: colourOf(name) }}>
              {name.slice(0, 2)}
            </li>
          ))}
        </ul>
        <span className={`status ${connStatus}`} role="status">
          {connStatus === "connected" ? "connected" : "connecting…"}
        </span>
      </header>
      <ol aria-label="messages">
        {messages[0]?.number > 1 && (
          <li className="earlier">
            <button onClick={earlier}>Earlier messages</button>
          </li>
        )}
        {messages.length === 0 && <li className="nothing">Nothing was said here yet.</li>}
        {messages.map((message, index) => (
          <Message
            key={message.number}
            message={message}
            mine={message.user === user}
            follows={messages[index - 1]?.user === message.user}
          />
        ))}
        <li ref={end} />
      </ol>
      <p className="typing" aria-live="polite">
        {typing.length > 0 && `${typing.join(", ")} ${typing.length > 1 ? "are" : "is"} typing…`}
      </p>
      {problem && <p className="problem">{problem}</p>}
      <Composer say={say} type={() => connection?.typing().catch(() => {})} />
    </section>
  );
}

function Message({ message, mine, follows }) {
  const time = new Date(message.sent_at);
  return (
    <li className={`message ${mine ? "mine" : ""} ${follows ? "follows" : ""}`}>
      <i style={{ background: colourOf(message.user) }}>{message.user.slice(0, 2)}</i>
      <div>
        <b>{message.user}</b>
        <time dateTime={time.toISOString()}>
          {time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}
        </time>
        <p>{message.text}</p>
      </div>
    </li>
  );
}

// What is written is kept until it is said.
function Composer({ say, type }) {
  const [text, setText] = useState("");
  const told = useRef(0);
  const change = (event) => {
    setText(event.target.value);
    if (Date.now() - told.current > TYPING_MS / 2) {
      told.current = Date.now();
      type();
    }
  };
  const send = async (event) => {
    event.preventDefault();
    if (text.trim() && (await say(text))) {
      setText("");
      told.current = 0;
    }
  };
  return (
    <form className="composer" onSubmit={send}>
      <input value={text} onChange={change} placeholder="Say something" maxLength={2000} autoFocus />
      <button disabled={!text.trim()}>Send</button>
    </form>
  );
}

// Who is typing; nobody for longer than a moment.
function useTyping() {
  const [names, setNames] = useState([]);
  const timers = useRef(new Map());
  const set = (name, is) => {
    clearTimeout(timers.current.get(name));
    setNames((before) => [...before.filter((other) => other !== name), ...(is ? [name] : [])]);
    if (is) timers.current.set(name, setTimeout(() => set(name, false), TYPING_MS));
  };
  return [names, set];
}
