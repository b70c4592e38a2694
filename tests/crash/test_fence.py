"""A turn that began before the store failed commits nothing after it was reopened.

The store loses what was not synced and every activation is dropped; a turn of
an old one is still running then, over a state that no longer holds. Only its
epoch tells the store so.
"""

from __future__ import annotations

import asyncio

from holdfast import Client
from tests.crash.actors import Gate, Ledger
from tests.crash.history import History
from tests.crash.oracle import check
from tests.crash.plan import Plan
from tests.crash.process import PATIENCE_S
from tests.crash.scenario import running


async def outlive(plan: Plan) -> list[str]:
    """Let a turn outlive the failure of its store; what the oracle says."""
    history = History()
    async with running(plan) as server, Client(server.address, timeout=PATIENCE_S) as client:
        ledger, gate = client.get_or_create(Ledger, ["a"]), client.get_or_create(Gate, ["g"])
        history.acknowledge(first := history.begin("a", "add"), await ledger.add(first.tag))
        old = history.begin("a", "linger")
        lingering = asyncio.create_task(ledger.linger(old.tag, "g"))
        while not await gate.count():
            pass
        await server.tell("fail")
        # This call's sync fails: its retry runs on the store that was opened anew.
        await client.get_or_create(Ledger, ["b"]).add(history.begin("b", "add").tag)
        new = history.begin("a", "add")
        history.acknowledge(new, await ledger.add(new.tag))
        await gate.open()
        history.acknowledge(old, await lingering)
        await server.stop()
    # What is stored, not what an activation remembers.
    async with running(plan) as server, Client(server.address, timeout=PATIENCE_S) as client:
        found = await client.get(Ledger, ["a"]).found()
    return check(history, {"a": found})


async def test_a_turn_of_an_older_epoch_commits_nothing(data: str) -> None:
    assert await outlive(Plan(data=data, faults=True)) == []


async def test_a_build_without_the_fence_is_caught(data: str) -> None:
    violations = await outlive(Plan(data=data, faults=True, build="unfenced"))

    lost = "add 4 of a told that 4.1 is at 2 of a; there is 2.1"
    assert lost in violations
