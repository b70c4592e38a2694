"""What timers that wait cost: memory, and the time of a start, against an empty directory.

The same server is killed (SIGKILL) and started on a directory with very many pending
timers and on an empty one, in turns. A start is from the beginning of the process until
it has answered a call, what RocksDB recovers from its log included. RocksDB's own
memory, which is bounded whatever the number of rows, is set low.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from statistics import median

from bench.calls import METHOD, Calls
from bench.http2 import Connection
from bench.servers import LOW_MEMORY, ServerProcess, data_directory, holdfast_server
from bench.table import Result, Row, show

COMMAND = "python -m bench.pending"
IN_FLIGHT = 16
_FAR_S = 30 * 86_400.0
GOAL = 1.5


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: `actors` with `each` pending timers."""

    rounds: int = 3
    actors: int = 10_000
    each: int = 100
    settle_s: float = 2.0


FULL = Size()


@dataclass(slots=True)
class Cost:
    """A number a round."""

    start_s: list[float] = field(default_factory=list)
    bytes: list[float] = field(default_factory=list)


def _start(server: ServerProcess, size: Size, cost: Cost) -> None:
    began = time.perf_counter()
    server.kill_and_start()
    server.wait()
    with contextlib.closing(Connection(server.port, METHOD)) as connection:
        connection.run(Calls("counter", "value", 1), 1, calls=1)
        cost.start_s.append(time.perf_counter() - began)
    time.sleep(size.settle_s)
    cost.bytes.append(server.resident_bytes)


def _fill(server: ServerProcess, size: Size) -> None:
    with contextlib.closing(Connection(server.port, METHOD)) as connection:
        args = (time.time() + _FAR_S, _FAR_S, size.each)
        calls = Calls("alarm", "set_many", size.actors, args)
        connection.run(calls, IN_FLIGHT, calls=size.actors)


def measure(size: Size = FULL) -> Result:
    pending, empty = Cost(), Cost()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(data_directory())
        # Small buffers would have RocksDB hold up who writes so much.
        with holdfast_server(directory / "full") as filled:
            _fill(filled, size)
        full = stack.enter_context(holdfast_server(directory / "full", *LOW_MEMORY))
        bare = stack.enter_context(holdfast_server(directory / "empty", *LOW_MEMORY))
        for _ in range(size.rounds):
            _start(full, size, pending)
            _start(bare, size, empty)
    name = f"{size.actors * size.each:,} pending timers"
    memory, bare_memory = median(pending.bytes), median(empty.bytes)
    start, bare_start = median(pending.start_s), median(empty.start_s)
    rows = [
        Row(
            f"memory with {name}",
            f"{memory / 2**20:.0f} MiB",
            f"empty: {bare_memory / 2**20:.0f} MiB",
            f"{memory / bare_memory:.2f}",
            f"≤ {GOAL}",
            memory <= GOAL * bare_memory,
        ),
        Row(
            f"start with {name}",
            f"{start:.2f} s",
            f"empty: {bare_start:.2f} s",
            f"{start / bare_start:.2f}",
            f"≤ {GOAL}",
            start <= GOAL * bare_start,
        ),
    ]
    return Result(COMMAND, size.rounds, rows)


if __name__ == "__main__":
    show([measure()], COMMAND)
