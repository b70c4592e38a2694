"""A server that drains while sessions are open: what each stream hears, and what stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdfast_server.app import Server
from holdfast_server.store.memory import MemoryStore
from tests.server import event_actors, rooms
from tests.server.conftest import Connect, Start
from tests.server.listening import listen
from tests.server.probe import sessions_of, until
from tests.server.session import (
    call,
    connect,
    end_of,
    items_of,
    opened,
    resume,
    subscribe,
    value_of,
)
from tests.server.stage import Stage, tasks
from tests.server.test_session_slow import MOST, NARROW, SIZE, unsent
from tests.server.test_session_streams import registry as sources
from tests.server.wire import target

ROOM = target("room", "a")


@asynccontextmanager
async def stopping(server: Server) -> AsyncIterator[None]:
    """The server stops meanwhile."""
    stop = asyncio.create_task(server.stop())
    yield
    await stop


async def test_who_only_listens_hears_of_the_drain_and_of_nothing_unknown(
    start: Start, connect: Connect, stage: Stage
) -> None:
    """Also where calls are cut, whose outcome is."""
    server, _ = await start(event_actors.registry, store=MemoryStore(), drain_timeout_s=0.2)
    wire = connect(server)
    reader = await listen(wire, ROOM)
    async with opened(server) as session:
        session.send(subscribe(1, ROOM), subscribe(2, ROOM, window_bytes=1))
        for stream in (1, 2):
            await session.hear(stream)
        stuck = asyncio.ensure_future(wire.invoke(ROOM, "half", "a", "b"))
        await stage.reached("half")
        async with tasks(stuck), stopping(server):
            refusals = [end_of((await session.answers_to_end(n))[-1]) for n in (1, 2)]
            await reader.take(1)
            refusals.append(await reader.refusal())
    for refusal in refusals:
        assert (refusal.status, refusal.reason) == ("UNAVAILABLE", "SERVER_DRAINING")
        assert refusal.retry_after_s is not None


@pytest.mark.parametrize("limits", [{"drain_timeout_s": 0.2}, {"drain_streams_s": 0.2}])
async def test_items_that_wait_for_their_client_are_told_before_the_stream_ends(
    start: Start, limits: dict[str, float]
) -> None:
    settings: dict[str, Any] = {"drain_timeout_s": 20.0, "session_send_bytes_max": MOST, **limits}
    server, client = await start(sources, store=MemoryStore(), **settings)
    streams = range(1, 21)
    async with opened(server, options=NARROW) as session:
        session.pause()
        session.send(
            *[call(n, target("source", str(n)), "give", 50, SIZE, streaming=True) for n in streams]
        )
        await until(lambda: unsent(server) > MOST)
        made = [await client.get_or_create("source", [str(n)]).action("made") for n in streams]
        # The other one is that of the client.
        inside = max(sessions_of(server), key=lambda each: len(each.streams))
        async with stopping(server):
            await until(lambda: not len(inside.streams))
            session.go_on()
            for number, count in zip(streams, made, strict=True):
                answers = await session.answers_to_end(number)
                refusal = end_of(answers[-1])
                assert (refusal.status, refusal.reason) == ("UNAVAILABLE", "SERVER_DRAINING")
                assert len(items_of(answers)) >= count


async def test_a_drain_keeps_connections_and_tells_their_clients(
    start: Start, stage: Stage
) -> None:
    server, _ = await start(rooms.registry)
    async with opened(server) as session:
        session.send(
            connect(1, ROOM, {"name": "ada"}),
            subscribe(2, None, connection=1),
            call(3, None, "log", connection=1),
        )
        connected = await session.connected(1)
        token = session.welcome.resume_token
        await session.answer(3)
        async with stopping(server):
            for stream in (1, 2):
                refusal = end_of((await session.answers_to_end(stream))[-1])
                assert (refusal.status, refusal.reason) == ("UNAVAILABLE", "SERVER_DRAINING")
            assert (await session.failure()).reason == "SERVER_DRAINING"
    assert not [line for line in stage.log if line.startswith("disconnect")]
    server, _ = await start(rooms.registry)
    async with opened(server, resume_token=token) as session:
        session.send(resume(1, connected, received=1), call(2, None, "log", connection=1))
        assert (await session.connected(1)).connection_id == connected.connection_id
        assert value_of(await session.answer(2)) == ["+ada"]
    assert sum(line.startswith("connect") for line in stage.log) == 1
