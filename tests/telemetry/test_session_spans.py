"""Calls in a session have the spans of the RPCs that they stand for."""

from __future__ import annotations

import pytest

from holdfast_server.telemetry import names
from tests.server.session import call, end_of, opened, value_of
from tests.server.wire import target
from tests.telemetry.collector import Collector
from tests.telemetry.conftest import SPAN_ID, TRACE_ID, Start
from tests.telemetry.test_tracing import INVOKE, START, STREAM

RELAY = target("relay", "a")
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"


async def test_a_call_in_a_session_has_the_spans_of_its_rpc(
    collector: Collector, start: Start
) -> None:
    server, _ = await start()
    async with opened(server) as session:
        session.send(call(1, RELAY, "note", traceparent=PARENT))
        value_of(await session.answer(1))
    await server.stop()

    # The session itself, which may last for days, has none.
    assert collector.tree() == [{INVOKE: [{"turn relay/note": [START, "commit relay"]}]}]
    rpc = collector.only(INVOKE)
    assert (rpc.trace_id, rpc.parent_id, rpc.kind) == (TRACE_ID, SPAN_ID, "SERVER")
    assert rpc.attributes.pop(names.CLIENT_PORT) > 0
    assert rpc.attributes == {
        names.RPC_SYSTEM_NAME: "grpc",
        names.RPC_METHOD: INVOKE,
        names.RPC_RESPONSE_STATUS_CODE: "OK",
        names.SERVER_ADDRESS: "127.0.0.1",
        names.SERVER_PORT: server.port,
        names.CLIENT_ADDRESS: "127.0.0.1",
    }


@pytest.mark.parametrize(("action", "status"), [("refuse", "UNKNOWN"), ("nothing", "NOT_FOUND")])
async def test_a_failure_and_a_replay_are_marked(
    collector: Collector, start: Start, action: str, status: str
) -> None:
    server, _ = await start()
    async with opened(server) as session:
        session.send(call(1, RELAY, action), call(2, RELAY, "note", idempotency_key="k"))
        assert end_of(await session.answer(1)).status == status
        value_of(await session.answer(2))
        session.send(call(3, RELAY, "note", idempotency_key="k"))
        value_of(await session.answer(3))
    await server.stop()

    spans = [span.attributes for span in collector.spans if span.name == INVOKE]
    found = [each[names.RPC_RESPONSE_STATUS_CODE] for each in spans]
    assert sorted(found) == sorted([status, "OK", "OK"])
    assert [each.get(names.REPLAYED) for each in spans].count(True) == 1


async def test_a_streaming_call_has_a_span_too(collector: Collector, start: Start) -> None:
    server, _ = await start()
    async with opened(server) as session:
        session.send(call(1, RELAY, "walk", 2, streaming=True, traceparent=PARENT))
        await session.answers_to_end(1)
    await server.stop()

    span = collector.only(STREAM)
    assert span.trace_id == TRACE_ID
    assert span.attributes[names.RPC_RESPONSE_STATUS_CODE] == "OK"
