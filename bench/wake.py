"""The first call of a sleeping actor, against a call of it awake.

A sleeping actor is not in memory: the call that wakes it reads its rows from
RocksDB and decodes its state. Each actor is called twice in a row, alone, and
says itself whether it was asleep before the first call.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from statistics import median, quantiles

from bench.actors import Sleeper
from bench.calls import METHOD, Calls, result
from bench.http2 import Connection
from bench.servers import data_directory, holdfast_server
from bench.table import Result, Row, show

COMMAND = "python -m bench.wake"
# A sweep for idle actors is made every second.
_ASLEEP_S = Sleeper.sleep_timeout_s + 1.5


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int = 7
    actors: int = 200


FULL = Size()


@dataclass(slots=True)
class Pair:
    """Latencies of the waking call and of the call after it, a list of each a round."""

    wake: list[list[float]] = field(default_factory=list)
    warm: list[list[float]] = field(default_factory=list)


def _round(connection: Connection, calls: Calls, pair: Pair, size: Size) -> None:
    answers: list[bytes] = []
    sample = connection.run(calls, 1, calls=2 * size.actors, on_answer=answers.append)
    counts = [result(answer) for answer in answers]
    slept = [index for index in range(0, len(counts), 2) if counts[index : index + 2] == [1, 2]]
    if len(slept) < size.actors / 2:
        raise RuntimeError(f"only {len(slept)} of {size.actors} actors slept")
    pair.wake.append([sample.latencies[index] for index in slept])
    pair.warm.append([sample.latencies[index + 1] for index in slept])


def measure(size: Size = FULL) -> Result:
    pairs = {"increment": Pair(), "look": Pair()}
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(data_directory())
        server = stack.enter_context(holdfast_server(directory))
        loads: dict[str, tuple[Connection, Calls]] = {}
        for action in pairs:
            connection = stack.enter_context(contextlib.closing(Connection(server.port, METHOD)))
            calls = Calls("sleeper", action, size.actors, in_row=2, prefix=action)
            connection.run(calls, 16, calls=2 * size.actors)
            loads[action] = (connection, calls)
        for _ in range(size.rounds):
            time.sleep(_ASLEEP_S)
            for action, pair in pairs.items():
                _round(*loads[action], pair, size)
    names = {"increment": "durable increment", "look": "read-only call"}
    rows = [
        _row(names[action], pair, percent) for action, pair in pairs.items() for percent in (50, 99)
    ]
    return Result(COMMAND, size.rounds, rows)


def _percentile(rounds: list[list[float]], percent: int) -> float:
    """The median of the percentiles of the rounds."""
    return median(quantiles(each, n=100, method="inclusive")[percent - 1] for each in rounds)


def _row(name: str, pair: Pair, percent: int) -> Row:
    wake, warm = _percentile(pair.wake, percent), _percentile(pair.warm, percent)
    return Row(
        f"{name} that wakes its actor, p{percent}",
        f"{wake * 1e6:.0f} µs",
        f"awake: {warm * 1e6:.0f} µs",
        f"{wake / warm:.2f}",
    )


if __name__ == "__main__":
    show([measure()], COMMAND)
