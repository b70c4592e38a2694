"""What an awake small actor holds in memory.

A fresh server is given many actors that stay awake, each made by a durable
increment with an idempotency key; what its process grew by is shared out among
them. RocksDB's own memory, which is bounded whatever the number of actors, is
set low.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from statistics import median

from bench.calls import METHOD, Calls
from bench.http2 import Connection
from bench.servers import LOW_MEMORY, data_directory, holdfast_server
from bench.table import Result, Row, show

COMMAND = "python -m bench.memory"
IN_FLIGHT = 64
GOAL_BYTES = 1536


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int = 1
    actors: int = 100_000
    warm_calls: int = 1000
    settle_s: float = 2.0


FULL = Size()


def _grown(size: Size) -> float:
    """Bytes that a fresh server holds more for each actor."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(data_directory())
        server = stack.enter_context(holdfast_server(directory, *LOW_MEMORY))
        connection = stack.enter_context(contextlib.closing(Connection(server.port, METHOD)))
        warm = Calls("counter", "increment", 1, (1,), prefix="warm")
        connection.run(warm, IN_FLIGHT, calls=size.warm_calls)
        time.sleep(size.settle_s)
        before = server.resident_bytes
        calls = Calls("counter", "increment", size.actors, (1,))
        connection.run(calls, IN_FLIGHT, calls=size.actors)
        time.sleep(size.settle_s)
        return (server.resident_bytes - before) / size.actors


def measure(size: Size = FULL) -> Result:
    grown = median(_grown(size) for _ in range(size.rounds))
    row = Row(
        f"memory of an awake actor, of {size.actors:,}",
        f"{grown:,.0f} bytes",
        "",
        "",
        f"≤ {GOAL_BYTES:,} bytes",
        grown <= GOAL_BYTES,
    )
    return Result(COMMAND, size.rounds, [row])


if __name__ == "__main__":
    show([measure()], COMMAND)
