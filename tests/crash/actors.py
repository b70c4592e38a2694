"""The actors of the crash tests: everything they do leaves a trace that can be counted.

A ledger's entry is "TAG.PART": the number of the operation that wrote it and
which of its writes it was. Each entry goes into the state and into the KV in
one turn, so that a torn turn shows; each send names the entry that it belongs
to. An action answers with the position of its last entry, which the entries
that are found afterwards must bear out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from holdfast import Actor, Context, UserError, action, setup

# What `Ledger.perish` does between its two commits; the server's main sets it.
deaths: list[Callable[[], None]] = []
# The events that gates wait for. They outlive activations, as they should:
# a store that fails drops every activation.
gates: dict[str, asyncio.Event] = {}
waiting: dict[str, int] = {}


@dataclass
class Book:
    """What a ledger has done, and the messages that it got."""

    entries: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


@dataclass
class Found:
    """A ledger's whole content."""

    entries: list[str]
    messages: list[str]
    keys: list[str]


class Ledger(Actor[Book]):
    """Writes entries and sends messages."""

    state = Book
    sleep_timeout_s = 2

    async def _write(self, c: Context[Book], tag: int, part: int, targets: list[str]) -> int:
        entry = f"{tag}.{part}"
        c.state.entries.append(entry)
        await c.kv.put(entry, "x")
        for index, target in enumerate(targets):
            c.send(c.name, [target], "receive", f"{c.key[0]}:{entry}:{index}")
        return len(c.state.entries)

    @action
    async def add(self, c: Context[Book], tag: int) -> int:
        return await self._write(c, tag, 1, [])

    @action(durability="buffered")
    async def note(self, c: Context[Book], tag: int) -> int:
        return await self._write(c, tag, 1, [])

    @action
    async def tell(self, c: Context[Book], tag: int, targets: list[str]) -> int:
        return await self._write(c, tag, 1, targets)

    @action
    async def refuse(self, c: Context[Book], tag: int, targets: list[str]) -> int:
        await self._write(c, tag, 1, targets)
        raise UserError("refused", code="refused", metadata={"tag": tag})

    @action
    async def halves(self, c: Context[Book], tag: int, targets: list[str]) -> int:
        await self._write(c, tag, 1, targets)
        await c.commit()
        return await self._write(c, tag, 2, targets)

    @action
    async def perish(self, c: Context[Book], tag: int) -> int:
        """As `halves`, and where the server is deadly it dies in the middle."""
        await self._write(c, tag, 1, [])
        await c.commit()
        for death in deaths:
            death()
        return await self._write(c, tag, 2, [])

    @action
    async def count(self, c: Context[Book], tag: int, parts: int) -> AsyncIterator[int]:
        for part in range(1, parts + 1):
            yield await self._write(c, tag, part, [])

    @action
    async def linger(self, c: Context[Book], tag: int, gate: str) -> int:
        """Write, and end the turn when the gate is open."""
        position = await self._write(c, tag, 1, [])
        await c.client.get_or_create(Gate, [gate]).wait()
        return position

    @action
    async def farewell(self, c: Context[Book], tag: int, target: str) -> int:
        """Send, and be destroyed in the same turn."""
        position = await self._write(c, tag, 1, [target])
        c.destroy()
        return position

    @action
    async def forward(self, c: Context[Book], target: str, act: str, tag: int) -> None:
        """Have another ledger do something, by a send."""
        c.send(c.name, [target], act, tag)

    @action
    async def later(self, c: Context[Book], delay: float, act: str, tag: int) -> None:
        """Do something by a timer."""
        c.schedule.after(delay, act, tag)

    @action
    async def receive(self, c: Context[Book], message: str) -> None:
        c.state.messages.append(message)

    @action(read_only=True)
    def last(self, c: Context[Book]) -> tuple[int, str]:
        """The position of the last entry, and the entry."""
        entries = c.state.entries
        return len(entries), entries[-1] if entries else ""

    @action(read_only=True)
    async def found(self, c: Context[Book]) -> Found:
        keys = [str(key) for key, _ in await c.kv.list("")]
        return Found(c.state.entries, c.state.messages, keys)


class Gate(Actor):
    """Holds those who wait until it is opened."""

    @action(read_only=True)
    async def wait(self, c: Context) -> None:
        name = c.key[0]
        waiting[name] = waiting.get(name, 0) + 1
        await gates.setdefault(name, asyncio.Event()).wait()

    @action(read_only=True)
    def count(self, c: Context) -> int:
        """How many have come to wait."""
        return waiting.get(c.key[0], 0)

    @action(read_only=True)
    def open(self, c: Context) -> None:
        gates.setdefault(c.key[0], asyncio.Event()).set()


registry = setup(use={"ledger": Ledger, "gate": Gate})
