"""The client against a small gRPC server in this process, over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from holdfast import payload
from holdfast._grpc import GrpcTransport, open_channel
from holdfast._retry import Backoff, Sequence
from holdfast._transport import Call, Target
from holdfast.actor import Actor
from holdfast.client import BaseClient
from holdfast.errors import ActorError, HoldfastError
from tests.unit.sdk.fake_server import (
    Failure,
    Geometry,
    Point,
    running,
    unavailable_address,
)

pytestmark = pytest.mark.asyncio


async def test_arguments_and_result_by_name() -> None:
    async with running(namespace="blue") as (server, client):
        handle = client.get_or_create("geometry", ["a", "b"], input={"size": 3})
        assert await handle.echoAll(1, "x", deep={"k": b"v"}) == [[1, "x"], {"deep": {"k": b"v"}}]
        request = server.requests[0]
        assert (request.namespace, request.action) == ("blue", "echoAll")
        assert list(request.target.get_or_create.key) == ["a", "b"]
        assert payload.decode(request.target.input.data, request.target.input.encoding) == {
            "size": 3
        }
        assert await handle.nothing() is None
        assert not server.requests[1].HasField("args")
        assert not server.requests[1].HasField("kwargs")


async def test_a_class_gives_wire_names_and_result_types() -> None:
    async with running() as (server, client):
        handle = client.get(Geometry, "one")
        assert await handle.mirror(Point(1, 2)) == Point(2, 1)
        assert await handle.action("mirror", Point(3, 4)) == Point(4, 3)
        assert await handle.echo_all(7) == [[7], {}]
        assert server.requests[2].action == "echoAll"
        assert list(server.requests[2].target.get.key) == ["one"]
        with pytest.raises(AttributeError, match="Geometry has no action 'absent'"):
            _ = handle.absent  # type: ignore[attr-defined]


async def test_a_class_without_a_name_is_refused_with_the_remedy() -> None:
    class Other(Actor):
        pass

    async with running() as (_, client):
        with pytest.raises(HoldfastError, match=r"register\(Other"):
            client.get(Other, "one")


async def test_every_call_has_its_number_and_acknowledges_those_answered() -> None:
    async with running() as (server, client):
        handle = client.get("geometry", "one")
        server.hold = asyncio.Event()
        held = asyncio.create_task(handle.first())
        await server.arrived.wait()
        hold, server.hold = server.hold, None
        await handle.second()
        await handle.third()
        hold.set()
        await held
        await handle.fourth()
        numbers = [r.client_sequence for r in server.requests]
        assert [n.number for n in numbers] == [1, 2, 3, 4]
        assert [n.acknowledged_below for n in numbers] == [1, 1, 1, 4]
        assert len({n.client_id for n in numbers}) == 1
        assert len(numbers[0].client_id) == 16


@pytest.mark.parametrize(
    "failure",
    [
        Failure(grpc.StatusCode.UNAVAILABLE),
        Failure(grpc.StatusCode.UNAVAILABLE, "COMMIT_UNKNOWN"),
        Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "ACTOR_OVERLOADED", retry_after_s=0.01),
    ],
)
async def test_a_retry_carries_the_same_key(failure: Failure) -> None:
    async with running() as (server, client):
        handle = client.get("geometry", "one")
        server.failures = [failure, failure]
        assert await handle.add(1) == [[1], {}]
        assert len(server.requests) == 3
        assert len({r.SerializeToString() for r in server.requests}) == 1
        server.failures = [failure]
        await handle.with_options(idempotency_key="mine").add(1)
        assert [r.idempotency_key for r in server.requests[3:]] == ["mine", "mine"]
        assert not server.requests[4].HasField("client_sequence")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "STATE_TOO_LARGE"),
        (grpc.StatusCode.ABORTED, "TURN_INTERRUPTED"),
        (grpc.StatusCode.INTERNAL, "INTERNAL_ERROR"),
    ],
)
async def test_other_failures_are_not_retried(code: grpc.StatusCode, reason: str) -> None:
    async with running() as (server, client):
        server.failures = [Failure(code, reason)]
        with pytest.raises(ActorError) as caught:
            await client.get("geometry", "one").add(1)
        assert (caught.value.reason, caught.value.retryable) == (reason, False)
        assert len(server.requests) == 1


async def test_a_user_error_comes_back_as_it_was() -> None:
    async with running() as (server, client):
        metadata = {"group": "user", "code": "forbidden", "metadata_json": '{"hint":["ask"]}'}
        server.failures = [Failure(grpc.StatusCode.UNKNOWN, "USER_ERROR", metadata)]
        with pytest.raises(ActorError) as caught:
            await client.get("geometry", "one").add(1)
        error = caught.value
        assert (error.group, error.code, error.message) == ("user", "forbidden", "told to fail")
        assert error.metadata == {"hint": ["ask"]}


async def test_retries_end_with_the_deadline_and_say_why() -> None:
    delays: list[float] = []

    async def sleep(delay: float) -> None:
        delays.append(delay)

    channel = open_channel(await unavailable_address(), False)
    transport = GrpcTransport(channel, backoff=lambda: Backoff(lambda: 1.0), sleep=sleep)
    call = Call(namespace="default", target=Target(name="a"), action="b", timeout=0.3)
    with pytest.raises(ActorError) as caught:
        await transport.invoke(call)
    await transport.close()
    assert (caught.value.group, caught.value.reason) == ("server", "UNAVAILABLE")
    # The delay after 0.2 s would end past the deadline.
    assert delays == [0.05, 0.1, 0.2]


async def test_a_deadline_while_the_actor_works() -> None:
    async with running() as (server, client):
        server.hold = asyncio.Event()
        with pytest.raises(ActorError) as caught:
            await client.get("geometry", "one").with_options(timeout=0.1).add(1)
        assert (caught.value.group, caught.value.code) == ("action", "timed_out")
        await asyncio.wait_for(server.cancelled.wait(), 10)


async def test_cancelling_the_task_cancels_the_call() -> None:
    async with running() as (server, client):
        server.hold = asyncio.Event()
        task = asyncio.create_task(client.get("geometry", "one").add(1))
        await server.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.cancelled.wait(), 10)


async def test_streams_typed_and_by_name() -> None:
    async with running() as (server, client):
        assert [n async for n in client.get(Geometry, "one").count(3)] == [0, 1, 2]
        by_name = client.get("geometry", "one").action_stream("count", 2)
        assert [n async for n in by_name] == [0, 1]
        server.failures = [Failure(grpc.StatusCode.UNAVAILABLE)]
        assert [n async for n in client.get(Geometry, "one").count(1)] == [0]
        first, second = server.requests[2:]
        assert first.client_sequence == second.client_sequence


async def test_a_stream_that_gave_an_item_is_not_retried() -> None:
    async with running() as (server, client):
        server.hold = asyncio.Event()
        items = client.get(Geometry, "one").count(1)
        assert await anext(items) == 0
        server.failures = [Failure(grpc.StatusCode.UNAVAILABLE)]
        server.hold.set()
        with pytest.raises(ActorError, match="unavailable"):
            await anext(items)
        assert len(server.requests) == 2  # the second is the failure inside the stream


async def test_closing_a_stream_cancels_the_action() -> None:
    async with running() as (server, client):
        server.hold = asyncio.Event()
        items: Any = client.get(Geometry, "one").count(1)
        assert await anext(items) == 0
        await items.aclose()
        await asyncio.wait_for(server.cancelled.wait(), 10)


async def test_lifecycle() -> None:
    async with running() as (server, client):
        made = await client.create(Geometry, "one", input={"a": 1}, idempotency_key="k")
        assert server.requests[0].idempotency_key == "k"
        assert await made.resolve() == "A1"
        await made.mirror(Point(1, 2))
        assert server.requests[1].target.actor_id == "A1"
        assert await client.get_or_create("geometry", "one").resolve() == "A1"
        assert await client.get("geometry", "one").resolve() == "A1"
        assert [type(r).__name__ for r in server.requests[2:]] == [
            "GetOrCreateActorRequest",
            "GetActorRequest",
        ]
        found = [info.actor_id async for info in client.list("geometry", key_prefix=["a"])]
        assert found == ["A1", "A2", "A3"]
        assert await client.destroy(client.get_for_id(Geometry, "A9")) == "A9"
        await client.destroy(client.get_or_create("geometry", ["x"]))
        assert server.requests[-1].target.WhichOneof("target") == "get"
        with pytest.raises(TypeError):
            await client.destroy("geometry")


async def test_token_and_trace_travel_as_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry import trace

    async with running(token="open sesame") as (server, client):
        await client.get("geometry", "one").add(1)
        span = trace.NonRecordingSpan(
            trace.SpanContext(
                trace_id=0xABC,
                span_id=0xDEF,
                is_remote=False,
                trace_flags=trace.TraceFlags(1),
                trace_state=trace.TraceState([("vendor", "1"), ("other", "2")]),
            )
        )
        with trace.use_span(span):
            await client.get("geometry", "one").add(1)
        assert server.metadata[0]["authorization"] == "Bearer open sesame"
        assert not {"traceparent", "tracestate"} & set(server.metadata[0])
        assert server.metadata[1]["traceparent"] == f"00-{0xABC:032x}-{0xDEF:016x}-01"
        assert server.metadata[1]["tracestate"] == "vendor=1,other=2"


async def test_names_that_are_no_actions() -> None:
    async with running() as (_, client):
        handle = client.get("geometry", "one")
        for name in ("_private", "__len__"):
            with pytest.raises(AttributeError):
                getattr(handle, name)
        with pytest.raises(TypeError):
            client.get("geometry", [1])  # type: ignore[list-item]


async def test_a_closed_client_says_so() -> None:
    async with running() as (_, client):
        await client.close()
        with pytest.raises(HoldfastError, match="closed"):
            await client.get("geometry", "one").add(1)
    with pytest.raises(HoldfastError, match="closed"):
        _ = BaseClient(None).transport


async def test_closing_fails_the_calls_under_way() -> None:
    async with running() as (server, client):
        server.hold = asyncio.Event()
        task = asyncio.create_task(client.get("geometry", "one").add(1))
        await server.arrived.wait()
        await client.close()
        with pytest.raises(HoldfastError, match="closed"):
            await task


async def test_a_number_given_up_is_acknowledged() -> None:
    sequence = Sequence(b"0" * 16)

    def fail() -> None:
        with sequence.number() as number:
            assert (number, sequence.acknowledged_below) == (1, 1)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert sequence.acknowledged_below == 2


async def test_backoff_grows_to_its_limit_and_respects_the_server() -> None:
    low, high = Backoff(lambda: 0.0), Backoff(lambda: 1.0)
    assert [low.next() for _ in range(3)] == [0.025, 0.05, 0.1]
    assert [high.next() for _ in range(8)][-2:] == [2.0, 2.0]
    assert Backoff(lambda: 0.0).next(1.5) == 1.525
