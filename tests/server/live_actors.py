"""Actors that clients connect to, for tests of the client's sessions and connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from holdfast import Actor, Connection, Context, Event, UserError, action, setup


@dataclass
class Book:
    """What happened, in its order."""

    lines: list[str] = field(default_factory=list)


@dataclass
class Guest:
    """A connection of the salon."""

    name: str
    said: int = 0


@dataclass
class Line:
    """What a guest said."""

    number: int
    guest: str
    text: str


class Salon(Actor[Book, Guest]):
    """Guests come, talk and go; everything is written down."""

    state = Book
    emits = {"line": Event(Line), "joined": Event(str), "left": Event(str)}

    async def create_conn_state(self, c: Context[Book, Guest], params: Any) -> Guest:
        """A guest has a name, which is not "eve"."""
        name = params.get("name", "") if isinstance(params, dict) else ""
        if name == "eve":
            raise UserError("not you", code="forbidden", metadata={"name": name})
        return Guest(name)

    async def on_connect(self, c: Context[Book, Guest], conn: Connection[Guest]) -> None:
        if conn.state.name:
            c.state.lines.append(f"+{conn.state.name}")
            conn.send("welcome", conn.state.name)
            c.broadcast("joined", conn.state.name)

    async def on_disconnect(self, c: Context[Book, Guest], conn: Connection[Guest]) -> None:
        if conn.state.name:
            c.state.lines.append(f"-{conn.state.name}")
            c.broadcast("left", conn.state.name)

    @action
    async def say(self, c: Context[Book, Guest], text: str) -> int:
        """Tell everybody; how much this guest has said."""
        assert c.conn is not None
        c.conn.state.said += 1
        c.state.lines.append(text)
        c.broadcast("line", Line(len(c.state.lines), c.conn.state.name, text))
        return c.conn.state.said

    @action
    async def whisper(self, c: Context[Book, Guest], to: str, text: str) -> int:
        """Tell the guests of one name; how many they are."""
        heard = [conn for conn in c.conns if conn.state.name == to]
        for conn in heard:
            conn.send("whisper", text)
        return len(heard)

    @action
    async def dismiss(self, c: Context[Book, Guest], name: str, reason: str) -> None:
        """Send the guests of one name away."""
        for conn in c.conns:
            if conn.state.name == name:
                conn.disconnect(reason)

    @action
    async def emit(self, c: Context[Book, Guest], name: str, *args: Any) -> None:
        """Any event."""
        c.broadcast(name, *args)

    @action
    async def emit_many(
        self, c: Context[Book, Guest], names: str, count: int, size: int, ephemeral: bool = False
    ) -> None:
        """Many numbered events of a size, whose names are letters in turn."""
        for number in range(count):
            name = names[number % len(names)]
            c.broadcast(name, number, "x" * size, ephemeral=ephemeral)

    @action
    async def close_down(self, c: Context[Book, Guest]) -> None:
        """Destroy the salon."""
        c.destroy()

    @action(read_only=True)
    def lines(self, c: Context[Book, Guest]) -> list[str]:
        """Everything that was written down."""
        return c.state.lines

    @action
    async def count(self, c: Context[Book, Guest], end: int) -> AsyncIterator[str]:
        """Numbers, with the name of the guest who asked."""
        for number in range(end):
            yield f"{c.conn.state.name if c.conn is not None else ''}{number}"


class Ledger(Actor[Book]):
    """Writes down what it is told."""

    state = Book

    @action
    async def write(self, c: Context[Book], entry: str) -> int:
        """Add an entry; how many there are."""
        c.state.lines.append(entry)
        return len(c.state.lines)

    @action(read_only=True)
    def entries(self, c: Context[Book]) -> list[str]:
        """All entries."""
        return c.state.lines

    @action
    async def echo(self, c: Context[Book], value: Any, times: int = 1) -> Any:
        """What was given, so many times if it is text or bytes."""
        return value if times == 1 else value * times

    @action
    async def fail(self, c: Context[Book], how: str) -> None:
        """Leave a trace and fail."""
        c.state.lines.append(how)
        if how == "user":
            raise UserError("no", code="refused", metadata={"deep": [1, {"é": None}]})
        raise ValueError("the secret of the ledger")

    @action
    async def steps(self, c: Context[Book], count: int, how: str = "") -> AsyncIterator[int]:
        """Write so many entries and give each its number; then fail, if told to."""
        for _ in range(count):
            c.state.lines.append("step")
            yield len(c.state.lines)
        if how:
            await self.fail.inline(c, how)


class Board(Ledger):
    """Emits what it is told to: the n-th event is numbered n."""

    @action
    async def emit(self, c: Context[Book], first: int, names: list[str]) -> None:
        """An event for each name, told its number from `first` on."""
        for number, name in enumerate(names, first):
            c.broadcast(name, number)

    @action
    async def tell(self, c: Context[Book], to: str, number: int) -> int:
        """A message to the connections with this name; how many they are."""
        heard = [conn for conn in c.conns if conn.params.get("name") == to]
        for conn in heard:
            conn.send("told", number)
        return len(heard)


registry = setup(use={"salon": Salon, "ledger": Ledger, "board": Board})
