"""Seeded random calls, streams, connections and sleeps: whatever meets a sleep runs once.

Nobody here tries again: that nothing fails, and nothing runs twice, is the server's doing.
HOLDFAST_SLEEP_SEEDS says how many seeds are tried.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from holdfast import Actor, Connection, Context, Event, action, setup
from holdfast import payload as codec
from holdfast_server.core import errors
from holdfast_server.core.call import Call
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.events import Connect, Delivery, Subscribe
from holdfast_server.core.values import Encoding, Value
from holdfast_server.runtime.readers import Subscription
from tests.server.peers import TestPeer, encoded
from tests.server.probe import until
from tests.server.virtual import World, run

SEEDS = int(os.environ.get("HOLDFAST_SLEEP_SEEDS", "5"))
WORKERS, STEPS = 6, 25


@dataclass
class Book:
    done: list[str] = field(default_factory=list)
    wakes: int = 0
    sleeps: int = 0


class Quick(Actor[Book]):
    """Falls asleep whenever it may, and takes its time over everything."""

    state = Book
    sleep_timeout_s = 0
    emits = {"guarded": Event(str, can_subscribe=lambda self, c: self.let(c))}

    async def on_wake(self, c: Context[Book]) -> None:
        await self._dawdle(c)
        c.state.wakes += 1

    async def on_before_connect(self, c: Context[Book], params: Any) -> None:
        await self._dawdle(c)

    async def on_connect(self, c: Context[Book], conn: Connection[Any]) -> None:
        await self._dawdle(c)

    async def let(self, c: Context[Book]) -> bool:
        await self._dawdle(c)
        return True

    async def _dawdle(self, c: Context[Book]) -> None:
        if c.random.random() < 0.6:
            await asyncio.sleep(c.random.random() * 2)

    async def _note(self, c: Context[Book], what: str) -> None:
        await self._dawdle(c)
        c.state.done.append(what)
        c.broadcast("noted", what)
        c.broadcast("guarded", what)
        if c.random.random() < 0.3:
            c.sleep()

    @action
    async def note(self, c: Context[Book], what: str) -> str:
        await self._note(c, what)
        return what

    @action
    async def notes(self, c: Context[Book], what: str) -> AsyncIterator[str]:
        await self._note(c, what)
        yield what

    @action
    async def work(self, c: Context[Book], what: str) -> None:
        async def later() -> None:
            await self._dawdle(c)
            async with c.turn():
                c.state.done.append(what)

        c.keep_awake(later()) if c.random.random() < 0.5 else c.wait_until(later())

    @action
    async def rest(self, c: Context[Book]) -> None:
        c.sleep()

    @action(read_only=True)
    async def look(self, c: Context[Book]) -> int:
        await self._dawdle(c)
        return len(c.state.done)

    @action
    async def book(self, c: Context[Book]) -> list[Any]:
        return [c.state.done, c.state.wakes, c.state.sleeps]


class Slow(Quick):
    """Says good night."""

    async def on_sleep(self, c: Context[Book]) -> None:
        await self._dawdle(c)
        c.state.sleeps += 1


registry = setup(use={"quick": Quick, "slow": Slow})


class Ear:
    """A Reader that remembers what it heard."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def deliver(self, _: Subscription, delivery: Delivery) -> None:
        self.heard += codec.decode(delivery.event.args.data, codec.Encoding.MSGPACK)

    def moved(self, _: Subscription) -> None:
        pass

    def ended(self, _: Subscription, error: Exception) -> None:
        raise AssertionError(str(error))


class Worker:
    """One client: does this and that, and knows what must have been done."""

    def __init__(self, world: World, name: str, random: Random, number: int) -> None:
        self._world, self._name, self._random = world, name, random
        self._number = number
        self._count = 0
        self.done: list[str] = []
        self.events: list[str] = []

    async def run(self) -> None:
        for _ in range(STEPS):
            await asyncio.sleep(self._random.random() * 3)
            await getattr(self, "_" + self._random.choice(STEPS_OF))()

    def _token(self) -> str:
        self._count += 1
        return f"{self._number}.{self._count}"

    def _call(self, action: str, *args: str, connection: bytes | None = None) -> Call:
        target = self._world.target(name=self._name)
        value = Value(Encoding.MSGPACK, codec.encode(list(args), codec.Encoding.MSGPACK))
        return Call(target=target, action=action, args=value, connection=connection)

    async def _note(self) -> None:
        token = self._token()
        await self._world.node.invoke(self._call("note", token))
        self.done.append(token)
        self.events.append(token)

    async def _notes(self) -> None:
        token = self._token()
        items = []
        try:
            async for item in self._world.node.stream(self._call("notes", token)):
                items.append(item)
        except HoldfastError as error:
            # Between its items a stream keeps no actor that wants to sleep.
            if error.reason is not errors.COMMIT_UNKNOWN:
                raise
        assert len(items) == 1
        self.done.append(token)
        self.events.append(token)

    async def _work(self) -> None:
        token = self._token()
        await self._world.node.invoke(self._call("work", token))
        self.done.append(token)

    async def _look(self) -> None:
        await self._world.node.invoke(self._call("look"))

    async def _rest(self) -> None:
        await self._world.node.invoke(self._call("rest"))

    async def _connect(self) -> None:
        peer, token = TestPeer(), self._token()
        target = self._world.target(name=self._name)
        connect = Connect(target=target, params=encoded({}), session=b"s" * 16)
        link = await self._world.node.connect(connect, peer)
        assert peer.heard == ["opening", "connected"]
        await self._world.node.invoke(self._call("note", token, connection=link.connection_id))
        self.done.append(token)
        self.events.append(token)
        await link.disconnect("")

    async def _subscribe(self) -> None:
        ear, token = Ear(), self._token()
        request = Subscribe(
            target=self._world.target(name=self._name), names=frozenset({"guarded"}), encoding=2
        )
        subscription = await self._world.node.subscribe(request, ear)
        await self._world.node.invoke(self._call("note", token))
        self.done.append(token)
        self.events.append(token)
        await until(lambda: token in ear.heard)
        subscription.close()


STEPS_OF = ("note", "note", "notes", "work", "look", "rest", "connect", "subscribe")


@pytest.mark.parametrize("name", ["quick", "slow"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_meets_a_sleep_runs_once(seed: int, name: str) -> None:
    async def body(world: World) -> None:
        random, ear = Random(seed), Ear()
        request = Subscribe(target=world.target(name=name), names=frozenset({"noted"}), encoding=2)
        await world.node.subscribe(request, ear)
        workers = [Worker(world, name, Random(random.random()), each) for each in range(WORKERS)]
        await asyncio.gather(*(worker.run() for worker in workers))
        await world.pass_by(60)
        assert len(world.node.catalog) == 0

        done, wakes, sleeps = await world.call("book", name=name)
        assert sorted(done) == sorted(token for worker in workers for token in worker.done)
        assert sorted(ear.heard) == sorted(each for worker in workers for each in worker.events)
        assert [token for token in done if token in set(ear.heard)] == ear.heard
        # Each life but the last has ended as it should, and there were many.
        assert wakes > 10
        assert sleeps == (wakes - 1 if name == "slow" else 0)

    run(registry, body, seed=seed)
