"""A connection of a session while it is being opened: rejected, given up, or in order."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import Actor, Connection, Context, Event, action, setup
from holdfast_server.app import Server
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
    connect,
    credit,
    end_of,
    opened,
    subscribe,
    value_of,
)
from tests.server.stage import Stage, stage
from tests.server.test_connection_messages import stored, until_stored
from tests.server.wire import target

ROOM = target("room", "a")
HALL = target("hall", "a")
LOUNGE = target("lounge", "a")
GATE = target("gate", "a")
PHASES = ["before", "create", "connect"]


async def may_enter(actor: Any, c: Context[Any, Any]) -> bool:
    await stage.pause("asked")
    return True


class Gate(Actor[rooms.Seen, rooms.Visitor]):
    """Asks slowly who may subscribe, and tells on_connect what is not kept."""

    state = rooms.Seen
    conn_state = rooms.Visitor("nobody")
    emits = {"guarded": Event(str, can_subscribe=may_enter), "open": Event(str)}

    async def on_connect(
        self, c: Context[rooms.Seen, rooms.Visitor], conn: Connection[rooms.Visitor]
    ) -> None:
        c.broadcast("open", "first")
        c.broadcast("open", "passing", ephemeral=True)
        c.broadcast("open", "last")

    @action
    async def doze(self, c: Context[rooms.Seen, rooms.Visitor]) -> None:
        c.sleep()


registry = setup(use={"room": rooms.Room, "hall": rooms.Hall, "lounge": rooms.Lounge, "gate": Gate})


@pytest.fixture
async def server(start: Start, stage: Stage) -> Server:
    return (await start(registry, store=MemoryStore()))[0]


async def nothing_left(server: Server, session: RawSession) -> None:
    """Nobody is connected, nothing is stored or waits, and the room takes the next one."""
    await until(lambda: not len(server.node.links) and not len(server.node.audiences))
    await until_stored(server, Kind.CONNECTION, 0)
    assert stored(server, Kind.MESSAGE) == 0
    session.send(connect(91, ROOM, {"name": "next"}), call(92, None, "log", connection=91))
    await session.connected(91)
    assert value_of(await session.answer(92)) == ["+next"]
    assert not [line for line in stage.log if line.startswith("disconnect")]
    assert [line for line in stage.log if line.startswith("connect")][-1].endswith("conns=1 True")


def waiting_on_it() -> list[Any]:
    """What is sent behind a connection on stream 1: two subscriptions and two calls."""
    return [
        subscribe(2, None, connection=1),
        subscribe(3, None, "joined", connection=1),
        call(4, None, "log", connection=1),
        call(5, None, "count_to", 3, connection=1, streaming=True),
    ]


# Rejected


@pytest.mark.parametrize("where", PHASES)
@pytest.mark.parametrize(
    ("how", "reason"),
    [("user", "USER_ERROR"), ("bug", "INTERNAL_ERROR"), ("hangs", "CONNECTION_HOOK_FAILED")],
)
async def test_a_hook_that_rejects_ends_the_connection_and_all_that_waits_on_it(
    start: Start, stage: Stage, where: str, how: str, reason: str
) -> None:
    server, _ = await start(registry, store=MemoryStore(), hook_timeout_s=0.1)
    params = {"name": "eve", "pause": where} if how == "hangs" else {"name": "eve", where: how}
    async with opened(server) as session:
        session.send(connect(1, ROOM, params), *waiting_on_it())
        assert end_of(await session.answer(1)).reason == reason
        for stream in (2, 3, 4, 5):
            assert await session.hear(stream) == [("end", "CONNECTION_NOT_FOUND")]
        (inside,) = sessions_of(server)
        assert not len(inside.streams)
        await nothing_left(server, session)


async def test_what_a_user_error_says_arrives(server: Server) -> None:
    async with opened(server) as session:
        session.send(connect(1, ROOM, {"name": "eve", "create": "user"}))
        answer = await session.answer(1)
        refusal = end_of(answer)
        assert (refusal.metadata["code"], refusal.message) == ("refused", "no")
        assert b'{"at":"create"}' in answer.end.details


async def test_a_client_that_is_rejected_hears_nothing_of_what_others_heard(
    server: Server, stage: Stage
) -> None:
    async with opened(server) as session:
        session.send(
            connect(1, ROOM, {"name": "eve", "pause": "connect", "connect": "user"}),
            subscribe(2, None, connection=1),
        )
        await stage.reached("connect")
        stage.let("connect")
        await session.answers_to_end(1)
        assert await session.hear(2) == [("end", "CONNECTION_NOT_FOUND")]

        # Others join and leave while this one is asked whether it may come in.
        session.send(
            connect(3, LOUNGE, {"name": "eve", "connect": "user"}),
            subscribe(4, None, "left", connection=3),
            connect(5, LOUNGE, {"name": "bob"}),
            call(6, None, "leave", connection=5),
        )
        assert await session.hear(3) == [("end", "USER_ERROR")]
        assert await session.hear(4) == [("end", "CONNECTION_NOT_FOUND")]
        await session.answer(6)
        await session.pong()
        assert session.waiting(4) == 0


async def test_an_event_that_is_forbidden_rejects_its_subscription_and_not_the_connection(
    server: Server, stage: Stage
) -> None:
    async with opened(server) as session:
        session.send(
            connect(1, LOUNGE, {"name": "eve"}),
            subscribe(2, None, "joined", connection=1),
            subscribe(3, None, "left", connection=1),
        )
        assert await session.hear(2) == [("end", "SUBSCRIPTION_FORBIDDEN")]
        await session.connected(1)
        assert await session.hear(3) == [("subscribed", 0)]


# Given up


@pytest.mark.parametrize("where", PHASES)
@pytest.mark.parametrize("how", ["cancel", "half-close", "cut", "close"])
async def test_a_client_that_gives_up_is_not_left_behind(
    server: Server, stage: Stage, where: str, how: str
) -> None:
    async with opened(server) as session, opened(server) as other:
        session.send(connect(1, ROOM, {"name": "eve", "pause": where}), *waiting_on_it())
        await stage.reached(where)
        if how == "cancel":
            session.send(cancel(1))
            assert end_of(await session.answer(1)).reason == "CANCELLED"
            for stream in (2, 3, 4, 5):
                assert await session.hear(stream) == [("end", "CONNECTION_NOT_FOUND")]
        elif how == "half-close":
            session.finish()
            # The calls are answered still; nobody waits for the others.
            for stream in (4, 5):
                assert await session.hear(stream) == [("end", "CONNECTION_NOT_FOUND")]
            await session.done()
        else:
            await getattr(session, how)()
        await nothing_left(server, other)


async def test_a_client_that_gives_up_before_anything_began(server: Server, stage: Stage) -> None:
    async with opened(server) as session:
        session.send(connect(1, ROOM, {"name": "eve"}), *waiting_on_it(), cancel(1))
        assert end_of(await session.answer(1)).reason == "CANCELLED"
        for stream in (2, 3, 4, 5):
            assert await session.hear(stream) == [("end", "CONNECTION_NOT_FOUND")]
        await nothing_left(server, session)


@pytest.mark.parametrize("how", ["cancel", "half-close", "cut"])
async def test_a_client_that_gives_up_while_it_becomes_durable_is_disconnected(
    start: Start, stage: Stage, how: str
) -> None:
    store = HeldStore()
    server, _ = await start(registry, store=store)
    async with opened(server) as session:
        # The room is there, so that the next commit is that of the connection.
        session.send(call(1, ROOM, "log"))
        await session.answer(1)
        stage.log.clear()
        store.hold()
        session.send(connect(2, ROOM, {"name": "eve"}), call(3, None, "log", connection=2))
        await store.reached()
        if how == "cancel":
            session.send(cancel(2))
            await session.pong()
        elif how == "half-close":
            (inside,) = sessions_of(server)
            session.finish()
            await until(lambda: len(inside.streams) < 2)
        else:
            await session.cut()
            await until(lambda: not sessions_of(server))
        store.let_go()
        await until(lambda: "disconnect eve conns=0 False" in stage.log)
        await until_stored(server, Kind.CONNECTION, 0)
        assert sum(line.startswith("disconnect eve") for line in stage.log) == 1
        await until(lambda: not len(server.node.links))
        if how == "cancel":
            assert (await session.answers_to_end(2))[-1].end.code in (0, 1)
            # It was sent before that, and may have been let in.
            assert (await session.hear(3))[0][0] in ("result", "end")


async def test_a_subscription_can_be_given_up_before_its_connection_is_open(
    server: Server, stage: Stage
) -> None:
    async with opened(server) as session:
        session.send(
            connect(1, ROOM, {"name": "ada", "pause": "connect"}),
            subscribe(2, None, connection=1),
            subscribe(3, None, connection=1),
        )
        await stage.reached("connect")
        session.send(cancel(2))
        assert (await session.answer(2)).end.code == 0
        stage.let("connect")
        await session.connected(1)
        assert await session.hear(3) == [("subscribed", 0)]
        await session.pong()
        assert session.waiting(2) == 0


# Let in


async def test_what_is_sent_while_it_opens_keeps_its_order(server: Server, stage: Stage) -> None:
    async with opened(server) as session:
        session.send(connect(1, ROOM, {"name": "ada", "pause": "create"}))
        await stage.reached("create")
        numbers = range(2, 52)
        for number in numbers:
            session.send(call(number, None, "count_to", 0, connection=1, streaming=True))
        session.send(call(60, HALL, "log"))
        await session.answer(60)
        stage.let("create")
        # One that comes when it is open comes after them.
        await session.connected(1)
        session.send(call(61, None, "log", connection=1))
        for number in numbers:
            await session.answers_to_end(number)
        assert value_of(await session.answer(61)) == ["+ada", *["end"] * len(numbers)]


async def test_ephemeral_events_of_on_connect_come_after_its_first_answer_in_order(
    server: Server, stage: Stage
) -> None:
    async with opened(server) as session:
        session.send(connect(1, GATE), subscribe(2, None, "open", connection=1))
        await session.connected(1)
        assert await session.hear(2, 4) == [
            ("subscribed", 0),
            ("event", 1, "open", "first"),
            ("event", 0, "open", "passing"),
            ("event", 2, "open", "last"),
        ]
        assert server.node.audiences.dropped == 0


async def test_what_on_connect_tells_is_bounded_by_credit(server: Server, stage: Stage) -> None:
    async with opened(server) as session:
        session.send(connect(1, GATE), subscribe(2, None, "open", connection=1, window_bytes=1))
        await session.connected(1)
        assert await session.hear(2, 2) == [("subscribed", 0), ("event", 1, "open", "first")]
        await session.pong()
        assert session.waiting(2) == 0
        assert server.node.audiences.dropped == 1
        session.send(credit(2, 1000))
        assert await session.hear(2) == [("event", 2, "open", "last")]


async def test_the_deadline_of_a_connection_holds_for_its_first_subscriptions(
    server: Server, stage: Stage
) -> None:
    async with opened(server) as session:
        session.send(connect(1, GATE, timeout_ms=100), subscribe(2, None, "guarded", connection=1))
        await stage.reached("asked")
        assert await session.hear(1) == [("end", "DEADLINE_EXCEEDED")]
        assert await session.hear(2) == [("end", "CONNECTION_NOT_FOUND")]
        await until(lambda: not len(server.node.links))
        assert stored(server, Kind.CONNECTION) == 0


# Ends of one that is open


@pytest.mark.parametrize(("how", "hall"), [("bug", HALL), ("hangs", ROOM)])
async def test_an_on_disconnect_that_fails_ends_the_connection_all_the_same(
    start: Start, stage: Stage, how: str, hall: Any
) -> None:
    server, _ = await start(registry, store=MemoryStore(), hook_timeout_s=0.1)
    params = {"name": "ada", **({"disconnect": "bug"} if how == "bug" else {"pause": "disconnect"})}
    async with opened(server) as session:
        session.send(connect(1, hall, params), subscribe(2, None, connection=1))
        await session.connected(1)
        session.send(cancel(1))
        assert (await session.answers_to_end(1))[-1].end.code == 0
        assert end_of((await session.answers_to_end(2))[-1]).reason == "CONNECTION_CLOSED"
        await until_stored(server, Kind.CONNECTION, 0)
        assert sum(line.startswith("disconnect") for line in stage.log) == 1


async def test_one_that_is_closed_twice_ends_once(server: Server, stage: Stage) -> None:
    async with opened(server) as session:
        session.send(connect(1, ROOM, {"name": "ada", "pause": "disconnect"}))
        await session.connected(1)
        session.send(cancel(1))
        await stage.reached("disconnect")
        session.send(cancel(1), call(2, None, "log", connection=1), credit(1, 5))
        stage.let("disconnect")
        assert (await session.answers_to_end(1))[-1].end.code == 0
        assert await session.hear(2) == [("end", "CONNECTION_NOT_FOUND")]
        await session.pong()
        assert session.waiting(1) == 0
        assert sum(line.startswith("disconnect") for line in stage.log) == 1


async def test_one_whose_client_leaves_while_it_closes_ends_once(
    server: Server, stage: Stage
) -> None:
    async with opened(server) as session:
        session.send(connect(1, ROOM, {"name": "ada", "pause": "disconnect"}))
        await session.connected(1)
        session.send(cancel(1))
        await stage.reached("disconnect")
        await session.cut()
        await until(lambda: not sessions_of(server))
        stage.let("disconnect")
        await until_stored(server, Kind.CONNECTION, 0)
        assert sum(line.startswith("disconnect") for line in stage.log) == 1
        await until(lambda: not len(server.node.links))
    assert activation_of(server, "room", "a") is not None
