"""A drain puts actors to sleep that have something to do before it; room does too."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from holdfast import Actor, Client, Context, action, setup
from tests.server.conftest import Start
from tests.server.probe import until
from tests.server.process import ServerProcess
from tests.server.sleepers import Counts, Plain, Sleeper, asleep, awake, spin, started, until_idle
from tests.server.stage import Stage, stage, tasks


class Worker(Sleeper):
    async def run(self, c: Context[Counts]) -> None:
        await c.abort_signal.wait()
        async with c.turn():
            c.state.calls += 100

    @action
    async def hold_and_call(self, c: Context[Counts], point: str) -> list[int]:
        await stage.pause(point)
        return await c.client.get_or_create(Sleeper, ["other"]).call()


class Text(Actor[list[str]]):
    state = list

    async def on_sleep(self, c: Context[list[str]]) -> None:
        stage.log.append(f"sleep {c.key[0]}")

    @action
    async def keep(self, c: Context[list[str]], point: str) -> None:
        c.keep_awake(stage.pause(point))

    @action
    async def write(self, c: Context[list[str]], length: int) -> int:
        c.state[:] = ["x" * length]
        return length


registry = setup(use={"worker": Worker, "sleeper": Sleeper, "plain": Plain})
texts = setup(use={"text": Text})


async def test_all_sleep_before_the_server_stops(start: Start, stage: Stage) -> None:
    server, client = await start(registry)
    keys = [str(number) for number in range(20)]
    for key in keys:
        await client.get_or_create(Worker, [key]).call()
    await client.get_or_create(Sleeper, ["x"]).call()

    await server.stop()

    assert sorted(line for line in stage.log if line.startswith("sleep")) == sorted(
        f"sleep {key}" for key in [*keys, "x"]
    )
    _, client = await start(registry)
    assert await client.get(Worker, ["7"]).call() == [2, 1, 102]
    assert await client.get(Sleeper, ["x"]).call() == [2, 1, 2]


async def test_the_busy_sleep_when_their_calls_have_ended(start: Start, stage: Stage) -> None:
    server, client = await start(registry)
    await client.get_or_create(Sleeper, ["other"]).call()
    holding = asyncio.create_task(client.get_or_create(Worker, ["a"]).hold_and_call("point"))
    async with tasks(holding):
        await stage.reached("point")
        stopping = asyncio.create_task(server.stop())
        # Who is idle sleeps at once; the call under way wakes it again.
        await until(lambda: "sleep other" in stage.log)
        stage.let("point")
        assert await holding == [2, 1, 2]
        await stopping
    assert stage.log.count("sleep other") == 2
    assert stage.log.count("sleep a") == 1
    _, client = await start(registry)
    assert await client.get(Sleeper, ["other"]).call() == [3, 2, 3]
    assert await client.get(Worker, ["a"]).call() == [2, 1, 101]


async def test_on_sleep_that_hangs_does_not_hold_up_a_drain(
    start: Start, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    server, client = await start(registry, drain_timeout_s=0.2)
    await client.get_or_create(Sleeper, ["slow"]).call()
    await client.get_or_create(Sleeper, ["quick"]).call()

    await server.stop()

    assert "on_sleep of default/sleeper/['slow'] took too long" in caplog.text
    _, client = await start(registry)
    assert await client.get(Sleeper, ["slow"]).call() == [2, 0, 2]
    assert await client.get(Sleeper, ["quick"]).call() == [2, 1, 2]


_APP = """
from dataclasses import dataclass
from holdfast import Actor, Context, action, setup

class Sleeper(Actor[list]):
    state = list

    async def on_sleep(self, c: Context[list]) -> None:
        c.state.append("slept")

    @action
    async def call(self, c: Context[list]) -> list:
        c.state.append("called")
        return c.state

registry = setup(use={"sleeper": Sleeper})
"""


@pytest.mark.parametrize(
    ("number", "found"),
    [(signal.SIGTERM, ["called", "slept", "called"]), (signal.SIGKILL, ["called", "called"])],
)
async def test_a_terminated_process_says_good_night_and_a_killed_one_does_not(
    tmp_path: Path, number: signal.Signals, found: list[str]
) -> None:
    with ServerProcess(tmp_path, app=_APP) as server:
        async with Client(server.address) as client:
            await client.get_or_create("sleeper", ["a"]).action("call")
        server.signal(number)
        await asyncio.to_thread(server.wait)
    with ServerProcess(tmp_path, app=_APP) as server:
        async with Client(server.address) as client:
            assert await client.get("sleeper", ["a"]).action("call") == found


async def test_states_that_are_too_large_together_put_the_longest_idle_to_sleep(
    start: Start, stage: Stage
) -> None:
    server, client = await started(start, texts, activations_bytes_max=100_000)
    # Each state counts fourfold: three of these do not fit.
    for key in ("a", "b"):
        await client.get_or_create(Text, [key]).write(10_000)
    await client.get(Text, ["a"]).write(10_000)
    await until_idle(server, "text", "a")
    await until_idle(server, "text", "b")
    assert stage.log == []

    await client.get_or_create(Text, ["c"]).write(10_000)

    await asleep(server, "text", "b")
    await spin()
    assert stage.log == ["sleep b"]
    assert awake(server, "text", "a")
    assert awake(server, "text", "c")
    # One that shrinks, leaves or is destroyed gives its room back.
    await client.get(Text, ["a"]).write(1)
    await client.destroy(Text, ["c"])
    for key in ("b", "d"):
        assert await client.get_or_create(Text, [key]).write(9_000) == 9_000
    await spin()
    assert stage.log == ["sleep b"]


async def test_those_who_are_kept_awake_are_not_put_to_sleep_for_room(
    start: Start, stage: Stage
) -> None:
    server, client = await started(start, texts, activations_bytes_max=100_000)
    kept = client.get_or_create(Text, ["kept"])
    await kept.keep("working")
    for key in ("kept", "a", "b"):
        await client.get_or_create(Text, [key]).write(10_000)

    # The one that has been idle for longest has work: the next has to go.
    await asleep(server, "text", "a")
    await spin()
    assert stage.log == ["sleep a"]
    stage.let("working")
    await until_idle(server, "text", "kept")
    await client.get_or_create(Text, ["c"]).write(10_000)
    await until(lambda: len(stage.log) == 2)
    assert awake(server, "text", "c")


async def test_one_state_above_the_budget_is_served(start: Start, stage: Stage) -> None:
    server, client = await started(start, texts, activations_bytes_max=1000)
    for count in (5000, 6000):
        assert await client.get_or_create(Text, ["a"]).write(count) == count
        await asleep(server, "text", "a")
    assert stage.log == ["sleep a", "sleep a"]


async def test_who_makes_room_says_good_night(start: Start, stage: Stage) -> None:
    server, client = await started(start, activations_max=2)
    for key in ("a", "b", "c", "d", "e"):
        await client.get_or_create(Sleeper, [key]).call()
    await until(lambda: len(server.node.catalog) <= 2)
    await until(lambda: not len(server.node.sleeper))

    slept = [line for line in stage.log if line.startswith("sleep")]
    assert len(slept) == 3
    for key in ("a", "b", "c"):
        # Whoever was put to sleep has kept what it did then.
        _, sleeps, calls = await client.get(Sleeper, [key]).call()
        assert (sleeps, calls) == (1, 2)
