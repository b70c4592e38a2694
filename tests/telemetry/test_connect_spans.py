"""Spans of RPCs that come over the Connect protocol are those of gRPC's, by another name."""

from __future__ import annotations

import aiohttp

from holdfast_server.telemetry import names
from tests.telemetry.collector import Collector
from tests.telemetry.conftest import SPAN_ID, TRACE_ID, Start

INVOKE = "holdfast.v1.ActorService/InvokeAction"
CALL = {"target": {"getOrCreate": {"name": "relay", "key": ["a"]}}, "action": "note"}


async def test_a_call_over_http_and_its_turn_are_one_tree(
    collector: Collector, start: Start
) -> None:
    server, _ = await start(http="127.0.0.1:0")
    url = f"http://127.0.0.1:{server.http_port}/{INVOKE}"
    headers = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}
    async with aiohttp.ClientSession() as session:
        async with session.post(url, json=CALL, headers=headers) as response:
            assert response.status == 200
        async with session.post(url, json={**CALL, "action": "refuse"}) as response:
            assert response.status == 500
    await server.stop()

    turn = collector.only("turn relay/note")
    rpc, refused = sorted(
        (span for span in collector.spans if span.name == INVOKE), key=lambda span: span.start
    )
    assert (rpc.trace_id, rpc.parent_id, rpc.kind) == (TRACE_ID, SPAN_ID, "SERVER")
    assert (turn.trace_id, turn.parent_id) == (TRACE_ID, rpc.span_id)
    assert rpc.attributes.pop(names.CLIENT_PORT) > 0
    assert rpc.attributes == {
        names.RPC_SYSTEM_NAME: "connectrpc",
        names.RPC_METHOD: INVOKE,
        names.RPC_RESPONSE_STATUS_CODE: "OK",
        names.SERVER_ADDRESS: "127.0.0.1",
        names.SERVER_PORT: server.http_port,
        names.CLIENT_ADDRESS: "127.0.0.1",
    }
    assert refused.attributes[names.RPC_RESPONSE_STATUS_CODE] == "UNKNOWN"
