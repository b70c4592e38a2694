"""Builds that break a promise on purpose are caught, so the other tests can see."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import pytest

from tests.crash.plan import Kind, Plan, Point, Stage
from tests.crash.scenario import crash


class Broken(NamedTuple):
    """A build, where it is killed, and the violations that give it away."""

    build: str
    point: Point
    power: bool
    signs: tuple[str, ...]


BROKEN = (
    Broken("unsynced", Point(Stage.AFTER_WRITE, Kind.ANY, 100), True, (" told that ",)),
    Broken("ungated", Point(Stage.HELD_SYNC, Kind.ANY, 50), True, (" told that ",)),
    Broken("forgetful", Point(Stage.AFTER_SYNC, Kind.ANY, 50), False, ("ran again for a key",)),
    Broken(
        "unmarked",
        Point(Stage.BEFORE_WRITE, Kind.SETTLE, 5),
        False,
        ("too many [", "took effect 2 times"),
    ),
    Broken(
        "torn",
        Point(Stage.AFTER_WRITE, Kind.STATE, 50),
        False,
        # Its own entry, or that of a retry, since the stored reply is missing; of
        # the ledger that is destroyed and created; a message; an actor's first state.
        ("and not in its KV", "took effect 2 times", " entries", "too many [", "state row"),
    ),
)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.build)
async def test_a_broken_build_is_caught(broken: Broken, data: str, rng: Random) -> None:
    plan = Plan(data=data, build=broken.build, power=broken.power)

    # What has got lost never comes, so that it is not worth a long wait.
    violations = await crash(plan, [broken.point], rng, arrival_s=1.0)

    seen = [what for what in violations if any(sign in what for sign in broken.signs)]
    assert seen, violations
