"""A server that dies between a fire and its commit: the effect is there exactly once."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import Client
from holdfast.v1 import schedule_service_pb2 as pb
from holdfast_server.store.verify import verify
from tests.crash.actors import Found, Ledger
from tests.crash.plan import Kind, Plan, Point, Stage
from tests.crash.process import PATIENCE_S
from tests.crash.scenario import running

STAGES = (Stage.BEFORE_WRITE, Stage.AFTER_WRITE, Stage.BEFORE_SYNC, Stage.AFTER_SYNC)


async def until(ledger: Ledger, entry: str) -> Found:
    """The ledger once it has an entry."""
    async with asyncio.timeout(PATIENCE_S):
        while entry not in (found := await ledger.found()).entries:
            pass
    return found


@pytest.mark.parametrize("kind", [Kind.TIMER, Kind.FIRE])
@pytest.mark.parametrize("stage", STAGES)
async def test_a_death_at_a_timers_commit_repeats_no_effect_and_loses_none(
    data: str, stage: Stage, kind: Kind
) -> None:
    plan = Plan(data=data, point=Point(stage, kind))
    async with running(plan) as server, Client(server.address, timeout=PATIENCE_S) as client:
        ledger = client.get_or_create(Ledger, ["a"])
        setting = asyncio.create_task(ledger.later(0.01, "add", 1))
        await server.dead()
        async with running(Plan(data=data, port=server.port)) as second:
            await setting
            await until(ledger, "1.1")
            # Timers of one actor fire in order, so that a second effect would come before.
            await ledger.later(0, "add", 2)
            found = await until(ledger, "2.1")
            await second.stop()
    assert found.entries == ["1.1", "2.1"]
    assert found.keys == ["1.1", "2.1"]
    assert verify(data) == []


async def test_a_fire_cut_short_after_its_first_commit_is_interrupted_and_not_repeated(
    data: str,
) -> None:
    plan = Plan(data=data, deadly=True)
    async with running(plan) as server, Client(server.address, timeout=PATIENCE_S) as client:
        ledger = client.get_or_create(Ledger, ["a"])
        await ledger.later(0.05, "perish", 1)
        await server.dead()
        async with running(Plan(data=data, port=server.port)) as second:
            await ledger.later(0, "add", 2)
            found = await until(ledger, "2.1")
            request = pb.ListDeadSchedulesRequest()
            answer = await client.transport.schedules("ListDeadSchedules", request, PATIENCE_S)
            await second.stop()
    assert found.entries == ["1.1", "2.1"]
    assert [each.schedule.last_error_code for each in answer.dead_schedules] == [
        "schedule.interrupted"
    ]
    assert verify(data) == []


async def test_a_pending_timer_fires_after_a_power_cut(data: str) -> None:
    plan = Plan(data=data, power=True)
    async with running(plan) as server, Client(server.address, timeout=PATIENCE_S) as client:
        ledger = client.get_or_create(Ledger, ["a"])
        await ledger.later(1, "add", 1)
        server.kill()
        await server.dead()
        async with running(Plan(data=data, port=server.port)):
            assert (await until(ledger, "1.1")).entries == ["1.1"]
