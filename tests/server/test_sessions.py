"""Opening sessions, and calls in them."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.v1 import session_service_pb2 as pb
from tests.server.conftest import Start
from tests.server.session import (
    call,
    cancel,
    end_of,
    hello,
    opened,
    ping,
    raw_session,
    value_of,
)
from tests.server.wire import target

COUNTER = target("counter", "a")


async def test_a_session_is_welcomed_and_answers_calls(start: Start) -> None:
    server, _ = await start()
    async with opened(server) as session:
        welcome = session.welcome
        session.send(call(1, COUNTER, "increment", 2), call(2, COUNTER, "increment", 3), ping(9))

        assert value_of(await session.answer(1)) == 2
        assert value_of(await session.answer(2)) == 5
        assert (await session.answer(0)).pong.number == 9
        assert welcome.protocol == 1
        assert len(welcome.resume_token) == 32
        assert not welcome.resumed
        assert welcome.streams_max == 20_000
        assert welcome.chunk_bytes == 64 << 10
        assert welcome.message_bytes_max == 5 << 20
        assert welcome.connection_grace_s == 30
        session.finish()
        await session.done()


def _bare(**fields: Any) -> pb.SessionCommand:
    return pb.SessionCommand(hello=pb.SessionHello(**fields))


@pytest.mark.parametrize(
    ("first", "reason", "field"),
    [
        (hello(protocol=2), "SESSION_INVALID", "hello.protocol"),
        (_bare(), "SESSION_INVALID", "hello.protocol"),
        (hello(features=["no-such"]), "SESSION_FEATURE_UNKNOWN", "hello.features"),
        (hello(client_id=b"short"), "SESSION_INVALID", "hello.client_id"),
        (hello(resume_token=b"short"), "SESSION_INVALID", "hello.resume_token"),
        (hello(accept_encoding=99), "SESSION_INVALID", "hello.accept_encoding"),
        (hello(namespace="nowhere"), "NAMESPACE_NOT_FOUND", None),
        (ping(1), "SESSION_INVALID", "hello"),
        (pb.SessionCommand(stream=3, hello=hello().hello), "SESSION_INVALID", "hello"),
        (pb.SessionCommand(), "SESSION_INVALID", "hello"),
        (call(1, COUNTER, "value"), "SESSION_INVALID", "hello"),
    ],
)
async def test_a_session_that_does_not_begin_well_is_refused(
    start: Start, first: pb.SessionCommand, reason: str, field: str | None
) -> None:
    server, _ = await start()
    async with raw_session(server, first) as session:
        refusal = await session.failure()

        assert refusal.reason == reason
        assert refusal.metadata.get("field") == field
        assert not session.answers


async def test_an_unknown_feature_is_named(start: Start) -> None:
    server, _ = await start()
    async with raw_session(server, hello(features=["time-travel"])) as session:
        refusal = await session.failure()

        assert refusal.status == "FAILED_PRECONDITION"
        assert "time-travel" in refusal.message
        assert refusal.metadata["feature"] == "time-travel"


async def test_a_call_can_be_cancelled_before_and_while_it_runs(start: Start) -> None:
    server, _ = await start()
    async with opened(server) as session:
        session.send(call(1, COUNTER, "sleep", 60), call(2, COUNTER, "increment"), cancel(1))
        assert end_of(await session.answer(1)).reason == "CANCELLED"
        assert value_of(await session.answer(2)) == 1
        session.send(call(3, COUNTER, "sleep", 60))
        await session.pong()
        session.send(cancel(3))
        assert end_of(await session.answer(3)).status == "CANCELLED"
        session.send(cancel(3), call(4, COUNTER, "value"))
        assert value_of(await session.answer(4)) == 1
