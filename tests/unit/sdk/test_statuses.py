"""Statuses that no server of ours described: what the client makes of them."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest

from holdfast import ActorError, Client
from holdfast._grpc import LOOKUP_PATIENCE_S, GrpcTransport, open_channel
from holdfast._status import to_actor_error
from holdfast._transport import Call, Target
from tests.unit.sdk.fake_server import Failure, running


def failed(
    code: grpc.StatusCode, details: str, trailing: tuple[tuple[str, str], ...] = ()
) -> ActorError:
    return to_actor_error(
        grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details)
    )


@pytest.mark.parametrize(
    ("code", "details", "group", "name", "retryable"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", "server", "unavailable", True),
        (grpc.StatusCode.CANCELLED, "CANCELLED", "server", "unavailable", True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "quota", "rpc", "resource_exhausted", False),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "late", "action", "timed_out", False),
        (grpc.StatusCode.UNAUTHENTICATED, "", "auth", "unauthenticated", False),
        (grpc.StatusCode.PERMISSION_DENIED, "", "auth", "forbidden", False),
        (grpc.StatusCode.INTERNAL, "RST_STREAM", "rpc", "internal", False),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "SERVER: Received message larger than max (2 vs. 1)",
            "message",
            "incoming_too_long",
            False,
        ),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "CLIENT: Received message larger than max (2 vs. 1)",
            "message",
            "outgoing_too_long",
            False,
        ),
    ],
)
def test_a_status_without_details(
    code: grpc.StatusCode, details: str, group: str, name: str, retryable: bool
) -> None:
    error = failed(code, details)
    assert (error.group, error.code, error.status) == (group, name, code.name)
    assert (error.retryable, error.retry_after_s, error.metadata) == (retryable, None, None)
    assert details in error.message


def test_a_negative_pushback_forbids_a_retry() -> None:
    for value, retryable in (("-1", False), ("100", True)):
        pushback = (("grpc-retry-pushback-ms", value),)
        assert failed(grpc.StatusCode.UNAVAILABLE, "x", pushback).retryable is retryable


def test_another_server_is_recognized() -> None:
    error = failed(grpc.StatusCode.UNIMPLEMENTED, "Received http2 header with status: 404")
    assert "is this the gRPC address of a Holdfast server?" in error.message


async def test_a_call_that_a_server_cut_off_is_tried_again() -> None:
    async with running() as (server, client):
        server.failures = [Failure(grpc.StatusCode.CANCELLED)]
        assert await client.get("geometry", "one").nothing() is None
        assert len(server.requests) == 2


async def test_a_name_that_nobody_knows_is_given_up_long_before_the_deadline() -> None:
    delays: list[float] = []

    async def sleep(delay: float) -> None:
        delays.append(delay)

    transport = GrpcTransport(open_channel("nohost.invalid:6430", False), sleep=sleep)
    call = Call(namespace="default", target=Target(name="a"), action="b", timeout=3600.0)
    with pytest.raises(ActorError, match=r"nohost\.invalid") as caught:
        await transport.invoke(call)
    await transport.close()
    assert (caught.value.group, caught.value.code) == ("server", "unavailable")
    assert sum(delays[:-1]) < LOOKUP_PATIENCE_S <= sum(delays)


async def test_a_request_beyond_the_message_limit_names_it() -> None:
    async with running() as (_, client):
        handle = client.get("geometry", "one")
        with pytest.raises(ActorError, match="larger than max") as caught:
            await handle.add("x" * (5 << 20))
        assert caught.value.reason == "MESSAGE_INCOMING_TOO_LONG"


async def test_an_error_says_where_it_could_not_connect() -> None:
    async with Client("127.0.0.1:1", timeout=0.5) as client:
        with pytest.raises(ActorError, match=r"127\.0\.0\.1:1") as caught:
            await client.get("geometry", "one").add(1)
        assert (caught.value.status, caught.value.retryable) == ("UNAVAILABLE", True)
