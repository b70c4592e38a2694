"""The clients of a simulation: workers that do one random thing after another."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from holdfast import ActorError, EventsTrimmed
from tests.crash.actors import Ledger
from tests.crash.load import LEDGERS, Steps
from tests.simulation.actors import Cell, Room, Ticker
from tests.simulation.journal import Journal, Reading, Visit
from tests.simulation.linear import Call
from tests.simulation.world import SimClient, World

CELLS = ("x", "y")
ROOM = "lobby"
TICKER = "clock"
# Seconds between two steps of a worker, at most.
PAUSE_S = 0.4


class Workload:
    """All workers."""

    def __init__(self, world: World, journal: Journal) -> None:
        self._world = world
        self._journal = journal
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.clients = [
            world.client("session", session=True),
            world.client("rpc", session=False),
        ]
        self.steps = [
            Steps(client, journal, world.draws(f"steps {i}"))
            for i, client in enumerate(self.clients)
        ]
        self._numbers = itertools.count(1)

    def start(self) -> None:
        """Begin to work."""
        mine: list[Callable[[], Awaitable[None]]] = []
        for steps in self.steps:
            mine += [steps.steady, steps.steady, steps.stream, steps.note, steps.later]
        for index, client in enumerate(self.clients):
            rng = self._world.draws(f"others {index}")
            mine += [CellWorker(client, self._journal, rng, self._numbers).step for _ in "123"]
            mine += [Reader(client, self._journal, rng).step]
            mine += [Guest(client, self._journal, rng, self._numbers).step]
        mine += [self._tick]
        loop = asyncio.get_running_loop()
        for index, step in enumerate(mine):
            rng = self._world.draws(f"pauses {index}")
            self._tasks.append(loop.create_task(self._work(step, rng)))

    async def finish(self) -> None:
        """Let every worker come to its end."""
        self._over.set()
        for task in self._tasks:
            await task

    async def _work(self, step: Callable[[], Awaitable[None]], rng: Random) -> None:
        while not self._over.is_set():
            await asyncio.sleep(rng.random() * PAUSE_S)
            try:
                await step()
            except ActorError as error:
                self._journal.note("a step failed with", error.code, error.message)
                if not self._journal.excuses(error) and error.code != "destroyed":
                    self._journal.violate(f"a step failed with {error.group}.{error.code}")

    async def _tick(self) -> None:
        await self.clients[0].get_or_create(Ticker, [TICKER]).start(5)
        await self._over.wait()


class CellWorker:
    """Calls a cell, and remembers what it was told."""

    def __init__(
        self, client: SimClient, journal: Journal, rng: Random, numbers: itertools.count[int]
    ) -> None:
        self._client = client
        self._journal = journal
        self._rng = rng
        self._numbers = numbers
        # What a cell was seen to hold, for swaps that succeed.
        self._seen = 0

    async def step(self) -> None:
        rng = self._rng
        name = rng.choice(CELLS)
        # Sums of different numbers must be different, so that an answer tells what was added.
        number = rng.getrandbits(40)
        action, *args = rng.choice(
            (
                ("add", number),
                ("add", number),
                ("slow_add", number),
                ("swap", self._seen, number),
                ("value",),
                ("value",),
                ("put", str(number)),
                ("entry",),
                ("fail", number),
                ("post", number),
                ("climb", number, rng.randint(1, 3)),
                ("destroy",),
            )
        )
        if action == "climb":
            await self._climb(name, number, args[1])
        else:
            await self._call(name, action, args)

    async def _call(self, name: str, action: str, args: list[Any]) -> None:
        call = self._begin(name, action, *args)
        if action == "post":
            # What it adds, it may add at any time, unless the server dies before.
            self._begin(name, "add", *args)
        try:
            if action == "destroy":
                await self._client.destroy(Cell, [name])
                call.result = True
            else:
                handle: Any = self._client.get_or_create(Cell, [name])
                if self._rng.random() < 0.2:
                    key = f"own-{next(self._numbers)}"
                    handle = handle.with_options(idempotency_key=key)
                call.result = await handle.action(action, *args)
        except ActorError as error:
            call.result = (error.group, error.code)
            if call.result not in (("user", "asked"), ("actor", "not_found")):
                if call.action in ("value", "entry", "fail"):
                    self._journal.cells[name].remove(call)
                call.result = None
                self._journal.note(name, call, "failed with", error.code, error.message)
                raise
        if action == "destroy" and call.result is not True:
            # Errors that are no actor's own are not kept under the key: a copy that the network
            # delivers later may still find an actor.
            self._begin(name, action)
        self._end(name, call)

    async def _climb(self, name: str, number: int, times: int) -> None:
        calls = [self._begin(name, "add", number) for _ in range(times)]
        items = self._client.get_or_create(Cell, [name]).climb(number, times)
        index = 0
        async for value in items:
            calls[index].result = value
            self._end(name, calls[index])
            index += 1
        if index != times:
            self._journal.violate(f"a stream of {times} items ended after {index}")

    def _begin(self, name: str, action: str, *args: Any) -> Call:
        call = Call(action, args, self._now())
        self._journal.cells.setdefault(name, []).append(call)
        self._journal.note(name, action, *args)
        return call

    def _end(self, name: str, call: Call) -> None:
        call.answered = self._now()
        self._journal.note(name, call)
        if type(call.result) is int:
            self._seen = call.result

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


class Reader:
    """Reads the events of a ledger, now and then from where it was."""

    def __init__(self, client: SimClient, journal: Journal, rng: Random) -> None:
        self._client = client
        self._journal = journal
        self._rng = rng
        self._reading: Reading | None = None

    async def step(self) -> None:
        rng = self._rng
        if self._reading is None or rng.random() < 0.2:
            self._reading = Reading(rng.choice(LEDGERS))
            self._journal.readings.append(self._reading)
        reading = self._reading
        start = reading.events[-1][0] + 1 if reading.events else rng.choice((None, 1))
        await read(self._client, self._journal, reading, start, rng.randint(1, 12), 5.0)


async def read(
    client: SimClient,
    journal: Journal,
    reading: Reading,
    start: int | None,
    count: int,
    patience_s: float,
) -> None:
    """Take in `count` events from `start` on, or what comes within some time."""
    handle = client.get_or_create("ledger", [reading.ledger])
    items = handle.events("wrote", from_sequence=start)
    try:
        async with asyncio.timeout(patience_s):
            async for event in items:
                entry, position = event.args
                reading.events.append((event.sequence, entry, position))
                journal.note(reading.ledger, "tells", event.sequence, entry, position)
                count -= 1
                if count == 0:
                    break
    except TimeoutError:
        pass
    except EventsTrimmed as error:
        journal.note(reading.ledger, error)
        reading.gaps.append(len(reading.events))
        start = error.oldest_sequence
        await read(client, journal, reading, start, count, patience_s)
    finally:
        await items.aclose()


class Guest:
    """Connects to the room, talks, listens, and leaves."""

    def __init__(
        self, client: SimClient, journal: Journal, rng: Random, numbers: itertools.count[int]
    ) -> None:
        self._client = client
        self._journal = journal
        self._rng = rng
        self._numbers = numbers

    async def step(self) -> None:
        visit = Visit(ROOM)
        self._journal.visits.append(visit)
        connection = self._client.get_or_create(Room, [ROOM], params={"stays": True}).connect()

        def heard(tag: int, position: int) -> None:
            visit.echoes.append((tag, position))
            self._journal.note("echo", tag, position)

        connection.on("echo", heard)
        connection.on_open(lambda: self._changed(visit, "opened"))
        connection.on_close(lambda: self._changed(visit, "closed"))
        connection.on_error(lambda error: self._erred(visit, error))
        async with connection as room:
            for _ in range(self._rng.randint(1, 6)):
                await asyncio.sleep(self._rng.random() * 2)
                tag = next(self._numbers)
                await room.say(tag)
                visit.acknowledged.append(tag)
                self._journal.note("said", tag)
            if self._rng.random() < 0.5:
                # The answer of a call that was sent again may overtake what it sent.
                await asyncio.sleep(60)
                visit.stayed = True

    def _changed(self, visit: Visit, what: str) -> None:
        setattr(visit, what, getattr(visit, what) + 1)
        self._journal.note("a connection is", what)

    def _erred(self, visit: Visit, error: Exception) -> None:
        self._journal.note("a connection failed with", error)
        if isinstance(error, EventsTrimmed):
            visit.trimmed = True


__all__ = ["CELLS", "ROOM", "TICKER", "Ledger", "Workload", "read"]
