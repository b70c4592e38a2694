"""Crash, restart, eviction: what stays, and what is gone."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import ActorError
from holdfast.testing import HarnessError, harness
from tests.testing.actors import Counter, Mailbox, Sleeper, Tidy, Waker, registry

STORES = pytest.mark.parametrize("store", ["memory", "rocksdb"])


@STORES
async def test_a_crash_loses_memory_and_keeps_what_was_answered(store: str) -> None:
    async with harness(registry, store=store) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        waker = h.client.get_or_create(Waker, ["a"])
        await counter.add(5)
        await waker.touch()
        for crashes in (1, 2):
            await h.crash()
            assert await counter.value() == 5
            assert await waker.touch() == 1
            assert h.crashes == crashes


@STORES
async def test_a_restart_keeps_everything_durable(store: str) -> None:
    async with harness(registry, store=store) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        waker = h.client.get_or_create(Waker, ["a"])
        await counter.add(5)
        await waker.touch()

        await h.restart()

        assert await counter.add() == 6
        assert await waker.touch() == 1
        assert h.crashes == 0


async def test_a_call_under_way_at_a_crash_runs_again_by_its_key() -> None:
    async with harness(registry) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        adding = asyncio.create_task(counter.add_slowly(10))
        await h.advance(seconds=5)

        await h.crash()

        assert await adding == 1
        assert await counter.value() == 1


async def test_a_restart_lets_calls_end_first() -> None:
    async with harness(registry) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        adding = asyncio.create_task(counter.add_slowly(10))
        await h.advance(seconds=5)

        await h.restart()

        assert await adding == 1
        assert await counter.value() == 1


async def test_a_stream_breaks_at_a_crash() -> None:
    async with harness(registry) as h:
        items = h.client.get_or_create(Counter, ["a"]).up_to(1000)
        assert await anext(items) == 0
        await h.crash()
        with pytest.raises(ActorError) as failure:
            async for _ in items:
                pass
        assert failure.value.status == "UNAVAILABLE"


async def test_sleeping_and_sending_go_on_after_a_crash() -> None:
    Mailbox.failures, Mailbox.tries = 2, []
    async with harness(registry) as h:
        await h.client.get_or_create(Mailbox, ["from"]).post("to", "hello")
        await h.settle()
        await h.crash()
        await h.advance(minutes=1)
        assert await h.client.get(Mailbox, ["to"]).words() == ["hello"]


async def test_a_dead_server_runs_no_more() -> None:
    async with harness(registry) as h:
        sleeper = h.client.get_or_create(Sleeper, ["a"])
        napping = asyncio.create_task(sleeper.with_options(timeout=8).nap("x", 5))
        await h.advance(seconds=4)
        await h.crash()
        # Not at 5 by the first life, but at 9 by the retry: too late for its caller.
        with pytest.raises(ActorError):
            await napping
        await h.advance(minutes=1)
        assert await sleeper.lines() == []


async def test_an_evicted_actor_is_loaded_anew() -> None:
    async with harness(registry) as h:
        waker = h.client.get_or_create(Waker, ["a"])
        assert [await waker.touch(), await waker.touch()] == [1, 2]
        await h.evict(waker)
        assert await waker.touch() == 1
        await h.evict(h.client.get_for_id(Waker, await waker.resolve()))
        assert await waker.touch() == 1


async def test_an_evicted_actor_does_first_what_it_does_before_it_sleeps() -> None:
    Tidy.slept = []
    async with harness(registry) as h:
        tidy = h.client.get_or_create(Tidy, ["a"])
        await tidy.touch()
        await h.evict(tidy)
        assert Tidy.slept == [h.now()]
        # By itself it sleeps when it has been idle.
        await tidy.touch()
        await h.advance(days=1)
        assert len(Tidy.slept) == 2
        assert (Tidy.slept[1] - Tidy.slept[0]).total_seconds() <= 2 * 30 + 1


async def test_a_busy_actor_is_not_evicted() -> None:
    async with harness(registry) as h:
        sleeper = h.client.get_or_create(Sleeper, ["a"])
        napping = asyncio.create_task(sleeper.nap("x", 5))
        with pytest.raises(HarnessError, match="is busy"):
            await h.evict(sleeper)
        await napping
        await h.evict(sleeper)


async def test_evicting_what_is_not_there_says_so() -> None:
    async with harness(registry) as h:
        with pytest.raises(HarnessError, match="no actor class is registered as 'nobody'"):
            await h.evict(h.client.get("nobody", ["a"]))
        with pytest.raises(TypeError, match="evict takes a handle"):
            await h.evict("counter")


async def test_a_directory_of_ones_own_stays(tmp_path: object) -> None:
    data = f"{tmp_path}/data"
    for expected in (1, 2):
        async with harness(registry, store="rocksdb", data=data) as h:
            assert await h.client.get_or_create(Counter, ["a"]).add() == expected


async def test_everything_of_a_client_works() -> None:
    async with harness(registry, namespaces="default,other") as h:
        created = await h.client.create(Counter, ["a"])
        assert [item async for item in created.up_to(3)] == [0, 1, 2]
        assert [info.key async for info in h.client.list(Counter)] == [("a",)]
        with pytest.raises(ActorError) as twice:
            await h.client.create(Counter, ["a"])
        assert twice.value.reason == "ACTOR_DUPLICATE_KEY"
        with pytest.raises(ActorError) as too_long:
            await h.client.get_or_create("counter", ["k" * 200]).add()
        assert too_long.value.reason == "REQUEST_INVALID"
        await h.client.destroy(Counter, ["a"])
        with pytest.raises(ActorError) as gone:
            await created.value()
        assert gone.value.reason == "ACTOR_NOT_FOUND"


async def test_a_stream_that_is_left_early_ends_on_the_server() -> None:
    async with harness(registry) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        items = counter.up_to(1000)
        assert await anext(items) == 0
        await items.aclose()  # type: ignore[attr-defined]
        await h.settle()
        assert await counter.value() < 10


async def test_a_cancelled_call_is_cancelled_on_the_server() -> None:
    async with harness(registry) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        adding = asyncio.create_task(counter.add_slowly(10))
        await h.advance(seconds=5)
        adding.cancel()
        await h.advance(seconds=10)
        assert adding.cancelled()
        assert await counter.value() == 0
