"""The tree of spans that a collector gets, from a real client through a real server."""

from __future__ import annotations

import asyncio

import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast import ActorError, Client
from holdfast_server.app import Server
from holdfast_server.config import load
from holdfast_server.core.ids import Address, scope_of
from holdfast_server.store.faults import FaultyStore
from holdfast_server.store.memory import MemoryStore
from holdfast_server.telemetry import names
from tests.server.session import call, end_of, opened
from tests.server.wire import target
from tests.telemetry.actors import Relay, Worker, registry
from tests.telemetry.collector import Collector
from tests.telemetry.conftest import SPAN_ID, TRACE_ID, Start, caller

INVOKE = "holdfast.v1.ActorService/InvokeAction"
STREAM = "holdfast.v1.ActorService/StreamAction"
RELAY_A = Address("default", "relay", ("a",))
START = {"turn relay/$start": ["commit relay"]}


async def test_a_call_its_turns_and_their_commits_are_one_tree(
    collector: Collector, start: Start
) -> None:
    server, client = await start()
    with caller():
        await client.get_or_create(Relay, ["a"]).ask("b")
    await server.stop()

    note = {"turn relay/note": [START, "commit relay"]}
    assert collector.tree() == [{INVOKE: [{"turn relay/ask": [START, note, "commit relay"]}]}]
    rpc = collector.only(INVOKE)
    assert (rpc.trace_id, rpc.parent_id, rpc.kind) == (TRACE_ID, SPAN_ID, "SERVER")
    assert {span.kind for span in collector.spans} == {"SERVER", "INTERNAL"}
    assert {span.trace_id for span in collector.spans} == {TRACE_ID}
    assert not any(span.links or span.error for span in collector.spans)


async def test_what_spans_say(collector: Collector, start: Start) -> None:
    server, client = await start()
    relay = client.get_or_create(Relay, ["a"])
    await relay.note()
    actor_id = await relay.resolve()
    await server.stop()

    rpc = collector.only(INVOKE).attributes
    assert rpc.pop(names.CLIENT_PORT) > 0
    assert rpc == {
        names.RPC_SYSTEM_NAME: "grpc",
        names.RPC_METHOD: INVOKE,
        names.RPC_RESPONSE_STATUS_CODE: "OK",
        names.SERVER_ADDRESS: "127.0.0.1",
        names.SERVER_PORT: server.port,
        names.CLIENT_ADDRESS: "127.0.0.1",
    }
    turn = collector.only("turn relay/note")
    assert turn.attributes == {
        names.NAMESPACE: "default",
        names.ACTOR_NAME: "relay",
        names.ACTOR_ID: actor_id,
        names.ACTION: "note",
        names.TURN_MODE: "exclusive",
        names.TURN_CAUSE: "call",
        names.TURN_WAIT_S: 0.0,
    }
    assert collector.only("turn relay/$start").attributes[names.TURN_CREATES] is True
    commit = collector.below(turn, "commit relay").attributes
    numbers = [commit.pop(names.COMMIT_WRITES), commit.pop(names.COMMIT_BYTES)]
    assert min(*numbers, commit.pop(names.COMMIT_GROUP)) > 0
    assert commit == {names.ACTOR_NAME: "relay"}
    assert turn.resource["service.name"] == "holdfast"


async def test_a_turn_that_was_sent_is_a_child_and_linked(
    collector: Collector, start: Start
) -> None:
    _, client = await start()
    with caller():
        await client.get_or_create(Relay, ["a"]).tell("b")
    (delivered,) = await asyncio.to_thread(collector.wait_for, "turn relay/note")
    await asyncio.to_thread(collector.wait_for, INVOKE)

    sender = collector.only("turn relay/tell")
    assert (delivered.trace_id, delivered.parent_id) == (TRACE_ID, sender.span_id)
    assert delivered.links == [(TRACE_ID, sender.span_id, {names.LINK_KIND: "send"})]
    assert delivered.attributes[names.TURN_CAUSE] == "send"
    assert delivered.start >= collector.below(sender, "commit relay").end


@pytest.mark.parametrize(
    ("action", "status", "reason", "code", "events"),
    [
        ("refuse", "UNKNOWN", "USER_ERROR", "user.refused", {}),
        (
            "crash",
            "INTERNAL",
            "INTERNAL_ERROR",
            "internal.internal_error",
            {"exception": {names.EXCEPTION_TYPE: "ValueError"}},
        ),
    ],
)
async def test_failures_are_named_and_nothing_of_users_is_told(
    collector: Collector,
    start: Start,
    action: str,
    status: str,
    reason: str,
    code: str,
    events: dict[str, dict[str, str]],
) -> None:
    server, client = await start()
    with pytest.raises(ActorError):
        await client.get_or_create(Relay, ["hush-key"]).action(action, "hush-argument")
    await server.stop()

    rpc = collector.only(INVOKE)
    assert rpc.error == ""
    assert rpc.attributes[names.RPC_RESPONSE_STATUS_CODE] == status
    assert rpc.attributes[names.ERROR_TYPE] == status
    turn = collector.below(rpc, f"turn relay/{action}")
    assert (turn.error, turn.events) == (code, events)
    assert turn.attributes[names.ERROR_TYPE] == reason
    assert turn.attributes[names.ERROR_CODE] == code
    assert not any(b"hush" in body for body in collector.posted)


async def test_a_run_that_fails_is_a_span_of_its_own(collector: Collector, start: Start) -> None:
    server, client = await start()
    await client.get_or_create(Worker, ["a"]).wake()
    await server.stop()

    run = collector.only("run worker")
    assert run.parent_id == ""
    assert (run.error, run.attributes[names.ERROR_TYPE]) == ("", "ValueError")
    assert run.attributes[names.ACTOR_NAME] == "worker"
    assert names.ACTOR_KEY not in run.attributes
    assert not any(b"hush" in body for body in collector.posted)


async def test_a_fault_of_the_caller_is_no_error_of_the_server(
    collector: Collector, start: Start
) -> None:
    server, client = await start()
    with pytest.raises(ActorError):
        await client.get(Relay, ["nobody"]).note()
    await server.stop()

    rpc = collector.only(INVOKE)
    assert rpc.error is None
    assert rpc.attributes[names.RPC_RESPONSE_STATUS_CODE] == "NOT_FOUND"
    turn = collector.below(rpc, "turn relay/note")
    assert (turn.error, turn.attributes[names.ERROR_TYPE]) == ("actor.not_found", "ACTOR_NOT_FOUND")


async def test_keys_are_told_where_that_is_allowed(collector: Collector, start: Start) -> None:
    server, client = await start(trace_keys=True)
    await client.get_or_create(Relay, ["a", "b"]).note()
    await server.stop()

    assert collector.only("turn relay/note").attributes[names.ACTOR_KEY] == ["a", "b"]


async def test_each_step_of_a_stream_is_a_turn(collector: Collector, start: Start) -> None:
    server, client = await start()
    relay = client.get_or_create(Relay, ["a"])
    await relay.note()
    with caller():
        assert [item.split("/")[0] async for item in relay.walk(2)] == [TRACE_ID] * 2
    await server.stop()

    step = {"turn relay/walk": ["commit relay"]}
    assert collector.tree()[1] == {STREAM: [step, step, "turn relay/walk"]}


async def test_a_reader_that_leaves_ends_the_span_of_its_stream(
    collector: Collector, start: Start
) -> None:
    _, client = await start()
    with caller():
        items = client.get_or_create(Relay, ["a"]).walk(1_000_000)
        await anext(items)
        await items.aclose()
    (rpc,) = await asyncio.to_thread(collector.wait_for, STREAM)

    assert rpc.attributes[names.RPC_RESPONSE_STATUS_CODE] == "CANCELLED"
    assert rpc.error is None


async def test_a_turn_tells_how_long_it_waited(collector: Collector, start: Start) -> None:
    server, client = await start()
    relay, Relay.gate = client.get_or_create(Relay, ["a"]), asyncio.Event()
    await relay.note()
    holding, waiting = asyncio.create_task(relay.hold()), asyncio.create_task(relay.ask("b"))
    activation = server.node.find_scope(scope_of(RELAY_A))
    assert activation is not None
    async with asyncio.timeout(10):
        while not activation.mailbox.waiting:
            await relay.traces()
    Relay.gate.set()
    await asyncio.gather(holding, waiting)
    await server.stop()

    turns = collector.named("turn relay/hold") + collector.named("turn relay/ask")
    assert sum("admitted" in turn.events for turn in turns) == 1
    assert sum(turn.attributes[names.TURN_WAIT_S] > 0 for turn in turns) == 1


async def test_a_turn_that_never_ran_has_a_span_too(collector: Collector, start: Start) -> None:
    server, client = await start()
    with pytest.raises(ActorError):
        await client.get_or_create(Relay, ["a"]).circle(["b", "a"])
    await server.stop()

    rpc = collector.only(INVOKE)
    one = collector.below(rpc, "turn relay/circle")
    two = collector.below(one, "turn relay/circle")
    three = collector.below(two, "turn relay/circle")
    assert three.attributes[names.ERROR_TYPE] == "CALL_CYCLE"
    assert names.ACTOR_ID not in three.attributes


async def test_a_replayed_answer_is_marked(collector: Collector, start: Start) -> None:
    server, client = await start()
    relay = client.get_or_create(Relay, ["a"]).with_options(idempotency_key="k")
    assert await relay.note() == await relay.note()
    await server.stop()

    assert [rpc.attributes.get(names.REPLAYED) for rpc in collector.named(INVOKE)] == [None, True]
    collector.only("turn relay/note")


async def test_a_turn_of_its_own_begins_a_trace_that_is_linked(
    collector: Collector, start: Start
) -> None:
    _, client = await start()
    with caller():
        await client.get_or_create(Relay, ["a"]).work_on()
    (own,) = await asyncio.to_thread(collector.wait_for, "turn relay/$turn")
    (rpc,) = await asyncio.to_thread(collector.wait_for, INVOKE)

    starter = collector.below(rpc, "turn relay/work_on")
    assert (own.trace_id != TRACE_ID, own.parent_id) == (True, "")
    assert own.links == [(TRACE_ID, starter.span_id, {names.LINK_KIND: "spawn"})]


async def test_a_fire_begins_a_trace_that_is_linked_to_the_turn_that_set_it(
    collector: Collector, start: Start
) -> None:
    _, client = await start()
    with caller():
        await client.get_or_create(Relay, ["a"]).work_later()
    (fire,) = await asyncio.to_thread(collector.wait_for, "turn relay/note")
    (rpc,) = await asyncio.to_thread(collector.wait_for, INVOKE)

    starter = collector.below(rpc, "turn relay/work_later")
    assert (fire.trace_id != TRACE_ID, fire.parent_id) == (True, "")
    assert fire.links == [(TRACE_ID, starter.span_id, {names.LINK_KIND: "timer"})]
    assert fire.attributes[names.TURN_CAUSE] == "timer"


async def test_a_deadline_and_a_lost_caller_are_told_apart(
    collector: Collector, start: Start
) -> None:
    server, client = await start()
    Relay.gate = asyncio.Event()
    # One that sends its deadline and does not leave at it.
    async with opened(server) as session:
        session.send(call(1, target("relay", "a"), "hold", timeout_ms=300))
        assert end_of(await session.answer(1)).reason == "DEADLINE_EXCEEDED"
    (late,) = await asyncio.to_thread(collector.wait_for, INVOKE)
    assert late.attributes[names.RPC_RESPONSE_STATUS_CODE] == "DEADLINE_EXCEEDED"
    assert late.error == ""

    held = asyncio.create_task(client.get_or_create(Relay, ["b"]).hold())
    await asyncio.to_thread(collector.wait_for, "turn relay/$start", 2)
    held.cancel()
    _, lost = await asyncio.to_thread(collector.wait_for, INVOKE, 2)
    assert lost.attributes[names.RPC_RESPONSE_STATUS_CODE] == "CANCELLED"
    assert lost.error is None
    assert collector.below(lost, "turn relay/hold").attributes[names.ERROR_TYPE] == (
        "asyncio.exceptions.CancelledError"
    )


async def test_a_commit_of_which_nobody_knows_has_failed(collector: Collector) -> None:
    store = FaultyStore(MemoryStore())
    server = Server(registry, load({}, grpc="127.0.0.1:0"), store=store)
    await server.start()
    async with Client(f"127.0.0.1:{server.port}") as client:
        relay = client.get_or_create(Relay, ["a"])
        await relay.note()
        store.fail_next("sync")
        await relay.note()
    await server.stop()

    failed = [span for span in collector.named("commit relay") if span.error]
    assert [span.attributes[names.ERROR_TYPE] for span in failed] == ["COMMIT_UNKNOWN"]
    assert names.COMMIT_GROUP not in failed[0].attributes


async def test_health_checks_have_no_spans(collector: Collector, start: Start) -> None:
    server, client = await start()
    async with aio.insecure_channel(client.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        await health.Check(health_pb2.HealthCheckRequest(service=""))
    await server.stop()

    assert collector.posted == []


async def test_the_span_of_a_turn_is_current_in_its_code(
    collector: Collector, start: Start
) -> None:
    server, client = await start()
    relay = client.get_or_create(Relay, ["a"])
    with caller():
        text, sampled = await relay.current()
    await server.stop()

    turn = collector.only("turn relay/current")
    assert (text, sampled) == (f"{turn.trace_id}/{turn.span_id}", True)
