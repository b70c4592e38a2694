"""Random histories of the whole server, in each mode, hold every promise.

`make test` takes one of four sets of seeds of each mode, by that of the run: a change is judged
by histories that its parent has passed. `make soak` takes HOLDFAST_SOAK_SEEDS of each mode.
A failure prints the command that replays its seed.
"""

from __future__ import annotations

import random

import pytest

from tests.seeds import seed_of
from tests.simulation.modes import MODES
from tests.simulation.simulate import simulate

SEEDS = 20
SETS = 4


# As many seeds on a machine that has much else to do.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("part", range(2))
def test_every_history_keeps_every_promise(
    mode: str, part: int, pytestconfig: pytest.Config
) -> None:
    seeds = random.Random(f"{1 + seed_of(pytestconfig) % SETS} {mode} {part}")
    for _ in range(SEEDS // 2):
        verdict = simulate(seeds.randrange(1_000_000_000), mode)
        assert not verdict.violations, str(verdict)
