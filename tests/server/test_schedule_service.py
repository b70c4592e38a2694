"""ScheduleService over the wire, and the commands over it, against a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from holdfast import Client
from holdfast.v1 import actor_pb2
from holdfast.v1 import schedule_service_pb2 as pb
from holdfast.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from holdfast_server.app import Server
from tests.server import timer_actors
from tests.server.clock import MovedClock
from tests.server.conftest import Start
from tests.server.outcomes import wire_refusal
from tests.server.test_command_line import Outcome, invoke
from tests.server.timer_actors import Alarm, registry, trouble

UNKNOWN_ID = "a" * 26 + "-1"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    timer_actors.clear()
    yield
    timer_actors.clear()


@pytest.fixture
async def running(start: Start) -> tuple[Server, Client]:
    return await start(registry, timer_clock_check_s=0.05, timer_backoff_s=0.001)


@pytest.fixture
def alarm(running: tuple[Server, Client]) -> Alarm:
    return running[1].get_or_create(Alarm, ["a"])


@pytest.fixture
async def stub(running: tuple[Server, Client]) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running[0].port}") as channel:
        yield ScheduleServiceStub(channel)


def actor(*key: str) -> actor_pb2.ActorTarget:
    return actor_pb2.ActorTarget(get=actor_pb2.ActorKey(name="alarm", key=key or ("a",)))


def job(name: str = "job", *key: str) -> pb.ScheduleTarget:
    return pb.ScheduleTarget(actor=actor(*key), name=name)


def by_id(schedule_id: str) -> pb.ScheduleTarget:
    return pb.ScheduleTarget(schedule_id=schedule_id)


async def until_noted(alarm: Alarm, count: int) -> list[str]:
    while len(notes := (await alarm.book()).notes) < count:
        pass
    return notes


async def test_lists_one_actor_and_all_in_the_order_in_which_they_are_due(
    running: tuple[Server, Client], alarm: Alarm, stub: Any
) -> None:
    other = running[1].get_or_create(Alarm, ["b"])
    late = await alarm.after(300, "note", "late")
    await alarm.every("job", 120, "note", ["x"], {})
    await alarm.cron("paused", "0 0 1 1 *", "note", [], {"timezone": "Europe/Berlin"})
    await alarm.manage("pause", "paused")
    early = await other.after(100, "note", "early")

    of_one = (await stub.ListSchedules(pb.ListSchedulesRequest(actor=actor()))).schedules
    assert [each.name for each in of_one] == ["job", "", "paused"]
    cron = of_one[2]
    assert (cron.kind, cron.timezone) == (pb.SCHEDULE_KIND_CRON, "Europe/Berlin")
    assert cron.paused
    assert not cron.HasField("next_at")
    assert of_one[0].interval.seconds == 120
    found, token = [], ""
    while True:
        page = await stub.ListSchedules(pb.ListSchedulesRequest(page_size=2, page_token=token))
        found += page.schedules
        token = page.next_page_token
        if not token:
            break
    ids = [each.schedule_id for each in found]
    assert ids == [early, of_one[0].schedule_id, late]
    assert found[0].actor.key == ["b"]
    shown = (await stub.GetSchedule(pb.GetScheduleRequest(schedule=by_id(late)))).schedule
    assert json.loads(json.dumps([shown.action, shown.attempts_max])) == ["note", 8]


async def test_cancel_takes_effect_once_and_wakes_nobody(
    running: tuple[Server, Client], alarm: Alarm, stub: Any
) -> None:
    schedule_id = await alarm.after(300, "note", "never")
    node = running[0].node
    assert node.catalog.evict(node.catalog.address_of(_target(node)))
    await stub.CancelSchedule(pb.CancelScheduleRequest(schedule=by_id(schedule_id)))
    activation = node.catalog.resolve(_target(node), keyed=False)
    assert activation.instance is None
    again = await wire_refusal(
        stub.CancelSchedule(pb.CancelScheduleRequest(schedule=by_id(schedule_id)))
    )
    assert (again.status, again.reason) == ("NOT_FOUND", "SCHEDULE_NOT_FOUND")
    assert await alarm.pending() == []


def _target(node: Any) -> Any:
    from holdfast_server.core.call import Target
    from holdfast_server.core.ids import Address

    return Target(address=Address("default", "alarm", ("a",)))


async def test_run_now_fires_at_once_and_a_retry_with_its_key_does_not_again(
    alarm: Alarm, stub: Any
) -> None:
    once = await alarm.after(3000, "note", "once")
    await alarm.every("job", 3000, "note", ["job"], {})
    before = await alarm.job("job")
    request = pb.RunScheduleNowRequest(schedule=job(), idempotency_key="k")
    first = await stub.RunScheduleNow(request)
    assert await until_noted(alarm, 1) == ["job"]
    assert (await stub.RunScheduleNow(request)).fire_id == first.fire_id
    await stub.RunScheduleNow(pb.RunScheduleNowRequest(schedule=by_id(once)))
    assert await until_noted(alarm, 2) == ["job", "once"]
    book = await alarm.book()
    assert book.fires[0] == first.fire_id
    after = await alarm.job("job")
    assert (after["id"], after["next"]) == (before["id"], before["next"])
    gone = await wire_refusal(stub.RunScheduleNow(pb.RunScheduleNowRequest(schedule=by_id(once))))
    assert gone.reason == "SCHEDULE_NOT_FOUND"


async def test_a_paused_one_may_be_run_by_hand_and_stays_paused(alarm: Alarm, stub: Any) -> None:
    await alarm.every("job", 3000, "note", ["job"], {})
    await stub.PauseSchedule(pb.PauseScheduleRequest(schedule=job()))
    await stub.RunScheduleNow(pb.RunScheduleNowRequest(schedule=job()))
    assert await until_noted(alarm, 1) == ["job"]
    assert (await alarm.job("job"))["next"] is None
    await stub.ResumeSchedule(pb.ResumeScheduleRequest(schedule=job()))
    assert (await alarm.job("job"))["next"] is not None


async def test_history_pages_from_the_latest_on(
    running: tuple[Server, Client], alarm: Alarm, stub: Any
) -> None:
    clock = MovedClock(running[0])
    await alarm.every("job", 10, "note", ["job"], {})
    for count in range(1, 6):
        clock.ahead_s += 10
        await until_noted(alarm, count)
    runs, token = [], ""
    while True:
        request = pb.GetScheduleHistoryRequest(schedule=job(), page_size=2, page_token=token)
        page = await stub.GetScheduleHistory(request)
        assert len(page.runs) <= 2
        runs += page.runs
        token = page.next_page_token
        if not token:
            break
    assert len(runs) == 5
    times = [run.scheduled_at.ToMilliseconds() for run in runs]
    assert times == sorted(times, reverse=True)
    assert {run.result for run in runs} == {pb.SCHEDULE_RESULT_OK}


async def test_given_up_ones_are_listed_run_again_and_discarded(alarm: Alarm, stub: Any) -> None:
    trouble["x"] = 8
    trouble["y"] = 8
    ids = [await alarm.after(0, "flaky", "x"), await alarm.after(0, "flaky", "y")]
    dead: list[Any] = []
    while len(dead) < 2:
        dead = list((await stub.ListDeadSchedules(pb.ListDeadSchedulesRequest())).dead_schedules)
    assert {each.schedule.schedule_id for each in dead} == set(ids)
    assert dead[0].schedule.last_error_code == "user.not_now"
    await stub.RerunDeadSchedule(pb.RerunDeadScheduleRequest(schedule_id=ids[0]))
    assert (await until_noted(alarm, 1))[0] == "x"
    await stub.DiscardDeadSchedule(pb.DiscardDeadScheduleRequest(schedule_id=ids[1]))
    assert not (await stub.ListDeadSchedules(pb.ListDeadSchedulesRequest())).dead_schedules
    for schedule_id in (*ids, "nonsense", UNKNOWN_ID):
        refusal = await wire_refusal(
            stub.DiscardDeadSchedule(pb.DiscardDeadScheduleRequest(schedule_id=schedule_id))
        )
        assert refusal.reason == "DEAD_LETTER_NOT_FOUND"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (pb.ScheduleTarget(), "REQUEST_INVALID"),
        (pb.ScheduleTarget(schedule_id="x", name="y"), "REQUEST_INVALID"),
        (pb.ScheduleTarget(name="y"), "REQUEST_INVALID"),
        (pb.ScheduleTarget(actor=actor()), "REQUEST_INVALID"),
        (job("y" * 129), "REQUEST_INVALID"),
        (job("other"), "SCHEDULE_NOT_FOUND"),
        (job("job", "nobody"), "ACTOR_NOT_FOUND"),
        (by_id("nonsense"), "SCHEDULE_NOT_FOUND"),
        (by_id(UNKNOWN_ID), "SCHEDULE_NOT_FOUND"),
        (by_id("a" * 26 + "-01"), "SCHEDULE_NOT_FOUND"),
    ],
)
async def test_what_names_no_schedule_is_refused(
    alarm: Alarm, stub: Any, target: pb.ScheduleTarget, reason: str
) -> None:
    await alarm.note()
    calls = (
        (stub.GetSchedule, pb.GetScheduleRequest),
        (stub.CancelSchedule, pb.CancelScheduleRequest),
        (stub.RunScheduleNow, pb.RunScheduleNowRequest),
        (stub.PauseSchedule, pb.PauseScheduleRequest),
        (stub.ResumeSchedule, pb.ResumeScheduleRequest),
        (stub.GetScheduleHistory, pb.GetScheduleHistoryRequest),
    )
    for call, kind in calls:
        assert (await wire_refusal(call(kind(schedule=target)))).reason == reason, kind


async def test_another_namespace_sees_and_changes_nothing(start: Start) -> None:
    server, client = await start(registry, namespaces="default,other")
    alarm = client.get_or_create(Alarm, ["a"])
    schedule_id = await alarm.after(300, "note", "x")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = ScheduleServiceStub(channel)
        assert not (await stub.ListSchedules(pb.ListSchedulesRequest(namespace="other"))).schedules
        refusal = await wire_refusal(
            stub.CancelSchedule(
                pb.CancelScheduleRequest(namespace="other", schedule=by_id(schedule_id))
            )
        )
    assert refusal.reason == "SCHEDULE_NOT_FOUND"
    assert await alarm.pending() == [schedule_id]


async def shell(server: Server, *arguments: str) -> Outcome:
    address = f"127.0.0.1:{server.port}"
    return await asyncio.to_thread(invoke, "--server", address, "--json", *arguments)


async def test_the_commands_list_run_pause_and_cancel(
    running: tuple[Server, Client], alarm: Alarm
) -> None:
    server = running[0]
    schedule_id = await alarm.after(300, "note", "x")
    await alarm.every("job", 3000, "note", ["j"], {})
    listed = (await shell(server, "schedules", "list", "alarm", "a")).lines
    assert [each["kind"] for each in listed] == ["at", "every"]
    assert listed[0]["args"] == ["x"]
    assert (await shell(server, "schedules", "list")).lines == listed
    assert listed[1]["interval_s"] == 3000
    shown = await shell(server, "schedules", "get", schedule_id)
    assert shown.json == listed[0]
    assert (await shell(server, "schedules", "pause", "alarm", "a", "job")).code == 0
    paused = (await shell(server, "schedules", "get", "alarm", "a", "job")).json
    assert (paused["paused"], paused["next_at"]) == (True, None)
    assert (await shell(server, "schedules", "resume", "alarm", "a", "job")).code == 0
    fire = (await shell(server, "schedules", "run", "alarm", "a", "job")).json
    assert await until_noted(alarm, 1) == ["j"]
    assert (await alarm.book()).fires == [fire["fire_id"]]
    (run,) = (await shell(server, "schedules", "history", "alarm", "a", "job")).lines
    assert run["result"] == "ok"
    assert (await shell(server, "schedules", "cancel", schedule_id)).code == 0
    again = await shell(server, "schedules", "cancel", schedule_id)
    assert (again.code, again.error["code"]) == (1, "not_found")
    assert (await shell(server, "schedules", "get", "alarm", "a")).code == 2
    assert (await shell(server, "schedules", "list", "alarm")).code == 2
    address = f"127.0.0.1:{server.port}"
    plain = await asyncio.to_thread(invoke, "--server", address, "schedules", "list")
    assert "alarm ['a'] job" in plain.out


async def test_the_commands_for_what_was_given_up(
    running: tuple[Server, Client], alarm: Alarm
) -> None:
    server = running[0]
    trouble["x"] = 8
    schedule_id = await alarm.after(0, "flaky", "x")
    lines: list[Any] = []
    while not lines:
        lines = (await shell(server, "schedules", "dead")).lines
    assert lines[0]["last_error"].startswith("user.not_now")
    assert (await shell(server, "schedules", "rerun", schedule_id)).code == 0
    assert (await until_noted(alarm, 1))[0] == "x"
    gone = await shell(server, "schedules", "discard", schedule_id)
    assert (gone.code, gone.error["reason"]) == (1, "DEAD_LETTER_NOT_FOUND")
