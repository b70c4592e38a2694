"""Actors that show a client's tests what reached the server and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from holdfast import Actor, Context, UserError, action, setup


@dataclass
class Log:
    """The calls that took effect, in their order."""

    entries: list[str] = field(default_factory=list)


class Gate:
    """What tests in the server's process wait for, by the key of the actor."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.cancelled = asyncio.Event()


gates: dict[str, Gate] = {}


class Witness(Actor[Log]):
    """Writes down what it is asked to; can be held up."""

    state = Log
    mailbox_max = 1

    @action
    async def write(self, c: Context[Log], entry: str) -> int:
        """Add an entry; how many there are."""
        c.state.entries.append(entry)
        return len(c.state.entries)

    @action(read_only=True)
    def read(self, c: Context[Log]) -> list[str]:
        """All entries."""
        return c.state.entries

    @action
    async def hold(self, c: Context[Log], entry: str) -> int:
        """Add an entry once the test opens the gate."""
        gate = gates[c.key[0]]
        gate.entered.set()
        try:
            await gate.open.wait()
        except asyncio.CancelledError:
            gate.cancelled.set()
            raise
        c.state.entries.append(entry)
        return len(c.state.entries)

    @action
    async def follow(self, c: Context[Log], first: int) -> AsyncIterator[int]:
        """Count for ever, one at a time; after the first item behind the gate."""
        gate = gates[c.key[0]]
        gate.entered.set()
        try:
            yield first
            await gate.open.wait()
            yield first + 1
        except (asyncio.CancelledError, GeneratorExit):
            gate.cancelled.set()
            raise

    @action
    async def consult(self, c: Context[Log], port: int) -> int:
        """Connect to the test, which answers in its own time, and write the answer down."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            answer = await reader.readline()
        finally:
            writer.close()
        c.state.entries.append(answer.decode().strip())
        return len(c.state.entries)

    @action
    async def refuse(self, c: Context[Log], metadata: dict[str, Any]) -> None:
        """Raise a UserError with this metadata."""
        raise UserError("refused", code="nope", metadata=metadata)


registry = setup(use={"witness": Witness})
