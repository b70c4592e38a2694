"""A durable increment over unary gRPC, against a bare echo of messages of its size.

Every call has an idempotency key and is synced before it is answered. The same
load meets both servers; at the end every counter must show exactly the calls
that were answered.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.actors import Counter
from bench.calls import METHOD, Calls
from bench.disk import sync_seconds
from bench.frames import run
from bench.http2 import Connection
from bench.servers import ServerProcess, data_directory, echo_server, holdfast_server
from bench.table import Result, Row, show
from holdfast import Client

COMMAND = "python -m bench.unary"
IN_FLIGHT = 64
RATE_GOAL, LATENCY_GOAL = 0.7, 1.5
_LOOPS = {"echo, asyncio": "asyncio", "echo, uvloop": "uvloop"}
_OURS = "holdfast"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int = 9
    seconds: float = 1.5
    single_calls: int = 400
    syncs: int = 100
    actors: int = 1000


FULL = Size()


@dataclass(slots=True)
class Load:
    """One server, the load on it, and what was measured of it, a number a round."""

    server: ServerProcess
    connection: Connection
    calls: Calls
    answered: int = 0
    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    load_cpu: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    def warm_up(self, calls: int) -> None:
        self.answered += self.connection.run(self.calls, IN_FLIGHT, calls=calls).calls

    def measure(self, size: Size) -> None:
        before = self.server.cpu_seconds
        many = self.connection.run(self.calls, IN_FLIGHT, seconds=size.seconds)
        self.cpu_us.append((self.server.cpu_seconds - before) / many.calls * 1e6)
        self.rates.append(many.rate)
        self.load_cpu.append(many.cpu_seconds / many.seconds)
        one = self.connection.run(self.calls, 1, calls=size.single_calls)
        self.latencies.append(median(one.latencies))
        self.answered += many.calls + one.calls


async def _total(port: int, keys: list[list[str]]) -> int:
    async with Client(f"127.0.0.1:{port}") as client:
        return sum([await client.get(Counter, key).value() for key in keys])


def _run(loads: dict[str, Load], directory: Path, size: Size) -> list[float]:
    """Measure in turns; the p50 of a sync in each round."""
    for load in loads.values():
        load.warm_up(2 * size.actors)
    syncs = []
    for _ in range(size.rounds):
        for load in loads.values():
            load.measure(size)
        syncs.append(median(sync_seconds(directory, size.syncs)))
    ours = loads[_OURS]
    total = run(_total(ours.server.port, ours.calls.keys))
    if total != ours.answered:
        raise AssertionError(f"{ours.answered} calls were answered, and {total} took effect")
    return syncs


def measure(size: Size = FULL) -> Result:
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(data_directory())
        servers = {name: stack.enter_context(echo_server(loop)) for name, loop in _LOOPS.items()}
        servers[_OURS] = stack.enter_context(holdfast_server(directory / "data"))
        loads = {}
        for name, server in servers.items():
            connection = stack.enter_context(contextlib.closing(Connection(server.port, METHOD)))
            loads[name] = Load(server, connection, Calls("counter", "increment", size.actors, (1,)))
        syncs = _run(loads, directory, size)
    return Result(COMMAND, size.rounds, list(_rows(loads, syncs)))


def _rows(loads: dict[str, Load], syncs: list[float]) -> list[Row]:
    ours, rows = loads[_OURS], []
    rate, latency, sync = median(ours.rates), median(ours.latencies), median(syncs)
    for name in _LOOPS:
        echo = loads[name]
        ratio = rate / median(echo.rates)
        rows.append(
            Row(
                f"durable increment, {IN_FLIGHT} in flight",
                f"{rate:,.0f}/s, {median(ours.cpu_us):.0f} µs CPU",
                f"{name}: {median(echo.rates):,.0f}/s, {median(echo.cpu_us):.0f} µs CPU",
                f"{ratio:.2f}",
                f"≥ {RATE_GOAL}",
                ratio >= RATE_GOAL,
            )
        )
    for name in _LOOPS:
        echo_latency = median(loads[name].latencies)
        ratio = latency / (echo_latency + sync)
        rows.append(
            Row(
                "durable increment, 1 in flight, p50",
                f"{latency * 1e6:.0f} µs",
                f"{name}: {echo_latency * 1e6:.0f} µs, and one sync: {sync * 1e6:.0f} µs",
                f"{ratio:.2f}",
                f"≤ {LATENCY_GOAL}",
                ratio <= LATENCY_GOAL,
            )
        )
    load_cpu = max(median(load.load_cpu) for load in loads.values())
    rows.append(Row("the load itself, share of one core", f"{load_cpu:.0%}"))
    return rows


if __name__ == "__main__":
    show([measure()], COMMAND)
