"""Servers die under load, at named points and at any moment; nothing promised is lost.

The promises and how they are judged are in `oracle.py`, the load in `load.py`.
"""

from __future__ import annotations

import asyncio
import sys
from random import Random

import pytest

from tests.crash.cases import CASES, Case
from tests.crash.scenario import crash


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_death_breaks_no_promise(case: Case, data: str, rng: Random) -> None:
    violations = await crash(case.plan(data, rng), [case.point(rng)], rng)

    assert violations == []


async def test_deaths_in_the_middle_of_recovery_break_no_promise(data: str, rng: Random) -> None:
    cases = [rng.choice(CASES) for _ in range(3)]
    plan = cases[0].plan(data, rng)

    violations = await crash(plan, [case.point(rng) for case in cases], rng)

    assert violations == []
    command = (sys.executable, "-m", "holdfast_server", "verify", "--data", data)
    verify = await asyncio.create_subprocess_exec(*command)
    assert await verify.wait() == 0
