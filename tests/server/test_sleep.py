"""Who goes to sleep, when, and what is there after it."""

from __future__ import annotations

import asyncio

import pytest

from tests.server.clock import sweep
from tests.server.conftest import Connect, Start
from tests.server.outcomes import code_of, wire_refusal
from tests.server.probe import until_waiting
from tests.server.sleepers import (
    Insomniac,
    Plain,
    Restless,
    Sleeper,
    asleep,
    awake,
    spin,
    started,
    until_calls_wait,
    until_idle,
)
from tests.server.stage import Stage, tasks
from tests.server.wire import target

# By itself


async def test_the_idle_sleep_after_their_timeout_and_remember(start: Start, stage: Stage) -> None:
    server, client = await started(start)
    sleeper = client.get_or_create(Sleeper, ["a"])
    assert await sleeper.call() == [1, 0, 1]
    await until_idle(server, "sleeper", "a")

    sweep(server, later_s=29)
    await spin()
    assert stage.log == ["wake a"]

    sweep(server, later_s=31)
    await asleep(server, "sleeper", "a")

    assert await sleeper.call() == [2, 1, 2]
    assert stage.log == ["wake a", "sleep a", "wake a"]


async def test_a_class_without_hooks_leaves_at_once(start: Start, stage: Stage) -> None:
    server, client = await started(start)
    await client.get_or_create(Plain, ["a"]).call()
    await until_idle(server, "plain", "a")

    sweep(server, later_s=31)

    assert not awake(server, "plain", "a")


async def test_each_call_begins_the_timeout_anew(start: Start, stage: Stage) -> None:
    server, client = await started(start)
    sleeper = client.get_or_create(Sleeper, ["a"])
    await sleeper.call()
    await until_idle(server, "sleeper", "a")
    first = server.node.catalog.with_work()[0].last_used

    await sleeper.call()
    await until_idle(server, "sleeper", "a")

    assert server.node.catalog.with_work()[0].last_used > first


async def test_a_long_call_keeps_its_actor_awake(start: Start, stage: Stage) -> None:
    server, client = await started(start)
    call = asyncio.create_task(client.get_or_create(Restless, ["a"]).hold("point"))
    async with tasks(call):
        await stage.reached("point")

        sweep(server, later_s=1000)
        await spin()
        assert stage.log == ["wake a"]

        stage.let("point")
        await call
    sweep(server)
    await asleep(server, "restless", "a")


async def test_no_sleep_stays_awake_and_may_be_told_to_sleep(start: Start, stage: Stage) -> None:
    server, client = await started(start, activations_max=2)
    insomniac = client.get_or_create(Insomniac, ["a"])
    await insomniac.call()
    await until_idle(server, "insomniac", "a")

    sweep(server, later_s=1e6)
    for key in ("b", "c", "d"):
        await client.get_or_create(Plain, [key]).call()
    assert awake(server, "insomniac", "a")

    await insomniac.doze()
    await asleep(server, "insomniac", "a")
    assert await insomniac.call() == [2, 1, 3]


# c.sleep


async def test_told_to_sleep_it_answers_first_and_sleeps_once(start: Start, stage: Stage) -> None:
    server, client = await started(start)
    sleeper = client.get_or_create(Sleeper, ["a"])

    assert await sleeper.doze() == "good night"
    await asleep(server, "sleeper", "a")
    await sleeper.doze_twice()
    await asleep(server, "sleeper", "a")

    assert await sleeper.call() == [3, 2, 2]
    assert stage.log == ["wake a", "sleep a", "wake a", "sleep a", "wake a"]


async def test_a_failed_turn_does_not_put_to_sleep(start: Start, stage: Stage) -> None:
    server, client = await started(start)
    sleeper = client.get_or_create(Sleeper, ["a"])

    assert await code_of(sleeper.doze_and_fail()) == "user.no"
    await until_idle(server, "sleeper", "a")
    await spin()

    assert stage.log == ["wake a"]
    assert await sleeper.call() == [1, 0, 1]


async def test_a_read_only_action_cannot_put_to_sleep(start: Start, stage: Stage) -> None:
    _, client = await started(start)
    sleeper = client.get_or_create(Sleeper, ["a"])
    await sleeper.call()

    assert await code_of(sleeper.doze_reading()) == "action.read_only"
    assert stage.log == ["wake a"]


async def test_turns_that_wait_run_before_on_sleep(start: Start, stage: Stage) -> None:
    server, client = await started(start)
    sleeper = client.get_or_create(Sleeper, ["a"])
    dozing = asyncio.create_task(sleeper.doze_later("point"))
    await stage.reached("point")
    calls = [asyncio.create_task(sleeper.call()) for _ in range(3)]
    async with tasks(dozing, *calls):
        await until_waiting(server, 3, "sleeper", "a")

        stage.let("point")

        assert sorted(await asyncio.gather(*calls)) == [[1, 0, 1], [1, 0, 2], [1, 0, 3]]
        await dozing
    await asleep(server, "sleeper", "a")
    assert await sleeper.call() == [2, 1, 4]


# Calls that come meanwhile


async def test_calls_that_come_during_a_sleep_wake_it_anew(start: Start, stage: Stage) -> None:
    server, client = await started(start)
    sleeper = client.get_or_create(Sleeper, ["slow"])
    await sleeper.doze()
    await stage.reached("sleep slow")

    calls = [asyncio.create_task(sleeper.call()) for _ in range(5)]
    async with tasks(*calls):
        await until_calls_wait(server, 5, "sleeper", "slow")
        assert not any(call.done() for call in calls)

        stage.let("sleep slow")

        answers = await asyncio.gather(*calls)
    # Each ran once, after the one sleep and in the second activation.
    assert sorted(answers) == [[2, 1, number] for number in range(2, 7)]
    assert stage.log == ["wake slow", "sleep slow", "wake slow"]


@pytest.mark.parametrize("spins", range(12))
async def test_a_call_at_any_moment_of_a_sleep_runs_once(
    start: Start, stage: Stage, spins: int
) -> None:
    server, client = await started(start)
    sleeper = client.get_or_create(Sleeper, ["a"])
    await sleeper.call()
    await until_idle(server, "sleeper", "a")
    node = server.node

    node.sleeper.begin(node.catalog.with_work()[0])
    for _ in range(spins):
        await asyncio.sleep(0)
    calls = [sleeper.call(), sleeper.look("x"), client.get_or_create(Plain, ["b"]).call()]
    stage.let("x")
    answer, _, _ = await asyncio.gather(*calls)

    assert answer == [2, 1, 2]
    assert await sleeper.call() == [2, 1, 3]


async def test_a_waiting_call_ends_at_its_deadline(start: Start, stage: Stage) -> None:
    _, client = await started(start)
    sleeper = client.get_or_create(Sleeper, ["slow"])
    await sleeper.doze()
    await stage.reached("sleep slow")

    assert await code_of(sleeper.with_options(timeout=0.05).call()) == "action.timed_out"

    stage.let("sleep slow")
    assert await sleeper.call() == [2, 1, 2]


async def test_only_so_many_calls_wait_for_a_sleep(
    start: Start, connect: Connect, stage: Stage
) -> None:
    server, client = await started(start, mailbox_max=2)
    wire, sleeper = connect(server), client.get_or_create(Sleeper, ["slow"])
    await sleeper.doze()
    await stage.reached("sleep slow")
    calls = [asyncio.create_task(sleeper.call()) for _ in range(2)]
    async with tasks(*calls):
        await until_calls_wait(server, 2, "sleeper", "slow")

        refusal = await wire_refusal(wire.invoke(target("sleeper", "slow"), "call"))

        assert (refusal.status, refusal.reason) == ("RESOURCE_EXHAUSTED", "ACTOR_OVERLOADED")
        stage.let("sleep slow")
        assert sorted(await asyncio.gather(*calls)) == [[2, 1, 2], [2, 1, 3]]


async def test_a_read_only_call_under_way_is_answered(start: Start, stage: Stage) -> None:
    server, client = await started(start)
    sleeper = client.get_or_create(Sleeper, ["a"])
    await sleeper.call()
    looking = asyncio.create_task(sleeper.look("looking"))
    async with tasks(looking):
        await stage.reached("looking")
        await sleeper.doze()
        await asleep(server, "sleeper", "a")
        assert await sleeper.call() == [2, 1, 3]

        stage.let("looking")

        # It began before the sleep, and sees what was true at its begin or later.
        assert await looking in (2, 3)


async def test_a_stream_goes_on_until_its_actor_is_asleep(start: Start, stage: Stage) -> None:
    server, client = await started(start)
    sleeper = client.get_or_create(Sleeper, ["a"])
    items = sleeper.count(100_000)
    assert await anext(items) == 0

    await sleeper.doze()
    await asleep(server, "sleeper", "a")

    # What it had done stays; nobody is told that nothing ran.
    async def rest() -> None:
        async for _ in items:
            pass

    assert await code_of(rest()) == "store.commit_unknown"
    wakes, sleeps, calls = await sleeper.call()
    assert (wakes, sleeps) == (2, 1)
    assert calls >= 3


# Sleep and destroy


async def test_a_destroy_that_comes_during_a_sleep_comes_after_it(
    start: Start, stage: Stage
) -> None:
    server, client = await started(start)
    sleeper = client.get_or_create(Sleeper, ["slow"])
    await sleeper.doze()
    await stage.reached("sleep slow")
    destroying = asyncio.create_task(client.destroy(Sleeper, ["slow"]))
    async with tasks(destroying):
        await until_calls_wait(server, 1, "sleeper", "slow")
        stage.let("sleep slow")
        await destroying
    assert await code_of(client.get(Sleeper, ["slow"]).call()) == "actor.not_found"
    assert await sleeper.call() == [1, 0, 1]


async def test_destroyed_by_the_same_turn_it_does_not_sleep(start: Start, stage: Stage) -> None:
    _, client = await started(start)
    sleeper = client.get_or_create(Sleeper, ["a"])
    await sleeper.doze_and_destroy()
    await spin()
    assert stage.log == ["wake a"]
    assert await sleeper.call() == [1, 0, 1]


# Many


async def test_very_many_go_to_sleep_and_others_are_served(start: Start, stage: Stage) -> None:
    server, client = await started(start)
    node, count = server.node, 10_000
    for first in range(0, count, 500):
        numbers = range(first, first + 500)
        await asyncio.gather(*(client.get_or_create(Sleeper, [str(n)]).call() for n in numbers))
    other, served = client.get_or_create(Plain, ["other"]), 0

    # All are idle long enough at once; somebody else calls all the while.
    while len(node.catalog) > 1:
        sweep(server, later_s=31)
        await other.call()
        served += 1

    # However many there are, a call waits for a bounded number of them.
    assert served >= 10
    assert sum(line.startswith("sleep") for line in stage.log) == count
    assert await client.get(Sleeper, ["7"]).call() == [2, 1, 2]
