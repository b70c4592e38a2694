"""Recurring schedules: cadence, missed times, overlap, history, upsert, pause."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from holdfast import Actor, Registry, setup
from holdfast_server.runtime.agenda import format_schedule_id
from holdfast_server.store import keys
from tests.server import timer_actors
from tests.server.timer_actors import Alarm, Book, gates, heard, registry, trouble
from tests.server.virtual import START, World, run

T0 = START.timestamp()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    timer_actors.clear()
    yield
    timer_actors.clear()


async def every(world: World, seconds: float = 60, **options: Any) -> None:
    act, args = options.pop("act", "note"), options.pop("args", ["tick"])
    await world.call("every", "job", seconds, act, args, options)


async def times(world: World) -> list[float]:
    """Ticks that fired, in seconds since the start."""
    found: list[float] = (await world.call("book"))["times"]
    return [time - T0 for time in found]


async def results(world: World, limit: int = 100) -> list[list[Any]]:
    """The history, the earliest first: result, tick, tries, skipped, error."""
    return [
        [result, at - T0, *rest]
        for result, at, *rest in reversed(await world.call("history", "job", limit))
    ]


def outage(world: World, seconds: float) -> Any:
    """The server is down for so long."""

    async def down() -> None:
        world.node.timers.stop()
        await world.pass_by(seconds)
        world.crash()
        await world.pass_by(0.1)

    return down()


def test_an_interval_counts_from_its_start_and_lateness_does_not_add_up() -> None:
    async def body(world: World) -> None:
        await every(world, 60, act="slow", args=[7])
        await world.pass_by(300)
        assert await times(world) == [60, 120, 180, 240]
        await world.pass_by(8)
        assert await times(world) == [60, 120, 180, 240, 300]

    run(registry, body)


def test_a_cron_job_fires_by_the_clock_of_its_zone() -> None:
    async def body(world: World) -> None:
        options = {"timezone": "Asia/Kathmandu"}
        await world.call("cron", "job", "0 20 * * *", "note", ["x"], options)
        await world.pass_by(2.5 * 86_400)
        # 20:00 there is 14:15 UTC.
        first = datetime(2026, 6, 1, 14, 15, tzinfo=UTC).timestamp()
        assert (await world.call("book"))["times"] == [first, first + 86_400, first + 2 * 86_400]

    run(registry, body)


def test_what_was_missed_runs_once_by_default() -> None:
    async def body(world: World) -> None:
        await every(world, 60)
        await outage(world, 630)
        assert await times(world) == [600]
        await world.pass_by(60)
        assert await times(world) == [600, 660]
        assert await results(world) == [["ok", 600, 1, 9, None], ["ok", 660, 1, 0, None]]

    run(registry, body)


def test_what_was_missed_may_be_skipped() -> None:
    async def body(world: World) -> None:
        await every(world, 300, missed="skip")
        await outage(world, 1000)
        assert await times(world) == []
        await world.pass_by(201)
        assert await times(world) == [1200]
        assert await results(world) == [["skipped", 300, 0, 3, None], ["ok", 1200, 1, 0, None]]

    run(registry, body)


def test_a_single_late_tick_is_missed_too_but_a_little_late_is_on_time() -> None:
    async def body(world: World) -> None:
        await every(world, 3600, missed="skip")
        await outage(world, 3630)
        assert await times(world) == [3600]
        await outage(world, 3600 + 61)
        assert await times(world) == [3600]

    run(registry, body)


def test_what_was_missed_may_all_run_in_order_up_to_a_number() -> None:
    async def body(world: World) -> None:
        await every(world, 60, missed="run_all", missed_max=3)
        await outage(world, 610)
        await world.pass_by(1)
        assert await times(world) == [60, 120, 180]
        await world.pass_by(60)
        assert await times(world) == [60, 120, 180, 660]
        assert await results(world) == [
            ["ok", 60, 1, 0, None],
            ["ok", 120, 1, 0, None],
            ["ok", 180, 1, 0, None],
            ["skipped", 240, 0, 7, None],
            ["ok", 660, 1, 0, None],
        ]

    run(registry, body)


def test_all_that_was_missed_runs_where_there_is_no_more_than_that() -> None:
    async def body(world: World) -> None:
        await every(world, 60, missed="run_all", missed_max=100)
        await outage(world, 310)
        await world.pass_by(51)
        assert await times(world) == [60, 120, 180, 240, 300, 360]

    run(registry, body)


def test_a_tick_during_its_own_run_is_skipped_and_recorded() -> None:
    async def body(world: World) -> None:
        await every(world, 60, act="slow", args=[150], timeout=1000)
        await world.pass_by(60 + 151)
        assert await times(world) == [60]
        assert await results(world) == [["ok", 60, 1, 0, None], ["skipped", 120, 0, 2, None]]
        await world.pass_by(60)
        assert heard == ["begin slow"] * 2

    run(registry, body, action_timeout_s=600.0)


def test_a_tick_during_its_own_run_may_be_queued_and_runs_once_at_the_end() -> None:
    async def body(world: World) -> None:
        await every(world, 60, act="slow", args=[150], overlap="queue")
        await world.pass_by(60 + 150 + 151)
        assert await times(world) == [60, 180]
        assert (await results(world))[:3] == [
            ["ok", 60, 1, 0, None],
            ["skipped", 120, 0, 1, None],
            ["ok", 180, 1, 0, None],
        ]

    run(registry, body, action_timeout_s=600.0)


@pytest.mark.parametrize("overlap", ["skip", "queue"])
def test_overlap_holds_for_a_run_that_committed_in_its_middle(overlap: str) -> None:
    async def body(world: World) -> None:
        gates["x"] = asyncio.Event()
        await every(world, 60, act="halves", args=["x"], overlap=overlap)
        await world.pass_by(200)
        gates["x"].set()
        del gates["x"]
        await world.pass_by(1)
        expected = [60] if overlap == "skip" else [60, 180]
        assert sorted(set(await times(world))) == expected
        await world.pass_by(60)
        assert sorted(set(await times(world))) == [*expected, 240]

    run(registry, body, action_timeout_s=600.0)


def test_a_failed_run_is_tried_again_until_its_next_time_comes() -> None:
    async def body(world: World) -> None:
        trouble["tick"] = 7
        await every(world, 20, act="flaky", args=["tick"])
        # Tries at 20, 21, 23, 27 and 35; the next would come after the next tick.
        await world.pass_by(36)
        assert [line.split(":")[1] for line in heard] == ["1", "2", "3", "4", "5"]
        await world.pass_by(20)
        assert await results(world) == [
            ["error", 20, 5, 0, "user.not_now"],
            ["ok", 40, 3, 0, None],
        ]
        assert len({line.split(":")[2] for line in heard}) == 2
        assert await world.node.schedules.list_dead("default", b"", 10) == ([], b"")

    run(registry, body)


def test_set_again_it_keeps_its_next_time_unless_its_times_change() -> None:
    async def body(world: World) -> None:
        await every(world, 100, args=["old"])
        await world.pass_by(60)
        before = await world.call("job", "job")
        await every(world, 100, args=["new"], history_max=5)
        after = await world.call("job", "job")
        assert after == {**before, "args": ["new"]}
        await world.pass_by(41)
        assert (await world.call("book"))["notes"] == ["new"]
        await every(world, 50, args=["newer"])
        assert (await world.call("job", "job"))["next"] == T0 + 60 + 41 + 50
        assert await world.call("jobs") == ["job"]

    run(registry, body)


def test_a_job_may_be_deleted_with_its_history_and_set_anew() -> None:
    async def body(world: World) -> None:
        await every(world, 60)
        await world.pass_by(61)
        before = await world.call("job", "job")
        assert await world.call("manage", "delete", "job")
        assert not await world.call("manage", "delete", "job")
        assert await world.call("job", "job") is None
        assert world.rows.scan(*keys.kind_range(keys.Kind.SCHEDULE_RUN), limit=1) == []
        await every(world, 60)
        assert await world.call("history", "job") == []
        assert (await world.call("job", "job"))["id"] != before["id"]

    run(registry, body)


def test_a_paused_job_misses_its_times_and_goes_on_with_the_next() -> None:
    async def body(world: World) -> None:
        await every(world, 60)
        assert await world.call("manage", "pause", "job")
        assert (await world.call("job", "job"))["next"] is None
        await world.pass_by(200)
        # Setting it again, as an actor may do at each wake, does not resume it.
        await every(world, 60)
        await every(world, 90)
        await every(world, 60)
        assert (await world.call("job", "job"))["paused"]
        assert await world.call("manage", "resume", "job")
        assert await world.call("manage", "resume", "job")
        await world.pass_by(61)
        assert len(await times(world)) == 1
        assert not await world.call("manage", "pause", "other")

    run(registry, body)


def test_a_history_keeps_as_many_runs_as_it_may() -> None:
    async def body(world: World) -> None:
        await every(world, 10, history_max=3)
        await world.pass_by(71)
        assert [row[1] for row in await results(world)] == [50, 60, 70]
        await every(world, 10, history_max=1)
        assert [row[1] for row in await results(world)] == [70]
        await every(world, 10, history_max=0)
        await world.pass_by(20)
        assert await results(world) == []
        assert world.rows.scan(*keys.kind_range(keys.Kind.SCHEDULE_RUN), limit=1) == []

    run(registry, body)


def test_a_run_cut_short_by_a_crash_after_its_first_commit_is_interrupted() -> None:
    async def body(world: World) -> None:
        gates["x"] = asyncio.Event()
        await every(world, 60, act="halves", args=["x"])
        await world.pass_by(61)
        desk = world.node.schedules
        (owned,) = await desk.list_of(world.target())
        assert owned.record.fires == 1
        world.crash()
        del gates["x"]
        await world.pass_by(60)
        assert (await world.call("book"))["notes"] == ["x.1", "x.1", "x.2"]
        assert await results(world) == [
            ["interrupted", 60, 1, 0, "schedule.interrupted"],
            ["ok", 120, 1, 0, None],
        ]

    run(registry, body)


def test_an_action_that_has_gone_is_an_error_of_each_run_and_the_job_stays() -> None:

    async def body(world: World) -> None:
        await every(world, 60, act="slow", args=[1])
        await world.call("after", 60, "slow", 1)
        world.crash(without_slow())
        await world.pass_by(61)
        assert await results(world) == [["error", 60, 1, 0, "action.not_found"]]
        (letter,), _ = await world.node.schedules.list_dead("default", b"", 10)
        assert letter.record.last_error_code == "action.not_found"
        world.crash(registry)
        await world.pass_by(61)
        assert [row[0] for row in await results(world)] == ["error", "ok"]
        await world.node.schedules.rerun_dead(
            "default", format_schedule_id(letter.actor_id, letter.record.number)
        )
        await world.pass_by(3)
        assert (await world.call("book"))["notes"] == ["slow", "slow"]

    run(registry, body)


def without_slow() -> Registry:
    """The registry of a later version, which has no `slow`."""
    members = {
        name: value
        for name, value in vars(Alarm).items()
        if not name.startswith("__") and name != "slow"
    }
    later = types.new_class("Later", (Actor[Book],), exec_body=lambda body: body.update(members))
    return setup(use={"alarm": later})


def test_a_class_that_has_gone_keeps_the_job_for_its_return() -> None:
    class Other(Actor):
        pass

    async def body(world: World) -> None:
        await every(world, 60)
        await world.call("after", 90, "note", "once")
        world.crash(setup(use={"other": Other}))
        await world.pass_by(100)
        world.crash(registry)
        (letter,), _ = await world.node.schedules.list_dead("default", b"", 10)
        assert letter.record.last_error_code == "actor.name_not_found"
        await world.pass_by(21)
        assert await times(world) == [120]

    run(registry, body)


@pytest.mark.parametrize("day", [86_400, -86_400])
def test_a_step_of_the_clock_repeats_no_tick(day: float) -> None:
    async def body(world: World) -> None:
        await world.call("cron", "job", "0 * * * *", "note", ["x"], {})
        await world.pass_by(2 * 3600 + 1)
        world.set_clock(day)
        await world.pass_by(2 * 3600)
        world.set_clock(0)
        await world.pass_by(30 * 3600)
        found = await times(world)
        assert found == sorted(set(found))
        assert len(found) >= 4

    run(registry, body)


def test_two_jobs_and_a_one_shot_of_one_time_fire_in_the_order_they_were_set() -> None:
    async def body(world: World) -> None:
        await world.call("every", "z", 60, "note", ["first"], {})
        await world.call("after", 60, "note", "second")
        await world.call("every", "a", 60, "note", ["third"], {})
        await world.pass_by(61)
        assert (await world.call("book"))["notes"] == ["first", "second", "third"]

    run(registry, body)
