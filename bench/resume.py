"""Many subscriptions after the death of their server: until all are told again.

The server is killed (SIGKILL) right after an event was made durable, and started again
on the same address; the next event is published at once, by a call that is retried
until the server answers. Every subscriber must be told every number once, in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from statistics import median

from bench.actors import Station
from bench.frames import run
from bench.listeners import KEY, listening
from bench.servers import ServerProcess, data_directory, holdfast_server
from bench.table import Result, Row, show
from holdfast import Client

COMMAND = "python -m bench.resume"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int = 3
    subscribers: int = 10_000
    sessions: int = 10


FULL = Size()


@dataclass(slots=True)
class Measured:
    """Seconds since the kill, a number a round."""

    answered: list[float] = field(default_factory=list)
    told: list[float] = field(default_factory=list)


async def _measure(server: ServerProcess, size: Size) -> Measured:
    measured = Measured()
    async with (
        Client(f"127.0.0.1:{server.port}") as client,
        listening(server.port, size.subscribers, size.sessions) as listeners,
    ):
        station = client.get_or_create(Station, KEY)
        await listeners.settle(station)
        for _ in range(size.rounds):
            await station.tell()
            began = time.perf_counter()
            await asyncio.to_thread(server.kill_and_start)
            number = await station.tell()
            measured.answered.append(time.perf_counter() - began)
            listeners.mark(number)
            await listeners.reached(number)
            measured.told.append(time.perf_counter() - began)
    return measured


def measure(size: Size = FULL) -> Result:
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(data_directory())
        server = stack.enter_context(holdfast_server(directory))
        measured = run(_measure(server, size))
    told, answered = median(measured.told), median(measured.answered)
    row = Row(
        f"{size.subscribers:,} subscriptions in {size.sessions} sessions, after kill -9: "
        "until all are told the next event",
        f"{told:.2f} s",
        f"until the server answers a call: {answered:.2f} s",
        f"{told / answered:.2f}",
    )
    return Result(COMMAND, size.rounds, [row])


if __name__ == "__main__":
    show([measure()], COMMAND)
