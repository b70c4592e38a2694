"""A month in a moment: what waits for time waits for the test's."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from holdfast import ActorError
from holdfast.testing import HarnessError, harness
from tests.testing.actors import Counter, Mailbox, Sleeper, Waker, registry

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def test_a_call_that_sleeps_is_awaited_at_once_and_moves_the_clock() -> None:
    async with harness(registry, start=START) as h:
        sleeper = h.client.get_or_create(Sleeper, ["a"])

        assert h.now() == START
        assert await sleeper.nap("long", 50) == START + timedelta(seconds=50)
        assert h.now() == START + timedelta(seconds=50)


async def test_a_call_that_is_not_awaited_waits_for_advance() -> None:
    async with harness(registry, start=START) as h:
        napping = asyncio.create_task(h.client.get_or_create(Sleeper, ["a"]).nap("x", 20))

        await h.advance(seconds=19.999)
        assert not napping.done()
        await h.advance(milliseconds=1)
        assert napping.done()

        assert await napping == h.now() == START + timedelta(seconds=20)


async def test_what_is_due_runs_in_order_and_at_its_own_time() -> None:
    async with harness(registry, start=START) as h:
        naps = [
            asyncio.create_task(h.client.get_or_create(Sleeper, [name]).nap(name, seconds))
            for name, seconds in (("c", 30.0), ("a", 0.25), ("b", 7.5))
        ]
        ended: list[str] = []
        for name, nap in zip("cab", naps, strict=True):
            nap.add_done_callback(lambda _, name=name: ended.append(name))

        await h.advance(minutes=1)

        assert ended == ["a", "b", "c"]
        assert [await nap for nap in naps] == [
            START + timedelta(seconds=seconds) for seconds in (30, 0.25, 7.5)
        ]
        assert h.now() == START + timedelta(minutes=1)


async def test_chained_sleeps_all_run_within_one_advance() -> None:
    async with harness(registry, start=START) as h:
        sleeper = h.client.get_or_create(Sleeper, ["a"])

        async def three() -> list[datetime]:
            return [await sleeper.nap(name, 10) for name in "xyz"]

        naps = asyncio.create_task(three())
        await h.advance(seconds=30)

        assert await naps == [START + timedelta(seconds=seconds) for seconds in (10, 20, 30)]
        assert h.now() == START + timedelta(seconds=30)


async def test_timeouts_in_actors_are_of_the_test_clock() -> None:
    async with harness(registry, start=START) as h:
        assert await h.client.get_or_create(Sleeper, []).impatient(45) == "gave up at 12:00:45"


async def test_deadlines_are_of_the_test_clock() -> None:
    async with harness(registry, start=START) as h:
        sleeper = h.client.get_or_create(Sleeper, ["a"])

        with pytest.raises(ActorError) as of_action:
            await sleeper.hang()
        assert of_action.value.reason == "DEADLINE_EXCEEDED"
        assert h.now() == START + timedelta(seconds=7)

        with pytest.raises(ActorError) as of_caller:
            await sleeper.with_options(timeout=2.5).hang()
        assert of_caller.value.reason == "DEADLINE_EXCEEDED"
        assert h.now() == START + timedelta(seconds=9.5)


async def test_the_tests_own_time_is_real() -> None:
    loop = asyncio.get_running_loop()
    before = loop.time()
    async with harness(registry) as h:
        await h.advance(days=1)
        # A frozen clock would never end these.
        await asyncio.sleep(0.001)
        async with asyncio.timeout(50):
            await h.client.get_or_create(Counter, []).add()
        assert loop.time() - before < 3600
    assert loop.time() - before < 3600


async def test_the_clock_stands_still_while_the_test_sleeps() -> None:
    async with harness(registry, start=START) as h:
        napping = asyncio.create_task(h.client.get_or_create(Sleeper, ["a"]).nap("x", 5))

        await asyncio.sleep(0.02)

        assert not napping.done()
        assert h.now() == START
        await napping
        assert h.now() == START + timedelta(seconds=5)


async def test_without_auto_advance_only_the_test_moves_the_clock() -> None:
    async with harness(registry, start=START, auto_advance=False) as h:
        napping = asyncio.create_task(h.client.get_or_create(Sleeper, ["a"]).nap("x", 5))

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.shield(napping)

        assert h.now() == START
        await h.advance(seconds=5)
        await napping


async def test_actors_leave_memory_when_they_have_been_idle() -> None:
    async with harness(registry) as h:
        waker = h.client.get_or_create(Waker, ["a"])
        assert await waker.touch() == 1
        await h.advance(seconds=20)
        assert await waker.touch() == 2

        await h.advance(seconds=40)

        assert await waker.touch() == 1


async def test_a_year_passes_with_idle_actors() -> None:
    async with harness(registry, start=START) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        for _ in range(12):
            await counter.add()
            await h.advance(days=30)

        assert await counter.value() == 12
        assert h.now() == START + timedelta(days=360)


async def test_actors_may_use_the_network() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        await asyncio.sleep(0.01)
        writer.write(line.upper())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, harness(registry, start=START) as h:
        sleeper = h.client.get_or_create(Sleeper, ["a"])
        assert await sleeper.download(port, "hello") == "HELLO"
        assert h.now() == START
        fetching = asyncio.create_task(sleeper.download(port, "again"))
        await h.advance(minutes=1)
        assert await fetching == "AGAIN"


async def test_stored_replies_expire_by_the_test_clock() -> None:
    async with harness(registry) as h:
        counter = h.client.get_or_create(Counter, ["a"]).with_options(idempotency_key="k")
        assert await counter.add() == 1
        await h.advance(hours=23)
        assert await counter.add() == 1

        await h.advance(hours=2)

        assert await counter.add() == 2


async def test_sends_back_off_by_the_test_clock() -> None:
    Mailbox.failures, Mailbox.tries = 3, []
    async with harness(registry, start=START, outbox_backoff_s=1.0) as h:
        mailbox = h.client.get_or_create(Mailbox, ["from"])
        await mailbox.post("to", "hello")
        await h.settle()
        assert len(Mailbox.tries) == 1

        await h.advance(seconds=7)

        assert await h.client.get(Mailbox, ["to"]).words() == ["hello"]
    assert [moment - START for moment in Mailbox.tries] == [
        timedelta(seconds=seconds) for seconds in (0, 1, 3, 7)
    ]


async def test_threads_are_waited_for() -> None:
    async with harness(registry, start=START) as h:
        sleeper = h.client.get_or_create(Sleeper, ["a"])
        assert await sleeper.in_executor() == START

        blocking = asyncio.create_task(sleeper.block())
        await h.advance(seconds=39)
        assert not blocking.done()
        await h.advance(seconds=1)
        assert blocking.done()
        assert await blocking == START + timedelta(seconds=40)


async def test_the_wall_clock_may_be_set_while_sleeps_go_on() -> None:
    async with harness(registry, start=START) as h:
        napping = asyncio.create_task(h.client.get_or_create(Sleeper, ["a"]).nap("x", 50))
        await h.settle()

        await h.step_wall(days=-1)
        assert h.now() == START - timedelta(days=1)
        await h.advance(seconds=50)

        assert await napping == START - timedelta(days=1) + timedelta(seconds=50)


async def test_advance_to_a_moment() -> None:
    async with harness(registry, start=START) as h:
        await h.advance_to(datetime(2026, 3, 31, tzinfo=UTC))
        assert h.now() == datetime(2026, 3, 31, tzinfo=UTC)

        with pytest.raises(ValueError, match="only moves forward"):
            await h.advance_to(START)


async def test_two_harnesses_have_two_clocks() -> None:
    async with harness(registry, start=START) as one, harness(registry, start=START) as two:
        counters = [h.client.get_or_create(Counter, ["a"]) for h in (one, two)]
        assert [await counter.add() for counter in counters] == [1, 1]

        await one.advance(hours=1)
        await two.advance(days=1)
        await two.client.get_or_create(Sleeper, []).nap("x", 30)

        assert one.now() == START + timedelta(hours=1)
        assert two.now() == START + timedelta(days=1, seconds=30)


async def test_a_call_that_waits_for_no_time_is_told() -> None:
    async with harness(registry) as h:
        sleeper = h.client.get_or_create(Sleeper, ["a"])

        with pytest.raises(HarnessError, match=r"hang_for_ever of sleeper .* does not end"):
            await sleeper.with_options(timeout=float("inf")).hang_for_ever()


async def test_timers_without_end_in_one_instant_are_told() -> None:
    async with harness(registry) as h:
        with pytest.raises(HarnessError, match=r"endless loop of: .*again"):
            await h.client.get_or_create(Sleeper, ["a"]).spin()
            await h.advance(seconds=1)


async def test_the_loop_has_its_own_methods_back_at_the_end() -> None:
    loop = asyncio.get_running_loop()
    before = set(vars(loop))
    async with harness(registry) as h:
        await h.client.get_or_create(Counter, []).add()
        assert set(vars(loop)) != before
    assert set(vars(loop)) == before
