"""Which spans are made, and how they leave, as the OTEL_* variables have it."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from holdfast import Client
from holdfast_server.config import load
from holdfast_server.telemetry.failure import TracingError
from holdfast_server.telemetry.tracing import open_tracing
from tests.server_process import ROOT, served
from tests.telemetry.actors import Relay
from tests.telemetry.collector import Collector
from tests.telemetry.conftest import SPAN_ID, TRACE_ID, Start, caller
from tests.telemetry.test_propagation import sends

INVOKE = "holdfast.v1.ActorService/InvokeAction"


async def alone(data: Path, *arguments: str) -> dict[str, Any]:
    """What a server alone in its process says of one call."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.telemetry.alone", str(data), *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    said: dict[str, Any] = json.loads(output)
    return said


NONE = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}


@pytest.mark.parametrize("environ", [{}, NONE, {"OTEL_SDK_DISABLED": "true"}])
async def test_without_an_exporter_the_sdk_is_not_even_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    if environ:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    said = await alone(tmp_path)

    assert said == {"seen": f"{TRACE_ID}/{SPAN_ID}", "loaded": []}


async def test_a_provider_of_the_application_is_used(collector: Collector, tmp_path: Path) -> None:
    await alone(tmp_path, "provider")

    assert {span.resource["service.name"] for span in collector.spans} == {"the application"}
    rpc = collector.only(INVOKE)
    assert (rpc.trace_id, rpc.parent_id) == (TRACE_ID, SPAN_ID)
    collector.below(collector.below(rpc, "turn relay/ask"), "turn relay/note")


async def test_a_server_that_is_told_to_stop_sends_its_last_spans(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing leaves by itself within the test's time.
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "rooms")
    command = [sys.executable, "-m", "holdfast_server", "serve", "tests.telemetry.actors:registry"]
    with served(command, tmp_path) as server:
        async with Client(server.address) as client:
            with caller():
                await client.get_or_create(Relay, ["a"]).plan("b")
        assert collector.posted == []

    rpc = collector.only(INVOKE)
    assert rpc.resource["service.name"] == "rooms"
    # A span of the actor's own stands between the turn and the one that it called.
    plan = collector.below(collector.below(rpc, "turn relay/plan"), "plan")
    collector.below(plan, "turn relay/note")


@pytest.mark.parametrize("sampler", ["always_off", "parentbased_always_off"])
async def test_what_is_not_sampled_is_only_passed_on(
    collector: Collector, start: Start, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    server, client = await start()
    relay = client.get_or_create(Relay, ["a"])
    with caller("vendor=1", sampled=False):
        assert (await relay.ask("b")).startswith(TRACE_ID)
        text, sampled = await relay.current()
        await relay.tell("b", "crash")
    assert (text.split("/")[0], sampled) == (TRACE_ID, False)
    (record,) = sends(server)
    assert record.traceparent.split("-")[1::2] == [TRACE_ID, "00"]
    assert record.tracestate == "vendor=1"

    # What begins here is decided once, for all that follows from it.
    trace_id = (await relay.ask("b")).split("/")[0]
    assert trace_id not in (TRACE_ID, "")
    await server.stop()
    assert collector.posted == []


async def test_the_sampler_decides_again_where_it_is_not_bound_by_parents(
    collector: Collector, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    server, client = await start()
    with caller(sampled=False):
        await client.get_or_create(Relay, ["a"]).note()
    await server.stop()

    assert collector.below(collector.only(INVOKE), "turn relay/note").trace_id == TRACE_ID


async def test_tracestate_goes_through(collector: Collector, start: Start) -> None:
    server, client = await start()
    with caller("vendor=1,other=2"):
        await client.get_or_create(Relay, ["a"]).tell("b", "crash")
    (record,) = sends(server)

    assert record.tracestate == "vendor=1,other=2"
    assert record.traceparent.startswith(f"00-{TRACE_ID}-")
    assert record.traceparent.endswith("-01")


async def test_a_collector_that_does_not_answer_does_not_hold_up_the_end(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        server, client = await start(trace_flush_timeout_s=0.01)
        assert await client.get_or_create(Relay, ["a"]).note()
        await server.stop()

    assert "the last spans did not leave within 0.01 s" in caplog.text
    for thread in threading.enumerate():
        if thread.name == "holdfast-spans":
            thread.join()


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"OTEL_TRACES_EXPORTER": "otlp,smoke"}, r"OTEL_TRACES_EXPORTER: no exporter 'smoke'"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "pigeon"},
            r"OTEL_EXPORTER_OTLP_PROTOCOL: 'pigeon' is none of http/protobuf, grpc",
        ),
    ],
)
def test_what_is_not_there_is_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(TracingError, match=message):
        open_tracing(environ, keys=False)


@pytest.mark.parametrize(
    ("environ", "opened"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_TRACES_EXPORTER": "None", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
    ],
)
async def test_tracing_is_on_where_somebody_listens(environ: dict[str, str], opened: bool) -> None:
    tracing = open_tracing(environ, keys=False)
    assert (tracing is not None) == opened
    if tracing is not None:
        await tracing.close(10)


def test_keys_are_kept_out_of_spans_by_default() -> None:
    assert load({}).trace_keys is False
    assert load({"HOLDFAST_TRACE_KEYS": "1"}).trace_keys is True
