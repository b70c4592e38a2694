"""A chat in the browser: rooms, history, who is here, who is typing.

    python -m examples.chat_react.app

Then open http://127.0.0.1:8000, in two windows. The page, in `web`, is a project of Vite with
React and `@rivetkit/react`, unmodified; this application builds it, serves it, and has the
actors behind it below `/api/rivet`, where RivetKit's clients look for them.

A room's messages are in its KV, under their numbers, and its state holds the last number
alone. A message is told to everyone by an event of the turn that stores it, so nobody sees
one that a crash could take back. Who is here is known by the connections, and who is typing
by an event that is not stored. The lobby, one actor, lists the rooms: a room tells it of
each message with `c.send`, which takes effect exactly once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from examples.pages import CannotBuild, build
from holdfast import Actor, Connection, Context, Event, UserError, action, setup

NAME_CHARS_MAX = 32
TEXT_CHARS_MAX = 2000
ROOMS_MAX = 100
PAGE_MAX = 100
NUMBER_MAX = 10**12
LOBBY = "main"
FIRST_ROOM = "lounge"


@dataclass
class Message:
    """One message of a room; the first has number 1."""

    number: int
    user: str
    text: str
    sent_at: datetime


@dataclass
class View:
    """What somebody sees who comes in."""

    messages: list[Message]
    present: list[str]


@dataclass
class Log:
    """What a room remembers beside its messages."""

    last_number: int = 0


@dataclass
class Visitor:
    """Who is at the other end of a connection."""

    user: str


Here = Context[Log, Visitor]


class ChatRoom(Actor[Log, Visitor]):
    """One room. Key: [name]; who connects says who they are, params={"user": "ada"}."""

    state = Log
    emits = {
        "message": Event(Message),
        "present": Event(list[str]),
        "typing": Event(str, ephemeral=True),
    }

    async def create_conn_state(self, c: Here, params: Any) -> Visitor:
        """A visitor has a name."""
        check_name(c.key[0], "room")
        return Visitor(check_name(params.get("user") if isinstance(params, dict) else None, "user"))

    async def on_connect(self, c: Here, conn: Connection[Visitor]) -> None:
        """Somebody comes in."""
        c.broadcast("present", present(c))

    async def on_disconnect(self, c: Here, conn: Connection[Visitor]) -> None:
        """Somebody has gone; they may be here in another window still."""
        c.broadcast("present", present(c))

    @action
    async def say(self, c: Here, text: str) -> Message:
        """Store a message, and tell everyone of it."""
        text = text.strip() if isinstance(text, str) else ""
        if not 0 < len(text) <= TEXT_CHARS_MAX:
            raise UserError(f"a message has 1 to {TEXT_CHARS_MAX} characters", code="bad_text")
        number = c.state.last_number = c.state.last_number + 1
        message = Message(number, caller(c), text, c.now())
        await c.kv.put(key_of(number), msgspec.json.encode(message).decode())
        c.broadcast("message", message)
        c.send(Lobby, [LOBBY], "spoken", c.key[0], number)
        return message

    @action(read_only=True)
    def typing(self, c: Here) -> None:
        """Show that the caller is typing: changes nothing, so it waits for nothing."""
        c.broadcast("typing", caller(c))

    @action(read_only=True)
    async def look(self, c: Here, limit: int = 50) -> View:
        """The last messages, the oldest of them first, and who is here."""
        return View(await last_messages(c, limit), present(c))

    @action(read_only=True)
    async def history(self, c: Here, limit: int, before: int) -> list[Message]:
        """Messages with a number less than `before`: the last of them, the oldest first."""
        return await last_messages(c, limit, before)


@dataclass
class Rooms:
    """The rooms by name, with how many messages each has, in the order they were opened."""

    messages: dict[str, int] = field(default_factory=lambda: {FIRST_ROOM: 0})


class Lobby(Actor[Rooms]):
    """The list of all rooms. Key: ["main"]."""

    state = Rooms
    emits = {"rooms": Event(dict[str, int])}

    @action
    async def open(self, c: Context[Rooms], room: str) -> dict[str, int]:
        """Put a room on the list; one that is there stays as it is. All rooms."""
        check_name(room, "room")
        if room not in c.state.messages:
            if len(c.state.messages) >= ROOMS_MAX:
                raise UserError(f"there are at most {ROOMS_MAX} rooms", code="too_many_rooms")
            c.state.messages[room] = 0
            c.broadcast("rooms", c.state.messages)
        return c.state.messages

    @action
    async def spoken(self, c: Context[Rooms], room: str, number: int) -> None:
        """A room tells of its message."""
        if room in c.state.messages and c.state.messages[room] < number:
            c.state.messages[room] = number
            c.broadcast("rooms", c.state.messages)

    @action(read_only=True)
    def rooms(self, c: Context[Rooms]) -> dict[str, int]:
        """All rooms."""
        return c.state.messages


async def last_messages(c: Here, limit: int, before: int = NUMBER_MAX) -> list[Message]:
    """Messages with a number less than `before`: the last of them, the oldest first."""
    limit = max(1, min(limit, PAGE_MAX))
    rows = await c.kv.range("message/", key_of(before), limit=limit, reverse=True)
    return [msgspec.json.decode(text, type=Message) for _, text in reversed(rows)]


def present(c: Here) -> list[str]:
    """Who is connected."""
    return sorted({conn.state.user for conn in c.conns})


def caller(c: Here) -> str:
    """Who calls."""
    assert c.conn is not None
    return c.conn.state.user


def check_name(name: Any, what: str) -> str:
    """The name of a room or a user; refuse what is none."""
    if not isinstance(name, str) or not 0 < len(name.strip()) <= NAME_CHARS_MAX:
        raise UserError(f"a {what} has a name of 1 to {NAME_CHARS_MAX} characters", code="bad_name")
    return name.strip()


def key_of(number: int) -> str:
    """The KV key of a message: padded, so that the order of keys is that of numbers."""
    return f"message/{min(max(number, 0), NUMBER_MAX):013}"


registry = setup(use={"chat-room": ChatRoom, "lobby": Lobby})


def make_app(page: Path, **config: Any) -> Starlette:
    """The web application with a page that is built; `config` are settings of Holdfast."""
    holdfast = registry.asgi(**config)
    routes: Sequence[Mount] = [
        Mount("/api/rivet", holdfast),
        Mount("/", StaticFiles(directory=page, html=True)),
    ]
    return Starlette(routes=routes, lifespan=holdfast.lifespan)


def main() -> None:
    """Build the page and serve."""
    try:
        page = build("chat_react")
    except CannotBuild as error:
        sys.exit(str(error))
    port = int(os.environ.get("PORT", "8000"))
    uvicorn.run(make_app(page), host="127.0.0.1", port=port, timeout_graceful_shutdown=2)


if __name__ == "__main__":
    main()
