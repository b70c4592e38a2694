"""Tests of the rate limiter, on `holdfast.testing`.

Run them with `pytest examples/rate_limiter`.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from examples.rate_limiter.app import SHARDS, Limit, Limiter, registry, shard_of, shards_of
from holdfast import ActorError, Registry
from holdfast.testing import Harness

API = "search"


@pytest.fixture
def holdfast_registry() -> Registry:
    return registry


def limiter(h: Harness, caller: str, limit: Limit | None = None) -> Limiter:
    return h.client.get_or_create(Limiter, shard_of(API, caller), input=limit)


async def calls(h: Harness, caller: str, count: int) -> int:
    """How many of so many calls are let through."""
    return sum([(await limiter(h, caller).take(caller)).allowed for _ in range(count)])


async def test_a_burst_and_then_so_many_a_second(holdfast_test: Harness) -> None:
    assert await calls(holdfast_test, "ada", 15) == 10
    await holdfast_test.advance(seconds=3)
    assert await calls(holdfast_test, "ada", 15) == 6
    await holdfast_test.advance(hours=1)
    assert await calls(holdfast_test, "ada", 15) == 10


async def test_who_is_refused_is_told_when_to_come_again(holdfast_test: Harness) -> None:
    await calls(holdfast_test, "ada", 10)
    ada = limiter(holdfast_test, "ada")
    refused = await ada.take("ada")
    assert (refused.allowed, refused.retry_after_s) == (False, 0.5)

    await holdfast_test.advance(seconds=refused.retry_after_s)

    assert (await ada.take("ada")).allowed


async def test_callers_do_not_count_for_each_other(holdfast_test: Harness) -> None:
    names = [f"caller-{number}" for number in range(200)]

    async def exhaust(name: str) -> int:
        return await calls(holdfast_test, name, 11)

    assert await asyncio.gather(*map(exhaust, names)) == [10] * 200
    # They are spread over all shards.
    assert len({tuple(shard_of(API, name)) for name in names}) == SHARDS


async def test_a_full_bucket_leaves_nothing_behind(holdfast_test: Harness) -> None:
    for number in range(50):
        await calls(holdfast_test, f"caller-{number}", 3)
    shards = [holdfast_test.client.get_or_create(Limiter, key) for key in shards_of(API)]
    assert sum([len(await shard.stored()) for shard in shards]) == 50

    await holdfast_test.advance(seconds=2)

    assert sum([len(await shard.stored()) for shard in shards]) == 0


@pytest.mark.parametrize("fault", ["crash_after_commit", "drop_reply", "duplicate_call"])
async def test_a_call_that_is_tried_again_is_counted_once(
    holdfast_test: Harness, fault: str
) -> None:
    ada = limiter(holdfast_test, "ada", Limit(burst=5, per_second=0.001))
    getattr(holdfast_test.faults, fault)(ada, Limiter.take)
    assert (await ada.take("ada")).remaining == 4
    assert (await ada.take("ada")).remaining == 3


async def test_a_clock_that_is_put_back_locks_nobody_out(holdfast_test: Harness) -> None:
    await calls(holdfast_test, "ada", 10)
    await holdfast_test.step_wall(days=-1)
    await holdfast_test.advance(seconds=1)
    assert await calls(holdfast_test, "ada", 5) <= 2
    await holdfast_test.advance(seconds=5)
    assert await calls(holdfast_test, "ada", 20) == 10


async def test_a_block_ends_by_itself_also_when_it_was_renewed(holdfast_test: Harness) -> None:
    mallory = limiter(holdfast_test, "mallory")
    await mallory.block("mallory", timedelta(minutes=10))
    await holdfast_test.advance(minutes=8)
    await mallory.block("mallory", timedelta(minutes=10))
    await holdfast_test.advance(minutes=8)
    await holdfast_test.crash()
    assert not (await mallory.take("mallory")).allowed
    assert await mallory.blocked() == 1

    await holdfast_test.advance(minutes=2)

    assert (await mallory.take("mallory")).allowed
    assert await mallory.blocked() == 0


async def test_a_year_of_days(holdfast_test: Harness) -> None:
    ada = limiter(holdfast_test, "ada")
    for _ in range(12):
        await calls(holdfast_test, "ada", 12)
        await holdfast_test.advance(days=30)

    days = await ada.days()
    assert len(days) == 360
    assert (days[0].date, days[0].allowed, days[0].refused) == ("2026-01-01", 10, 2)
    assert sum(day.allowed for day in days) == 120
    assert sum(1 for day in days if day.refused) == 12


@pytest.mark.parametrize(
    ("caller", "cost", "code"),
    [
        ("", 1, "bad_caller"),
        ("x" * 201, 1, "bad_caller"),
        ("ada", 0, "bad_cost"),
        ("ada", -1, "bad_cost"),
        ("ada", 11, "bad_cost"),
    ],
)
async def test_what_is_no_call_is_refused(
    holdfast_test: Harness, caller: str, cost: float, code: str
) -> None:
    ada = limiter(holdfast_test, "ada")
    with pytest.raises(ActorError) as error:
        await ada.take(caller, cost)
    assert error.value.code == code
    assert await ada.stored() == []


async def test_only_a_schedule_closes_a_day(holdfast_test: Harness) -> None:
    with pytest.raises(ActorError) as error:
        await limiter(holdfast_test, "ada").close_day()
    assert error.value.code == "not_yours"


async def test_a_limit_that_lets_nothing_through_is_refused(holdfast_test: Harness) -> None:
    with pytest.raises(ActorError) as error:
        await limiter(holdfast_test, "ada", Limit(burst=0, per_second=1)).take("ada")
    assert error.value.code == "bad_limit"
