"""The disk fails under load and the server lives: the same promises as over a crash."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from holdfast.v1 import actor_service_pb2 as pb
from holdfast_server.store.verify import verify
from tests.crash.history import History
from tests.crash.load import Load
from tests.crash.oracle import check
from tests.crash.plan import Plan
from tests.crash.process import PATIENCE_S, ServerProcess
from tests.crash.raw import answer_to, invocation, open_channel, open_stub
from tests.crash.scenario import leftovers, running, settled


async def test_failing_syncs_break_no_promise(data: str, rng: Random) -> None:
    # What a turn is told that reads just then is the next test's.
    plan, history = Plan(data=data, faults=True), History()
    async with running(plan) as server:
        load = Load(server.address, history, rng, twice=0)
        try:
            load.start()
            for _ in range(3):
                await history.until_acknowledged(history.acknowledged + rng.randint(1, 150))
                await server.tell("fail")
            await asyncio.wait_for(load.finish(), PATIENCE_S)
            await load.again()
            books = await settled(load.client, history)
            await server.stop()
        finally:
            await load.close()
    history.violations += [*verify(data), *leftovers(data)]

    assert check(history, books) == []


async def test_a_turn_that_cannot_commit_in_its_middle_may_be_tried_again(data: str) -> None:
    async with running(Plan(data=data, faults=True)) as server:
        channel = open_channel(server.address)
        try:
            stub = open_stub(channel)
            before = await answer_to(stub.InvokeAction, invocation("a", "add", 1))
            await server.tell("fail-read")
            after = await answer_to(stub.InvokeAction, invocation("a", "halves", 2, []))
        finally:
            await channel.close()

    assert (before.value, after.error) == (1, None)
    assert after.value == 3


async def test_tries_that_join_a_failed_one_are_not_told_that_their_key_has_expired(
    data: str,
) -> None:
    told = set()
    async with running(Plan(data=data, faults=True)) as server:
        channel = open_channel(server.address)
        try:
            # Whether the store is open again when they look is the threads' affair.
            for number in range(25):
                told |= await join_a_failed_try(server, open_stub(channel), f"k{number}")
        finally:
            await channel.close()

    assert told == {"answered"}


async def join_a_failed_try(server: ServerProcess, stub: Any, key: str) -> set[str]:
    """Try one call several times at once while its sync fails; what the tries are told."""
    await server.tell("hold")
    await server.tell("fail")
    request = invocation("a", "add", 1, idempotency_key=key)
    tries = [asyncio.create_task(answer_to(stub.InvokeAction, request)) for _ in range(4)]
    # By the time that so many others were answered, they have come.
    for _ in range(40):
        await stub.DescribeActors(pb.DescribeActorsRequest())
    await server.tell("release")
    answers = await asyncio.gather(*tries)
    return {answer.error.code if answer.error is not None else "answered" for answer in answers}
