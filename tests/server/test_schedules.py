"""One-shot schedules: set with the turn, fired at their time, exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from holdfast_server.core.errors import HoldfastError
from holdfast_server.store import keys
from tests.server import timer_actors
from tests.server.timer_actors import gates, heard, loose, registry, trouble
from tests.server.virtual import START, World, run

T0 = START.timestamp()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    timer_actors.clear()
    yield
    timer_actors.clear()


async def book(world: World, key: str = "a") -> dict[str, list[object]]:
    found: dict[str, list[object]] = await world.call("book", key=key)
    return found


def timer_rows(world: World) -> int:
    return len(world.rows.scan(*keys.kind_range(keys.Kind.TIMER), limit=10_000))


def test_it_fires_at_its_time_and_not_before() -> None:
    async def body(world: World) -> None:
        await world.call("after", 60, "note", "x")
        await world.pass_by(59.9)
        assert (await book(world))["notes"] == []
        await world.pass_by(0.2)
        found = await book(world)
        assert found["notes"] == ["x"]
        assert found["times"] == [T0 + 60]
        assert timer_rows(world) == 0
        await world.pass_by(3600)
        assert (await book(world))["notes"] == ["x"]

    run(registry, body)


def test_they_fire_in_the_order_of_their_times_and_equal_ones_as_they_were_set() -> None:
    async def body(world: World) -> None:
        for delay, text in ((30, "c"), (10, "a"), (30, "d"), (20, "b"), (30, "e")):
            await world.call("after", delay, "note", text)
        await world.pass_by(31)
        assert (await book(world))["notes"] == ["a", "b", "c", "d", "e"]

    run(registry, body)


def test_days_away_it_fires_on_a_sleeping_actor_and_after_a_restart() -> None:
    async def body(world: World) -> None:
        await world.call("after", 3 * 86_400, "note", "x")
        await world.pass_by(86_400)
        assert len(world.node.catalog) == 0
        world.crash()
        await world.pass_by(2 * 86_400 + 1)
        assert (await book(world))["notes"] == ["x"]

    run(registry, body, timer_clock_check_s=3600)


def test_what_came_due_while_the_server_was_down_fires_at_its_start() -> None:
    async def body(world: World) -> None:
        await world.call("after", 60, "note", "x")
        world.node.timers.stop()
        await world.pass_by(86_400)
        world.crash()
        await world.pass_by(0.1)
        assert (await book(world))["times"] == [T0 + 60]

    run(registry, body)


def test_a_failed_turn_sets_nothing() -> None:
    async def body(world: World) -> None:
        trouble["x"] = 1
        await world.call("after", 10, "flaky", "x")
        await world.pass_by(10.5)
        # Its child was rolled back with it; the try itself is counted.
        (pending,) = await world.call("pending")
        assert (await world.call("get", pending))["attempts"] == 1
        await world.pass_by(3)
        assert (await book(world))["notes"] == ["x", "child of x"]

    run(registry, body)


def test_tries_have_one_fire_id_and_growing_pauses_and_only_the_last_takes_effect() -> None:
    async def body(world: World) -> None:
        trouble["x"] = 3
        await world.call("after", 10, "flaky", "x")
        await world.pass_by(10.5)
        assert len(heard) == 1
        await world.pass_by(1)
        assert len(heard) == 2
        await world.pass_by(2)
        assert len(heard) == 3
        await world.pass_by(4)
        assert len({line.split(":")[2] for line in heard}) == 1
        assert [line.split(":")[1] for line in heard] == ["1", "2", "3", "4"]
        await world.pass_by(2)
        found = await book(world)
        assert found["notes"] == ["x", "child of x"]
        assert found["attempts"] == [4, 1]
        assert found["times"] == [T0 + 10, T0 + 18]

    run(registry, body)


def test_a_fire_that_always_fails_becomes_a_dead_letter_that_can_be_run_again() -> None:
    async def body(world: World) -> None:
        trouble["x"] = 8
        schedule_id = await world.call("after", 10, "flaky", "x")
        await world.pass_by(3600)
        assert len(heard) == 8
        assert await world.call("pending") == []
        desk = world.node.schedules
        (letter,), following = await desk.list_dead("default", b"", 10)
        assert not following
        assert (letter.record.attempts, letter.record.last_error_code) == (8, "user.not_now")
        assert await desk.list_dead("other", b"", 10) == ([], b"")
        with pytest.raises(HoldfastError):
            await desk.rerun_dead("other", schedule_id)
        await desk.rerun_dead("default", schedule_id)
        await world.pass_by(2)
        assert (await book(world))["notes"] == ["x", "child of x"]
        assert heard[-1].split(":")[2] == heard[0].split(":")[2]
        assert await desk.list_dead("default", b"", 10) == ([], b"")

    run(registry, body)


def test_options_say_how_often_and_how_long_it_is_tried() -> None:
    async def body(world: World) -> None:
        trouble["x"] = 99
        await world.call("after_with", {"attempts_max": 2, "backoff": 100}, 10, "flaky", "x")
        await world.pass_by(109)
        assert len(heard) == 1
        await world.pass_by(3600)
        assert len(heard) == 2
        await world.call("after_with", {"timeout": 5, "attempts_max": 1}, 10, "slow", 60)
        await world.call("after_with", {"expires": 30}, 100, "note", "late")
        await world.pass_by(90)
        world.set_clock(60)
        await world.pass_by(100)
        letters, _ = await world.node.schedules.list_dead("default", b"", 10)
        codes = [letter.record.last_error_code for letter in letters]
        assert codes == ["user.not_now", "action.timed_out", "action.timed_out"]
        assert (await book(world))["notes"] == []

    run(registry, body)


def test_set_and_cancelled_in_one_turn_leaves_nothing() -> None:
    async def body(world: World) -> None:
        assert await world.call("set_and_cancel", 10) == [True, False]
        assert timer_rows(world) == 0
        await world.pass_by(60)
        assert (await book(world))["notes"] == []

    run(registry, body)


def test_a_cancelled_one_never_fires_and_a_fired_one_cannot_be_cancelled() -> None:
    async def body(world: World) -> None:
        first = await world.call("after", 10, "note", "never")
        second = await world.call("after", 20, "note", "x")
        assert await world.call("get", first) == {
            "action": "note",
            "args": ["never"],
            "attempts": 0,
        }
        # Of another actor the id names nothing.
        assert not await world.call("cancel", first, key="b")
        assert await world.call("cancel", first)
        assert await world.call("get", first) is None
        await world.pass_by(60)
        assert not await world.call("cancel", second)
        assert not await world.call("cancel", "nonsense")
        assert (await book(world))["notes"] == ["x"]

    run(registry, body)


def test_a_cancel_that_races_the_fire_says_truly_whether_it_came_in_time() -> None:
    async def body(world: World) -> None:
        outcomes = set()
        for turn in range(6):
            text = f"race {turn}"
            schedule_id = await world.call("after", 10, "note", text)
            await world.pass_by(9.999 + turn * 0.0004)
            cancelled = await world.call("cancel", schedule_id)
            await world.pass_by(5)
            fired = text in (await book(world))["notes"]
            assert cancelled != fired
            outcomes.add(fired)
        assert outcomes == {True, False}

    run(registry, body)


def test_one_that_was_cancelled_while_its_fire_waited_does_not_run() -> None:
    async def body(world: World) -> None:
        schedule_id = await world.call("after", 10, "flaky", "x")
        busy = asyncio.create_task(world.call("slow", 20))
        await world.pass_by(5)
        cancelling = asyncio.create_task(world.call("cancel", schedule_id))
        await world.pass_by(30)
        await busy
        assert await cancelling
        assert heard == ["begin slow"]

    run(registry, body)


def test_one_that_an_interleaved_turn_cancels_while_it_runs_takes_no_effect() -> None:
    async def body(world: World) -> None:
        schedule_id = await world.call("after", 10, "slow_kv", 20)
        await world.pass_by(15)
        assert heard == ["begin slow_kv"]
        assert await world.call("cancel", schedule_id)
        await world.pass_by(60)
        assert heard == ["begin slow_kv"]
        # The state is shared by interleaved turns; all other effects are the turn's own.
        assert await world.call("entries") == []
        assert timer_rows(world) == 0

    run(loose, body)


def test_destroy_takes_pending_ones_along() -> None:
    async def body(world: World) -> None:
        await world.call("many", 20, 60)
        await world.call("every", "job", 60, "note", ["tick"], {})
        await world.call("destroy")
        for kind in ("TIMER", "SCHEDULE", "AGENDA", "SCHEDULE_RUN", "SCHEDULE_DEAD"):
            assert world.rows.scan(*keys.kind_range(keys.Kind[kind]), limit=1) == []
        await world.pass_by(600)
        assert (await book(world))["notes"] == []

    run(registry, body)


def test_a_fire_may_destroy_its_actor() -> None:
    async def body(world: World) -> None:
        await world.call("after", 10, "destroy")
        await world.call("after", 20, "note", "never")
        await world.pass_by(60)
        assert timer_rows(world) == 0
        assert (await book(world))["notes"] == []

    run(registry, body)


def test_a_fire_has_no_caller_and_other_turns_have_no_fire() -> None:
    async def body(world: World) -> None:
        assert await world.call("fire_here") is None

    run(registry, body)


def test_a_read_only_action_can_be_scheduled() -> None:
    async def body(world: World) -> None:
        await world.call("after", 10, "look")
        await world.pass_by(11)
        assert heard == ["look 0"]
        assert timer_rows(world) == 0

    run(registry, body)


def test_a_threaded_action_may_schedule() -> None:
    async def body(world: World) -> None:
        await world.call("in_thread", 10)
        await world.pass_by(11)
        assert (await book(world))["notes"] == ["from a thread"]

    run(registry, body)


def test_a_slow_actor_holds_up_no_other() -> None:
    async def body(world: World) -> None:
        await world.call("after", 10, "slow", 50, key="slow")
        await world.call("after", 11, "note", "behind", key="slow")
        await world.call("after", 11, "note", "x", key="quick")
        await world.pass_by(12)
        assert (await book(world, "quick"))["notes"] == ["x"]
        assert (await book(world, "slow"))["notes"] == []
        await world.pass_by(60)
        assert (await book(world, "slow"))["notes"] == ["slow", "behind"]

    run(registry, body)


def test_no_more_actors_fire_at_once_than_the_limit_and_all_do_in_the_end() -> None:
    async def body(world: World) -> None:
        for number in range(20):
            await world.call("after", 10, "slow", 1, str(number), key=str(number))
        most = 0
        for _ in range(400):
            await world.pass_by(0.05)
            most = max(most, world.node.timers.in_flight)
        assert most == 4
        assert len(heard) == 20

    run(registry, body, timers_in_flight_max=4)


def test_more_due_rows_of_an_actor_than_memory_keeps_all_fire_in_order() -> None:
    async def body(world: World) -> None:
        assert await world.call("many", 300, 10) == 300
        await world.call("after", 10, "note", "x", key="b")
        await world.pass_by(11)
        assert (await book(world))["notes"] == [str(number) for number in range(300)]
        assert (await book(world, "b"))["notes"] == ["x"]

    run(registry, body)


def test_a_pending_one_keeps_nobody_awake_and_a_running_one_does() -> None:
    async def body(world: World) -> None:
        await world.call("after", 100, "slow", 50)
        await world.pass_by(60)
        assert len(world.node.catalog) == 0
        await world.pass_by(80)
        assert len(world.node.catalog) == 1

    run(registry, body)


@pytest.mark.parametrize("day", [86_400, -86_400])
def test_a_step_of_the_clock_loses_nothing_and_fires_nothing_twice(day: float) -> None:
    async def body(world: World) -> None:
        await world.call("after", 3600, "note", "hour")
        await world.call("after", 30 * 3600, "note", "days")
        world.set_clock(day)
        await world.pass_by(11)
        assert (await book(world))["notes"] == (["hour"] if day > 0 else [])
        await world.pass_by(56 * 3600)
        assert (await book(world))["notes"] == ["hour", "days"]

    run(registry, body)


def test_a_commit_in_the_middle_consumes_it_and_a_failure_after_is_not_repeated() -> None:
    async def body(world: World) -> None:
        await world.call("after", 10, "halves", "good")
        trouble["bad"] = 1
        await world.call("after", 20, "halves", "bad")
        await world.pass_by(3600)
        assert (await book(world))["notes"] == ["good.1", "good.2", "bad.1"]
        (letter,), _ = await world.node.schedules.list_dead("default", b"", 10)
        assert letter.record.last_error_code == "user.second_half"

    run(registry, body)


def test_a_crash_after_a_commit_in_the_middle_is_told_as_interrupted() -> None:
    async def body(world: World) -> None:
        gates["x"] = asyncio.Event()
        schedule_id = await world.call("after", 10, "halves", "x")
        await world.pass_by(11)
        assert heard == ["x"]
        # While it runs it is no dead letter.
        assert await world.node.schedules.list_dead("default", b"", 10) == ([], b"")
        world.crash()
        await world.pass_by(3600)
        assert heard == ["x"]
        assert (await book(world))["notes"] == ["x.1"]
        (letter,), _ = await world.node.schedules.list_dead("default", b"", 10)
        assert letter.record.last_error_code == "schedule.interrupted"
        await world.node.schedules.discard_dead("default", schedule_id)
        assert await world.node.schedules.list_dead("default", b"", 10) == ([], b"")

    run(registry, body)


def test_a_failing_store_loses_no_fire_and_repeats_none() -> None:
    async def body(world: World) -> None:
        for number in range(12):
            await world.call("after", 10 + number, "note", str(number))
        for _ in range(12):
            world.store.fail_next("sync")
            await world.pass_by(1)
        await world.pass_by(60)
        assert (await book(world))["notes"] == [str(number) for number in range(12)]

    run(registry, body)


def test_a_read_that_fails_once_delays_what_is_due_and_loses_nothing() -> None:
    async def body(world: World) -> None:
        await world.call("after", 7.3, "note", "x")
        await world.pass_by(7.2)
        world.store.fail_next("read")
        await world.pass_by(0.2)
        await world.pass_by(6)
        assert (await book(world))["notes"] == ["x"]

    run(registry, body)


def test_a_drain_begins_no_fire_and_lets_those_that_run_end() -> None:
    async def body(world: World) -> None:
        await world.call("after", 10, "slow", 5)
        await world.call("after", 11, "note", "later", key="b")
        await world.pass_by(10.5)
        await world.node.drain()
        await world.pass_by(60)
        world.crash()
        assert (await book(world))["notes"] == ["slow"]
        await world.pass_by(1)
        assert (await book(world, "b"))["notes"] == ["later"]

    run(registry, body)
