"""Without an exporter a trace is passed on: into turns, calls and sends."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
import pytest

from holdfast.v1 import actor_pb2, actor_service_pb2
from holdfast.v1.actor_service_pb2_grpc import ActorServiceStub
from holdfast_server.app import Server
from holdfast_server.store import keys
from holdfast_server.store.v1 import records_pb2 as records
from tests.telemetry.actors import Relay
from tests.telemetry.conftest import SPAN_ID, TRACE_ID, Start, caller

CALLER = f"{TRACE_ID}/{SPAN_ID}"


async def test_a_call_is_passed_on_to_the_actors_that_it_calls(start: Start) -> None:
    _, client = await start()
    with caller():
        assert await client.get_or_create(Relay, ["a"]).ask("b") == CALLER
    assert await client.get(Relay, ["a"]).traces() == [CALLER]
    assert await client.get(Relay, ["b"]).note() == "/"


async def test_a_send_arrives_in_the_trace_it_was_sent_in(start: Start) -> None:
    _, client = await start()
    with caller():
        await client.get_or_create(Relay, ["a"]).tell("b")
    other = client.get_or_create(Relay, ["b"])
    async with asyncio.timeout(10):
        while not (traces := await other.traces()):
            pass
    assert traces == [CALLER]


async def test_the_trace_is_stored_with_a_send(start: Start) -> None:
    server, client = await start()
    with caller("vendor=1"):
        # The target fails, so the row stays and waits for its next try.
        await client.get_or_create(Relay, ["a"]).tell("b", "crash")
    (record,) = sends(server)
    assert record.traceparent == f"00-{TRACE_ID}-{SPAN_ID}-01"
    assert record.tracestate == "vendor=1"


async def test_streams_and_turns_of_their_own_are_passed_on_too(start: Start) -> None:
    _, client = await start()
    relay = client.get_or_create(Relay, ["a"])
    with caller():
        assert [item async for item in relay.walk(2)] == [CALLER, CALLER]
        await relay.work_on()
    async with asyncio.timeout(10):
        while len(traces := await relay.traces()) < 3:
            pass
    assert traces[2] == CALLER


@pytest.mark.parametrize("parent", ["nonsense", f"00-{'0' * 32}-{SPAN_ID}-01", "x" * 2000])
async def test_a_malformed_traceparent_is_ignored(start: Start, parent: str) -> None:
    _, client = await start()
    request = actor_service_pb2.InvokeActionRequest(
        target=actor_pb2.ActorTarget(
            get_or_create=actor_pb2.ActorKey(name="relay", key=["a"]),
        ),
        action="note",
    )
    async with grpc.aio.insecure_channel(client.address) as channel:
        stub: Any = ActorServiceStub(channel)
        answer = await stub.InvokeAction(request, metadata=(("traceparent", parent),))
    assert answer.result.data == b'"/"'


def sends(server: Server) -> list[records.SendRecord]:
    """The rows of the outbox."""
    rows = server.node.scan(*keys.kind_range(keys.Kind.OUTBOX), limit=10, reverse=False)
    return [records.SendRecord.FromString(value) for _, value in rows]
