"""The disk fails under load and the server lives: the same promises as over a crash."""

from __future__ import annotations

import asyncio
from random import Random

from holdfast.v1 import actor_service_pb2 as pb
from holdfast_server.store.verify import verify
from tests.crash.history import History
from tests.crash.load import Load
from tests.crash.oracle import check
from tests.crash.plan import Plan
from tests.crash.process import PATIENCE_S
from tests.crash.raw import answer_to, invocation, open_channel, open_stub
from tests.crash.scenario import leftovers, running, settled


async def test_failing_syncs_break_no_promise(data: str, rng: Random) -> None:
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


async def test_tries_that_join_a_failed_one_are_not_told_that_their_key_has_expired(
    data: str,
) -> None:
    async with running(Plan(data=data, faults=True)) as server:
        channel = open_channel(server.address)
        try:
            stub = open_stub(channel)
            await answer_to(stub.InvokeAction, invocation("a", "add", 1))
            await server.tell("hold")
            await server.tell("fail")
            request = invocation("a", "add", 2, idempotency_key="k")
            tries = [asyncio.create_task(answer_to(stub.InvokeAction, request)) for _ in range(5)]
            # By the time that so many others were answered, they have come.
            for _ in range(100):
                await stub.DescribeActors(pb.DescribeActorsRequest())
            await server.tell("release")
            answers = await asyncio.gather(*tries)
        finally:
            await channel.close()

    assert {answer.error and answer.error.code for answer in answers} == {None}
    assert {answer.value for answer in answers} == {2}
