"""The actors of the simulation: the crash tests' ledger, and three with promises of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from holdfast import Actor, Connection, Context, UserError, action, setup
from tests.crash.actors import Book, Ledger


class ToldLedger(Ledger):
    """A ledger whose n-th entry is its n-th event."""

    async def _write(self, c: Context[Book], tag: int, part: int, targets: list[str]) -> int:
        position = await super()._write(c, tag, part, targets)
        c.broadcast("wrote", f"{tag}.{part}", position)
        return position


@dataclass
class Sum:
    """A number."""

    value: int = 0


class Cell(Actor[Sum]):
    """A number and a KV entry; what it answers tells which calls came before."""

    state = Sum
    sleep_timeout_s = 2

    @action
    async def add(self, c: Context[Sum], number: int) -> int:
        c.state.value += number
        return c.state.value

    @action
    async def slow_add(self, c: Context[Sum], number: int) -> int:
        """As `add`, in a turn that waits in its middle."""
        c.state.value += 1
        await asyncio.sleep(c.random.random() ** 4 * 2)
        c.state.value += number - 1
        return c.state.value

    @action
    async def swap(self, c: Context[Sum], old: int, new: int) -> bool:
        if c.state.value != old:
            return False
        c.state.value = new
        return True

    @action(read_only=True)
    def value(self, c: Context[Sum]) -> int:
        return c.state.value

    @action
    async def put(self, c: Context[Sum], value: str) -> str | None:
        """Replace the KV entry; what it was."""
        old = await c.kv.get("entry")
        await c.kv.put("entry", value)
        return None if old is None else str(old)

    @action(read_only=True)
    async def entry(self, c: Context[Sum]) -> str | None:
        found = await c.kv.get("entry")
        return None if found is None else str(found)

    @action
    async def fail(self, c: Context[Sum], number: int) -> int:
        """Change everything, then fail."""
        c.state.value += number
        await c.kv.put("entry", "failed")
        c.broadcast("failed", number)
        raise UserError("as asked", code="asked")

    @action
    async def post(self, c: Context[Sum], number: int) -> None:
        """Add in a turn of its own, some time after the answer; unless the server dies."""
        c.wait_until(self._post(c, number))

    async def _post(self, c: Context[Sum], number: int) -> None:
        await asyncio.sleep(c.random.random() * 0.5)
        async with c.turn():
            c.state.value += 1
            await asyncio.sleep(0)
            c.state.value += number - 1

    @action
    async def climb(self, c: Context[Sum], number: int, times: int) -> AsyncIterator[int]:
        """Add in one turn after the other."""
        for _ in range(times):
            c.state.value += number
            yield c.state.value


@dataclass
class Guests:
    """Who has come to a room, and who has gone."""

    came: list[str] = field(default_factory=list)
    went: list[str] = field(default_factory=list)
    said: list[int] = field(default_factory=list)


class Room(Actor[Guests]):
    """Answers by messages to connections."""

    state = Guests
    sleep_timeout_s = 2

    async def on_connect(self, c: Context[Guests], conn: Connection) -> None:
        if conn.params.get("stays"):
            c.state.came.append(conn.id)

    async def on_disconnect(self, c: Context[Guests], conn: Connection) -> None:
        if conn.params.get("stays"):
            c.state.went.append(conn.id)

    @action
    async def say(self, c: Context[Guests], tag: int) -> None:
        c.state.said.append(tag)
        c.conn.send("echo", tag, len(c.state.said))

    @action(read_only=True)
    def guests(self, c: Context[Guests]) -> Guests:
        return c.state


@dataclass
class Ticks:
    """The fires of a job: id, time, and how many were missed before."""

    fires: list[tuple[str, float, int]] = field(default_factory=list)


class Ticker(Actor[Ticks]):
    """Has a job."""

    state = Ticks
    sleep_timeout_s = 2

    @action
    async def start(self, c: Context[Ticks], interval_s: int) -> None:
        if await c.cron.get("job") is None:
            c.cron.every("job", interval_s, "tick", missed="run_all", missed_max=1000)

    @action
    async def tick(self, c: Context[Ticks]) -> None:
        fire = c.fire
        assert fire is not None
        c.state.fires.append((fire.id, fire.scheduled_at.timestamp(), fire.missed))

    @action(read_only=True)
    def fires(self, c: Context[Ticks]) -> list[tuple[str, float, int]]:
        return c.state.fires


registry = setup(use={"ledger": ToldLedger, "cell": Cell, "room": Room, "ticker": Ticker})

__all__ = ["Cell", "Guests", "Room", "Ticker", "ToldLedger", "registry"]
