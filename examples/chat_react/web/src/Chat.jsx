import { useEffect, useState } from "react";
import { useActor } from "./actors.js";
import { Room } from "./Room.jsx";

// The list of rooms, and the room that is open.
export function Chat({ user }) {
  const [open, setOpen] = useState("lounge");
  const [rooms, setRooms] = useState({ lounge: 0 });
  const [problem, setProblem] = useState("");
  const lobby = useActor({ name: "lobby", key: ["main"] });
  lobby.useEvent("rooms", setRooms);

  useEffect(() => {
    if (lobby.connStatus === "connected") lobby.connection.rooms().then(setRooms, () => {});
  }, [lobby.connection, lobby.connStatus]);

  const add = async (event) => {
    event.preventDefault();
    const form = event.target;
    const name = new FormData(form).get("room").trim();
    if (!name) return;
    try {
      setRooms(await lobby.connection.open(name));
      setOpen(name);
      setProblem("");
      form.reset();
    } catch (error) {
      setProblem(error.message);
    }
  };

  return (
    <main className="chat">
      <nav>
        <h1>Chat</h1>
        <ul aria-label="rooms">
          {Object.entries(rooms).map(([room, messages]) => (
            <li key={room}>
              <button aria-current={room === open} onClick={() => setOpen(room)}>
                <span># {room}</span>
                {messages > 0 && <small>{messages}</small>}
              </button>
            </li>
          ))}
        </ul>
        <form onSubmit={add}>
          <input name="room" placeholder="New room" maxLength={32} autoComplete="off" />
        </form>
        {problem && <p className="problem">{problem}</p>}
      </nav>
      <Room key={open} room={open} user={user} />
    </main>
  );
}
