"""Periodic looks of the runtime: seldom while nothing happens, at their pace when it does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from holdfast.testing._loop import Domain, LoopHub
from holdfast.testing._time import TestTime
from holdfast_server.runtime.environment import housekeeping

S = 1_000_000
DAY_S = 86_400


class Looker:
    """Looks each second, as the sweep of idle actors does."""

    def __init__(self) -> None:
        self.looked: list[float] = []

    @housekeeping
    def look(self) -> None:
        loop = asyncio.get_running_loop()
        self.looked.append(loop.time() - 1_000_000)
        loop.call_later(1.0, self.look)


@pytest.fixture
async def domain() -> Iterator[Domain]:
    hub = LoopHub.acquire(asyncio.get_running_loop())
    time = TestTime(hub, datetime(2026, 1, 1, tzinfo=UTC), 0.0)
    yield Domain(time)
    time.close()
    hub.release()


async def test_looks_become_rare_and_happen_at_the_end(domain: Domain) -> None:
    looker = Looker()
    domain.context().run(looker.look)

    await domain.time.advance(300 * DAY_S * S)

    assert looker.looked[:6] == [0, 1, 3, 7, 15, 31]
    assert len(looker.looked) < 300 * 24 + 20
    assert looker.looked[-1] == 300 * DAY_S


async def test_looks_keep_their_pace_once_something_happens(domain: Domain) -> None:
    looker = Looker()
    context = domain.context()
    context.run(looker.look)
    loop = asyncio.get_running_loop()
    # In the middle of the pauses of an hour between two looks.
    at = 3 * DAY_S + 1234
    context.run(loop.call_later, at, loop.call_soon, lambda: None)

    await domain.time.advance(6 * DAY_S * S)

    before = [moment for moment in looker.looked if moment < at]
    after = [moment - at for moment in looker.looked if moment >= at]
    assert before[-1] - before[-2] == 3600
    assert after[:6] == pytest.approx([0, 1, 3, 7, 15, 31])


async def test_each_advance_ends_with_a_look(domain: Domain) -> None:
    looker = Looker()
    domain.context().run(looker.look)
    for _ in range(5):
        await domain.time.advance(DAY_S * S)
        assert looker.looked[-1] == domain.time.now_us / S
