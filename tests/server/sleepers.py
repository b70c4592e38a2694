"""Actors that go to sleep, and how a test waits until they are."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from holdfast import Actor, Client, Context, UserError, action, setup
from holdfast_server.app import Server
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Start
from tests.server.probe import activation_of, until
from tests.server.stage import stage


@dataclass
class Counts:
    """What a sleeper remembers."""

    wakes: int = 0
    sleeps: int = 0
    calls: int = 0


class Plain(Actor[Counts]):
    """Has nothing to do when it sleeps."""

    state = Counts

    async def create_vars(self, c: Context[Counts]) -> dict[str, Any]:
        return {}

    async def on_wake(self, c: Context[Counts]) -> None:
        c.state.wakes += 1
        stage.log.append(f"wake {c.key[0]}")

    @action
    async def call(self, c: Context[Counts]) -> list[int]:
        c.state.calls += 1
        return [c.state.wakes, c.state.sleeps, c.state.calls]

    @action
    async def doze(self, c: Context[Counts]) -> str:
        c.sleep()
        c.state.calls += 1
        return "good night"

    @action
    async def doze_twice(self, c: Context[Counts]) -> None:
        c.sleep()
        c.sleep()

    @action
    async def doze_and_fail(self, c: Context[Counts]) -> None:
        c.sleep()
        raise UserError("no", code="no")

    @action(read_only=True)
    async def doze_reading(self, c: Context[Counts]) -> None:
        c.sleep()

    @action(read_only=True)
    async def look(self, c: Context[Counts], point: str) -> int:
        await stage.pause(point)
        return c.state.calls

    @action
    async def hold(self, c: Context[Counts], point: str) -> None:
        await stage.pause(point)
        c.state.calls += 1

    @action
    async def doze_later(self, c: Context[Counts], point: str) -> None:
        c.sleep()
        await stage.pause(point)

    @action
    async def count(self, c: Context[Counts], steps: int):  # type: ignore[no-untyped-def]
        for step in range(steps):
            c.state.calls += 1
            yield step

    @action
    async def doze_and_destroy(self, c: Context[Counts]) -> None:
        c.sleep()
        c.destroy()


class Sleeper(Plain):
    """Counts its sleeps in on_sleep, which stops at the point "asleep <key>" if asked."""

    async def on_sleep(self, c: Context[Counts]) -> None:
        stage.log.append(f"sleep {c.key[0]}")
        c.state.sleeps += 1
        if c.key[0].startswith("slow"):
            await stage.pause(f"sleep {c.key[0]}")


class Restless(Sleeper):
    """Sleeps as soon as it is idle."""

    sleep_timeout_s = 0


class Insomniac(Sleeper):
    """Never sleeps by itself."""

    sleep_timeout_s = 0
    no_sleep = True


registry = setup(
    use={"plain": Plain, "sleeper": Sleeper, "restless": Restless, "insomniac": Insomniac}
)


async def started(start: Start, use: Any = registry, **settings: object) -> tuple[Server, Client]:
    """A server over a store in memory."""
    return await start(use, store=MemoryStore(), **settings)


async def asleep(server: Server, actor: str, *key: str) -> None:
    """Wait until this actor is out of memory."""
    await until(lambda: activation_of(server, actor, *key) is None)


def awake(server: Server, actor: str, *key: str) -> bool:
    """Whether this actor is in memory."""
    return activation_of(server, actor, *key) is not None


async def until_calls_wait(server: Server, count: int, actor: str, *key: str) -> None:
    """Wait until `count` calls wait for an actor to fall asleep."""

    def waiting() -> int:
        activation = activation_of(server, actor, *key)
        background = None if activation is None else activation.background
        return 0 if background is None else background.waiting

    await until(lambda: waiting() == count)


async def until_idle(server: Server, actor: str, *key: str) -> None:
    """Wait until no call refers to this actor any more."""

    def idle() -> bool:
        activation = activation_of(server, actor, *key)
        return activation is None or not activation.users

    await until(idle)


async def spin() -> None:
    """Let everything that is ready on the loop run."""
    for _ in range(20):
        await asyncio.sleep(0)
