"""Connections in a session: opened, spoken on, ended by either side."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.v1 import actor_pb2
from holdfast.v1 import session_service_pb2 as pb
from holdfast_server.app import Server
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Start
from tests.server.probe import sessions_of
from tests.server.rooms import registry
from tests.server.session import (
    RawSession,
    acknowledge,
    call,
    cancel,
    connect,
    credit,
    end_of,
    opened,
    said,
    subscribe,
    value_of,
)
from tests.server.stage import Stage
from tests.server.wire import as_json, target

ROOM = target("room", "a")
HALL = target("hall", "a")
LOUNGE = target("lounge", "a")
Command = pb.SessionCommand


@pytest.fixture
async def server(start: Start, stage: Stage) -> Server:
    return (await start(registry, store=MemoryStore()))[0]


async def in_hall(session: RawSession, stream: int = 1, **fields: Any) -> str:
    """Open a connection to the hall; its id."""
    session.send(connect(stream, HALL, **fields))
    return (await session.connected(stream)).connection_id


def failed(answer: pb.SessionAnswer) -> tuple[str, str | None]:
    """The reason and the field of a refusal."""
    refusal = end_of(answer)
    return refusal.reason, refusal.metadata.get("field")


# Order


async def test_what_a_turn_does_is_told_in_order_before_its_reply(server: Server) -> None:
    async with opened(server) as session:
        session.send(
            connect(1, LOUNGE, {"name": "ada"}),
            subscribe(2, None, connection=1),
            subscribe(3, None, "left", connection=1),
            call(4, None, "leave", connection=1),
        )
        for stream in (1, 2, 3, 4):
            await session.answers_to_end(stream)
        heard = [
            (list(each.event.streams) or each.stream, *said(each))
            for each in session.answers
            if each.stream or each.event.streams
        ]

    # Whoever leaves hears all of the turn in which it leaves, but not on_disconnect.
    assert heard == [
        (1, "connected"),
        (2, "subscribed", 0),
        (3, "subscribed", 0),
        (1, "message", 1, "welcome"),
        ([2], "event", 1, "joined", "ada"),
        ([2], "event", 2, "left", "bye"),
        ([3], "event", 2, "left", "bye"),
        # The two subscriptions end in any order.
        *heard[7:9],
        (1, "end", "enough"),
        (4, "result", None),
    ]
    assert {each[1:] for each in heard[7:9]} == {("end", "CONNECTION_CLOSED")}


# What is refused


@pytest.mark.parametrize(
    ("command", "reason", "field"),
    [
        (call(2, HALL, "whose", connection=1), "REQUEST_INVALID", "connection"),
        (
            call(2, None, "whose", connection=1, params=as_json(1)),
            "REQUEST_INVALID",
            "connection",
        ),
        (subscribe(2, HALL, connection=1), "REQUEST_INVALID", "connection"),
        (subscribe(2, None), "REQUEST_INVALID", "target"),
        (subscribe(2, None, connection=9), "CONNECTION_NOT_FOUND", None),
        (call(2, None, "whose", connection=9), "CONNECTION_NOT_FOUND", None),
        (connect(2, None), "REQUEST_INVALID", "target"),
        (connect(2, actor_pb2.ActorTarget()), "REQUEST_INVALID", "target"),
        (connect(2, target("nothing", "a")), "ACTOR_NAME_NOT_FOUND", None),
        (connect(2, target("hall", "none", create=False)), "ACTOR_NOT_FOUND", None),
        (connect(2, HALL, accept_encoding=77), "ENCODING_INVALID", None),
        (connect(2, HALL, received_message=3), "REQUEST_INVALID", "received_message"),
        (connect(2, HALL, resume_connection_id="x"), "REQUEST_INVALID", "resume_connection_id"),
        (connect(2, HALL, resume_connection_id="a" * 26), "CONNECTION_NOT_FOUND", None),
        (subscribe(2, HALL, from_sequence=9), "REQUEST_INVALID", "from_sequence"),
        (subscribe(2, HALL, slow_reader=77), "REQUEST_INVALID", "slow_reader"),
        (subscribe(2, HALL, ""), "REQUEST_INVALID", "names"),
    ],
)
async def test_what_does_not_go_together_is_refused_by_name(
    server: Server, command: Command, reason: str, field: str | None
) -> None:
    async with opened(server) as session:
        await in_hall(session)
        session.send(command)
        assert failed(await session.answer(2)) == (reason, field)
        # That stream only.
        session.send(call(3, None, "names", connection=1))
        assert value_of(await session.answer(3)) == ["nobody"]


async def test_a_connection_is_one_of_its_session(server: Server) -> None:
    async with opened(server) as session:
        session.send(call(1, HALL, "names"), subscribe(2, HALL), subscribe(3, None, connection=2))
        assert failed(await session.answer(3)) == ("REQUEST_INVALID", "connection")
        async with opened(server) as other:
            other.send(connect(1, HALL))
            await other.connected(1)
            session.send(call(4, None, "names", connection=1))
            assert failed(await session.answer(4)) == ("CONNECTION_NOT_FOUND", None)


async def test_a_connection_has_a_deadline(server: Server, stage: Stage) -> None:
    async with opened(server) as session:
        session.send(connect(1, ROOM, {"name": "ada", "pause": "create"}, timeout_ms=50))
        assert await session.hear(1) == [("end", "DEADLINE_EXCEEDED")]


# Messages


async def test_messages_come_in_order_within_credit(server: Server) -> None:
    async with opened(server) as session:
        connection_id = await in_hall(session, window_bytes=30)
        session.send(call(2, HALL, "tell", connection_id, "text", list(range(100))))
        await session.answer(2)
        await session.pong()
        # Each takes "text" and "[n]"; one more may come while there is any credit.
        sent = session.waiting(1)
        assert sent == 5
        for number in range(sent):
            assert await session.hear(1) == [("message", number + 1, "text", number)]
        session.send(credit(1, 7))
        await session.pong()
        assert session.waiting(1) == 1
        session.send(credit(1, 10_000), acknowledge(1, 6))
        heard = [await session.answer(1) for _ in range(100 - sent)]
        assert [each.message.number for each in heard] == list(range(sent + 1, 101))
        assert [each.message.previous_number for each in heard] == list(range(sent, 100))
        await session.pong()
        assert session.waiting(1) == 0


async def test_credit_that_comes_before_the_connection_counts(server: Server, stage: Stage) -> None:
    async with opened(server) as session:
        session.send(connect(1, ROOM, {"name": "ada", "pause": "create"}, window_bytes=1))
        await stage.reached("create")
        session.send(credit(1, 10_000), call(2, None, "log", connection=1))
        stage.let("create")
        await session.connected(1)
        assert await session.hear(1) == [("message", 1, "welcome", "ada")]
        await session.answer(2)


async def test_ephemeral_messages_have_no_number_and_need_credit(server: Server) -> None:
    async with opened(server) as session:
        await in_hall(session, 1, window_bytes=1)
        await in_hall(session, 2)
        session.send(call(3, HALL, "whisper", "one"), call(4, HALL, "whisper", "two"))
        await session.answer(4)
        assert await session.hear(2, 2) == [
            ("message", 0, "whisper", "one"),
            ("message", 0, "whisper", "two"),
        ]
        assert await session.hear(1) == [("message", 0, "whisper", "one")]
        assert session.waiting(1) == 0


async def test_each_connection_has_its_own_encoding(server: Server) -> None:
    async with opened(server) as session:
        for number, encoding in ((1, 1), (2, 2), (3, 3)):
            await in_hall(session, number, accept_encoding=encoding)
        session.send(call(9, HALL, "tell_all", "x"))
        await session.answer(9)
        found = [(await session.answer(n)).message.args.encoding for n in (1, 2, 3)]
        assert found == [1, 2, 3]


# Ends


async def test_an_actor_disconnects_with_a_reason(server: Server) -> None:
    async with opened(server) as session:
        connection_id = await in_hall(session)
        session.send(call(2, HALL, "kick", connection_id, "too loud", 3))
        assert await session.hear(1) == [("end", "too loud")]
        # The call itself is a connection, for as long as it lasts.
        assert value_of(await session.answer(2)) == 1
        session.send(acknowledge(1, 1), credit(1, 5), cancel(1))
        session.send(call(3, None, "names", connection=1))
        assert await session.hear(3) == [("end", "CONNECTION_NOT_FOUND")]


async def test_one_that_is_sent_away_at_once_hears_that_it_was_open(server: Server) -> None:
    async with opened(server) as session:
        session.send(
            connect(1, ROOM, {"name": "ada", "kick": True}), subscribe(2, None, connection=1)
        )
        assert await session.hear(1, 3) == [
            ("connected",),
            ("message", 1, "welcome", "ada"),
            ("end", "not today"),
        ]
        assert await session.hear(2, 2) == [("subscribed", 0), ("end", "CONNECTION_CLOSED")]


async def test_a_destroyed_actor_ends_a_thousand_connections(server: Server, stage: Stage) -> None:
    async with opened(server) as session:
        numbers = range(1, 1001)
        session.send(*[connect(n, HALL) for n in numbers])
        for number in numbers:
            await session.connected(number)
        session.send(call(1001, None, "end", connection=500))
        for number in numbers:
            assert await session.hear(number) == [("end", "ACTOR_DESTROYED")]
        assert await session.hear(1001) == [("result", None)]
        assert sum(line.startswith("disconnect") for line in stage.log) == 1000
        assert not len(server.node.links)
        (inside,) = sessions_of(server)
        assert not len(inside.streams)
