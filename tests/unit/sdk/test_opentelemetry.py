"""The spans of a client that asked for them, over a real server that answers as told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, get_current_span, use_span

from holdfast import Client, blocking
from holdfast._transport import Lifecycle, Target
from holdfast.contrib.opentelemetry import instrument
from holdfast.errors import ActorError, HoldfastError
from tests.unit.sdk.fake_server import Failure, running, running_in_thread, unavailable_address

INVOKE = "holdfast.v1.ActorService/InvokeAction"
STREAM = "holdfast.v1.ActorService/StreamAction"


class Spans:
    """What a provider has made."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    def only(self) -> ReadableSpan:
        (span,) = self._exporter.get_finished_spans()
        return span

    def last(self) -> ReadableSpan:
        return self._exporter.get_finished_spans()[-1]

    def all(self) -> list[str]:
        return [span.name for span in self._exporter.get_finished_spans()]


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


def parent_in(metadata: Mapping[str, Any]) -> int:
    return int(metadata["traceparent"].split("-")[2], 16)


async def test_an_rpc_has_a_span_that_the_server_hears_of() -> None:
    spans = Spans()
    async with running() as (server, client):
        instrument(client, spans.provider)
        await client.get("geometry", "one").add(1)
        host, _, port = client.address.rpartition(":")

    span = spans.only()
    assert (span.name, span.kind) == (INVOKE, SpanKind.CLIENT)
    assert attributes(span) == {
        "rpc.system.name": "grpc",
        "rpc.method": INVOKE,
        "rpc.response.status_code": "OK",
        "server.address": host,
        "server.port": int(port),
    }
    assert span.context is not None
    assert parent_in(server.metadata[0]) == span.context.span_id
    assert span.status.is_unset


async def test_every_rpc_is_named_after_its_method() -> None:
    spans = Spans()
    async with running() as (_, client):
        await client.create("geometry", "one")
        # A channel that is open already is observed too.
        instrument(client, spans.provider)
        await client.destroy("geometry", "one")
        assert [info async for info in client.list("geometry")]

    service = "holdfast.v1.ActorService"
    assert spans.all() == [f"{service}/DestroyActor", *[f"{service}/ListActors"] * 2]


async def test_retries_are_events_of_the_one_span() -> None:
    spans = Spans()
    async with running() as (server, client):
        instrument(client, spans.provider)
        server.failures += [
            Failure(grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING"),
            Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "ACTOR_OVERLOADED", retry_after_s=0.001),
        ]
        await client.get("geometry", "one").add(1)

    span = spans.only()
    assert [event.name for event in span.events] == ["retry", "retry"]
    reasons = [(event.attributes or {})["error.type"] for event in span.events]
    assert reasons == ["SERVER_DRAINING", "ACTOR_OVERLOADED"]
    assert attributes(span)["rpc.response.status_code"] == "OK"
    assert span.context is not None
    assert {parent_in(metadata) for metadata in server.metadata} == {span.context.span_id}


async def test_a_failure_is_named() -> None:
    spans = Spans()
    async with running() as (server, client):
        instrument(client, spans.provider)
        server.failures.append(Failure(grpc.StatusCode.NOT_FOUND, "ACTOR_NOT_FOUND"))
        with pytest.raises(ActorError):
            await client.get("geometry", "one").add(1)

    span = spans.only()
    assert not span.status.is_ok
    assert not span.status.is_unset
    assert attributes(span)["rpc.response.status_code"] == "NOT_FOUND"
    assert attributes(span)["error.type"] == "ACTOR_NOT_FOUND"
    assert span.events == ()


async def test_a_call_that_is_cancelled_and_one_that_never_left() -> None:
    spans = Spans()
    async with running() as (server, client):
        instrument(client, spans.provider)
        server.hold = asyncio.Event()
        call = asyncio.create_task(client.get("geometry", "one").add(1))
        await server.arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert attributes(spans.only())["rpc.response.status_code"] == "CANCELLED"

        transport = client.transport
        await client.close()
        with pytest.raises(HoldfastError):
            await transport.get(Lifecycle(namespace="default", target=Target(name="geometry")))
    never = spans.last()
    assert attributes(never)["error.type"] == "HoldfastError"
    assert "rpc.response.status_code" not in attributes(never)


async def test_a_stream_has_one_span_that_is_not_current_between_items() -> None:
    spans = Spans()
    async with running() as (server, client):
        instrument(client, spans.provider)
        outer = spans.tracer.start_span("outer")
        with use_span(outer):
            async for _ in client.get("geometry", "one").action_stream("count", 3):
                assert get_current_span() is outer
                assert spans.all() == []

    span = spans.only()
    assert (span.name, attributes(span)["rpc.response.status_code"]) == (STREAM, "OK")
    assert span.context is not None
    assert span.parent == outer.get_span_context()
    assert parent_in(server.metadata[0]) == span.context.span_id


async def test_a_stream_that_its_reader_leaves() -> None:
    spans = Spans()
    async with running() as (_, client):
        instrument(client, spans.provider)
        items = client.get("geometry", "one").action_stream("count", 3)
        await anext(items)
        await items.aclose()

    left = spans.only()
    assert attributes(left)["rpc.response.status_code"] == "CANCELLED"
    assert left.status.is_unset


async def test_a_stream_that_fails() -> None:
    spans = Spans()
    async with running() as (server, client):
        instrument(client, spans.provider)
        server.failures.append(Failure(grpc.StatusCode.INVALID_ARGUMENT, "ACTION_WRONG_KIND"))
        with pytest.raises(ActorError):
            await anext(client.get("geometry", "one").action_stream("count", 3))

    assert attributes(spans.only())["error.type"] == "ACTION_WRONG_KIND"


async def test_no_server_at_all() -> None:
    spans = Spans()
    async with Client(await unavailable_address(), timeout=0.3) as client:
        instrument(client, spans.provider)
        with pytest.raises(ActorError):
            await client.get("geometry", "one").add(1)

    span = spans.only()
    assert attributes(span)["error.type"] == "UNAVAILABLE"
    assert span.events


def test_a_blocking_client_is_observed_in_the_context_of_its_caller() -> None:
    spans = Spans()
    with running_in_thread() as (server, address), blocking.Client(address) as client:
        instrument(client, spans.provider)
        outer = spans.tracer.start_span("outer")
        with use_span(outer):
            client.get("geometry", "one").add(1)
            assert list(client.get("geometry", "one").action_stream("count", 2)) == [0, 1]

    assert spans.all() == [INVOKE, STREAM]
    assert len(server.metadata) == 2
    for span in spans._exporter.get_finished_spans():
        assert span.parent == outer.get_span_context()
