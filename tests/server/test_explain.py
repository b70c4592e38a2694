"""What AdminService.Explain and `holdfast explain` say of an actor, as it is at the moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from holdfast import Actor, ActorError, Client, Context, UserError, action, setup
from holdfast.v1 import actor_pb2
from holdfast.v1 import admin_service_pb2 as pb
from holdfast.v1.admin_service_pb2_grpc import AdminServiceStub
from holdfast_server.app import Server
from holdfast_server.core.ids import Address
from tests.server.conftest import Start
from tests.server.held_store import HeldStore
from tests.server.probe import until, until_waiting
from tests.server.stage import Stage
from tests.server.stage import stage as the_stage
from tests.server.test_command_line import Outcome, invoke

KEY = ["org", "a"]


class Worker(Actor[dict[str, int]]):
    """Whatever an actor may be doing."""

    state = dict
    sleep_timeout_s = 60

    @action
    async def put(self, c: Context[dict[str, int]], name: str, value: int) -> None:
        c.state[name] = value
        await c.kv.put(name, "value")
        c.broadcast("put", name)

    @action
    async def hold(self, c: Context[dict[str, int]]) -> None:
        await the_stage.pause("go on")

    @action
    async def refuse(self, c: Context[dict[str, int]]) -> None:
        raise UserError("no such thing", code="refused")

    @action
    async def crash(self, c: Context[dict[str, int]]) -> None:
        raise ValueError("a secret")

    @action
    async def plan(self, c: Context[dict[str, int]]) -> None:
        c.schedule.after(3600, "refuse")
        c.schedule.after(7200, "refuse")

    @action
    async def ask(self, c: Context[dict[str, int]], key: list[str]) -> None:
        await c.client.get_or_create(Worker, key).hold()

    @action
    async def work(self, c: Context[dict[str, int]]) -> None:
        c.keep_awake(the_stage.pause("go on"))


class Slow(Actor):
    """Takes its time to be created."""

    no_sleep = True

    async def on_create(self, c: Context, input: None) -> None:
        await the_stage.pause("go on")

    @action
    async def touch(self, c: Context) -> None:
        pass


registry = setup(use={"worker": Worker, "slow": Slow})


async def ask(server: Server, request: pb.ExplainRequest, **metadata: str) -> pb.ExplainResponse:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.admin_port}") as channel:
        stub: Any = AdminServiceStub(channel)
        answer: pb.ExplainResponse = await stub.Explain(
            request, timeout=10, metadata=tuple(metadata.items())
        )
        return answer


async def explained(server: Server, name: str, *key: str) -> pb.ExplainResponse:
    target = actor_pb2.ActorTarget(get=actor_pb2.ActorKey(name=name, key=key))
    return await ask(server, pb.ExplainRequest(target=target))


@pytest.fixture
async def running(start: Start, stage: Stage) -> AsyncIterator[tuple[Server, Client]]:
    server, client = await start(registry)
    yield server, client
    stage.let("go on")


async def test_an_actor_that_rests(running: tuple[Server, Client]) -> None:
    server, client = running
    worker = client.get_or_create(Worker, KEY)
    await worker.put("one", 1)

    found = await explained(server, "worker", *KEY)
    assert found.actor.actor_id == await worker.resolve()
    assert (found.actor.name, list(found.actor.key)) == ("worker", KEY)
    assert found.phase == pb.ACTOR_PHASE_AWAKE
    assert [each.reason for each in found.awake] == [pb.AWAKE_REASON_IDLE]
    assert found.sleeps_at.ToMilliseconds() > found.last_commit_at.ToMilliseconds() > 0
    assert found.last_commit_synced
    assert found.last_sequence == 1
    assert min(found.state_bytes, found.kv_bytes, found.event_bytes) > 0
    assert (found.epoch, found.waiting_max) == (server.node.committer.epoch, 1000)
    assert (len(found.running), len(found.waiting), found.calls) == (0, 0, 0)
    assert not found.HasField("last_failure")


async def test_by_id_and_asleep(running: tuple[Server, Client]) -> None:
    server, client = running
    worker = client.get_or_create(Worker, KEY)
    await worker.put("one", 1)
    actor_id = await worker.resolve()
    assert server.node.catalog.evict(Address("default", "worker", tuple(KEY)))

    request = pb.ExplainRequest(target=actor_pb2.ActorTarget(actor_id=actor_id))
    found = await ask(server, request)
    assert found.phase == pb.ACTOR_PHASE_ASLEEP
    assert found.state_bytes > 0
    assert not found.awake
    assert not found.HasField("last_commit_at")
    # To ask has not woken it.
    assert not len(server.node.catalog)


async def test_a_turn_and_those_that_wait(running: tuple[Server, Client], stage: Stage) -> None:
    server, client = running
    worker = client.get_or_create(Worker, KEY).with_options(timeout=20)
    calls = [asyncio.create_task(worker.hold())]
    await stage.reached("go on")
    calls += [asyncio.create_task(worker.put(name, 1)) for name in "ab"]
    await until_waiting(server, 2, "worker", *KEY)

    found = await explained(server, "worker", *KEY)
    assert [(turn.action, turn.mode, turn.cause) for turn in found.running] == [
        ("hold", "exclusive", "call")
    ]
    assert [turn.action for turn in found.waiting] == ["put", "put"]
    assert (found.waiting_count, found.calls) == (2, 3)
    assert [(each.reason, each.count) for each in found.awake] == [(pb.AWAKE_REASON_CALLS, 3)]
    assert not found.HasField("sleeps_at")
    stage.let("go on")
    await asyncio.gather(*calls)


async def test_a_turn_that_waits_for_another_actor(
    running: tuple[Server, Client], stage: Stage
) -> None:
    server, client = running
    asking = asyncio.create_task(
        client.get_or_create(Worker, KEY).with_options(timeout=20).ask(["b"])
    )
    await stage.reached("go on")

    (turn,) = (await explained(server, "worker", *KEY)).running
    assert [(each.name, list(each.key)) for each in turn.waits_for] == [("worker", ["b"])]
    stage.let("go on")
    await asking


async def test_an_actor_that_is_being_created(running: tuple[Server, Client], stage: Stage) -> None:
    server, client = running
    touching = asyncio.create_task(client.get_or_create(Slow, []).with_options(timeout=20).touch())
    await stage.reached("go on")

    found = await explained(server, "slow")
    assert found.phase == pb.ACTOR_PHASE_STARTING
    assert found.actor.actor_id == ""
    assert "$start" in [turn.action for turn in found.running]
    stage.let("go on")
    await touching
    found = await explained(server, "slow")
    assert [each.reason for each in found.awake] == [pb.AWAKE_REASON_NO_SLEEP]


async def test_work_and_timers(running: tuple[Server, Client], stage: Stage) -> None:
    server, client = running
    worker = client.get_or_create(Worker, KEY)
    await worker.plan()
    await worker.work()

    found = await explained(server, "worker", *KEY)
    assert found.schedules == 2
    left_s = (
        found.next_timer_at.ToMilliseconds() / 1000 - server.node.environment.clock.now_ms() / 1000
    )
    assert 3500 < left_s <= 3600
    assert [(each.work, each.count) for each in found.work] == [("keep_awake", 1)]
    assert [(each.reason, each.count) for each in found.awake] == [(pb.AWAKE_REASON_BACKGROUND, 1)]


async def test_the_last_failure_says_no_more_than_its_caller_heard(
    running: tuple[Server, Client],
) -> None:
    server, client = running
    worker = client.get_or_create(Worker, KEY)
    with pytest.raises(ActorError):
        await worker.refuse()
    failed = (await explained(server, "worker", *KEY)).last_failure
    assert (failed.action, failed.code, failed.message) == (
        "refuse",
        "user.refused",
        "no such thing",
    )
    assert failed.at.ToMilliseconds() > 0
    with pytest.raises(ActorError):
        await worker.crash()
    failed = (await explained(server, "worker", *KEY)).last_failure
    assert (failed.action, failed.code) == ("crash", "internal.internal_error")
    assert "secret" not in failed.message


async def test_subscribers_and_connections(running: tuple[Server, Client]) -> None:
    server, client = running
    worker = client.get_or_create(Worker, KEY)
    async with worker.connect() as connection:
        events = connection.events("put")
        reading = asyncio.create_task(anext(events))
        await until(lambda: server.node.audiences.subscribers)
        await worker.put("one", 1)
        assert (await reading).args == ("one",)

        found = await explained(server, "worker", *KEY)
        (subscriber,) = found.subscribers
        assert (list(subscriber.names), subscriber.phase) == (["put"], "live")
        assert (subscriber.sequence, subscriber.lag, found.subscriber_count) == (1, 0, 1)
        assert subscriber.credit_bytes > 0
        assert (found.connections_attached, found.connections_waiting) == (1, 0)


async def test_a_store_that_does_not_sync_holds_nothing_up(start: Start, stage: Stage) -> None:
    store = HeldStore()
    server, client = await start(registry, store=store)
    worker = client.get_or_create(Worker, KEY).with_options(timeout=20)
    await worker.put("one", 1)
    store.hold()
    writing = asyncio.create_task(worker.put("two", 2))
    try:
        await store.reached()
        found = await explained(server, "worker", *KEY)
        assert not found.last_commit_synced
    finally:
        store.let_go()
    await writing
    assert (await explained(server, "worker", *KEY)).last_commit_synced


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        (pb.ExplainRequest(), "INVALID_ARGUMENT", "REQUEST_INVALID"),
        (
            pb.ExplainRequest(
                target=actor_pb2.ActorTarget(get_or_create=actor_pb2.ActorKey(name="worker"))
            ),
            "INVALID_ARGUMENT",
            "REQUEST_INVALID",
        ),
        (
            pb.ExplainRequest(target=actor_pb2.ActorTarget(actor_id="no id")),
            "INVALID_ARGUMENT",
            "REQUEST_INVALID",
        ),
        (
            pb.ExplainRequest(target=actor_pb2.ActorTarget(actor_id="a" * 26)),
            "NOT_FOUND",
            "ACTOR_NOT_FOUND",
        ),
        (
            pb.ExplainRequest(target=actor_pb2.ActorTarget(get=actor_pb2.ActorKey(name="worker"))),
            "NOT_FOUND",
            "ACTOR_NOT_FOUND",
        ),
        (
            pb.ExplainRequest(target=actor_pb2.ActorTarget(get=actor_pb2.ActorKey(name="who"))),
            "NOT_FOUND",
            "ACTOR_NAME_NOT_FOUND",
        ),
        (
            pb.ExplainRequest(
                namespace="nowhere",
                target=actor_pb2.ActorTarget(get=actor_pb2.ActorKey(name="worker")),
            ),
            "NOT_FOUND",
            "NAMESPACE_NOT_FOUND",
        ),
    ],
)
async def test_what_is_asked_wrongly(
    running: tuple[Server, Client], request_: pb.ExplainRequest, status: str, reason: str
) -> None:
    server, _ = running
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ask(server, request_)
    assert refused.value.code().name == status
    details = dict(refused.value.trailing_metadata())["grpc-status-details-bin"]
    assert reason.encode() in details
    # Nobody was created by asking.
    assert not len(server.node.catalog)


async def test_it_is_on_the_admin_port_only_and_wants_a_token(start: Start) -> None:
    server, _ = await start(registry, token="a-token-of-ours")
    target = actor_pb2.ActorTarget(get=actor_pb2.ActorKey(name="worker"))
    request = pb.ExplainRequest(target=target)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ask(server, request)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await ask(server, request, authorization="Bearer a-token-of-ours")
    assert missing.value.code() is grpc.StatusCode.NOT_FOUND
    server.admin_port = server.port
    with pytest.raises(grpc.aio.AioRpcError) as elsewhere:
        await ask(server, request, authorization="Bearer a-token-of-ours")
    assert elsewhere.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_the_command(running: tuple[Server, Client]) -> None:
    server, client = running
    worker = client.get_or_create(Worker, KEY)
    await worker.put("one", 1)
    await worker.plan()
    with pytest.raises(ActorError):
        await worker.refuse()
    admin = f"127.0.0.1:{server.admin_port}"

    async def run(*arguments: str, **environ: str) -> Outcome:
        return await asyncio.to_thread(invoke, *arguments, **environ)

    shown = await run("explain", "worker", json.dumps(KEY), "--admin", admin)
    assert shown.code == 0, shown.err
    first, *rest = shown.out.splitlines()
    assert first == 'worker ["org", "a"] is awake'
    assert "  awake:        not idle for long enough yet" in rest
    assert any("refuse: user.refused: no such thing" in line for line in rest)
    assert any(line.startswith("  next timer:") and "of 2 schedules" in line for line in rest)

    told = await run("--json", "explain", "worker", json.dumps(KEY), HOLDFAST_ADMIN_SERVER=admin)
    assert told.json["phase"] == "awake"
    assert told.json["awake"] == [{"reason": "idle", "count": 0}]
    assert told.json["last_failure"]["code"] == "user.refused"
    assert told.json["schedules"] == 2
    assert told.json["bytes"]["state"] > 0

    nobody = await run("--json", "explain", "worker", "[]", "--admin", admin)
    assert (nobody.code, nobody.error["reason"]) == (1, "ACTOR_NOT_FOUND")
    assert (await run("explain", "worker", "[1", "--admin", admin)).code == 2
