"""The run: all systems at once, each way of each in turn, again and again.

At its end every counter of every way must show exactly the calls that were answered; with the
first system, which is ours, it is an error if not, and with another a row that says so.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median

from bench.disk import sync_seconds
from bench.load.driver import LoadError, Sample
from bench.load.program import Missing
from bench.peers.subject import Place, Start, Subject, Way
from bench.servers import data_directory

_WARM_IN_FLIGHT = 16
_TOLD_MAX = 160


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured; each way has `actors` actors, or 16 connections to one each."""

    rounds: int = 3
    seconds: float = 1.0
    warm_seconds: float = 1.0
    actors: int = 256
    in_flight: tuple[int, ...] = (1, 64, 256)
    syncs: int = 100


@dataclass(slots=True)
class Turn:
    """One way with so many calls in flight: a sample a round, and the servers' CPU for a call."""

    in_flight: int
    samples: list[Sample] = field(default_factory=list)
    server_us: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return median(each.rate for each in self.samples)

    @property
    def cpu_us(self) -> float:
        return median(self.server_us)

    @property
    def load_share(self) -> float:
        """What the load used of one core."""
        return median(each.cpu_seconds / each.seconds for each in self.samples)

    def percentile(self, mark: str) -> float:
        """The median of the rounds' percentiles, in microseconds."""
        return median(each.percentiles[mark] for each in self.samples)


@dataclass(slots=True)
class Measured:
    """What one way of one system measured, and why it did not, or not all."""

    system: str
    synced: str
    way: str
    turns: list[Turn] = field(default_factory=list)
    missing: str = ""

    def at(self, in_flight: int) -> Turn | None:
        """The turn with so many calls in flight."""
        return next((each for each in self.turns if each.in_flight == in_flight), None)


@dataclass(slots=True)
class Outcome:
    """All that a run measured; syncs are the p50 of one sync a round."""

    size: Size
    measured: list[Measured]
    syncs: list[float]


@dataclass(slots=True)
class _Load:
    """A way of a system, and its result."""

    subject: Subject
    way: Way
    measured: Measured
    answered: int = 0

    def warm_up(self, in_flight: int, seconds: float) -> None:
        with self._surviving():
            self._run(in_flight, seconds)

    @property
    def counted(self) -> bool:
        """Whether it is known how many calls took effect: not after one that failed."""
        return bool(self.measured.turns) and not self.measured.missing

    def measure(self, seconds: float) -> None:
        for turn in list(self.measured.turns):
            with self._surviving(turn):
                sample, cpu_us = self._run(turn.in_flight, seconds)
                turn.samples.append(sample)
                turn.server_us.append(cpu_us)

    def check(self, strict: bool) -> None:
        """Every call that was answered has taken effect once; `strict` makes it an error if not."""
        with self._surviving():
            assert self.way.driver is not None
            total = self.way.driver.total() if self.counted else self.answered
            if total == self.answered:
                return
            wrong = f"{self.answered} calls were answered, and {total} took effect"
            if strict:
                raise AssertionError(f"{self.subject.name}, {self.way.name}: {wrong}")
            raise LoadError(wrong)

    def _run(self, in_flight: int, seconds: float) -> tuple[Sample, float]:
        assert self.way.driver is not None
        before = self.subject.cpu_seconds
        sample = self.way.driver.run(in_flight, seconds)
        self.answered += sample.calls
        return sample, (self.subject.cpu_seconds - before) / sample.calls * 1e6

    @contextmanager
    def _surviving(self, turn: Turn | None = None) -> Iterator[None]:
        """A turn that fails, or all of a way, is told of and measured no more; others go on."""
        try:
            yield
        except (LoadError, OSError, subprocess.TimeoutExpired) as why:
            told = " ".join(str(why).split())[:_TOLD_MAX]
            if turn is None:
                self.measured.missing = told
                self.measured.turns.clear()
            else:
                self.measured.missing = f"{turn.in_flight} in flight: {told}"
                self.measured.turns.remove(turn)


def measure(starts: Sequence[tuple[str, Start]], size: Size) -> Outcome:
    """Start the systems, by their names, and measure all ways of each in turns."""
    with ExitStack() as stack:
        directory = stack.enter_context(data_directory())
        measured: list[Measured] = []
        loads: list[_Load] = []
        for name, start in starts:
            place = Place(stack, directory / name, size.actors)
            try:
                subject = start(place)
            except (Missing, RuntimeError, LoadError) as why:
                measured.append(Measured(name, "", "", missing=" ".join(str(why).split())))
                continue
            for load in _loads(subject, size):
                measured.append(load.measured)
                if load.way.driver is not None:
                    loads.append(load)
        syncs = []
        for load in loads:
            load.warm_up(min(max(size.in_flight), _WARM_IN_FLIGHT), size.warm_seconds)
        for _ in range(size.rounds):
            for load in loads:
                load.measure(size.seconds)
            syncs.append(median(sync_seconds(directory, size.syncs)))
        for load in loads:
            load.check(strict=load.subject is loads[0].subject)
        return Outcome(size, measured, syncs)


def _loads(subject: Subject, size: Size) -> Iterator[_Load]:
    for way in subject.ways:
        turns = [] if way.driver is None else [Turn(each) for each in size.in_flight]
        yield _Load(
            subject,
            way,
            Measured(subject.name, subject.synced, way.name, turns, way.missing),
        )
