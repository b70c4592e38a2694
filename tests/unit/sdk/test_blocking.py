"""The blocking client against the server that answers as told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from opentelemetry import trace

from holdfast import blocking
from holdfast.errors import ActorError, HoldfastError
from tests.unit.sdk.fake_server import Failure, Geometry, Point, running_in_thread


async def _in_thread(function: Callable[[], None]) -> None:
    await asyncio.to_thread(function)


async def test_blocking_client() -> None:
    def body() -> None:
        with running_in_thread() as (server, address), blocking.Client(address) as client:
            client.register(Geometry, "geometry")
            handle = client.get_or_create(Geometry, "one")
            assert handle.call(Geometry.mirror, Point(1, 2)) == Point(2, 1)
            assert handle.mirror(Point(1, 2)) == Point(2, 1)
            assert list(handle.call(Geometry.count, 3)) == [0, 1, 2]
            assert list(handle.count(2)) == [0, 1]
            assert handle.action("echoAll", 1) == [[1], {}]
            assert handle.resolve() == "A1"
            assert [i.actor_id for i in client.list(Geometry)] == ["A1", "A2", "A3"]
            assert client.create(Geometry, "two").resolve() == "A1"
            assert client.destroy(handle) == "A1"
            server.failures = [Failure(grpc.StatusCode.INTERNAL, "INTERNAL_ERROR")]
            with pytest.raises(ActorError):
                handle.call(Geometry.mirror, Point(1, 2))
            client.close()
            with pytest.raises(HoldfastError, match="closed"):
                handle.mirror(Point(1, 2))

    await _in_thread(body)


async def test_closing_a_blocking_client_frees_waiting_threads() -> None:
    def body() -> None:
        with running_in_thread() as (server, address):
            client = blocking.Client(address)
            server.hold = asyncio.Event()
            failures: list[BaseException] = []

            def wait() -> None:
                try:
                    client.get("geometry", "one").add(1)
                except BaseException as error:
                    failures.append(error)

            thread = threading.Thread(target=wait)
            thread.start()
            asyncio.run_coroutine_threadsafe(server.arrived.wait(), server.loop).result(10)
            client.close()
            thread.join(10)
            assert len(failures) == 1

    await _in_thread(body)


async def test_the_trace_of_the_calling_thread_goes_along() -> None:
    context: Any = trace.SpanContext(0xABC, 0xDEF, False, trace.TraceFlags(1))

    def body() -> None:
        with running_in_thread() as (server, address), blocking.Client(address) as client:
            with trace.use_span(trace.NonRecordingSpan(context)):
                client.get("geometry", "one").add(1)
            assert server.metadata[0]["traceparent"] == f"00-{0xABC:032x}-{0xDEF:016x}-01"

    await _in_thread(body)


async def test_results_of_an_untyped_handle_take_the_types_of_the_action() -> None:
    def body() -> None:
        with running_in_thread() as (_, address), blocking.Client(address) as client:
            by_name = client.get("geometry", "one")
            assert by_name.call(Geometry.mirror, Point(1, 2)) == Point(2, 1)
            assert by_name.mirror(Point(1, 2)) == {"x": 2, "y": 1}

    await _in_thread(body)
