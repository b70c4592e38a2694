"""A session whose network breaks: what goes on in the next one, what is doubled, what ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdfast.v1 import session_service_pb2 as pb
from holdfast_server.app import Server
from holdfast_server.store.keys import Kind
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Start
from tests.server.probe import activation_of, sessions_of, until
from tests.server.proxy import Proxy, proxy_to
from tests.server.session import (
    RawSession,
    acknowledge,
    call,
    connect,
    end_of,
    hello,
    opened,
    raw_session,
    resume,
    subscribe,
    value_of,
)
from tests.server.stage import Stage, tasks
from tests.server.talk import registry
from tests.server.test_connection_messages import stored, until_stored
from tests.server.test_session_slow import NARROW
from tests.server.wire import target

TALK = target("talk", "a")


@pytest.fixture
async def server(start: Start, stage: Stage) -> Server:
    return (await start(registry, store=MemoryStore()))[0]


@asynccontextmanager
async def apart(server: Server, **fields: Any) -> AsyncIterator[tuple[RawSession, Proxy]]:
    """A session over a network that can be cut."""
    assert server.port is not None
    async with proxy_to(server.port) as proxy, opened(proxy.address, **fields) as session:
        yield session, proxy


async def lost(server: Server, session: RawSession, proxy: Proxy, stay: int = 0) -> None:
    """Cut, and wait until both sides know."""
    proxy.cut()
    assert (await session.failure()).status == "UNAVAILABLE"
    await until(lambda: len(sessions_of(server)) == stay)


async def came_in(session: RawSession, on: Any = TALK, name: str = "ada") -> pb.SessionConnected:
    """Connect on stream 1 and subscribe on stream 2."""
    session.send(connect(1, on, {"name": name}), subscribe(2, None, connection=1))
    connected = await session.connected(1)
    assert (await session.hear(2))[0][0] == "subscribed"
    return connected


def hooks(stage: Stage, kind: str) -> int:
    return sum(line.startswith(f"{kind} ") for line in stage.log)


async def test_a_connection_goes_on_where_it_was_cut(server: Server, stage: Stage) -> None:
    async with apart(server) as (session, proxy):
        connected = await came_in(session)
        token = session.welcome.resume_token
        session.send(call(3, None, "say", "one", connection=1, number=1))
        assert value_of(await session.answer(3)) == 2
        assert await session.hear(1) == [("message", 1, "heard", "one")]
        event = (await session.answer(2)).event.event
        await lost(server, session, proxy)
    async with opened(server) as other:
        other.send(call(1, TALK, "say", "two"), call(2, TALK, "say", "three"))
        await other.answer(2)

        async with opened(server, resume_token=token) as again:
            assert again.welcome.resumed
            assert again.welcome.resume_token == token
            again.send(
                resume(1, connected, received=1),
                subscribe(2, None, connection=1, from_sequence=event.sequence + 1),
                call(3, None, "notes", connection=1),
            )
            assert (await again.connected(1)) == connected
            heard = [(await again.answer(1)).message for _ in range(2)]
            assert [(m.number, m.previous_number) for m in heard] == [(2, 1), (3, 2)]
            assert await again.hear(2, 3) == [
                ("subscribed", 1),
                ("event", 2, "said", "two"),
                ("event", 3, "said", "three"),
            ]
            assert value_of(await again.answer(3)) == ["one", "two", "three"]
            other.send(call(3, TALK, "say", "live"))
            assert await again.hear(1) == [("message", 4, "heard", "live")]
            assert await again.hear(2) == [("event", 4, "said", "live")]
    assert [line for line in stage.log if "ada" in line] == ["connect ada"]


async def test_a_call_in_flight_runs_once_and_answers_in_the_next_session(
    server: Server, stage: Stage
) -> None:
    async with apart(server) as (session, proxy):
        connected = await came_in(session)
        token = session.welcome.resume_token
        slowly = {"connection": 1, "number": 1}
        session.send(call(3, None, "say_slowly", "slow", **slowly))
        await stage.reached("slow")
        await lost(server, session, proxy)
    async with opened(server, resume_token=token) as again:
        again.send(resume(1, connected), call(2, None, "say_slowly", "slow", **slowly))
        await again.connected(1)
        stage.let("slow")
        # It joins the call that runs, whose message goes to whom the connection is now.
        assert value_of(await again.answer(2)) == 2
        assert await again.hear(1) == [("message", 1, "heard", "slow")]
        # And later it is answered from the store.
        again.send(call(3, None, "say_slowly", "slow", **slowly), call(4, TALK, "log"))
        answer = await again.answer(3)
        assert answer.result.replayed
        assert value_of(answer) == 2
        assert [x for x in value_of(await again.answer(4)) if x == "slow"] == ["slow"]


async def test_what_was_acknowledged_is_not_told_again(server: Server, stage: Stage) -> None:
    async with apart(server) as (session, proxy):
        connected = await came_in(session)
        token = session.welcome.resume_token
        for number in range(1, 4):
            session.send(call(2 + number, None, "say", str(number), connection=1))
            await session.answer(2 + number)
            await session.answer(1)
        session.send(acknowledge(1, 3))
        await session.pong()
        await lost(server, session, proxy)
    async with opened(server, resume_token=token) as again:
        again.send(resume(1, connected, received=3), call(2, None, "say", "4", connection=1))
        await again.connected(1)
        message = (await again.answer(1)).message
        assert (message.number, message.previous_number) == (4, 3)
        await again.answer(2)
        assert stored(server, Kind.MESSAGE) == 1


async def test_a_network_that_stalls_holds_up_nobody_who_comes_back(
    server: Server, stage: Stage
) -> None:
    async with apart(server) as (session, proxy):
        connected = await came_in(session)
        proxy.stall()
        async with opened(server, resume_token=session.welcome.resume_token) as again:
            # The server still takes the old one for open.
            assert again.welcome.resumed
            again.send(resume(1, connected), call(2, None, "say", "hi", connection=1))
            await again.connected(1)
            assert await again.hear(1) == [("message", 1, "heard", "hi")]
            await until(lambda: len(sessions_of(server)) == 1)
    assert hooks(stage, "disconnect ada") == 0


async def test_of_two_that_resume_one_session_the_later_has_its_connections(
    server: Server, stage: Stage
) -> None:
    async with apart(server) as (session, proxy):
        connected = await came_in(session)
        token = session.welcome.resume_token
        await lost(server, session, proxy)
    async with opened(server, resume_token=token) as first:
        first.send(resume(1, connected), subscribe(2, None, connection=1))
        await first.connected(1)
        await first.answer(2)
        async with opened(server, resume_token=token) as second:
            refusal = await first.failure()
            assert (refusal.status, refusal.reason) == ("ABORTED", "SESSION_SUPERSEDED")
            second.send(resume(1, connected), call(2, None, "say", "hi", connection=1))
            await second.connected(1)
            assert await second.hear(1) == [("message", 1, "heard", "hi")]
    assert [line for line in stage.log if line.endswith("ada")] == ["connect ada"]


async def test_of_two_that_resume_at_once_one_goes_on(server: Server, stage: Stage) -> None:
    async with apart(server) as (session, proxy):
        connected = await came_in(session)
        token = session.welcome.resume_token
        await lost(server, session, proxy)

    async def attempt(session: RawSession) -> str:
        """Go on, and say why that ended."""
        session.send(hello(resume_token=token))
        session.send(resume(1, connected), call(2, None, "notes", connection=1))
        return (await session.failure()).reason

    async with raw_session(server) as one, raw_session(server) as two:
        sessions = (one, two)
        attempts = [asyncio.create_task(attempt(each)) for each in sessions]
        async with tasks(*attempts):
            done, _ = await asyncio.wait(attempts, return_when=asyncio.FIRST_COMPLETED)
            assert [task.result() for task in done] == ["SESSION_SUPERSEDED"]
            (on,) = [s for s, task in zip(sessions, attempts, strict=True) if task not in done]
            assert value_of((await on.answers_to_end(2))[-1]) == []
    assert [line for line in stage.log if line.endswith("ada")] == ["connect ada"]


@pytest.mark.parametrize("token", [None, b"t" * 32])
async def test_a_connection_is_worth_nothing_without_its_token(
    server: Server, stage: Stage, token: bytes | None
) -> None:
    async with apart(server) as (session, proxy):
        connected = await came_in(session)
        kept = session.welcome.resume_token
        await lost(server, session, proxy)
    fields = {} if token is None else {"resume_token": token}
    async with opened(server, **fields) as other:
        assert not other.welcome.resumed
        other.send(resume(1, connected), call(2, None, "log", connection=1))
        assert await other.hear(1) == [("end", "CONNECTION_NOT_FOUND")]
        assert await other.hear(2) == [("end", "CONNECTION_NOT_FOUND")]
    async with opened(server, resume_token=kept) as again:
        again.send(resume(1, connected))
        await again.connected(1)


async def test_one_that_comes_too_late_has_left_once(start: Start, stage: Stage) -> None:
    server, _ = await start(registry, store=MemoryStore(), connection_grace_s=0.05)
    async with apart(server) as (session, proxy):
        connected = await came_in(session)
        token = session.welcome.resume_token
        await lost(server, session, proxy)
    await until_stored(server, Kind.CONNECTION, 0)
    async with opened(server, resume_token=token) as again:
        again.send(resume(1, connected), connect(2, TALK, {"name": "eve"}))
        assert await again.hear(1) == [("end", "CONNECTION_NOT_FOUND")]
        await again.connected(2)
        assert stage.log == ["connect ada", "disconnect ada", "connect eve"]


async def test_what_was_never_sent_cannot_have_arrived(server: Server, stage: Stage) -> None:
    async with apart(server) as (session, proxy):
        connected = await came_in(session)
        token = session.welcome.resume_token
        await lost(server, session, proxy)
    async with opened(server, resume_token=token) as again:
        again.send(resume(1, connected, received=7))
        assert end_of(await again.answer(1)).reason == "CONNECTION_NOT_FOUND"
        again.send(resume(2, connected))
        await again.connected(2)


async def test_one_connection_can_be_resumed_while_it_is_open_and_moves(
    server: Server, stage: Stage
) -> None:
    """Within one session too: the stream that had it ends."""
    async with opened(server) as session:
        connected = await came_in(session)
        session.send(resume(3, connected), call(4, None, "say", "hi", connection=3))
        await session.connected(3)
        assert await session.hear(1) == [("end", "SESSION_SUPERSEDED")]
        assert await session.hear(2) == [("end", "SESSION_SUPERSEDED")]
        assert await session.hear(3) == [("message", 1, "heard", "hi")]
        await session.answer(4)
    assert [line for line in stage.log if line.endswith("ada")] == ["connect ada"]


async def test_very_many_connections_and_subscriptions_go_on_together(
    server: Server, stage: Stage
) -> None:
    count = 300
    halls = [target("talk", str(n % 10)) for n in range(count)]
    async with apart(server) as (session, proxy):
        session.send(
            *[connect(2 * n + 1, on, {"name": str(n)}) for n, on in enumerate(halls)],
        )
        before = [await session.connected(2 * n + 1) for n in range(count)]
        token = session.welcome.resume_token
        await lost(server, session, proxy)
    async with opened(server) as other:
        other.send(*[call(n + 1, halls[n], "say", "missed") for n in range(10)])
        for n in range(10):
            await other.answer(n + 1)
    async with opened(server, resume_token=token) as again:
        for n, connected in enumerate(before):
            again.send(
                resume(2 * n + 1, connected),
                subscribe(2 * n + 2, None, connection=2 * n + 1, from_sequence=1),
            )
        for n in range(count):
            assert await again.hear(2 * n + 1, 2) == [
                ("connected",),
                ("message", 1, "heard", "missed"),
            ]
            assert await again.hear(2 * n + 2, 2) == [
                ("subscribed", 0),
                ("event", 1, "said", "missed"),
            ]
    assert hooks(stage, "connect") == count + 10
    assert hooks(stage, "disconnect") == 10


# Sleep


async def asleep(server: Server, session: RawSession, stream: int) -> None:
    """Send the actor to sleep, by a call on `stream`."""
    session.send(call(stream, TALK, "doze"))
    await session.answer(stream)
    await until(lambda: activation_of(server, "talk", "a") is None)


async def test_an_actor_sleeps_while_its_clients_stay(server: Server, stage: Stage) -> None:
    async with opened(server) as session, opened(server) as other:
        await came_in(session)
        await asleep(server, other, 1)
        session.send(call(3, None, "say", "one", connection=1))
        assert await session.hear(3) == [("result", 4)]
        assert await session.hear(1) == [("message", 1, "heard", "one")]
        assert await session.hear(2) == [("event", 1, "said", "one")]
        await asleep(server, other, 2)
        # Whoever wakes it, its clients hear of it.
        other.send(call(3, TALK, "say", "two"))
        await other.answer(3)
        assert await session.hear(1) == [("message", 2, "heard", "two")]
        assert await session.hear(2) == [("event", 2, "said", "two")]
        await asleep(server, other, 4)
        session.send(call(4, None, "notes", connection=1))
        assert value_of(await session.answer(4)) == ["one", "two"]
    assert [line for line in stage.log if line.endswith("ada")] == ["connect ada"]


async def test_a_client_comes_back_to_an_actor_that_sleeps_and_wakes_nobody(
    server: Server, stage: Stage
) -> None:
    async with apart(server) as (session, proxy):
        connected = await came_in(session)
        token = session.welcome.resume_token
        session.send(call(3, None, "say", "one", connection=1))
        await session.answer(3)
        await asleep(server, session, 4)
        await lost(server, session, proxy)
    async with opened(server, resume_token=token) as again:
        again.send(resume(1, connected), subscribe(2, None, connection=1, from_sequence=1))
        assert await again.hear(1, 2) == [("connected",), ("message", 1, "heard", "one")]
        assert await again.hear(2, 2) == [("subscribed", 0), ("event", 1, "said", "one")]
        found = activation_of(server, "talk", "a")
        assert found is None or found.instance is None
        again.send(call(3, None, "notes", connection=1))
        assert value_of(await again.answer(3)) == ["one"]
    assert [line for line in stage.log if line.endswith("ada")] == ["connect ada"]


# Readers that have stopped


async def test_one_that_took_nothing_for_too_long_goes_on_where_it_was(
    start: Start, stage: Stage
) -> None:
    server, client = await start(registry, store=MemoryStore(), session_stall_s=0.3)
    text, count = "x" * 20_000, 30
    async with opened(server, options=NARROW) as session:
        connected = await came_in(session)
        token = session.welcome.resume_token
        session.pause()
        talk = client.get_or_create("talk", ["a"])
        for _ in range(count):
            await talk.action("say", text)
        await until(lambda: any(each.over for each in sessions_of(server)))
        session.go_on()
        refusal = await session.failure()
        assert refusal.metadata["limit"] == "session_stall_s"
        messages = [each.message.number for each in session.answers if each.stream == 1][1:]
        events = [each for each in session.answers if each.WhichOneof("answer") == "event"]
    assert len(events) < count
    async with opened(server, resume_token=token) as again:
        received = messages[-1] if messages else 0
        again.send(
            connect(
                1,
                TALK,
                resume_connection_id=connected.connection_id,
                received_message=received,
                window_bytes=1 << 20,
            ),
            subscribe(2, None, connection=1, from_sequence=len(events) + 1, window_bytes=1 << 20),
        )
        await again.connected(1)
        await again.answer(2)
        for number in range(received + 1, count + 1):
            assert (await again.answer(1)).message.number == number
        for number in range(len(events) + 1, count + 1):
            assert (await again.answer(2)).event.event.sequence == number
    assert hooks(stage, "disconnect ada") == 0
