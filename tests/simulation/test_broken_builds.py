"""Builds that break a promise on purpose are caught within a few seeds, in the mode that fits."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.simulation.simulate import simulate


class Broken(NamedTuple):
    """A build, a mode, from which seed on it is caught within how many, and by what."""

    build: str
    mode: str
    seeds: int
    signs: tuple[str, ...]


BROKEN = (
    Broken("unsynced", "plain", 4, (" told that ", "no order of the calls")),
    Broken("ungated", "plain", 8, (" told that ", "no order of the calls")),
    Broken("unfenced", "full", 20, ("no order of the calls", " told that ", "took effect 2 times")),
    Broken("forgetful", "retries", 4, ("took effect 2 times", "key_expired")),
    Broken("unmarked", "plain", 12, ("too many [",)),
    Broken("torn", "full", 12, ("too many [", "took effect", "and not in its KV", " told that ")),
    Broken("unstarted", "plain", 12, ("took effect 2 times", "key_expired")),
    Broken("untimed", "plain", 2, ("0 of its 1 parts are there",)),
    Broken("doubled", "plain", 2, ("too many [",)),
    Broken("off_by_one", "plain", 4, (" came after ",)),
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.build)
def test_a_broken_build_is_caught(broken: Broken) -> None:
    for seed in range(1, broken.seeds + 1):
        violations = simulate(seed, broken.mode, broken.build).violations
        if any(sign in what for what in violations for sign in broken.signs):
            return
    raise AssertionError(f"{broken.build} was not caught within {broken.seeds} seeds")
