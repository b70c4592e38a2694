"""Connections and events over a session, against a server that breaks when told."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import grpc
import pytest

from holdfast import ActorError, EventsTrimmed, HoldfastError
from holdfast.actor_connection import ActorConnection
from tests.unit.sdk.fake_actors import Connection, Refusal
from tests.unit.sdk.fake_server import running
from tests.unit.sdk.fake_session import Sessions, cuts, impatient

SMALL = 0.005


async def until(condition: Any) -> None:
    """The condition holds; the test's own timeout ends the wait."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(SMALL)


def join(connection: Connection) -> None:
    connection.actor.emit("joined", connection.params["user"])
    connection.send("hello", 1)


async def test_the_face() -> None:
    sessions = Sessions()
    async with impatient(sessions) as client:
        room = client.get("room", "one")
        got: list[Any] = []
        async with room.connect(params={"user": "ada"}) as conn:
            conn.on("message", got.append)
            assert await conn.emit("message", "hello") == [["message", "hello"], {}]
            assert got == ["hello"]
            events = conn.events("message", from_sequence=1)
            await conn.emit("other", 1)
            await conn.emit("message", "again")
            first, second = await anext(events), await anext(events)
            assert (first.name, first.args, first.sequence) == ("message", ("hello",), 1)
            assert (second.args, second.sequence) == (("again",), 3)
            assert conn.status == "connected"
            assert (conn.connection_id, conn.actor_id) == ("C1", "A-one")
        assert conn.status == "closed"
        assert sessions.connections == {}


async def test_listeners_of_the_first_moment_hear_what_on_connect_says() -> None:
    sessions = Sessions()
    sessions.on_connect = join
    async with impatient(sessions) as client:
        got: list[Any] = []
        conn = client.get("room", "one").connect({"user": "ada"})
        conn.on("joined", got.append)
        async with conn:
            conn.on("hello", got.append)
            await conn.ready()
            await until(lambda: len(got) == 2)
        assert sorted(map(str, got)) == ["1", "ada"]
        assert sessions.frames[1] == ["connect", "subscribe", "subscribe"]


async def test_the_last_listener_unsubscribes_and_once_is_once() -> None:
    sessions = Sessions()
    async with impatient(sessions) as client, client.get("room", "one").connect() as conn:
        got: list[str] = []
        first = conn.on("x", lambda n: got.append(f"a{n}"))
        second = conn.on("x", lambda n: got.append(f"b{n}"))
        conn.once("y", lambda n: got.append(f"y{n}"))
        await conn.emit("x", 1)
        first()
        first()
        await conn.emit("x", 2)
        await conn.emit("y", 3)
        await conn.emit("y", 4)
        assert got == ["a1", "b1", "b2", "y3"]
        assert len(sessions.actor("one").readers) == 1
        second()
        await conn.emit("x", 5)
        assert got == ["a1", "b1", "b2", "y3"]
        assert sessions.actor("one").readers == []


async def test_a_listener_that_fails_harms_nothing() -> None:
    sessions = Sessions()
    async with impatient(sessions) as client, client.get("room", "one").connect() as conn:
        errors: list[Exception] = []
        got: list[int] = []

        async def slow(n: int) -> None:
            await asyncio.sleep(0)
            got.append(n)
            if n == 2:
                raise RuntimeError("async")

        def bad(n: int) -> None:
            raise ValueError("plain")

        conn.on_error(errors.append)
        conn.on("x", bad)
        conn.on("x", slow)
        for n in range(4):
            await conn.emit("x", n)
        await until(lambda: len(got) == 4)
        assert got == [0, 1, 2, 3]
        assert sorted(map(str, errors)) == ["async", *["plain"] * 4]
        assert conn.status == "connected"


async def test_a_refusal_is_raised_by_whoever_waits_or_at_the_end() -> None:
    sessions = Sessions()
    async with impatient(sessions) as client:
        room = client.get("room", "one")
        refusal = Refusal("UNKNOWN", "USER_ERROR", {"group": "user", "code": "forbidden"})
        for use in ("call", "ready", "events", "nothing"):
            sessions.failures = [refusal]
            closed: list[str] = []
            connection = room.connect()
            connection.on_close(lambda said=closed: said.append("closed"))
            with pytest.raises(ActorError) as caught:
                async with connection as conn:
                    if use == "call":
                        await conn.add(1)
                    elif use == "ready":
                        await connection.ready()
                    elif use == "events":
                        await anext(conn.events("x"))
            assert (caught.value.group, caught.value.code) == ("user", "forbidden")
            assert closed == ["closed"]
            assert connection.status == "closed"
            with pytest.raises((ActorError, HoldfastError)):
                await conn.add(1)


async def test_status_and_hooks_through_a_cut() -> None:
    sessions = Sessions()
    async with impatient(sessions) as client:
        said: list[str] = []
        connection: ActorConnection[Any] = client.get("room", "one").connect()
        assert connection.status == "idle"
        connection.on_status_change(said.append)
        connection.on_open(lambda: said.append("open"))
        remove = connection.on_open(lambda: said.append("never"))
        remove()
        connection.on_close(lambda: said.append("close"))
        async with connection:
            await connection.ready()
            await sessions.stay_cut()
            await until(lambda: connection.status == "disconnected")
            sessions.gate.set()
            await connection.ready()
            assert connection.connection_id == "C1"
        assert said == [
            "connecting", "connected", "open", "disconnected", "connected", "closed", "close",
        ]  # fmt: skip
        resumed = sessions.connects[1]
        assert resumed.resume_connection_id == "C1"
        assert sessions.hellos[1].resume_token == b"token-1"


async def test_a_connection_that_the_server_forgot_is_opened_anew_with_fresh_params() -> None:
    sessions = Sessions()
    async with impatient(sessions) as client:
        asked: list[int] = []

        async def params() -> dict[str, Any]:
            asked.append(1)
            if len(asked) == 2:
                raise RuntimeError("no token now")
            return {"user": len(asked)}

        opened: list[int] = []
        errors: list[Exception] = []
        got: list[int] = []
        connection = client.get("room", "one").connect(params)
        connection.on_open(lambda: opened.append(1))
        connection.on_error(errors.append)
        connection.on("x", got.append)
        async with connection as conn:
            await conn.emit("x", 1)
            sessions.connections.clear()
            actor = sessions.actor("one")
            actor.emit("x", 2)
            await sessions.stay_cut()
            actor.emit("x", 3)
            sessions.gate.set()
            await until(lambda: len(opened) == 2)
            await conn.emit("x", 4)
            assert got == [1, 2, 3, 4]
        assert [c.params for c in sessions.connections.values()] == []
        assert [c.resume_connection_id for c in sessions.connects] == ["", "C1", ""]
        assert [str(e) for e in errors] == ["no token now"]
        assert len(asked) == 3


async def test_messages_are_acknowledged_and_a_gap_is_told() -> None:
    sessions = Sessions()
    async with impatient(sessions) as client:
        got: list[int] = []
        errors: list[Exception] = []
        connection = client.get("room", "one").connect()
        connection.on("note", got.append)
        connection.on_error(errors.append)
        async with connection as conn:
            for n in range(3):
                await conn.tell("note", n)
            (held,) = sessions.connections.values()
            await until(lambda: held.kept == [])
            await sessions.stay_cut()
            held.send("note", 3)
            held.send("note", 4)
            held.send("note", 5)
            sessions.gate.set()
            await until(lambda: len(got) == 6)
            held.last += 2
            held.send("note", 6)
            await until(lambda: len(got) == 7)
        assert got == [0, 1, 2, 3, 4, 5, 6]
        (error,) = errors
        assert isinstance(error, EventsTrimmed)
        assert (error.kind, error.last_sequence, error.oldest_sequence) == ("messages", 6, 9)


async def test_trimmed_events_are_told_and_reading_goes_on_from_the_oldest() -> None:
    sessions = Sessions()
    async with impatient(sessions) as client:
        actor = sessions.actor("one")
        errors: list[Exception] = []
        got: list[int] = []
        connection = client.get("room", "one").connect()
        connection.on_error(errors.append)
        connection.on("x", got.append)
        async with connection as conn:
            events = conn.events("x")
            await conn.emit("x", 1)
            assert (await anext(events)).args == (1,)
            await sessions.stay_cut()
            for n in range(2, 10):
                actor.emit("x", n)
            actor.trim(3)
            sessions.gate.set()
            with pytest.raises(EventsTrimmed) as caught:
                await anext(events)
            assert (caught.value.last_sequence, caught.value.oldest_sequence) == (1, 7)
            assert [(await anext(events)).args[0] for _ in range(3)] == [7, 8, 9]
            await until(lambda: len(got) == 4)
        assert got == [1, 7, 8, 9]
        assert [type(e) for e in errors] == [EventsTrimmed]


async def test_a_stale_cursor_goes_on_with_the_new_numbers() -> None:
    sessions = Sessions()
    async with impatient(sessions) as client:
        actor = sessions.actor("one")
        events = client.get("room", "one").events()
        await until(lambda: actor.readers)
        for n in range(5):
            actor.emit("x", n)
        for n in range(5):
            assert (await anext(events)).args == (n,)
        await sessions.stay_cut()
        actor.incarnation, actor.last = 2, 0
        actor.log.clear()
        for n in range(4):
            actor.emit("y", n)
        actor.trim(2)
        sessions.gate.set()
        with pytest.raises(EventsTrimmed) as caught:
            await anext(events)
        assert caught.value.last_sequence == 5
        assert [(await anext(events)).sequence for _ in range(2)] == [3, 4]


async def test_an_iterator_that_is_not_read_holds_a_bounded_amount() -> None:
    sessions = Sessions()
    async with impatient(sessions) as client:
        actor = sessions.actor("one")
        events = client.get("room", "one").events("x")
        await until(lambda: actor.readers)
        for n in range(1000):
            actor.emit("x", n, b"x" * 1000)
        (reader,) = actor.readers
        assert reader.at < 300
        assert [(await anext(events)).args[0] for _ in range(1000)] == list(range(1000))
        await events.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        await until(lambda: not actor.readers)


async def test_a_subscription_that_is_too_slow_goes_on_when_it_has_read() -> None:
    sessions = Sessions()
    async with impatient(sessions) as client:
        actor = sessions.actor("one")
        events = client.get("room", "one").events("x")
        await until(lambda: actor.readers)
        for n in range(10):
            actor.emit("x", n)
        (reader,) = actor.readers
        reader.run.refuse(
            reader.stream,
            Refusal("RESOURCE_EXHAUSTED", "SUBSCRIBER_TOO_SLOW", cursor=reader.cursor()),
        )
        for n in range(10, 20):
            actor.emit("x", n)
        assert [(await anext(events)).args[0] for _ in range(20)] == list(range(20))


async def test_an_iterator_that_is_let_go_of_unsubscribes() -> None:
    sessions = Sessions()
    async with impatient(sessions) as client:
        actor = sessions.actor("one")
        actor.emit("x", 1)
        async for event in client.get("room", "one").events("x", from_sequence=1):
            assert event.args == (1,)
            break
        await until(lambda: not actor.readers)


async def test_a_handle_listens_without_a_connection() -> None:
    sessions = Sessions()
    async with impatient(sessions) as client:
        room = client.get("room", "one")
        got: list[int] = []
        remove = room.on("x", got.append)
        room.once("x", got.append)
        await room.emit("x", 1)
        await room.emit("x", 2)
        assert got == [1, 1, 2]
        remove()
        await room.emit("x", 3)
        assert got == [1, 1, 2]
        assert sessions.actor("one").readers == []
        assert sessions.connects == []


async def test_an_actor_that_disconnects_and_one_that_is_destroyed() -> None:
    sessions = Sessions()
    async with impatient(sessions) as client:
        for refusal in (None, Refusal("NOT_FOUND", "ACTOR_DESTROYED")):
            closed: list[str] = []
            errors: list[Exception] = []
            connection = client.get("room", "one").connect()
            connection.on_close(lambda said=closed: said.append("closed"))
            connection.on_error(errors.append)
            async with connection as conn:
                await connection.ready()
                events = conn.events("x")
                held = list(sessions.connections.values())[-1]
                assert held.run is not None
                if refusal is None:
                    held.run.send(held.stream, end={"message": "go"})
                    with pytest.raises(StopAsyncIteration):
                        await anext(events)
                else:
                    held.run.refuse(held.stream, refusal)
                    with pytest.raises(ActorError, match=r"told to fail"):
                        await anext(events)
                assert closed == ["closed"]
            assert len(errors) == (0 if refusal is None else 1)


async def test_a_server_without_sessions_has_events_but_no_connections() -> None:
    sessions = Sessions()
    sessions.refusals = [(grpc.StatusCode.UNIMPLEMENTED, "no")]
    async with running(sessions) as (_, client):
        with pytest.raises(HoldfastError, match="offers no sessions"):
            async with client.get("room", "one").connect() as conn:
                await conn.add(1)
    async with running(session=False) as (_, client):
        with pytest.raises(HoldfastError, match="session=True"):
            client.get("room", "one").connect()


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_is_cut_no_event_is_lost_or_doubled(seed: int) -> None:
    """Cuts at random frames, some of them with the connections forgotten; the seed is in
    the name of the test."""
    draw = random.Random(seed)
    sessions = Sessions()
    inner = cuts([draw.randint(2, 12) for _ in range(40)])

    def cut() -> bool:
        if not inner():
            return False
        if draw.random() < 0.3:
            sessions.connections.clear()
        return True

    async with impatient(sessions) as client:
        room = client.get("room", "one")
        heard: list[int] = []
        messages: list[int] = []
        connection = room.connect()
        connection.on("x", heard.append)
        connection.on("note", messages.append)
        async with connection as conn:
            await connection.ready()
            events = conn.events("x", from_sequence=1)
            loose = room.events(from_sequence=1)
            sessions.cut_after = cut
            for n in range(60):
                await conn.emit("x", n)
                if draw.random() < 0.2:
                    await conn.tell("note", n)
            found = [(await anext(events)).args[0] for _ in range(60)]
            free = [(await anext(loose)).args[0] for _ in range(60)]
            await until(lambda: len(heard) >= 60)
        assert heard == found == free == list(range(60))
        assert messages == sorted(set(messages))
