"""Seeded random schedules, cron jobs, crashes, faults and clock jumps against a small model.

The model knows of each one-shot whether it must, may or must not have taken effect, and
of each job that every tick since it was set took effect once, failed, or was recorded as
skipped. HOLDFAST_TIMER_SEEDS says how many seeds are tried.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from tests.server import timer_actors
from tests.server.timer_actors import registry, trouble
from tests.server.virtual import World, run

SEEDS = int(os.environ.get("HOLDFAST_TIMER_SEEDS", "12"))
STEPS = 80
ACTORS = ("a", "b", "c")
# Seconds between the times of a job, and the cron expression of one that has one.
CADENCES = ((5, ""), (7, ""), (30, ""), (60, "* * * * *"), (120, "*/2 * * * *"))
UNKNOWN = (errors.COMMIT_UNKNOWN, errors.STORE_UNAVAILABLE)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    timer_actors.clear()
    yield
    timer_actors.clear()


@dataclass
class OneShot:
    """What a one-shot is expected to do: `least` to `most` effects."""

    actor: str
    text: str
    schedule_id: str
    least: int
    most: int = 1


@dataclass
class Job:
    actor: str
    name: str
    interval: int
    # Whether its setting was acknowledged.
    certain: bool
    deleted: bool = False


@dataclass
class Model:
    one_shots: list[OneShot] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)


class Driver:
    """Does one random thing after another, and remembers what it must come to."""

    def __init__(self, world: World, rng: Random) -> None:
        self.world = world
        self.rng = rng
        self.model = Model()
        self._count = 0
        # Where the clock may stand, and where it stood at most. A day's ticks are too
        # many to be counted in a history, so that not every seed jumps so far.
        self._jumps = rng.choice(((0, 0, 40, -40), (0, 100, -100), (0, 86_400, -86_400)))
        self._furthest_s = 0
        # Where nothing dies, nothing is taken up anew that was lost before.
        self._deaths = rng.choice((1, 1, 0))

    async def step(self) -> None:
        choice = self.rng.choices(
            (
                self.set_one_shot,
                self.cancel,
                self.set_job,
                self.delete_job,
                self.wait,
                self.crash,
                self.fail_store,
                self.jump,
                self.sleep_through,
            ),
            (30, 10, 6, 2, 30, 6 * self._deaths, 8 * self._deaths, 6, 3 * self._deaths),
        )[0]
        await choice()

    async def set_one_shot(self) -> None:
        self._count += 1
        actor, text = self.rng.choice(ACTORS), f"once-{self._count}"
        act = self.rng.choice(("note", "flaky", "flaky", "halves"))
        if act == "flaky":
            trouble[text] = self.rng.randint(0, 3)
        delay = self.rng.choice((0, 0.05, 1, self.rng.uniform(0, 300)))
        one = OneShot(actor, text, "", least=1)
        self.model.one_shots.append(one)
        try:
            one.schedule_id = await self.world.call("after", delay, act, text, key=actor)
        except HoldfastError as error:
            self.check_unknown(error)
            one.least = 0
        if act == "halves":
            # Its first half may have committed when a crash cut the second one off.
            one.most = 2

    @staticmethod
    def check_unknown(error: HoldfastError) -> None:
        """Only a failing store may keep something from being set."""
        assert error.reason in UNKNOWN

    async def cancel(self) -> None:
        known = [each for each in self.model.one_shots if each.schedule_id]
        if not known:
            return
        one = self.rng.choice(known[-10:])
        try:
            done = await self.world.call("cancel", one.schedule_id, key=one.actor)
        except HoldfastError as error:
            self.check_unknown(error)
            one.least = 0
            return
        if done:
            # Once gone it stays gone, and had not fired.
            assert not await self.effects(one)
            one.least = one.most = 0

    async def effects(self, one: OneShot) -> int:
        notes: list[str] | None = None
        while notes is None:
            try:
                notes = (await self.world.call("book", key=one.actor))["notes"]
            except HoldfastError as error:
                self.check_unknown(error)
        return sum(note.split(".")[0] == one.text for note in notes)

    async def set_job(self) -> None:
        self._count += 1
        interval, expression = self.rng.choice(CADENCES)
        job = Job(self.rng.choice(ACTORS), f"job-{self._count}", interval, True)
        options: dict[str, Any] = {
            "missed": self.rng.choice(("run_once", "skip", "run_all")),
            "missed_max": self.rng.randint(1, 5),
            "overlap": self.rng.choice(("skip", "queue")),
            "history_max": 1000,
        }
        act = self.rng.choice(("note", "flaky"))
        if act == "flaky":
            trouble[job.name] = self.rng.randint(0, 6)
        self.model.jobs.append(job)
        try:
            await self.world.call(
                "cron" if expression else "every",
                *(job.name, expression or interval, act, [job.name], options),
                key=job.actor,
            )
        except HoldfastError as error:
            self.check_unknown(error)
            job.certain = False

    async def delete_job(self) -> None:
        if self.model.jobs:
            job = self.rng.choice(self.model.jobs)
            try:
                await self.world.call("manage", "delete", job.name, key=job.actor)
                job.deleted = True
            except HoldfastError:
                job.certain = False

    async def wait(self) -> None:
        await self.world.pass_by(self.rng.choice((0, 0.01, 1, 5, self.rng.uniform(0, 90))))

    async def crash(self) -> None:
        self.world.crash()

    async def sleep_through(self) -> None:
        """The server is down for a while."""
        self.world.node.timers.stop()
        await self.world.pass_by(self.rng.uniform(10, 200))
        self.world.crash()

    async def fail_store(self) -> None:
        self.world.store.unsynced_kept = self.rng.choice((0, 0, 1))
        self.world.store.fail_after(self.rng.randint(0, 4))

    async def jump(self) -> None:
        ahead_s = self.rng.choice(self._jumps)
        self._furthest_s = max(self._furthest_s, ahead_s)
        self.world.set_clock(ahead_s)

    # The end

    async def settle(self) -> None:
        """Nothing fails any more, and everything has the time to fire."""
        for text in trouble:
            trouble[text] = 0
        self.world.store.fail_after(1_000_000)
        await self.world.pass_by(2)
        # As far as the clock has been, so that nothing waits for it.
        self.world.set_clock(self._furthest_s)
        await self.world.pass_by(700)

    async def check(self) -> None:
        books = {actor: await self.world.call("book", key=actor) for actor in ACTORS}
        for one in self.model.one_shots:
            found = await self.effects(one)
            assert one.least <= found <= one.most, (one, found)
        for actor, book in books.items():
            twice = [fire for fire, count in Counter(book["fires"]).items() if count > 2]
            assert not twice, (actor, twice)
        for job in self.model.jobs:
            await self.check_job(job, books[job.actor])
        assert await self.world.node.schedules.list_dead("default", b"", 10) == ([], b"") or (
            self.only_interrupted(await self.world.node.schedules.list_dead("default", b"", 1000))
        )

    @staticmethod
    def only_interrupted(letters: Any) -> bool:
        found, _ = letters
        return all(
            letter.record.last_error_code == "schedule.interrupted"
            and letter.record.action == "halves"
            for letter in found
        )

    async def check_job(self, job: Job, book: dict[str, Any]) -> None:
        history = await self.world.call("history", job.name, 1000, key=job.actor)
        if job.deleted or not history:
            assert job.deleted or not job.certain
            return
        # The ticks that took effect are those that the history says, each once.
        jobs_fires = [row for row in history if row[0] == "ok"]
        # Notes are more than fires: a child of a flaky one has a fire of its own.
        effects = Counter(
            time for note, time in zip(fired(book), book["times"], strict=True) if note == job.name
        )
        assert effects == Counter(row[1] for row in jobs_fires), job
        assert max(effects.values()) == 1
        shown = await self.world.call("job", job.name, key=job.actor)
        if any(row[3] >= 95 for row in history):
            return  # at most 100 are counted
        ticks = sum(1 if row[0] != "skipped" else 0 for row in history) + sum(
            row[3] for row in history
        )
        first = min(row[1] for row in history)
        last = shown["next"] - job.interval
        # What came before the first tick in the history is in its `skipped`.
        earliest = (
            first
            - job.interval
            * next(row[3] for row in history if row[1] == first and row[0] != "skipped")
            if not any(row[0] == "skipped" and row[1] == first for row in history)
            else first
        )
        assert ticks == round((last - earliest) / job.interval) + 1, (job, history)


def fired(book: dict[str, Any]) -> list[str]:
    """The notes of fires: in these tests every note is one."""
    notes: list[str] = book["notes"]
    return notes


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_fire_takes_effect_as_often_as_the_model_says(seed: int) -> None:
    async def body(world: World) -> None:
        driver = Driver(world, Random(seed))
        for _ in range(STEPS):
            await driver.step()
        await driver.settle()
        await driver.check()

    run(registry, body, seed=seed)
