"""keep_awake, wait_until and the abort signal: work that outlives its turn, but not its actor."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

import pytest

from holdfast import ActorError, Client, Context, HoldfastError, UserError, action, setup
from holdfast_server.app import Server
from tests.server.clock import sweep
from tests.server.conftest import Start
from tests.server.outcomes import code_of
from tests.server.probe import until
from tests.server.sleepers import (
    Counts,
    Plain,
    asleep,
    awake,
    spin,
    started,
    until_calls_wait,
    until_idle,
)
from tests.server.stage import Stage, stage, tasks


class Worker(Plain):
    """Begins work in `kind`: "keep_awake" or "wait_until"."""

    async def on_wake(self, c: Context[Counts]) -> None:
        await super().on_wake(c)
        c.vars["signal"] = c.abort_signal
        if stage.kept.get("in") == "on_wake":
            c.wait_until(self._work(c, "woken"))

    async def on_sleep(self, c: Context[Counts]) -> None:
        stage.log.append("sleep")
        c.state.sleeps += 1
        if stage.kept.get("in") == "on_sleep":
            c.wait_until(self._nested(c))

    @action
    async def begin(self, c: Context[Counts], kind: str, point: str) -> None:
        getattr(c, kind)(self._work(c, point))

    @action
    async def begin_many(self, c: Context[Counts], kind: str, count: int) -> None:
        for _ in range(count):
            getattr(c, kind)(stage.pause("many"))

    @action
    async def begin_and_fail(self, c: Context[Counts], point: str) -> None:
        c.wait_until(self._work(c, point))
        raise UserError("no", code="no")

    @action
    async def begin_failing(self, c: Context[Counts], kind: str) -> None:
        async def fail() -> None:
            raise ValueError("mine")

        getattr(c, kind)(fail())

    @action
    async def await_failing(self, c: Context[Counts]) -> str:
        async def fail() -> int:
            raise ValueError("mine")

        kept: Awaitable[int] = c.keep_awake(fail())
        try:
            return str(await kept)
        except ValueError as error:
            return str(error)

    @action
    async def result(self, c: Context[Counts]) -> list[Any]:
        async def nothing() -> None:
            return None

        async def number() -> int:
            return 7

        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        future.set_result("future")
        kept = c.keep_awake(number())
        return [await kept, await kept, await c.keep_awake(nothing()), await c.keep_awake(future)]

    @action
    async def begin_nested(self, c: Context[Counts], kind: str) -> None:
        getattr(c, kind)(self._nested(c, kind))

    @action
    async def begin_wrong(self, c: Context[Counts]) -> None:
        c.wait_until(3)  # type: ignore[arg-type]

    @action(thread=True)
    def begin_in_thread(self, c: Context[Counts]) -> str:
        try:
            c.wait_until(stage.pause("x"))
        except HoldfastError as error:
            return str(error)
        return ""

    @action
    async def aborted(self, c: Context[Counts]) -> list[bool]:
        before = c.abort_signal.aborted
        c.destroy()
        return [before, c.abort_signal.aborted]

    @action
    async def listen(self, c: Context[Counts]) -> None:
        c.vars["name"] = "kept"

        async def listener() -> None:
            await c.abort_signal.wait()
            stage.log.append(f"vars {c.vars['name']}")

        c.wait_until(listener())

    @action
    async def keep_context(self, c: Context[Counts]) -> None:
        stage.kept["context"] = c

    async def _work(self, c: Context[Counts], point: str) -> None:
        try:
            await stage.pause(point)
        except asyncio.CancelledError:
            stage.log.append(f"cancelled {point}")
            raise
        async with c.turn():
            c.state.calls += 10
        stage.log.append(f"done {point}")

    async def _nested(self, c: Context[Counts], kind: str = "wait_until") -> None:
        await stage.pause("outer")
        getattr(c, kind)(self._work(c, "inner"))


registry = setup(use={"worker": Worker})


async def working(start: Start, **settings: object) -> tuple[Server, Client, Worker]:
    server, client = await started(start, registry, **settings)
    return server, client, client.get_or_create(Worker, ["a"])


async def test_keep_awake_does_and_wait_until_does_not(start: Start, stage: Stage) -> None:
    server, client, worker = await working(start)
    other = client.get_or_create(Worker, ["b"])
    await worker.begin("keep_awake", "kept")
    await other.begin("wait_until", "waited")
    await stage.reached("kept")
    await stage.reached("waited")
    for key in ("a", "b"):
        await until_idle(server, "worker", key)

    sweep(server, later_s=31)
    await until(lambda: "sleep" in stage.log)
    await spin()

    # The one stays awake; the other sleeps, and waits for its work.
    calling = asyncio.create_task(other.call())
    async with tasks(calling):
        await until_calls_wait(server, 1, "worker", "b")
        assert await worker.call() == [1, 0, 1]
        stage.let("waited", "kept")
        # What the work did in a turn of its own is there.
        assert await calling == [2, 1, 11]
    await until(lambda: "done kept" in stage.log)
    assert await worker.call() == [1, 0, 12]


async def test_the_timeout_begins_when_kept_work_ends(start: Start, stage: Stage) -> None:
    server, _, worker = await working(start)
    await worker.begin("keep_awake", "kept")
    await until_idle(server, "worker", "a")
    idle_since = server.node.catalog.with_work()[0].last_used

    stage.let("kept")
    await until(lambda: "done kept" in stage.log)
    await until_idle(server, "worker", "a")
    await spin()

    assert server.node.catalog.with_work()[0].last_used > idle_since
    sweep(server, later_s=31)
    await asleep(server, "worker", "a")


async def test_kept_work_delays_a_sleep_that_was_asked_for(start: Start, stage: Stage) -> None:
    server, _, worker = await working(start)
    await worker.begin_nested("keep_awake")
    await worker.doze()
    await until(lambda: "sleep" in stage.log)
    stage.let("outer")
    await stage.reached("inner")
    assert awake(server, "worker", "a")

    stage.let("inner")

    await asleep(server, "worker", "a")
    assert await worker.call() == [2, 1, 12]


@pytest.mark.parametrize("where", ["action", "on_wake", "on_sleep"])
async def test_wait_until_is_drained(start: Start, stage: Stage, where: str) -> None:
    stage.kept["in"] = where
    server, _, worker = await working(start)
    if where == "action":
        await worker.begin_nested("wait_until")
    await worker.doze()
    await until(lambda: "sleep" in stage.log)
    points = {"action": ["outer", "inner"], "on_wake": ["woken"], "on_sleep": ["outer", "inner"]}
    for point in points[where]:
        await stage.reached(point)
        assert awake(server, "worker", "a")
        stage.let(point)
    await asleep(server, "worker", "a")

    stage.kept["in"] = ""
    assert await worker.call() == [2, 1, 12]


@pytest.mark.parametrize("kind", ["keep_awake", "wait_until"])
async def test_work_beyond_the_grace_is_cancelled(
    start: Start, stage: Stage, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    _, _, worker = await working(start, sleep_grace_s=0.05)
    await worker.begin(kind, "stuck")
    await stage.reached("stuck")
    await worker.doze()

    assert await worker.call() == [2, 1, 2]

    assert stage.log == ["wake a", "sleep", "cancelled stuck", "wake a"]
    assert f"{kind} (1) did not end within 0.05 s" in caplog.text


@pytest.mark.parametrize("kind", ["keep_awake", "wait_until"])
async def test_a_failure_is_logged_and_holds_nothing_up(
    start: Start, stage: Stage, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    server, _, worker = await working(start)
    await worker.begin_failing(kind)
    await until(lambda: "failed" in caplog.text)

    [record] = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert record.getMessage() == f"{kind} of default/worker/['a'] failed"
    assert record.exc_info is not None
    await worker.doze()
    await asleep(server, "worker", "a")


async def test_a_failure_that_is_awaited_is_whose_awaits_it(
    start: Start, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    _, _, worker = await working(start)
    assert await worker.await_failing() == "mine"
    await spin()
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


async def test_keep_awake_gives_the_result(start: Start, stage: Stage) -> None:
    _, _, worker = await working(start)
    assert await worker.result() == [7, 7, None, "future"]


async def test_the_work_of_a_failed_turn_goes_on(start: Start, stage: Stage) -> None:
    _, _, worker = await working(start)
    assert await code_of(worker.begin_and_fail("point")) == "user.no"
    stage.let("point")
    await until(lambda: "done point" in stage.log)
    assert await worker.call() == [1, 0, 11]


async def test_only_so_many_tasks(start: Start, stage: Stage) -> None:
    server, _, worker = await working(start, background_tasks_max=3)
    await worker.begin_many("wait_until", 2)
    await worker.begin_many("keep_awake", 1)

    # The caller may try again, but not this turn: it is the actor's own affair.
    assert await code_of(worker.begin_many("keep_awake", 1)) == "internal.internal_error"

    stage.let("many")
    await until(lambda: not server.node.catalog.with_work()[0].background.tasks)  # type: ignore[union-attr]
    await worker.begin_many("keep_awake", 3)


async def test_what_is_no_awaitable_is_refused(start: Start, stage: Stage) -> None:
    _, _, worker = await working(start)
    assert await code_of(worker.begin_wrong()) == "internal.internal_error"
    assert "use c.wait" in await worker.begin_in_thread()


async def test_vars_are_there_for_who_listens_to_the_signal(start: Start, stage: Stage) -> None:
    server, _, worker = await working(start)
    for _ in range(3):
        await worker.listen()
        await worker.doze()
        await asleep(server, "worker", "a")
    assert stage.log.count("vars kept") == 3


async def test_destroy_sets_the_signal_when_it_begins(start: Start, stage: Stage) -> None:
    _, _, worker = await working(start)
    await worker.listen()
    assert await worker.aborted() == [False, False]
    await until(lambda: "vars kept" in stage.log)


async def test_work_of_a_destroyed_actor_has_the_grace(start: Start, stage: Stage) -> None:
    _, client, worker = await working(start, sleep_grace_s=0.05)
    await worker.begin("wait_until", "stuck")
    await stage.reached("stuck")
    await client.destroy(Worker, ["a"])

    # The next actor of the key does not wait for it.
    assert await worker.call() == [1, 0, 1]
    await until(lambda: "cancelled stuck" in stage.log)
    assert await worker.call() == [1, 0, 2]


async def test_a_context_of_an_actor_that_sleeps_is_refused(start: Start, stage: Stage) -> None:
    server, client, worker = await working(start)
    await worker.keep_context()
    context: Any = stage.kept["context"]
    await worker.doze()
    await asleep(server, "worker", "a")

    with pytest.raises(ActorError) as refusal:
        context.wait_until(spin())
    assert refusal.value.reason == "ACTOR_STOPPING"
    with pytest.raises(ActorError) as refusal:
        async with context.turn():
            pass
    assert refusal.value.reason == "ACTOR_STOPPING"
    # A second sleep is none, and the signal stays set.
    context.sleep()
    assert context.abort_signal.aborted

    await worker.call()
    await client.destroy(Worker, ["a"])
    with pytest.raises(ActorError) as refusal:
        context.keep_awake(spin())
    assert refusal.value.reason == "ACTOR_STOPPING"
