"""Schedules, jobs and what expires: months of them in a moment, each at its own time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from holdfast import Actor, Context, action, setup
from holdfast.testing import harness

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
trouble: dict[str, int] = {}
ended: list[str] = []


@dataclass
class Diary:
    lines: list[str] = field(default_factory=list)


class Planner(Actor[Diary]):
    state = Diary

    @action
    async def after(self, c: Context[Diary], days: float, text: str) -> str:
        return c.schedule.after(timedelta(days=days), "note", text)

    @action
    async def weekly(self, c: Context[Diary]) -> None:
        c.cron.set("report", "0 9 * * 1", "note", "report", timezone="Europe/Berlin")

    @action
    async def note(self, c: Context[Diary], text: str) -> None:
        await asyncio.sleep(1)
        if trouble.get(text, 0) > 0:
            trouble[text] -= 1
            raise RuntimeError("not now")
        c.state.lines.append(f"{text} {c.now():%m-%d %H:%M:%S}")

    @action
    async def keep(self, c: Context[Diary], key: str, hours: float) -> None:
        await c.kv.put(key, "kept", ttl=timedelta(hours=hours))

    @action(read_only=True)
    async def kept(self, c: Context[Diary], key: str) -> bool:
        return await c.kv.get(key) is not None

    @action(read_only=True)
    def lines(self, c: Context[Diary]) -> list[str]:
        return c.state.lines


class Ticker(Actor[Diary]):
    """Does things by itself while it is awake."""

    state = Diary
    sleep_timeout_s = 30

    async def run(self, c: Context[Diary]) -> None:
        for _ in range(3):
            await asyncio.sleep(10)
            ended.append(f"tick {c.now():%H:%M:%S}")

    async def on_sleep(self, c: Context[Diary]) -> None:
        await asyncio.sleep(2)
        ended.append(f"slept {c.now():%H:%M:%S}")

    @action
    async def wake(self, c: Context[Diary]) -> None: ...


registry = setup(use={"planner": Planner, "ticker": Ticker})


@pytest.fixture(autouse=True)
def quiet() -> None:
    trouble.clear()
    ended.clear()


async def test_each_fires_at_its_own_time_on_a_sleeping_actor() -> None:
    async with harness(registry, start=START) as h:
        planner = h.client.get_or_create(Planner, ["a"])
        for days, text in ((30.0, "month"), (1.5, "soon"), (300.0, "late")):
            await planner.after(days, text)

        await h.advance(days=299)
        assert await planner.lines() == ["soon 03-03 00:00:01", "month 03-31 12:00:01"]
        await h.advance(days=1, seconds=1)
        assert (await planner.lines())[-1] == "late 12-26 12:00:01"


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
async def test_a_year_of_a_weekly_job_with_crashes_between(store: str) -> None:
    async with harness(registry, start=START, store=store) as h:
        planner = h.client.get_or_create(Planner, ["a"])
        await planner.weekly()
        for _ in range(4):
            await h.advance(weeks=13)
            await h.crash()

        lines = await planner.lines()
        assert len(lines) == 52
        # Nine in Berlin, in winter and in summer.
        assert lines[0] == "report 03-02 08:00:01"
        assert lines[20] == "report 07-20 07:00:01"


async def test_a_try_that_fails_is_tried_again_by_the_test_clock() -> None:
    trouble["bill"] = 3
    async with harness(registry, start=START) as h:
        planner = h.client.get_or_create(Planner, ["a"])
        await planner.after(1, "bill")

        await h.advance(days=1, minutes=1)

        # Four tries of a second each, after pauses of 1, 2 and 4.
        assert await planner.lines() == ["bill 03-02 12:00:11"]


@pytest.mark.parametrize("fault", ["crash_after_commit", "crash_before_commit"])
async def test_a_crash_around_the_commit_of_a_fire_leaves_its_effect_once(fault: str) -> None:
    async with harness(registry, start=START) as h:
        planner = h.client.get_or_create(Planner, ["a"])
        await planner.after(1, "bill")
        getattr(h.faults, fault)(planner, Planner.note)

        await h.advance(days=1, minutes=1)

        assert h.crashes == 1
        assert len(await planner.lines()) == 1


async def test_a_wall_clock_that_is_put_forward_makes_due_and_back_repeats_nothing() -> None:
    async with harness(registry, start=START) as h:
        planner = h.client.get_or_create(Planner, ["a"])
        await planner.after(20, "bill")
        await h.step_wall(days=21)
        await h.advance(seconds=11)
        assert len(await planner.lines()) == 1
        await h.step_wall(days=-21)
        await h.advance(days=40)
        assert len(await planner.lines()) == 1


async def test_entries_expire_by_the_test_clock() -> None:
    async with harness(registry, start=START) as h:
        planner = h.client.get_or_create(Planner, ["a"])
        await planner.keep("k", 24 * 30)
        await h.advance(days=29, hours=23)
        assert await planner.kept("k")
        await h.advance(hours=1)
        assert not await planner.kept("k")


async def test_what_an_actor_does_by_itself_obeys_the_test_clock() -> None:
    async with harness(registry, start=START) as h:
        await h.client.get_or_create(Ticker, ["a"]).wake()

        await h.advance(minutes=5)

        assert ended[:3] == ["tick 12:00:10", "tick 12:00:20", "tick 12:00:30"]
        assert len(ended) == 4
        assert ended[3].startswith("slept 12:01:0")
