"""Metrics and logs that leave by OTLP, as a real collector gets them."""

from __future__ import annotations

import asyncio
import logging

import pytest

from holdfast import ActorError
from holdfast_server.telemetry.failure import TracingError
from holdfast_server.telemetry.logging import ContextHandler
from tests.telemetry.actors import Relay
from tests.telemetry.busy import Busy, registry, some_load
from tests.telemetry.collector import Collector
from tests.telemetry.conftest import SPAN_ID, TRACE_ID, Start, caller
from tests.telemetry.scraping import scrape
from tests.telemetry.test_logging import alone


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
    monkeypatch.setenv("OTEL_BLRP_SCHEDULE_DELAY", "20")


async def test_metrics_are_exported_while_the_server_runs(
    collector: Collector, start: Start
) -> None:
    server, client = await start(registry)
    await some_load(server, client)

    def added() -> bool:
        points = collector.metrics.get("holdfast_action_duration_seconds", [])
        return any(each.attributes["action"] == "add" and each.value >= 5 for each in points)

    await asyncio.to_thread(collector.wait_until, added)


async def test_what_is_exported_is_what_a_scrape_tells(
    collector: Collector, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only the last export, at the end.
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "600000")
    server, client = await start(registry)
    await some_load(server, client)
    told = await scrape(server)
    await server.stop()

    (add,) = [
        each
        for each in collector.metrics["holdfast_action_duration_seconds"]
        if each.attributes == {"actor": "busy", "action": "add"}
    ]
    assert (add.kind, add.unit) == ("histogram", "s")
    assert add.value == told.value("holdfast_action_duration_seconds_count", action="add")
    assert sum(add.buckets) == add.value
    assert len(add.buckets) == len(add.bounds) + 1
    for index, bound in enumerate(add.bounds):
        below = told.value("holdfast_action_duration_seconds_bucket", action="add", le=repr(bound))
        assert sum(add.buckets[: index + 1]) == below
    (refused,) = collector.metrics["holdfast_action_errors_total"][:1]
    assert (refused.kind, refused.value, refused.started > 0) == ("sum", 1, True)
    (awake,) = collector.metrics["holdfast_actors_awake"]
    assert (awake.kind, awake.attributes) == ("gauge", {"actor": "busy"})
    (gated,) = collector.metrics["holdfast_gate_wait_seconds_count"]
    assert gated.value >= told.value("holdfast_gate_wait_seconds_count")
    (stored,) = collector.metrics["holdfast_events_total"]
    assert stored.value == 2


async def test_lines_of_the_log_are_exported_with_actor_and_trace(
    collector: Collector, start: Start
) -> None:
    with alone() as root:
        root.setLevel(logging.INFO)
        server, client = await start()
        relay = client.get_or_create(Relay, ["org", "a"])
        with caller():
            await relay.log()
            with pytest.raises(ActorError):
                await relay.crash("hush")
        await server.stop()
        assert not any(isinstance(each, ContextHandler) for each in root.handlers)

    (line,) = [each for each in collector.lines if each.text == "from the actor"]
    assert (line.logger, line.severity, line.trace_id) == ("holdfast.user", "INFO", TRACE_ID)
    assert line.span_id not in ("", SPAN_ID)
    assert line.attributes["actor"] == "relay"
    assert line.attributes["key"] == ["org", "a"]
    assert (line.attributes["action"], line.attributes["step"]) == ("log", 1)
    (library,) = [each for each in collector.lines if each.text == "from a library"]
    assert (library.logger, library.severity) == ("somebody.else", "WARNING")
    assert library.trace_id == TRACE_ID
    (bug,) = [each for each in collector.lines if "exception.type" in each.attributes]
    assert bug.attributes["exception.type"] == "ValueError"
    assert "ValueError: hush" in bug.attributes["exception.stacktrace"]


async def test_one_signal_can_leave_alone(
    collector: Collector, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{collector.url}/v1/metrics")
    server, client = await start(registry)
    await client.get_or_create(Busy, ["a"]).add()
    await server.stop()

    assert collector.metrics
    assert not collector.spans
    assert not collector.lines


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("OTEL_METRICS_EXPORTER", "smoke", "OTEL_METRICS_EXPORTER: no exporter 'smoke'"),
        ("OTEL_LOGS_EXPORTER", "smoke", "OTEL_LOGS_EXPORTER: no exporter 'smoke'"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon", "'soon' is no number of milliseconds"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-1", "'-1' is no number of milliseconds"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "morse", "'morse' is none of"),
    ],
)
async def test_what_is_not_there_is_said_at_the_start(
    collector: Collector,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    says: str,
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(TracingError, match=says):
        await start()


async def test_a_collector_that_is_not_there_holds_nothing_up(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:1/v1/metrics")
    server, client = await start(registry, trace_flush_timeout_s=0.05)
    assert await client.get_or_create(Busy, ["a"]).add() == 1
    await server.stop()
