"""Random histories of the whole server, in each mode, hold every promise.

`make test` takes some seeds of each mode, by that of the run; HOLDFAST_SIMULATION_SEEDS says
how many. A failure prints the command that replays its seed.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.seeds import seed_of
from tests.simulation.modes import MODES
from tests.simulation.simulate import simulate

SEEDS = int(os.environ.get("HOLDFAST_SIMULATION_SEEDS", "20"))


# As many seeds on a machine that has much else to do.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("part", range(2))
def test_every_history_keeps_every_promise(
    mode: str, part: int, pytestconfig: pytest.Config
) -> None:
    seeds = random.Random(f"{seed_of(pytestconfig)} {mode} {part}")
    for _ in range(SEEDS // 2):
        verdict = simulate(seeds.randrange(1_000_000_000), mode)
        assert not verdict.violations, str(verdict)
