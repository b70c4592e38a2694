"""What the driver suite of RivetKit asks of sleep and destroy; see tests/PARITY.md."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Actor, Context, action, setup
from tests.server.clock import sweep
from tests.server.conftest import Start
from tests.server.outcomes import code_of
from tests.server.peers import attach, call_on
from tests.server.probe import activation_of, until, until_waiting
from tests.server.sleepers import Counts, Plain, asleep, awake, spin, started, until_idle
from tests.server.stage import Stage, stage, tasks
from tests.server.virtual import World, run


class Announcer(Actor[Counts]):
    """Says good night to all who listen and to each connection."""

    state = Counts

    async def create_vars(self, c: Context[Counts]) -> list[str]:
        return []

    async def on_wake(self, c: Context[Counts]) -> None:
        c.state.wakes += 1

    async def on_sleep(self, c: Context[Counts]) -> None:
        c.state.sleeps += 1
        c.broadcast("asleep", c.state.sleeps)
        for conn in c.conns:
            conn.send("night", c.state.sleeps)

    @action
    async def doze(self, c: Context[Counts]) -> None:
        c.sleep()

    @action
    async def counts(self, c: Context[Counts]) -> list[int]:
        return [c.state.wakes, c.state.sleeps, len(c.conns)]

    @action
    async def remember(self, c: Context[Counts], what: str) -> list[str]:
        c.vars.append(what)
        return list(c.vars)

    @action
    async def destroy_and_send(self, c: Context[Counts], times: int) -> None:
        c.abort_signal  # noqa: B018 - somebody has asked for it
        for _ in range(times):
            c.send(Announcer, ["other"], "counts")
        c.destroy()


class Worker(Plain):
    """Does in its background, or in on_sleep, what the test says."""

    async def on_wake(self, c: Context[Counts]) -> None:
        await super().on_wake(c)
        c.vars["name"] = "kept"

    async def on_sleep(self, c: Context[Counts]) -> None:
        stage.log.append("sleep")
        c.state.sleeps += 1
        what = stage.kept.pop("in on_sleep", None)
        if what is not None:
            c.wait_until(getattr(self, f"_{what}")(c))

    async def on_destroy(self, c: Context[Counts]) -> None:
        stage.log.append("destroy")

    @action
    async def begin(self, c: Context[Counts], kind: str, what: str) -> None:
        getattr(c, kind)(getattr(self, f"_{what}")(c))

    async def _announce(self, c: Context[Counts]) -> None:
        await c.abort_signal.wait()
        async with c.turn():
            c.broadcast("last words", 1)

    async def _remember(self, c: Context[Counts]) -> None:
        await until(lambda: "sleep" in stage.log)
        await stage.pause("remembering")
        stage.log.append(f"vars {c.vars['name']}")

    async def _fail(self, c: Context[Counts]) -> None:
        await stage.pause("failing")
        raise ValueError("mine")

    async def _nested(self, c: Context[Counts]) -> None:
        await stage.pause("outer")
        c.keep_awake(stage.pause("inner"))

    async def _write(self, c: Context[Counts]) -> None:
        for number in range(1_000_000):
            async with c.turn():
                await c.kv.put(str(number), "x")
                c.state.calls += 1
            stage.kept["written"] = number + 1
            await asyncio.sleep(0)

    @action
    async def found(self, c: Context[Counts]) -> list[Any]:
        return [c.state.calls, len(await c.kv.list())]


class Finished(Worker):
    """Its run is over at once."""

    async def run(self, c: Context[Counts]) -> None:
        stage.log.append("run")


class Late(Plain):
    """Slow to start."""

    async def on_create(self, c: Context[Counts], input: None) -> None:
        await stage.pause("created")
        stage.log.append("created")

    async def on_destroy(self, c: Context[Counts]) -> None:
        stage.log.append("destroy")

    async def on_sleep(self, c: Context[Counts]) -> None:
        stage.log.append("sleep")


registry = setup(use={"announcer": Announcer, "worker": Worker, "finished": Finished, "late": Late})


async def test_on_sleep_tells_subscribers_and_connections(start: Start, stage: Stage) -> None:
    server, client = await started(start, registry)
    peer = await attach(server, "announcer", "a")
    for number in (1, 2):
        await call_on(server, peer, "doze")
        await asleep(server, "announcer", "a")
        await peer.until_said(number)

    # The connection went on through both sleeps, and was told of being open once.
    assert peer.heard == ["opening", "connected", ("night", 1), ("night", 2)]
    assert await call_on(server, peer, "counts") == [3, 2, 1]
    events = client.get(Announcer, ["a"]).events("asleep", from_sequence=1)
    assert [(await anext(events)).args for _ in range(2)] == [(1,), (2,)]


async def test_a_connection_that_closes_during_the_sleep_is_gone_afterwards(
    start: Start, stage: Stage
) -> None:
    server, _ = await started(start, registry)
    old = await attach(server, "announcer", "a")
    await call_on(server, old, "doze")
    await asleep(server, "announcer", "a")

    await old.open_link.disconnect("")

    new = await attach(server, "announcer", "a")
    assert (await call_on(server, new, "counts"))[2] == 1


async def test_vars_are_fresh_after_a_destroy(start: Start, stage: Stage) -> None:
    _, client = await started(start, registry)
    actor: Any = client.get_or_create(Announcer, ["a"])
    assert await actor.remember("old") == ["old"]

    await client.destroy(Announcer, ["a"])

    assert await actor.remember("new") == ["new"]


async def test_a_destroy_that_fails_at_its_commit_puts_to_sleep(start: Start, stage: Stage) -> None:
    server, client = await started(start, registry, outbox_rows_max=1)
    actor: Any = client.get_or_create(Announcer, ["a"])

    assert await code_of(actor.destroy_and_send(2)) == "outbox.full"

    # What was told to stop stops; the actor is kept, and wakes anew.
    await asleep(server, "announcer", "a")
    assert (await actor.counts())[:2] == [2, 1]


# What work does during a sleep


async def test_work_tells_of_its_end_before_the_actor_is_asleep(start: Start, stage: Stage) -> None:
    server, client = await started(start, registry)
    heard: list[int] = []
    async with client.get_or_create(Worker, ["a"]).connect() as conn:
        conn.on("last words", heard.append)
        await conn.begin("wait_until", "announce")
        await conn.doze()
        await asleep(server, "worker", "a")
        await until(lambda: heard == [1])
        assert (await conn.call())[0] == 2


async def test_work_that_on_sleep_leaves_behind_still_has_vars(start: Start, stage: Stage) -> None:
    server, client = await started(start, registry)
    stage.kept["in on_sleep"] = "remember"
    worker = client.get_or_create(Worker, ["a"])
    await worker.doze()
    await stage.reached("remembering")
    # on_sleep is over, the grace is not.
    await until(lambda: not server.node.catalog.with_work()[0].mailbox.running)
    stage.let("remembering")
    await asleep(server, "worker", "a")

    assert stage.log == ["wake a", "sleep", "vars kept"]


async def test_work_that_fails_during_a_sleep_holds_nothing_up(
    start: Start, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    server, client = await started(start, registry)
    worker = client.get_or_create(Worker, ["a"])
    await worker.begin("wait_until", "fail")
    await worker.doze()
    await until(lambda: "sleep" in stage.log)
    assert awake(server, "worker", "a")
    stage.let("failing")
    await asleep(server, "worker", "a")

    assert "wait_until of default/worker/['a'] failed" in caplog.text
    assert await worker.call() == [2, 1, 2]


async def test_kept_work_that_keeps_more_delays_a_sleep_that_nobody_asked_for(
    start: Start, stage: Stage
) -> None:
    server, client = await started(start, registry)
    await client.get_or_create(Worker, ["a"]).begin("keep_awake", "nested")
    await until_idle(server, "worker", "a")
    for point in ("outer", "inner"):
        await stage.reached(point)
        sweep(server, later_s=1e6)
        await spin()
        assert stage.log == ["wake a"]
        stage.let(point)
    await until(lambda: not activation_of(server, "worker", "a").background.keeping)  # type: ignore[union-attr]

    sweep(server, later_s=1e6)

    await asleep(server, "worker", "a")
    assert stage.log == ["wake a", "sleep"]


async def test_writing_that_a_sleep_cuts_short_has_written_what_it_says(
    start: Start, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    server, client = await started(start, registry, sleep_grace_s=0.05)
    worker = client.get_or_create(Worker, ["a"])
    await worker.begin("wait_until", "write")
    await worker.doze()
    await asleep(server, "worker", "a")

    assert "wait_until (1) did not end within 0.05 s and is cancelled" in caplog.text
    written = stage.kept["written"]
    # A turn may have committed whose work was cancelled before it could say so.
    found = await worker.found()
    assert found[0] - 1 == found[1]
    assert found[1] in (written, written + 1)


# Timers around a sleep


class Napper(Actor[list[str]]):
    """Sets a timer when it goes to sleep, and takes its time for it."""

    state = list

    async def on_wake(self, c: Context[list[str]]) -> None:
        c.state.append("wake")

    async def on_sleep(self, c: Context[list[str]]) -> None:
        c.state.append("sleep")
        if c.state.count("sleep") == 1:
            c.schedule.after(100, "note", "set by on_sleep")
        await asyncio.sleep(10)
        c.state.append("asleep")

    @action
    async def note(self, c: Context[list[str]], text: str) -> None:
        c.state.append(text)

    @action
    async def doze(self, c: Context[list[str]]) -> None:
        c.schedule.after(5, "note", "due during on_sleep")
        c.sleep()

    @action(read_only=True)
    def lines(self, c: Context[list[str]]) -> list[str]:
        return c.state


naps = setup(use={"napper": Napper})


def test_a_timer_that_is_due_during_a_sleep_fires_once_after_it() -> None:
    async def body(world: World) -> None:
        await world.call("doze", name="napper")
        await world.pass_by(9)
        await world.pass_by(2)
        assert await world.call("lines", name="napper") == [
            *("wake", "sleep", "asleep"),
            *("wake", "due during on_sleep"),
        ]

    run(naps, body)


def test_a_timer_that_on_sleep_sets_wakes_the_actor_once() -> None:
    async def body(world: World) -> None:
        await world.call("doze", name="napper")
        await world.pass_by(1000)
        lines = await world.call("lines", name="napper")
        assert lines.count("set by on_sleep") == 1
        before = lines.index("set by on_sleep")
        assert lines[before - 1] == "wake"

    run(naps, body)


# The start, and the end after run


@pytest.mark.parametrize("how", ["destroy", "stop"])
async def test_what_ends_an_actor_waits_until_it_has_started(
    start: Start, stage: Stage, how: str
) -> None:
    server, client = await started(start, registry)
    calling = asyncio.create_task(client.get_or_create(Late, ["a"]).call())
    async with tasks(calling):
        await stage.reached("created")
        ending = client.destroy(Late, ["a"]) if how == "destroy" else server.stop()
        end = asyncio.create_task(ending)
        if how == "destroy":
            await until_waiting(server, 1, "late", "a")
        else:
            await until(lambda: server.node.draining)
        await spin()
        assert stage.log == []

        stage.let("created")

        await end
        assert await calling == [1, 0, 1]
    assert stage.log == ["created", "wake a", {"destroy": "destroy", "stop": "sleep"}[how]]


@pytest.mark.parametrize("how", ["destroy", "doze"])
async def test_one_whose_run_is_over_ends_with_its_hook_once(
    start: Start, stage: Stage, how: str
) -> None:
    server, client = await started(start, registry)
    actor = client.get_or_create(Finished, ["a"])
    await actor.call()
    await until(lambda: "run" in stage.log)
    await spin()

    if how == "destroy":
        await client.destroy(Finished, ["a"])
    else:
        await actor.doze()
        await asleep(server, "finished", "a")

    assert stage.log == ["wake a", "run", {"destroy": "destroy", "doze": "sleep"}[how]]


async def test_ten_lives_of_a_key_each_end(start: Start, stage: Stage) -> None:
    _, client = await started(start, registry)
    ids = set()
    for _ in range(10):
        actor: Any = await client.create(Announcer, ["a"])
        assert (await actor.counts())[:2] == [1, 0]
        ids.add(await actor.resolve())
        await client.destroy(Announcer, ["a"])
        assert await code_of(client.get(Announcer, ["a"]).counts()) == "actor.not_found"
    for actor_id in ids:
        assert await code_of(client.get_for_id(Announcer, actor_id).counts()) == "actor.not_found"
    assert len(ids) == 10
