"""What goes wrong around a session: its store fails, its actor goes, its answers are large."""

from __future__ import annotations

import asyncio
import json

import pytest

from holdfast_server.store.keys import Kind
from holdfast_server.store.memory import MemoryStore
from tests.server import rooms
from tests.server.conftest import Start
from tests.server.held_store import HeldStore
from tests.server.probe import activation_of, sessions_of, until
from tests.server.session import (
    RawSession,
    call,
    cancel,
    chunked,
    connect,
    credit,
    end_of,
    opened,
    subscribe,
    value_of,
)
from tests.server.stage import Stage
from tests.server.talk import registry
from tests.server.test_connection_ends import until_reopened
from tests.server.test_connection_messages import stored, until_stored
from tests.server.test_session_connecting import PHASES
from tests.server.test_session_connecting import registry as gates
from tests.server.wire import target

TALK = target("talk", "a")
ROOM = target("room", "a")
HALL = target("hall", "a")


async def came_in(session: RawSession) -> None:
    session.send(connect(1, TALK, {"name": "ada"}), subscribe(2, None, connection=1))
    await session.connected(1)
    await session.hear(2)


# The store


@pytest.mark.parametrize("applied", [False, True])
async def test_a_store_that_fails_once_costs_a_session_nothing_that_was_told(
    start: Start, stage: Stage, applied: bool
) -> None:
    store = HeldStore()
    server, _ = await start(registry, store=store)
    async with opened(server) as session:
        await came_in(session)
        session.send(call(3, None, "say", "one", connection=1, number=1))
        assert value_of(await session.answer(3)) == 2
        epoch = server.node.committer.epoch
        store.unsynced_kept = None if applied else 0
        store.fail_next("sync")
        session.send(call(4, None, "say", "two", connection=1, number=2))
        refusal = end_of(await session.answer(4))
        assert (refusal.status, refusal.reason) == ("UNAVAILABLE", "COMMIT_UNKNOWN")
        await until_reopened(server, epoch)

        # The same call again, and one more: each takes effect once, and is told once.
        session.send(
            call(5, None, "say", "two", connection=1, number=2, acknowledged_below=2),
            call(6, None, "say", "three", connection=1, number=3, acknowledged_below=2),
        )
        again = await session.answer(5)
        assert again.result.replayed == applied
        assert value_of(await session.answer(6)) == 4
        texts = ["one", "two", "three"]
        heard = [await session.hear(1) for _ in texts]
        assert heard == [[("message", n, "heard", text)] for n, text in enumerate(texts, 1)]
        heard = [await session.hear(2) for _ in texts]
        assert heard == [[("event", n, "said", text)] for n, text in enumerate(texts, 1)]
    assert [line for line in stage.log if line.endswith("ada")] == ["connect ada"]


@pytest.mark.parametrize("applied", [False, True])
async def test_a_connection_whose_commit_fails_ends_with_what_waits_on_it(
    start: Start, stage: Stage, applied: bool
) -> None:
    store = HeldStore()
    server, _ = await start(registry, store=store, connection_grace_s=0.05)
    async with opened(server) as session:
        session.send(call(1, TALK, "log"))
        await session.answer(1)
        epoch = server.node.committer.epoch
        store.unsynced_kept = None if applied else 0
        store.fail_next("sync")
        session.send(
            connect(2, TALK, {"name": "ada"}),
            subscribe(3, None, connection=2),
            call(4, None, "log", connection=2),
        )
        assert end_of(await session.answer(2)).reason == "COMMIT_UNKNOWN"
        for stream in (3, 4):
            assert await session.hear(stream) == [("end", "CONNECTION_NOT_FOUND")]
        await until_reopened(server, epoch)
        await until_stored(server, Kind.CONNECTION, 0)
        came_and_left = [line for line in stage.log if line.endswith("ada")]
        assert came_and_left == ["connect ada", *["disconnect ada"] * applied]


async def test_a_disconnect_whose_commit_fails_is_told_and_done_later(
    start: Start, stage: Stage
) -> None:
    store = HeldStore()
    server, _ = await start(registry, store=store, connection_grace_s=0.05)
    async with opened(server) as session:
        await came_in(session)
        epoch = server.node.committer.epoch
        store.unsynced_kept = 0
        store.fail_next("sync")
        session.send(cancel(1))
        assert end_of(await session.answer(1)).reason == "COMMIT_UNKNOWN"
        await until_reopened(server, epoch)
        await until_stored(server, Kind.CONNECTION, 0)
        session.send(call(3, TALK, "log"))
        lines = value_of(await session.answer(3))
        assert [line for line in lines if line.endswith("ada")] == ["+ada", "-ada"]


# The actor


@pytest.mark.parametrize("where", PHASES)
async def test_an_actor_that_is_destroyed_while_it_lets_somebody_in_lets_nobody_in(
    start: Start, stage: Stage, where: str
) -> None:
    server, client = await start(gates, store=MemoryStore())
    async with opened(server) as session:
        session.send(
            connect(1, ROOM, {"name": "eve", "pause": where}),
            subscribe(2, None, connection=1),
            call(3, None, "log", connection=1),
        )
        await stage.reached(where)
        destroying = asyncio.create_task(client.destroy("room", "a"))
        if where != "connect":
            # Nothing holds it up; the hook goes on for nobody.
            await destroying
        stage.let(where)
        await destroying
        answers = await session.answers_to_end(1)
        assert end_of(answers[-1]).reason in ("ACTOR_DESTROYED", "ACTOR_NOT_FOUND")
        assert answers[0].HasField("connected") == (where == "connect")
        assert end_of((await session.answers_to_end(2))[-1]).reason in (
            "ACTOR_DESTROYED",
            "ACTOR_NOT_FOUND",
            "CONNECTION_NOT_FOUND",
        )
        # One that is in may be served before the end.
        last = (await session.answers_to_end(3))[-1]
        assert last.HasField("end") or where == "connect"
        await until(lambda: not len(server.node.links))
        assert stored(server, Kind.CONNECTION) == stored(server, Kind.MESSAGE) == 0
        (inside,) = [each for each in sessions_of(server) if len(each.streams) < 2]
        assert not len(inside.streams)


async def test_an_actor_that_is_sent_to_sleep_while_it_lets_somebody_in_lets_it_in(
    start: Start, stage: Stage
) -> None:
    server, _ = await start(gates, store=MemoryStore())
    gate = target("gate", "a")
    async with opened(server) as session:
        session.send(connect(1, gate), subscribe(2, None, "guarded", connection=1))
        await stage.reached("asked")
        session.send(call(3, gate, "doze"))
        await session.answer(3)
        stage.let("asked")
        await session.connected(1)
        assert (await session.hear(2))[0][0] == "subscribed"
        session.send(cancel(1))
        assert (await session.answer(1)).end.code == 0


@pytest.mark.parametrize("how", ["cancel", "half-close", "cut"])
async def test_a_client_that_gives_up_while_it_is_asked_for_is_not_left_behind(
    start: Start, stage: Stage, how: str
) -> None:
    """Its subscriptions are made, and one of them needs the actor's consent."""
    server, _ = await start(gates, store=MemoryStore())
    async with opened(server) as session:
        session.send(
            connect(1, target("gate", "a")),
            subscribe(2, None, "open", connection=1),
            subscribe(3, None, "guarded", connection=1),
            subscribe(4, None, "open", connection=1),
        )
        await stage.reached("asked")
        if how == "cancel":
            session.send(cancel(1))
            assert end_of(await session.answer(1)).reason == "CANCELLED"
            for stream in (2, 3, 4):
                assert await session.hear(stream) == [("end", "CONNECTION_NOT_FOUND")]
        elif how == "half-close":
            session.finish()
            await session.done()
        else:
            await session.cut()
        await until(lambda: not len(server.node.links) and not len(server.node.audiences))
        assert stored(server, Kind.CONNECTION) == 0
        activation = activation_of(server, "gate", "a")
        assert activation is not None
        await until(lambda: activation.mailbox.idle)


# Size


async def test_large_commands_of_every_kind_travel_in_chunks(start: Start, stage: Stage) -> None:
    server, _ = await start(gates, store=MemoryStore())
    names = [f"{n:03}" + "n" * 150 for n in range(100)]
    async with opened(server) as session:
        session.send(*chunked(connect(1, ROOM, {"name": "ada", "x": "x" * 3000}), 500))
        await session.connected(1)
        session.send(*chunked(subscribe(2, None, *names, connection=1), 500))
        assert (await session.hear(2))[0][0] == "subscribed"
        session.send(*chunked(call(3, None, "log", connection=1, traceparent=""), 5))
        assert value_of(await session.answer(3)) == ["+ada"]
        session.send(*chunked(connect(4, ROOM, {"name": "eve", "x": "x" * 5000}), 500))
        refusal = end_of(await session.answer(4))
        assert (refusal.reason, refusal.metadata["field"]) == (
            "MESSAGE_INCOMING_TOO_LONG",
            "params",
        )


async def test_a_connection_can_be_given_up_while_its_command_arrives(
    start: Start, stage: Stage
) -> None:
    server, _ = await start(gates, store=MemoryStore())
    async with opened(server) as session:
        first, *_ = chunked(connect(1, ROOM, {"name": "ada"}), 10)
        session.send(first, call(2, None, "log", connection=1), subscribe(3, None, connection=1))
        for stream in (2, 3):
            refusal = end_of(await session.answer(stream))
            assert (refusal.reason, refusal.metadata["field"]) == ("REQUEST_INVALID", "connection")
        session.send(cancel(1))
        assert end_of(await session.answer(1)).reason == "CANCELLED"
        assert stage.log == []


async def test_a_large_message_comes_whole_and_before_the_reply_of_its_turn(
    start: Start, stage: Stage
) -> None:
    server, _ = await start(rooms.registry, store=MemoryStore())
    async with opened(server) as session:
        session.send(connect(1, HALL, window_bytes=1 << 20))
        connection_id = (await session.connected(1)).connection_id
        session.send(call(2, HALL, "tell", connection_id, "text", ["x" * 300_000, "y"]))
        await session.answer(2)
        assert session.waiting(1) == 2
        texts = [json.loads((await session.answer(1)).message.args.data)[0] for _ in range(2)]
        assert texts == ["x" * 300_000, "y"]
        kinds = [each.WhichOneof("answer") for each in session.answers]
        assert kinds == ["welcome", "connected", "message", "message", "result"]
        large = [a for frame in session.frames for a in frame.answers if a.HasField("chunk")]
        assert {each.stream for each in large} == {1}


async def test_a_slow_connection_holds_up_no_other(start: Start, stage: Stage) -> None:
    server, client = await start(rooms.registry, store=MemoryStore())
    hall = client.get_or_create("hall", ["a"])
    async with opened(server) as session:
        session.send(connect(1, HALL, window_bytes=1), connect(2, HALL))
        for stream in (1, 2):
            await session.connected(stream)
        for number in range(1, 51):
            await hall.action("tell_all", str(number))
        for number in range(1, 51):
            assert await session.hear(2) == [("message", number, "text", str(number))]
        await session.pong()
        assert session.waiting(1) == 1
        session.send(credit(1, 1 << 20))
        for number in range(1, 51):
            assert await session.hear(1) == [("message", number, "text", str(number))]
