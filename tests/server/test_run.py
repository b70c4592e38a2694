"""run: what an actor does beside its turns, for as long as it is awake."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Literal

import pytest

from holdfast import Actor, Client, Context, action, setup
from holdfast_server.app import Server
from holdfast_server.core.ids import Address
from holdfast_server.store.faults import FaultyStore
from holdfast_server.store.memory import MemoryStore
from holdfast_server.telemetry.observer import Observer
from tests.server.clock import sweep
from tests.server.conftest import Start
from tests.server.outcomes import code_of
from tests.server.probe import activation_of, until
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


class Runner(Plain):
    """`run` does what `what` says; "run" is reached each time that it begins."""

    async def run(self, c: Context[Counts]) -> None:
        stage.log.append(f"run {c.key[0]}")
        stage.mark("run")
        try:
            await getattr(self, f"_{stage.kept['what']}")(c)
        finally:
            stage.log.append(f"ended {c.key[0]}")

    async def on_sleep(self, c: Context[Counts]) -> None:
        stage.log.append(f"sleep {c.key[0]}")
        c.state.sleeps += 1

    async def on_destroy(self, c: Context[Counts]) -> None:
        stage.log.append(f"destroy {c.key[0]} {c.abort_signal.aborted}")

    async def _tick(self, c: Context[Counts]) -> None:
        while not c.abort_signal.aborted:
            async with c.turn():
                c.state.calls += 1
                if c.state.calls == 10:
                    stage.mark("ten ticks")
            await asyncio.sleep(0)

    async def _wait(self, c: Context[Counts]) -> None:
        await c.abort_signal.wait()
        stage.log.append("aborted")
        async with c.turn():
            c.state.calls += 100

    async def _return(self, c: Context[Counts]) -> None:
        pass

    async def _raise(self, c: Context[Counts]) -> None:
        raise ValueError("mine")

    async def _pause(self, c: Context[Counts]) -> None:
        await stage.pause("running")

    async def _ignore(self, c: Context[Counts]) -> None:
        try:
            await stage.pause("running")
        except asyncio.CancelledError:
            stage.log.append("cancelled")
            raise

    async def _sleep(self, c: Context[Counts]) -> None:
        stage.kept["what"] = "return"
        c.sleep()

    async def _destroy(self, c: Context[Counts]) -> None:
        c.destroy()

    async def _destroy_in_turn(self, c: Context[Counts]) -> None:
        async with c.turn():
            c.destroy()
            stage.log.append(f"aborted {c.abort_signal.aborted}")

    async def _ask_itself(self, c: Context[Counts]) -> None:
        me = c.client.get(Runner, c.key)
        await c.abort_signal.wait()
        stage.log.append(str(await me.call()))
        stage.log.append(await code_of(outside(c)))

    async def _ask_through_another(self, c: Context[Counts]) -> None:
        await c.abort_signal.wait()
        stage.log.append(str(await c.client.get_or_create(Asker, ["b"]).ask(c.key[0])))


class Asker(Actor):
    @action
    async def ask(self, c: Context, key: str) -> list[int]:
        return await c.client.get(Runner, [key]).call()


async def outside(c: Context[Counts]) -> int:
    return c.state.calls


registry = setup(use={"runner": Runner, "asker": Asker, "plain": Plain})


async def running(start: Start, what: str, **settings: object) -> tuple[Server, Client, Runner]:
    stage.kept["what"] = what
    server, client = await started(start, registry, **settings)
    return server, client, client.get_or_create(Runner, ["a"])


async def test_it_begins_after_the_start_and_ticks_beside_calls(start: Start, stage: Stage) -> None:
    server, _, runner = await running(start, "tick")
    await runner.call()
    assert stage.log[:1] == ["wake a"]
    await stage.reached("ten ticks")

    # An active run keeps its actor awake, however long nobody calls.
    await until_idle(server, "runner", "a")
    sweep(server, later_s=1e6)
    await spin()
    assert awake(server, "runner", "a")
    assert (await runner.call())[0] == 1
    await runner.doze()
    await asleep(server, "runner", "a")
    assert stage.log == ["wake a", "run a", "sleep a", "ended a"] or stage.log == [
        "wake a",
        "run a",
        "ended a",
        "sleep a",
    ]


async def test_it_begins_again_with_each_wake(start: Start, stage: Stage) -> None:
    server, _, runner = await running(start, "wait")
    for round_ in range(1, 4):
        assert (await runner.call())[0] == round_
        await runner.doze()
        await asleep(server, "runner", "a")
    assert stage.log.count("run a") == stage.log.count("aborted") == 3
    # What it did with the abort signal is there too.
    assert await runner.call() == [4, 3, 307]


@pytest.mark.parametrize("what", ["return", "raise"])
async def test_when_it_has_ended_the_actor_is_idle_like_others(
    start: Start, stage: Stage, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    server, client, runner = await running(start, what)
    await runner.call()
    await until(lambda: "ended a" in stage.log)
    await until_idle(server, "runner", "a")
    await spin()
    # It does not begin again by itself.
    assert stage.log == ["wake a", "run a", "ended a"]
    assert awake(server, "runner", "a")

    sweep(server, later_s=31)
    await asleep(server, "runner", "a")

    # It sleeps, it is not destroyed; and sleeps in the same way.
    assert await client.get(Runner, ["a"]).call() == [2, 1, 2]
    failed = [each for each in caplog.records if each.getMessage().startswith("run of ")]
    assert bool(failed) == (what == "raise")
    if failed:
        assert failed[0].levelno == logging.ERROR
        assert failed[0].exc_info is not None
        assert failed[0].exc_info[0] is ValueError


async def test_a_failure_is_told_to_the_observer(start: Start, stage: Stage) -> None:
    heard: list[tuple[Address, str, BaseException]] = []

    class Listening(Observer):
        __slots__ = ()

        def work_failed(self, address: Address, work: str, error: BaseException) -> None:
            heard.append((address, work, error))

    server, _, runner = await running(start, "raise")
    server.node.observer = Listening()
    await runner.call()
    await until(lambda: heard)

    [(address, work, error)] = heard
    assert (address.name, address.key, work) == ("runner", ("a",), "run")
    assert isinstance(error, ValueError)


async def test_one_that_ignores_the_signal_is_cancelled(
    start: Start, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    _, _, runner = await running(start, "ignore", sleep_grace_s=0.05)
    await runner.call()
    await stage.reached("running")
    stage.kept["what"] = "return"

    await runner.doze()

    assert await runner.call() == [2, 1, 3]
    assert stage.log == [
        "wake a", "run a", "sleep a", "cancelled", "ended a", "wake a", "run a", "ended a",
    ]  # fmt: skip
    assert "run (1) did not end within 0.05 s and is cancelled" in caplog.text


async def test_it_puts_its_actor_to_sleep(start: Start, stage: Stage) -> None:
    server, _, runner = await running(start, "sleep")
    await runner.call()
    await asleep(server, "runner", "a")
    assert stage.log[:3] == ["wake a", "run a", "ended a"] or "sleep a" in stage.log
    assert await runner.call() == [2, 1, 2]
    assert stage.log.count("sleep a") == 1


@pytest.mark.parametrize("what", ["destroy", "destroy_in_turn"])
async def test_it_destroys_its_actor(start: Start, stage: Stage, what: str) -> None:
    server, client, runner = await running(start, what)
    await client.get_or_create(Runner, ["a"]).resolve()
    await until(lambda: any(line.startswith("destroy") for line in stage.log))
    gone = client.get(Runner, ["a"])
    await until(lambda: not has_actor(server))

    assert await code_of(gone.call()) == "actor.not_found"
    # The signal is set when the destroy begins, not by c.destroy().
    assert "destroy a True" in stage.log
    if what == "destroy_in_turn":
        assert "aborted False" in stage.log
    stage.kept["what"] = "return"
    assert await runner.call() == [1, 0, 1]


def has_actor(server: Server) -> bool:
    activation = activation_of(server, "runner", "a")
    return activation is not None and bool(activation.actor_id)


async def test_a_destroy_tells_it_and_cuts_it_after_the_grace(start: Start, stage: Stage) -> None:
    _, client, runner = await running(start, "ignore", sleep_grace_s=0.05)
    await runner.call()
    await stage.reached("running")
    stage.kept["what"] = "return"

    # The destroy itself does not wait for it.
    await client.destroy(Runner, ["a"])

    assert stage.log == ["wake a", "run a", "destroy a True"]
    await until(lambda: "ended a" in stage.log)
    assert stage.log[3:] == ["cancelled", "ended a"]
    assert await runner.call() == [1, 0, 1]


async def test_after_a_destroy_its_turns_are_refused(
    start: Start, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    _, client, runner = await running(start, "wait")
    await runner.call()
    await stage.reached("run")

    await client.destroy(Runner, ["a"])
    await until(lambda: "ended a" in stage.log)
    await spin()

    stage.kept["what"] = "return"
    assert await runner.call() == [1, 0, 1]
    # That is how it is meant to end.
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("ask_itself", ["[1, 1, 3]", "actor.no_turn"]),
        ("ask_through_another", ["[1, 1, 3]"]),
    ],
)
async def test_what_it_asks_of_its_own_actor_during_the_sleep_runs(
    start: Start, stage: Stage, what: str, said: list[str]
) -> None:
    server, _, runner = await running(start, what)
    await runner.call()
    await stage.reached("run")
    stage.kept["what"] = "return"
    await runner.doze()
    # A call from outside waits; one from the run that the sleep waits for does not.
    outside_call = asyncio.create_task(runner.call())
    async with tasks(outside_call):
        assert await outside_call == [2, 1, 4]
    assert [line for line in stage.log if line in said] == said
    await until_idle(server, "runner", "a")


async def test_a_store_that_fails_ends_it(start: Start, stage: Stage) -> None:
    stage.kept["what"] = "pause"
    store = FaultyStore(MemoryStore())
    _, client = await start(registry, store=store)
    runner = client.get_or_create(Runner, ["a"])
    await runner.call()
    await stage.reached("running")

    store.fail_next("sync")
    await client.get_or_create(Plain, ["b"]).call()

    # Its memory may not be true any more; the next call begins with what is stored.
    assert stage.log[:4] == ["wake a", "run a", "wake b", "ended a"]
    stage.kept["what"] = "return"
    assert await runner.call() == [2, 0, 2]


@pytest.mark.parametrize("operation", ["write", "sync"])
async def test_a_store_that_fails_during_a_sleep(
    start: Start, stage: Stage, operation: Literal["write", "sync"]
) -> None:
    stage.kept["what"] = "pause"
    store = FaultyStore(MemoryStore())
    server, client = await start(registry, store=store)
    runner, plain = client.get_or_create(Runner, ["a"]), client.get_or_create(Plain, ["b"])
    await runner.doze()
    await until(lambda: "sleep a" in stage.log)
    waiting = asyncio.create_task(runner.call())
    async with tasks(waiting):
        await until_calls_wait(server, 1, "runner", "a")
        stage.kept["what"] = "return"

        store.fail_next(operation)
        await plain.call()

        # The call that waited for the sleep is answered by what is stored, at once.
        wakes, sleeps, calls = await waiting
    assert (wakes, calls) == (2, 2)
    assert sleeps in (0, 1)
    assert stage.log.count("ended a") == 2
    await until(lambda: not len(server.node.sleeper))


async def test_a_start_that_fails_runs_nothing(start: Start, stage: Stage) -> None:
    class Broken(Runner):
        async def on_wake(self, c: Context[Counts]) -> None:
            c.wait_until(forever())
            await stage.reached("waiting")
            raise ValueError("mine")

    async def forever() -> None:
        try:
            await stage.pause("waiting")
        finally:
            stage.log.append("let go")

    stage.kept["what"] = "return"
    server, client = await started(start, setup(use={"runner": Broken}))
    actor: Any = client.get_or_create(Broken, ["a"])

    assert await code_of(actor.call()) == "actor.start_failed"

    await spin()
    assert "run a" not in stage.log
    assert stage.log == ["let go"]
    assert not has_actor(server)
