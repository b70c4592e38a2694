"""Turns of raw requests and WebSockets have spans, in the client's trace or tied to it."""

from __future__ import annotations

import aiohttp
import pytest

from tests.telemetry.collector import Collector
from tests.telemetry.conftest import SPAN_ID, TRACE_ID, Start

HEADERS = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}
SITE = "rvt-namespace=default&rvt-method=getOrCreate&rvt-key=a&rvt-runner=default"


async def test_each_turn_of_a_request_is_in_the_trace_of_its_client(
    collector: Collector, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    server, _ = await start()
    url = f"http://127.0.0.1:{server.http_port}/gateway/site/request?{SITE}"
    async with aiohttp.ClientSession() as session, session.get(url, headers=HEADERS) as answer:
        said = (await answer.text()).split()
    await server.stop()

    turns = collector.named("turn site/$request")
    assert {turn.trace_id for turn in turns} == {TRACE_ID}
    # The handler's own, and one for each wish for a further part.
    assert len(turns) == 4
    assert len(said) == 2
    # The code of each part is in the span of its own turn.
    spans = [turn.span_id for turn in sorted(turns, key=lambda turn: turn.start)]
    assert said == [f"{TRACE_ID}/{span}" for span in spans[1:3]]
    assert "detach" not in caplog.text


async def test_a_message_begins_a_trace_that_is_tied_to_that_of_the_opening(
    collector: Collector, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    server, _ = await start()
    url = f"http://127.0.0.1:{server.http_port}/gateway/site/websocket?{SITE}"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, headers=HEADERS) as websocket,
    ):
        said = [await websocket.receive_str()]
        await websocket.send_str("x")
        said.append(await websocket.receive_str())
    await server.stop()

    turns = sorted(collector.named("turn site/$websocket"), key=lambda turn: turn.start)
    opened = [turn for turn in turns if turn.trace_id == TRACE_ID]
    later = [turn for turn in turns if turn.trace_id != TRACE_ID]
    # The handler's first turn; the message, and the end.
    assert (len(opened), len(later)) == (1, 2)
    assert [turn.links[0][0] for turn in later] == [TRACE_ID] * 2
    assert len({turn.trace_id for turn in later}) == 2
    assert said == [f"{turn.trace_id}/{turn.span_id}" for turn in (*opened, later[0])]
    assert "detach" not in caplog.text
