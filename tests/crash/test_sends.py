"""Sends at their limits: over a crash in the middle of their effect, and in a backlog."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import ActorError, Client
from tests.crash.actors import Gate, Ledger
from tests.crash.history import History
from tests.crash.oracle import check
from tests.crash.plan import Plan
from tests.crash.process import PATIENCE_S
from tests.crash.scenario import running


async def test_a_send_that_was_cut_short_after_its_first_commit_is_not_repeated(data: str) -> None:
    history = History()
    cut, next_one = history.begin("b", "perish", parts=2), history.begin("b", "add")
    plan = Plan(data=data, deadly=True)
    async with running(plan) as server, Client(server.address, timeout=PATIENCE_S) as client:
        sender = client.get_or_create(Ledger, ["a"])
        await sender.forward("b", "perish", cut.tag)
        await server.dead()
        async with running(Plan(data=data, port=server.port)):
            # Sends of one sender arrive in order, so the next comes after the first.
            await sender.forward("b", "add", next_one.tag)
            target = client.get_or_create(Ledger, ["b"])
            async with asyncio.timeout(PATIENCE_S):
                while next_one.entry(1) not in (found := await target.found()).entries:
                    pass

    assert cut.entry(1) in found.entries
    assert check(history, {"b": found}) == []


async def test_a_sender_may_send_while_older_sends_wait(data: str) -> None:
    plan = Plan(data=data, outbox_rows_max=100)
    async with running(plan) as server, Client(server.address) as client:
        gate = client.get_or_create(Gate, ["g"])
        lingering = asyncio.create_task(client.get_or_create(Ledger, ["b"]).linger(1, "g"))
        while not await gate.count():
            pass
        sender = client.get_or_create(Ledger, ["a"])

        try:
            positions = [await sender.tell(tag, ["b"]) for tag in range(2, 12)]
        finally:
            await gate.open()
            await lingering

        assert positions == list(range(1, 11))


async def test_a_turn_with_too_many_sends_leaves_no_trace(data: str) -> None:
    plan = Plan(data=data, outbox_rows_max=2)
    async with running(plan) as server, Client(server.address) as client:
        sender = client.get_or_create(Ledger, ["a"])
        await sender.add(1)

        with pytest.raises(ActorError) as caught:
            await sender.tell(2, ["b", "b", "b"])

        assert caught.value.code == "full"
        assert await sender.add(3) == 2
        assert (await sender.found()).entries == ["1.1", "3.1"]
