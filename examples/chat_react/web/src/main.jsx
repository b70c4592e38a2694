import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { Chat } from "./Chat.jsx";
import "./style.css";

// Asks for a name once, and keeps it for this tab.
function App() {
  const [user, setUser] = useState(sessionStorage.getItem("user"));
  const enter = (event) => {
    event.preventDefault();
    const name = new FormData(event.target).get("name").trim();
    if (!name) return;
    sessionStorage.setItem("user", name);
    setUser(name);
  };
  if (user) return <Chat user={user} />;
  return (
    <form className="door" onSubmit={enter}>
      <h1>Chat</h1>
      <p>Durable rooms: actors in Python, a page in React.</p>
      <input name="name" placeholder="Your name" maxLength={32} autoFocus autoComplete="off" />
      <button>Come in</button>
    </form>
  );
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
