"""Actors with something of everything to count, and a load that does it."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from holdfast import Actor, ActorError, Client, Context, UserError, action, setup
from holdfast_server.app import Server
from tests.server.probe import until


class Busy(Actor[int]):
    """Counts, fails, waits, tells, and does things later."""

    state = int
    # Opens `hold`; the test's own.
    gate: asyncio.Event
    waiting: int

    @action
    async def add(self, c: Context[int], count: int = 1) -> int:
        c.state += count
        return c.state

    @action(read_only=True)
    def value(self, c: Context[int]) -> int:
        return c.state

    @action
    async def refuse(self, c: Context[int]) -> None:
        raise UserError("no", code="refused")

    @action
    async def hold(self, c: Context[int]) -> int:
        Busy.waiting += 1
        await self.gate.wait()
        return c.state

    @action
    async def say(self, c: Context[int], count: int) -> None:
        for index in range(count):
            c.broadcast("said", index)
        c.broadcast("hint", ephemeral=True)

    @action
    async def tell(self, c: Context[int], other: str, what: str = "add") -> None:
        c.send(Busy, [other], what)

    @action
    async def later(self, c: Context[int]) -> None:
        c.schedule.after(0, "add", 100)


registry = setup(use={"busy": Busy})


async def some_load(server: Server, client: Client) -> None:
    """A little of everything that servers count."""
    busy = client.get_or_create(Busy, ["a"])
    await busy.add()
    keyed = busy.with_options(idempotency_key="k")
    assert await keyed.add() == await keyed.add()
    with pytest.raises(ActorError):
        await busy.refuse()
    with pytest.raises(ActorError):
        await client.get(Busy, ["nobody"]).add()
    with pytest.raises(ActorError):
        await client.get(Busy, ["nobody"]).resolve()
    await busy.say(2)
    await busy.tell("b")
    await busy.later()
    await until(lambda: server.node.tally.sends == 1)
    await until(lambda: server.node.tally.timer_delays.count and not server.node.timers.in_flight)
    async with aiohttp.ClientSession() as session:
        await (await session.get(f"http://127.0.0.1:{server.http_port}/metadata")).read()
