"""Life after life over one directory, for as long as one likes: `make soak`.

HOLDFAST_SOAK_COUNT says how many directories; each sees five deaths.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from tests.crash.cases import CASES
from tests.crash.scenario import crash

COUNT = int(os.environ.get("HOLDFAST_SOAK_COUNT", "2"))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("life", range(COUNT))
async def test_death_after_death_breaks_no_promise(life: int, data: str, rng: Random) -> None:
    cases = [rng.choice(CASES) for _ in range(5)]
    plan = cases[0].plan(data, rng)

    violations = await crash(plan, [case.point(rng) for case in cases], rng)

    assert violations == []
