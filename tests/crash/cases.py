"""The kills that are tested: every stage of every kind of batch, with and without power.

All of them run in `make test-all`. One run of `make test` takes, for every
stage and both ways to die, the kind that its seed picks; so every run meets
every stage, and all kinds are met in turn.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from tests.crash.plan import Kind, Plan, Point, Stage


class Case(NamedTuple):
    """A way to die; no stage stands for any moment."""

    stage: Stage | None
    kind: Kind
    power: bool

    def __str__(self) -> str:
        how = "power" if self.power else "kill"
        return f"{self.kind}-{self.stage or 'any_time'}-{how}"

    def point(self, rng: random.Random) -> Point | None:
        """The point, and how often it is passed first."""
        if self.stage is None:
            return None
        # Every turn has state; the rest is rare in the load.
        often = self.kind in (Kind.ANY, Kind.STATE)
        return Point(self.stage, self.kind, rng.randint(1, 150 if often else 8))

    def plan(self, data: str, rng: random.Random) -> Plan:
        buffer = rng.choice((64 << 10, 32 << 20))
        return Plan(data=data, power=self.power, write_buffer_bytes=buffer)


def _cases() -> Iterator[Case]:
    for power in (False, True):
        yield Case(None, Kind.ANY, power)
        for stage in Stage:
            for kind in Kind:
                yield Case(stage, kind, power)


CASES = tuple(_cases())


def chosen(seed: int) -> frozenset[Case]:
    """The cases of a short run."""
    rng = random.Random(seed)
    groups: dict[tuple[Stage | None, bool], list[Case]] = {}
    for case in CASES:
        groups.setdefault((case.stage, case.power), []).append(case)
    return frozenset(rng.choice(group) for group in groups.values())
