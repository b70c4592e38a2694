"""Durable actions through the SDK's handles over one session, against a bare echo.

The client is the SDK as a user has it, in this process: typed handles, one task for
each call in flight. The echo gets frames of the size and, in the same run, of the
number of calls that the session's had; its client and its server neither make nor read
a message. At the end every counter must show exactly the calls that were answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.actors import Counter
from bench.disk import sync_seconds
from bench.frames import Tap, Weight, echo, run
from bench.servers import ServerProcess, data_directory, echo_server, holdfast_server
from bench.table import Result, Row, show
from holdfast import Client

COMMAND = "python -m bench.session"
IN_FLIGHT = 256
_ORIENTATION = (1, 16, 64)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int = 5
    seconds: float = 1.5
    single_calls: int = 300
    syncs: int = 100
    actors: int = 1000
    in_flight: int = IN_FLIGHT


FULL = Size()


@dataclass(slots=True)
class Rates:
    """One kind of load on one server: a number a round."""

    rates: list[float] = field(default_factory=list)
    server_us: list[float] = field(default_factory=list)
    client_us: list[float] = field(default_factory=list)

    def add(self, calls: float, seconds: float, server_cpu: float, client_cpu: float) -> None:
        self.rates.append(calls / seconds)
        self.server_us.append(server_cpu / calls * 1e6)
        self.client_us.append(client_cpu / calls * 1e6)

    def __str__(self) -> str:
        server, client = median(self.server_us), median(self.client_us)
        return f"{median(self.rates):,.0f}/s, {server:.1f} + {client:.1f} µs CPU"


@dataclass(slots=True)
class Kind:
    """One kind of load, the calls of a frame that it had, and the echo of such frames."""

    name: str
    action: str
    # How many of the actors are called.
    actors: int
    ours: Rates = field(default_factory=Rates)
    echo: Rates = field(default_factory=Rates)
    calls_a_frame: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Lone:
    """p50 of one call, one echo of it, and one sync: one of each a round."""

    ours: list[float] = field(default_factory=list)
    echo: list[float] = field(default_factory=list)
    sync: list[float] = field(default_factory=list)


class Load:
    """The SDK's client of one server, and what was measured."""

    def __init__(self, client: Client, server: ServerProcess, bare: ServerProcess, size: Size):
        self._server = server
        self._bare = bare
        self._size = size
        self._tap = Tap(client)
        self._handles: list[Any] = [
            client.get_or_create(Counter, f"{index:06d}") for index in range(size.actors)
        ]
        self._answered = 0
        self._weight = Weight(1, 1)
        self.kinds = [
            Kind(f"durable increment, {size.actors:,} actors", "increment", size.actors),
            Kind("durable increment, one actor", "increment", 1),
            Kind(f"increment with a broadcast, {size.actors:,} actors", "announce", size.actors),
        ]
        self.orientation = {calls: Rates() for calls in _ORIENTATION}
        self.lone = Lone()

    async def warm_up(self) -> None:
        """Make the actors, and weigh a call."""
        await self._calls("increment", self._size.actors, calls=self._size.actors)
        tap = self._tap
        tap.weighs = True
        calls = await self._calls("increment", self._size.actors, calls=4 * self._size.in_flight)
        tap.weighs = False
        self._weight = Weight(tap.sent_bytes / calls, tap.received_bytes / calls)

    async def measure(self, directory: Path) -> None:
        for kind in self.kinds:
            await self._ours(kind)
            await self._echo(kind.echo, kind.calls_a_frame[-1])
        for calls, rates in self.orientation.items():
            await self._echo(rates, calls)
        await self._alone()
        self.lone.sync.append(median(sync_seconds(directory, self._size.syncs)))

    async def check(self) -> None:
        """Every call that was answered has taken effect once."""
        total = sum([await handle.value() for handle in self._handles])
        if total != self._answered:
            raise AssertionError(f"{self._answered} calls were answered, and {total} took effect")

    async def _calls(
        self, action: str, actors: int, *, calls: int = 0, seconds: float = 0.0
    ) -> int:
        """Keep calls in flight until so many were made, or the time has passed; their number."""
        handles, ends = self._handles, time.perf_counter() + seconds
        begun = 0

        async def caller() -> None:
            nonlocal begun
            clock = time.perf_counter
            while begun < calls if calls else clock() < ends:
                handle = handles[begun % actors]
                begun += 1
                await getattr(handle, action)()

        async with asyncio.TaskGroup() as group:
            for _ in range(self._size.in_flight):
                group.create_task(caller())
        self._answered += begun
        return begun

    async def _ours(self, kind: Kind) -> None:
        frames, server = self._tap.frames, self._server.cpu_seconds
        began, cpu = time.perf_counter(), time.process_time()
        calls = await self._calls(kind.action, kind.actors, seconds=self._size.seconds)
        seconds = time.perf_counter() - began
        client_cpu = time.process_time() - cpu
        kind.ours.add(calls, seconds, self._server.cpu_seconds - server, client_cpu)
        kind.calls_a_frame.append(calls / (self._tap.frames - frames))

    async def _echo(self, rates: Rates, calls: float) -> None:
        in_flight = max(1, round(self._size.in_flight / calls))
        async with echo(self._bare.port, self._weight, calls) as stream:
            await stream.run(in_flight, frames=4 * in_flight)
            server = self._bare.cpu_seconds
            done = await stream.run(in_flight, seconds=self._size.seconds)
            server = self._bare.cpu_seconds - server
            rates.add(done.frames * calls, done.seconds, server, done.client_cpu)

    async def _alone(self) -> None:
        handle, latencies = self._handles[0], []
        for _ in range(self._size.single_calls):
            began = time.perf_counter()
            await handle.increment()
            latencies.append(time.perf_counter() - began)
        self._answered += self._size.single_calls
        self.lone.ours.append(median(latencies))
        async with echo(self._bare.port, self._weight, 1) as stream:
            done = await stream.run(1, frames=self._size.single_calls)
        self.lone.echo.append(median(done.latencies))


async def _run(server: ServerProcess, bare: ServerProcess, directory: Path, size: Size) -> Load:
    async with Client(f"127.0.0.1:{server.port}") as client:
        load = Load(client, server, bare, size)
        await load.warm_up()
        for _ in range(size.rounds):
            await load.measure(directory)
        await load.check()
        return load


def measure(size: Size = FULL) -> Result:
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(data_directory())
        bare = stack.enter_context(echo_server("uvloop"))
        server = stack.enter_context(holdfast_server(directory / "data"))
        load = run(_run(server, bare, directory, size))
    return Result(COMMAND, size.rounds, list(_rows(load, size)))


def _rows(load: Load, size: Size) -> list[Row]:
    rows = []
    for kind in load.kinds:
        ratio = median(kind.ours.rates) / median(kind.echo.rates)
        calls = median(kind.calls_a_frame)
        rows.append(
            Row(
                f"session: {kind.name}, {size.in_flight} in flight",
                str(kind.ours),
                f"stream echo, {calls:.1f} calls a frame: {kind.echo}",
                f"{ratio:.2f}",
            )
        )
    ours, bare, sync = (median(each) for each in (load.lone.ours, load.lone.echo, load.lone.sync))
    rows.append(
        Row(
            "session: durable increment, 1 in flight, p50",
            f"{ours * 1e6:.0f} µs",
            f"stream echo: {bare * 1e6:.0f} µs, and one sync: {sync * 1e6:.0f} µs",
            f"{ours / (bare + sync):.2f}",
        )
    )
    for calls, rates in load.orientation.items():
        name = "1 call" if calls == 1 else f"{calls} calls"
        rows.append(Row(f"stream echo, {name} a frame, {size.in_flight} in flight", str(rates)))
    return rows


if __name__ == "__main__":
    show([measure()], COMMAND)
