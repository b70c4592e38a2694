"""One simulation from beginning to end: a seed and a mode in, a verdict out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from holdfast_server.core.ids import Address
from holdfast_server.store import keys
from holdfast_server.store.verify import check_rows
from tests.crash.actors import Found, Ledger
from tests.crash.builds import BUILDS
from tests.crash.load import BUFFERED, LEDGERS
from tests.crash.scenario import has_arrived
from tests.simulation.actors import Guests, Room, Ticker, registry
from tests.simulation.journal import Journal, Reading
from tests.simulation.judge import Findings, judge
from tests.simulation.loop import SimLoop
from tests.simulation.mishaps import Mishaps
from tests.simulation.modes import MODES
from tests.simulation.network import Weather
from tests.simulation.workload import CELLS, ROOM, TICKER, Workload, read
from tests.simulation.world import World

# What befalls the server in one simulation.
BLOWS = 8
# How long everything has to arrive in the end.
ARRIVAL_S = 700.0


@dataclass(frozen=True)
class Verdict:
    """What came of one simulation."""

    seed: int
    mode: str
    build: str
    violations: list[str]
    digest: str
    lines: list[str]

    @property
    def replay(self) -> str:
        """The command that does it again."""
        build = "" if self.build == "sound" else f" --build {self.build}"
        return f"uv run python -m tests.simulation --seed {self.seed} --mode {self.mode}{build}"

    def __str__(self) -> str:
        return "\n".join([f"replay with: {self.replay}", *self.violations])


def simulate(seed: int, mode: str, build: str = "sound") -> Verdict:
    """Run one simulation. The same arguments give the same verdict, byte for byte."""
    name = f"simulation {seed} {mode}"
    loop = SimLoop(Random(f"{name} loop"))
    mishaps = Mishaps()
    with mishaps.watching(loop), BUILDS[build].built() as wrap:
        try:
            world = World(loop, registry, MODES[mode], name, wrap)
            journal = Journal(loop, late=world.mode.late)
            try:
                violations = loop.run_until_complete(_Simulation(world, journal, mishaps).run())
            except Exception as error:
                # Such as a call that is not answered although nothing is in its way any more.
                violations = [f"it ended with {error!r}", *journal.violations]
        finally:
            _close(loop)
    return Verdict(seed, mode, build, violations, journal.digest, journal.lines)


def _close(loop: SimLoop) -> None:
    # What ends may begin something more.
    for _ in range(20):
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


class _Simulation:
    def __init__(self, world: World, journal: Journal, mishaps: Mishaps) -> None:
        self._world = world
        self._journal = journal
        self._mishaps = mishaps
        self._rng = world.draws("blows")
        self._furthest_s = 0.0

    async def run(self) -> list[str]:
        world, journal = self._world, self._journal
        await world.start()
        workload = Workload(world, journal)
        workload.start()
        try:
            for _ in range(BLOWS):
                await asyncio.sleep(self._rng.random() * world.mode.pause_s)
                await self._blow()
            self._calm()
            await workload.finish()
            for steps in workload.steps:
                await steps.again()
            found = await self._settled(workload)
            await world.close()
            mishaps = list(self._mishaps.found)
        finally:
            await world.bury()
        journal.note("the end")
        rows = [*check_rows(world.rows), *_leftovers(world)]
        return [*judge(journal, found), *rows, *mishaps]

    async def _blow(self) -> None:
        world, mode = self._world, self._world.mode
        blows = ("kill", "stop", "cut", "failure", "evict", "step")
        weights = (mode.kills, mode.stops, mode.cuts, mode.failures, mode.evictions, mode.steps)
        blow = self._rng.choices(blows, weights)[0]
        self._journal.note("blow", blow)
        match blow:
            case "kill":
                world.kill()
                await self._pause()
                await world.start()
            case "stop":
                await world.stop()
                await self._pause()
                await world.start()
            case "cut":
                world.wire.cut(self._rng.random() * 3)
            case "failure":
                self._journal.note(world.disk.trouble())
            case "evict":
                for name, key in (("ledger", LEDGERS), ("cell", CELLS), ("room", (ROOM,))):
                    for each in key:
                        world.evict(Address("default", name, (each,)))
            case "step":
                ahead_s = self._rng.uniform(-100, 100)
                self._furthest_s = max(self._furthest_s, ahead_s)
                world.clock.ahead_ms = int(ahead_s * 1000)

    async def _pause(self) -> None:
        """How long the server is down: mostly no time at all."""
        if self._rng.random() < 0.4:
            await asyncio.sleep(self._rng.random() * 5)

    def _calm(self) -> None:
        """Nothing befalls the server any more."""
        world = self._world
        world.disk.heal()
        world.wire.weather = Weather()
        world.clock.ahead_ms = int(self._furthest_s * 1000)
        self._journal.note("calm")

    async def _settled(self, workload: Workload) -> Findings:
        """What is there once everything has arrived, or has had the time to."""
        client, journal = workload.clients[0], self._journal
        ledgers = (*LEDGERS, BUFFERED)
        books: dict[str, Found] = {}
        guests, fires = Guests(), []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ARRIVAL_S):
                while not books or not self._arrived(books, guests):
                    await asyncio.sleep(5)
                    for name in ledgers:
                        books[name] = await client.get_or_create(Ledger, [name]).found()
                    guests = await client.get_or_create(Room, [ROOM]).guests()
        fires = await client.get_or_create(Ticker, [TICKER]).fires()
        for name in LEDGERS:
            reading = Reading(name)
            journal.readings.append(reading)
            await read(client, journal, reading, 1, len(books[name].entries), 30.0)
            last = reading.events[-1][0] if reading.events else 0
            if last != len(books[name].entries):
                journal.violate(f"{name} has {len(books[name].entries)} entries and {last} events")
        return Findings(books, guests, fires, self._world.mode.trims)

    def _arrived(self, books: dict[str, Found], guests: Guests) -> bool:
        return has_arrived(self._journal, books) and set(guests.came) == set(guests.went)


def _leftovers(world: World) -> Iterator[str]:
    """Rows that no simulation may leave: sends that were given up, or not delivered."""
    for kind in (keys.Kind.DEAD_SEND, keys.Kind.OUTBOX):
        for key, _ in world.rows.scan(*keys.kind_range(kind), limit=10):
            yield f"a row is left of {kind.name}: {key.hex()}"


__all__ = ["Verdict", "simulate"]
