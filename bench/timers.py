"""Timers that are set and that fire, against durable increments of the same server.

A timer that is set is one call, synced before it is answered. Then very many are due in
one second, each with a durable effect; how late each begins says what waits for whom.
At the end every timer must be pending that was set, and must have fired once that was due.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from bench.actors import Bell
from bench.calls import METHOD, Calls, result
from bench.frames import run
from bench.http2 import Connection
from bench.servers import data_directory, holdfast_server
from bench.table import Result, Row, show
from holdfast import Client

COMMAND = "python -m bench.timers"
IN_FLIGHT = 64
_FAR_S = 86_400.0
_DUE_OVER_S = 1.0
_PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured; `alarms` actors with `each` timers are due in one second."""

    rounds: int = 5
    seconds: float = 1.5
    actors: int = 1000
    alarms: int = 10_000
    each: int = 10

    @property
    def due(self) -> int:
        return self.alarms * self.each


FULL = Size()


@dataclass(slots=True)
class Rates:
    """Calls a second, a number a round."""

    increments: list[float] = field(default_factory=list)
    sets: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Fired:
    """How the due timers fired: seconds from the first's time to the last's fire, and
    delays at p50 and p99."""

    seconds: float
    p50: float
    p99: float


def _measure_sets(connection: Connection, size: Size) -> Rates:
    rates = Rates()
    increments = Calls("counter", "increment", size.actors, (1,))
    sets = Calls("alarm", "set_one", size.actors, (_FAR_S,), prefix="set")
    connection.run(increments, IN_FLIGHT, calls=2 * size.actors)
    answered = connection.run(sets, IN_FLIGHT, calls=2 * size.actors).calls
    for _ in range(size.rounds):
        rates.increments.append(connection.run(increments, IN_FLIGHT, seconds=size.seconds).rate)
        sample = connection.run(sets, IN_FLIGHT, seconds=size.seconds)
        rates.sets.append(sample.rate)
        answered += sample.calls
    pending = _sum(connection, "pending", size.actors, "set")
    if pending != answered:
        raise AssertionError(f"{answered} timers were set, and {pending} are pending")
    return rates


def _sum(connection: Connection, action: str, actors: int, prefix: str) -> int:
    """What a read-only action of each alarm answers, added up."""
    answers: list[bytes] = []
    calls = Calls("alarm", action, actors, prefix=prefix)
    connection.run(calls, IN_FLIGHT, calls=actors, on_answer=answers.append)
    return sum(int(str(result(answer))) for answer in answers)


def _measure_fires(connection: Connection, port: int, size: Size) -> Fired:
    # Far enough that all are set by then, and that setting them disturbs no fire.
    began = time.perf_counter()
    _set(connection, size, time.time() + _FAR_S, "probe", max(size.alarms // 20, 1))
    setting_s = (time.perf_counter() - began) * 20
    due_at = time.time() + 5 + 4 * setting_s
    _set(connection, size, due_at, "due", size.alarms)
    if time.time() > due_at - 0.5:
        raise RuntimeError("the timers were due before all were set")
    fired = run(_wait(port, due_at, size.due))
    # The other one has answered no ping meanwhile.
    with contextlib.closing(Connection(port, METHOD)) as another:
        effects = _sum(another, "value", size.alarms, "due")
    if effects != size.due:
        raise AssertionError(f"{size.due} timers were due, and {effects} took effect")
    return fired


def _set(connection: Connection, size: Size, at: float, prefix: str, actors: int) -> None:
    calls = Calls("alarm", "set_many", actors, (at, _DUE_OVER_S, size.each), prefix=prefix)
    connection.run(calls, IN_FLIGHT, calls=actors)


async def _wait(port: int, due_at: float, count: int) -> Fired:
    async with Client(f"127.0.0.1:{port}") as client:
        bell = client.get_or_create(Bell, [])
        while (told := await bell.told())[0] < count:
            if time.time() > due_at + _PATIENCE_S:
                raise RuntimeError(f"only {told[0]} of {count} timers fired")
            await asyncio.sleep(0.2)
        p50, p99 = await bell.delays([50, 99])
        return Fired(told[1] - due_at, p50, p99)


def measure(size: Size = FULL) -> Result:
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(data_directory())
        server = stack.enter_context(holdfast_server(directory / "data"))
        connection = stack.enter_context(contextlib.closing(Connection(server.port, METHOD)))
        rates = _measure_sets(connection, size)
        fired = _measure_fires(connection, server.port, size)
    return Result(COMMAND, size.rounds, list(_rows(rates, fired, size)))


def _rows(rates: Rates, fired: Fired, size: Size) -> Iterator[Row]:
    increments, sets = median(rates.increments), median(rates.sets)
    against = f"durable increments: {increments:,.0f}/s"
    yield Row(
        f"timer set, {IN_FLIGHT} in flight", f"{sets:,.0f}/s", against, f"{sets / increments:.2f}"
    )
    rate = size.due / fired.seconds
    yield Row(
        "timer fired, with a durable effect",
        f"{rate:,.0f}/s",
        against,
        f"{rate / increments:.2f}",
    )
    as_calls = size.due / increments
    for name, delay in (("p50", fired.p50), ("p99", fired.p99)):
        yield Row(
            f"delay of {size.due:,} timers due in one second, {name}",
            f"{delay:.2f} s",
            f"as many increments: {as_calls:.2f} s",
            f"{delay / as_calls:.2f}",
        )


if __name__ == "__main__":
    show([measure()], COMMAND)
