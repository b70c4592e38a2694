"""What every load is asked and tells, and those that are processes which speak JSON lines.

A load calls an action that adds one to a counter, and is told how many calls to keep
in flight and for how long; then it waits for those that are open. It knows its
counters, and what they add up to.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any, Protocol

from bench.processes import Group

# A load that says nothing for so long has hung.
PATIENCE_S = 120.0
MARKS = ("50", "90", "99", "99.9", "100")


class LoadError(Exception):
    """A load could not do what it was asked."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run measured: percentiles are latencies in microseconds."""

    calls: int
    seconds: float
    cpu_seconds: float
    percentiles: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.calls / self.seconds


def percentiles(latencies: Sequence[float]) -> dict[str, float]:
    """Those of latencies in seconds, in microseconds."""
    cuts = quantiles(latencies, n=1000, method="inclusive") if len(latencies) > 1 else []
    told = {mark: cuts[round(float(mark) * 10) - 1] if cuts else latencies[0] for mark in MARKS[:4]}
    return {mark: value * 1e6 for mark, value in {**told, "100": max(latencies)}.items()}


class Driver(Protocol):
    """A load on one server."""

    def run(self, in_flight: int, seconds: float) -> Sample:
        """Keep so many calls open for so long."""

    def total(self) -> int:
        """What the counters that it calls add up to."""


class Lines:
    """A load in a process of its own, asked by a line of JSON each."""

    def __init__(self, group: Group, command: Sequence[str], cwd: Path, **env: str) -> None:
        self._process = group.start(
            command, cwd, env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._command = command
        self._answer()

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, in_flight: int, seconds: float) -> Sample:
        told = self._ask(in_flight=in_flight, seconds=seconds)
        return Sample(**told)

    def total(self) -> int:
        total: int = self._ask(total=True)["total"]
        return total

    def _ask(self, **question: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        hung = threading.Timer(PATIENCE_S, self._process.kill)
        hung.start()
        try:
            answer: dict[str, Any] = json.loads(self._line())
            return answer
        finally:
            hung.cancel()

    def _line(self) -> bytes:
        """The next answer; clients log to where the answers go."""
        assert self._process.stdout is not None
        while not (line := self._process.stdout.readline()).startswith(b"{"):
            if not line:
                raise LoadError(f"{' '.join(self._command)} has ended")
        return line
