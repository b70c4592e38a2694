"""Each fault is seen by what it does, and the effect of a call stays exactly one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from holdfast import ActorError
from holdfast.testing import FaultNotHitError, Harness, harness
from tests.testing.actors import Counter, Mailbox, Waker, registry

START = datetime(2026, 1, 1, tzinfo=UTC)
STORES = pytest.mark.parametrize("store", ["memory", "rocksdb"])


@STORES
@pytest.mark.parametrize("kind", ["crash_after_commit", "crash_before_commit"])
async def test_a_crash_around_the_commit_and_the_retry_give_one_effect(
    kind: str, store: str
) -> None:
    async with harness(registry, store=store) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        await counter.add()
        with getattr(h.faults, kind)(counter, Counter.add) as fault:
            assert await counter.add() == 2
        assert (fault.hits, h.crashes) == (1, 1)
        assert await counter.value() == 2


async def test_a_crash_after_the_commit_keeps_and_one_before_it_loses() -> None:
    async with harness(registry) as h:
        # Without a retry it shows what the disk had.
        counter = h.client.get_or_create(Counter, ["a"]).with_options(timeout=0.001)
        await counter.add()
        for kind, expected in (("crash_before_commit", 1), ("crash_after_commit", 2)):
            with getattr(h.faults, kind)(), pytest.raises(ActorError) as failure:
                await counter.add()
            assert failure.value.status == "UNAVAILABLE"
            await h.settle()
            assert await h.client.get(Counter, ["a"]).value() == expected


async def test_a_crash_after_a_send_was_committed_does_not_lose_it() -> None:
    Mailbox.failures = 0
    async with harness(registry) as h:
        with h.faults.crash_after_commit("mailbox", "post"):
            await h.client.get_or_create(Mailbox, ["from"]).post("to", "hello")
        await h.settle()
        assert await h.client.get(Mailbox, ["to"]).words() == ["hello"]


async def test_a_crash_when_a_send_has_taken_effect_does_not_repeat_it() -> None:
    Mailbox.failures, Mailbox.tries = 0, []
    async with harness(registry) as h:
        fault = h.faults.crash_after_commit("mailbox", "take")
        await h.client.get_or_create(Mailbox, ["from"]).post("to", "hello")
        await h.advance(minutes=1)
        assert fault.hit
        assert await h.client.get(Mailbox, ["to"]).words() == ["hello"]


async def test_a_dropped_reply_is_fetched_again_without_a_second_run() -> None:
    async with harness(registry) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        with h.faults.drop_reply(counter, "add", times=3) as fault:
            assert await counter.add() == 1
        assert fault.hits == 3
        assert await counter.value() == 1


async def test_a_dropped_reply_of_a_user_error_is_fetched_again() -> None:
    async with harness(registry) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        with h.faults.drop_reply(action=Counter.refuse), pytest.raises(ActorError) as refused:
            await counter.refuse()
        assert refused.value.code == "refused"
        assert await counter.value() == 0


async def test_a_dropped_call_runs_when_it_is_tried_again() -> None:
    async with harness(registry, start=START) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        with h.faults.drop_call():
            assert await counter.add() == 1
        assert h.now() > START, "the client has backed off"


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_duplicated_call_takes_effect_once(key: str | None) -> None:
    async with harness(registry) as h:
        counter = h.client.get_or_create(Counter, ["a"]).with_options(idempotency_key=key)
        with h.faults.duplicate_call():
            assert await counter.add_slowly(3) == 1
        assert await counter.value() == 1


async def test_a_duplicate_that_nothing_joins_runs_twice() -> None:
    """Else the test above would prove nothing. Reads are not kept under their keys."""
    async with harness(registry) as h:
        waker = h.client.get_or_create(Waker, ["a"])
        await waker.touch()
        assert await waker.looks() == 1
        with h.faults.duplicate_call(waker):
            await waker.looks()
        assert await waker.looks() == 4


async def test_one_write_on_a_full_disk_is_tried_again() -> None:
    async with harness(registry) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        await counter.add()
        h.faults.disk_full()
        assert await counter.add() == 2
        assert any("the disk is full" in record.getMessage() for record in h.logs)


@STORES
async def test_a_full_disk_refuses_until_there_is_room(store: str) -> None:
    async with harness(registry, store=store) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        await counter.add()
        with h.faults.disk_full() as fault, pytest.raises(ActorError) as refused:
            await counter.with_options(timeout=5).add()
        assert refused.value.retryable
        assert fault.hits > 1

        assert await counter.add() == 2


@STORES
async def test_what_a_failed_sync_loses_was_never_answered(store: str) -> None:
    async with harness(registry, store=store) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        await counter.add()
        fault = h.faults.disk_error()
        assert await counter.add() == 2
        assert fault.hit
        assert await counter.value() == 2


async def test_a_slow_disk_holds_answers_back_by_the_test_clock() -> None:
    async with harness(registry, start=START) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        await counter.add()
        with h.faults.slow_disk(3):
            adding = asyncio.create_task(counter.add())
            await h.advance(seconds=2.9)
            assert not adding.done()
            await h.advance(seconds=0.1)
            assert adding.done()
        assert await adding == 2


async def test_a_crash_while_the_disk_is_slow_loses_what_was_not_synced() -> None:
    async with harness(registry) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        await counter.add()
        with h.faults.slow_disk(timedelta(hours=1)):
            adding = asyncio.create_task(counter.with_options(timeout=0.01).add())
            await h.settle()
        await h.crash()
        with pytest.raises(ActorError):
            await adding
        assert await counter.value() == 1


async def test_faults_hit_only_what_they_are_for() -> None:
    async with harness(registry) as h:
        one, two = (h.client.get_or_create(Counter, [key]) for key in "ab")
        fault = h.faults.drop_reply(one, Counter.add)

        await two.add()
        await one.value()
        assert not fault.hit
        await one.add()
        assert fault.hit
        by_id = h.client.get_for_id(Counter, await two.resolve())
        with h.faults.crash_after_commit(Counter):
            await by_id.add()


@pytest.mark.parametrize(
    "kind",
    [
        *("crash_after_commit", "crash_before_commit", "drop_call", "drop_reply"),
        *("duplicate_call", "disk_full", "disk_error"),
    ],
)
async def test_a_fault_that_never_happens_fails_the_test(kind: str) -> None:
    async with harness(registry) as h:
        text = rf"the fault {kind}\(.*test_faults.py:\d+"
        with pytest.raises(FaultNotHitError, match=text), getattr(h.faults, kind)():
            pass

    with pytest.raises(FaultNotHitError, match=kind):
        async with harness(registry) as h:
            getattr(h.faults, kind)()


async def test_the_tests_own_failure_comes_before_a_fault_that_never_happened() -> None:
    with pytest.raises(ZeroDivisionError):
        async with harness(registry) as h:
            h.faults.drop_reply()
            with h.faults.drop_call():
                _ = 1 / 0


async def test_disarmed_faults_do_not_happen_and_are_no_failure() -> None:
    async with harness(registry) as h:
        h.faults.drop_reply().disarm()
        h.faults.disk_full()
        h.faults.clear()
        await h.client.get_or_create(Counter, ["a"]).add()


async def test_what_a_fault_is_for_is_checked(subtests: pytest.Subtests) -> None:
    async with harness(registry) as h:
        await _refused(h, subtests)


async def _refused(h: Harness, subtests: pytest.Subtests) -> None:
    refused = [
        (TypeError, "actor is a handle, a class or a name", {"actor": 3}),
        (TypeError, "action is a wire name", {"action": 3}),
        (ValueError, "times is a number from 1", {"times": 0}),
        (ValueError, "times is a number from 1", {"times": True}),
    ]
    for error, text, given in refused:
        with subtests.test(text), pytest.raises(error, match=text):
            h.faults.drop_reply(**given)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="only moves forward"):
        h.faults.slow_disk(-1)
