"""Sessions whose client reads slowly, or not at all: bounded, and nothing lost after."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Client, Registry
from holdfast_server.app import Server
from holdfast_server.store.memory import MemoryStore
from tests.server import event_actors, rooms
from tests.server.conftest import Start
from tests.server.probe import until
from tests.server.session import (
    RawSession,
    call,
    connect,
    credit,
    end_of,
    items_of,
    opened,
    subscribe,
    value_of,
)
from tests.server.test_session_protocol import registry as echoes
from tests.server.test_session_streams import registry as sources
from tests.server.wire import target

MOST = 200_000
SIZE = 20_000
# A transport that takes little of what its client does not read.
NARROW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16 << 10))


async def started(
    start: Start, registry: Registry = event_actors.registry, **settings: Any
) -> tuple[Server, Client]:
    return await start(
        registry, store=MemoryStore(), session_send_bytes_max=MOST, events_max=100, **settings
    )


def unsent(server: Server) -> int:
    assert server.listener is not None
    return server.listener.sessions.unsent_bytes


async def subscribed(session: RawSession, count: int, **fields: Any) -> range:
    """Subscriptions to as many rooms, from now on; their numbers."""
    numbers = range(1, count + 1)
    session.send(*[subscribe(n, target("room", str(n)), **fields) for n in numbers])
    for number in numbers:
        assert (await session.hear(number)) == [("subscribed", 0)]
    return numbers


async def tell(client: Client, numbers: range, size: int = SIZE) -> None:
    """Each room tells one large event."""
    rooms = (client.get_or_create("room", [str(number)]) for number in numbers)
    await asyncio.gather(*(room.action("big", size) for room in rooms))


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
async def test_all_subscriptions_together_keep_the_bound_of_a_full_session(
    start: Start, count: int
) -> None:
    server, client = await started(start)
    most = 0
    async with opened(server, options=NARROW) as session:
        numbers = await subscribed(session, count)
        session.pause()
        for _ in range(2):
            await tell(client, numbers)
            most = max(most, unsent(server))
        # The transports have what they hold, the rest is in the log.
        assert MOST < most < MOST + SIZE + 1000

        session.go_on()
        for number in numbers:
            heard = [await session.answer(number) for _ in range(2)]
            events = [each.event.event for each in heard]
            assert [each.sequence for each in events] == [1, 2]
            assert [each.previous_sequence for each in events] == [0, 1]
        await until(lambda: not unsent(server))


async def test_no_credit_takes_a_stream_beyond_the_bound(start: Start) -> None:
    server, client = await started(start)
    room = client.get_or_create("room", ["1"])
    async with opened(server, options=NARROW) as session:
        await subscribed(session, 1)
        session.send(*[credit(1, (1 << 32) - 1)] * 300)
        session.pause()
        for _ in range(40):
            await room.action("big", SIZE)
        assert MOST < unsent(server) < MOST + SIZE + 1000

        session.go_on()
        for number in range(1, 41):
            assert (await session.answer(1)).event.event.sequence == number


async def test_messages_keep_the_bound_too(start: Start) -> None:
    server, client = await started(start, registry=rooms.registry)
    count = 60
    async with opened(server, options=NARROW) as session:
        session.send(*[connect(n, target("hall", str(n))) for n in range(1, count + 1)])
        ids = [(await session.connected(n)).connection_id for n in range(1, count + 1)]
        session.pause()
        for number, each in enumerate(ids, 1):
            hall = client.get_or_create("hall", [str(number)])
            await hall.action("tell", each, "text", ["x" * SIZE] * 2)
        assert MOST < unsent(server) < MOST + SIZE + 1000

        session.go_on()
        for number in range(1, count + 1):
            heard = [(await session.answer(number)).message for _ in range(2)]
            assert [(each.number, each.previous_number) for each in heard] == [(1, 0), (2, 1)]
        await until(lambda: not unsent(server))


async def test_items_keep_the_bound_too(start: Start) -> None:
    server, _ = await started(start, registry=sources)
    count, each = 30, 4
    async with opened(server, options=NARROW) as session:
        session.send(
            *[
                call(n, target("source", str(n)), "give", each, SIZE, streaming=True)
                for n in range(1, count + 1)
            ]
        )
        session.pause()
        await until(lambda: unsent(server) > MOST)
        assert unsent(server) < MOST + SIZE + 1000

        session.go_on()
        for number in range(1, count + 1):
            assert len(items_of(await session.answers_to_end(number))) == each


async def test_one_that_could_fill_the_session_does_not_keep_it_to_itself(start: Start) -> None:
    server, client = await started(start)
    async with opened(server, options=NARROW) as session:
        # The first has credit for everything, and everything to be told.
        await subscribed(session, 1, window_bytes=MOST)
        session.send(credit(1, 1 << 30), subscribe(2, target("room", "2")))
        await session.hear(2)
        session.pause()
        for _ in range(45):
            await client.get_or_create("room", ["1"]).action("big", SIZE)
        await client.get_or_create("room", ["2"]).action("big", SIZE)
        session.go_on()
        await session.answer(2)
        # It came with the first that was let through again, not after all of the others.
        behind = [each for each in session.answers if 1 in each.event.streams]
        assert behind[-1].event.event.sequence < 45
        for _ in range(45):
            await session.answer(1)


async def test_subscriptions_that_stand_alike_are_sent_each_event_once(start: Start) -> None:
    """Also where they fell behind together, and read on when they get credit."""
    server, client = await started(start)
    room, count, told = client.get_or_create("room", ["a"]), 500, 12
    async with opened(server, options=NARROW) as session:
        numbers = range(1, count + 1)
        session.send(*[subscribe(n, target("room", "a"), window_bytes=1) for n in numbers])
        for number in numbers:
            await session.hear(number)
        await room.action("say", *[f"{'x' * 1000} {n}" for n in range(told)])
        await session.pong()
        assert {session.waiting(n) for n in numbers} == {1}

        session.send(*[credit(n, 100_000) for n in numbers])
        for number in numbers:
            for sequence in range(1, told + 1):
                event = (await session.answer(number)).event.event
                assert (event.sequence, event.previous_sequence) == (sequence, sequence - 1)
        sent = [each for each in session.answers if each.WhichOneof("answer") == "event"]
        assert len(sent) == told
        assert all(sorted(each.event.streams) == list(numbers) for each in sent)
        assert len(session.frames) < 60


async def test_one_that_lags_too_far_ends_and_goes_on_where_it_stood(start: Start) -> None:
    server, client = await started(start, subscription_lag_max=10)
    room = client.get_or_create("room", ["1"])
    async with opened(server) as session:
        session.send(
            subscribe(1, target("room", "1"), window_bytes=1), subscribe(2, target("room", "1"))
        )
        for stream in (1, 2):
            await session.hear(stream)
        await room.action("say", *[str(n) for n in range(1, 13)])
        assert await session.hear(1) == [("event", 1, "said", "1")]
        end = await session.answer(1)
        refusal = end_of(end)
        assert (refusal.status, refusal.reason) == ("RESOURCE_EXHAUSTED", "SUBSCRIBER_TOO_SLOW")
        assert (refusal.metadata["limit"], refusal.metadata["sequence"]) == ("10", "1")
        assert server.node.audiences.ended == 1

        session.send(subscribe(3, target("room", "1"), after=end.end.cursor))
        assert await session.hear(3) == [("subscribed", 1)]
        for stream, first in ((2, 1), (3, 2)):
            assert await session.hear(stream, 13 - first) == [
                ("event", n, "said", str(n)) for n in range(first, 13)
            ]


async def test_one_frame_of_very_many_calls_is_begun_as_their_answers_are_taken(
    start: Start,
) -> None:
    server, _ = await started(start, registry=echoes)
    count, size = 3000, 5000
    async with opened(server, options=NARROW) as session:
        session.send(call(1, target("echo", "a"), "filled"))
        await session.answer(1)
        session.pause()
        numbers = range(2, count + 2)
        session.send(*[call(n, target("echo", "a"), "spell", size) for n in numbers])
        await until(lambda: unsent(server) > MOST)
        async with opened(server) as other:
            for _ in range(20):
                await other.pong()
        assert unsent(server) < 1000 * (size + 100)

        session.go_on()
        for number in numbers:
            assert len(value_of(await session.answer(number))) == size
