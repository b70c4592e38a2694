"""Subscriptions in a session: filters, places to start, credit, many of them, their ends.

One server for all tests here; each has actors of its own.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from holdfast import Client
from holdfast.v1 import actor_pb2, event_pb2
from holdfast.v1 import session_service_pb2 as pb
from holdfast_server.app import Server
from holdfast_server.config import load
from holdfast_server.core.events import Emitted
from holdfast_server.core.ids import Address
from holdfast_server.store.memory import MemoryStore
from tests.server.event_actors import registry
from tests.server.listening import CONFLATE
from tests.server.probe import until
from tests.server.session import (
    RawSession,
    call,
    cancel,
    credit,
    end_of,
    opened,
    said,
    subscribe,
    value_of,
)
from tests.server.wire import by_id, target

pytestmark = pytest.mark.asyncio(loop_scope="module")
_keys = itertools.count()


class Place:
    """A server, its client, and an actor that no other test uses."""

    def __init__(self, server: Server, client: Client) -> None:
        self.server = server
        self.client = client
        self.key = f"k{next(_keys)}"

    def on(self, name: str = "room", *, create: bool = True) -> actor_pb2.ActorTarget:
        return target(name, self.key, create=create)

    async def tell(self, action: str, *args: Any, name: str = "room") -> Any:
        return await self.client.get_or_create(name, [self.key]).action(action, *args)

    @asynccontextmanager
    async def session(self, **fields: Any) -> AsyncIterator[RawSession]:
        async with opened(self.server, **fields) as session:
            yield session


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[Server, Client]]:
    data: Path = tmp_path_factory.mktemp("sessions")
    flags: dict[str, Any] = {"data": str(data), "grpc": "127.0.0.1:0", "drain_timeout_s": 2.0}
    server = Server(registry, load({}, **flags), MemoryStore())
    await server.start()
    client = Client(f"127.0.0.1:{server.port}")
    yield server, client
    await client.close()
    await server.stop()


@pytest.fixture
def place(running: tuple[Server, Client]) -> Place:
    return Place(*running)


def steps(answers: list[pb.SessionAnswer]) -> list[tuple[int, int]]:
    """The numbers of events, each with the one that it names as the one before."""
    events = [each.event.event for each in answers]
    return [(event.sequence, event.previous_sequence) for event in events]


async def events_of(session: RawSession, stream: int, count: int) -> list[pb.SessionAnswer]:
    found = [await session.answer(stream) for _ in range(count)]
    assert {each.WhichOneof("answer") for each in found} <= {"event"}
    return found


async def start_of(session: RawSession, stream: int) -> event_pb2.EventCursor:
    answer = await session.answer(stream)
    assert answer.WhichOneof("answer") == "subscribed", answer
    return answer.subscribed.cursor


# What comes


async def test_each_event_names_the_one_before_it_under_a_filter_too(place: Place) -> None:
    async with place.session() as session:
        session.send(
            subscribe(1, place.on()), subscribe(2, place.on(), "x"), subscribe(3, place.on(), "y")
        )
        for stream in (1, 2, 3):
            assert (await start_of(session, stream)).sequence == 0
        for name in "xyyxz":
            await place.tell("emit", name, 1)

        assert steps(await events_of(session, 1, 5)) == [(n, n - 1) for n in range(1, 6)]
        assert steps(await events_of(session, 2, 2)) == [(1, 0), (4, 1)]
        assert steps(await events_of(session, 3, 2)) == [(2, 0), (3, 2)]
        assert [session.waiting(n) for n in (1, 2, 3)] == [0, 0, 0]


async def test_one_that_many_events_pass_by_is_told_where_it_stands(place: Place) -> None:
    async with place.session() as session:
        session.send(subscribe(1, place.on(), "rare"))
        await start_of(session, 1)
        await place.tell("many", 600)
        places = [(await start_of(session, 1)).sequence for _ in range(2)]
        await place.tell("emit", "rare")

        assert places == [256, 512]
        # Nothing is missing between the last place and the event.
        assert steps(await events_of(session, 1, 1)) == [(601, 512)]


async def test_ephemeral_events_have_no_number_and_are_no_gap(place: Place) -> None:
    async with place.session() as session:
        session.send(subscribe(1, place.on()))
        await start_of(session, 1)
        await place.tell("both", "a")
        await place.tell("both", "b")
        assert steps(await events_of(session, 1, 4)) == [(0, 0), (1, 0), (0, 0), (2, 1)]


async def test_each_has_its_own_encoding_and_those_alike_share_an_answer(place: Place) -> None:
    async with place.session() as session:
        wanted = {1: 1, 2: 2, 3: 3, 4: 1}
        session.send(*[subscribe(n, place.on(), accept_encoding=e) for n, e in wanted.items()])
        for stream in wanted:
            await start_of(session, stream)
        await place.tell("emit", "said", "x")

        found = {n: (await events_of(session, n, 1))[0].event for n in wanted}
        assert {n: event.event.args.encoding for n, event in found.items()} == wanted
        assert sorted(found[1].streams) == sorted(found[4].streams) == [1, 4]


async def test_two_alike_are_two_and_end_by_themselves(place: Place) -> None:
    async with place.session() as session:
        session.send(subscribe(1, place.on(), "said"), subscribe(2, place.on(), "said"))
        for stream in (1, 2):
            await start_of(session, stream)
        await place.tell("say", "a")
        for stream in (1, 2):
            assert await session.hear(stream) == [("event", 1, "said", "a")]
        session.send(cancel(1))
        end = (await session.answer(1)).end
        assert (end.code, end.cursor.sequence) == (0, 1)
        await place.tell("say", "b")
        assert await session.hear(2) == [("event", 2, "said", "b")]
        assert session.waiting(1) == 0


# Where it starts


async def test_it_starts_at_any_number_that_is_kept(place: Place) -> None:
    await place.tell("say", "a", "b", "c")
    async with place.session() as session:
        for first in (1, 2, 3, 4):
            session.send(subscribe(first, place.on(), from_sequence=first))
            assert (await start_of(session, first)).sequence == first - 1
            wanted = [(n, n - 1) for n in range(first, 4)]
            assert steps(await events_of(session, first, 4 - first)) == wanted
        await place.tell("say", "d")
        for stream in (1, 2, 3, 4):
            assert steps(await events_of(session, stream, 1)) == [(4, 3)]


@pytest.mark.parametrize("number", [0, 5])
async def test_a_number_that_is_none_is_refused(place: Place, number: int) -> None:
    await place.tell("say", "a", "b", "c")
    async with place.session() as session:
        session.send(subscribe(1, place.on(), from_sequence=number))
        refusal = end_of(await session.answer(1))
        assert (refusal.reason, refusal.metadata["field"]) == ("REQUEST_INVALID", "from_sequence")


async def test_it_goes_on_after_a_cursor(place: Place) -> None:
    async with place.session() as session:
        session.send(subscribe(1, place.on(), "said"))
        await start_of(session, 1)
        await place.tell("say", "a", "b")
        await events_of(session, 1, 2)
        session.send(cancel(1))
        cursor = (await session.answer(1)).end.cursor
    await place.tell("emit", "other")
    await place.tell("say", "c")
    async with place.session() as session:
        # Under another filter too: what is behind the cursor was told.
        session.send(
            subscribe(1, place.on(), "said", after=cursor), subscribe(2, place.on(), after=cursor)
        )
        for stream, wanted in ((1, [(4, 2)]), (2, [(3, 2), (4, 3)])):
            assert await start_of(session, stream) == cursor
            assert steps(await events_of(session, stream, len(wanted))) == wanted


@pytest.mark.parametrize(("field", "value"), [("incarnation", 7), ("sequence", 9)])
async def test_a_cursor_of_other_numbers_is_stale(place: Place, field: str, value: int) -> None:
    await place.tell("say", "a")
    async with place.session() as session:
        session.send(subscribe(1, place.on()))
        cursor = await start_of(session, 1)
        setattr(cursor, field, value)
        session.send(subscribe(2, place.on(), after=cursor))
        refusal = end_of(await session.answer(2))

        assert (refusal.status, refusal.reason) == ("OUT_OF_RANGE", "CURSOR_STALE")
        assert refusal.metadata["oldest_sequence"] == "1"
        assert refusal.metadata["incarnation"] == "1"
        assert refusal.metadata["actor_id"] == cursor.actor_id
        # That stream only.
        await place.tell("say", "b")
        assert await session.hear(1) == [("event", 2, "said", "b")]


async def test_a_cursor_of_another_actor_is_stale(place: Place) -> None:
    async with place.session() as session:
        session.send(subscribe(1, place.on()))
        cursor = await start_of(session, 1)
        session.send(subscribe(2, place.on("quick"), after=cursor))
        assert end_of(await session.answer(2)).reason == "CURSOR_STALE"


async def test_what_is_no_longer_kept_is_out_of_range_and_the_oldest_is_named(
    place: Place,
) -> None:
    async with place.session() as session:
        session.send(subscribe(1, place.on()))
        cursor = await start_of(session, 1)
        session.send(cancel(1))
        for _ in range(4):
            await place.tell("big", 400_000)
        session.send(
            subscribe(2, place.on(), from_sequence=1),
            subscribe(3, place.on(), "other", after=cursor),
        )
        for stream in (2, 3):
            refusal = end_of(await session.answer(stream))
            assert (refusal.status, refusal.reason) == ("OUT_OF_RANGE", "EVENTS_TRIMMED")
            assert refusal.metadata["oldest_sequence"] == "3"
        session.send(subscribe(4, place.on(), from_sequence=3, window_bytes=1 << 20))
        await start_of(session, 4)
        assert steps(await events_of(session, 4, 2)) == [(3, 2), (4, 3)]


# Credit


async def test_without_credit_nothing_comes_and_with_it_everything(place: Place) -> None:
    async with place.session() as session:
        session.send(subscribe(1, place.on(), window_bytes=20), subscribe(2, place.on()))
        for stream in (1, 2):
            await start_of(session, stream)
        # Each takes "said" and '["nn"]', ten bytes.
        await place.tell("say", *[f"{n:02}" for n in range(10)])
        await events_of(session, 2, 10)
        await session.pong()
        assert session.waiting(1) == 2
        session.send(credit(1, 10))
        await session.pong()
        assert session.waiting(1) == 3
        session.send(credit(1, 1000))
        assert steps(await events_of(session, 1, 10)) == [(n, n - 1) for n in range(1, 11)]
        await place.tell("say", "live")
        assert steps(await events_of(session, 1, 1)) == [(11, 10)]


async def test_credit_that_comes_with_the_subscription_counts(place: Place) -> None:
    await place.tell("say", *["x"] * 10)
    async with place.session() as session:
        session.send(subscribe(1, place.on(), from_sequence=1, window_bytes=1), credit(1, 1000))
        await start_of(session, 1)
        assert len(await events_of(session, 1, 10)) == 10


async def test_an_ephemeral_event_that_has_no_credit_is_dropped_and_counted(place: Place) -> None:
    dropped = place.server.node.audiences.dropped
    async with place.session() as session:
        session.send(subscribe(1, place.on(), window_bytes=1))
        await start_of(session, 1)
        await place.tell("say", "a")
        await place.tell("hint", "typing", 1)
        await place.tell("say", "b")
        session.send(credit(1, 1000))
        assert steps(await events_of(session, 1, 2)) == [(1, 0), (2, 1)]
        await session.pong()
        assert session.waiting(1) == 0
    assert place.server.node.audiences.dropped == dropped + 1


async def test_one_that_conflates_gets_the_latest_of_each_name_and_how_many_it_was_spared(
    place: Place,
) -> None:
    conflated = place.server.node.audiences.conflated
    async with place.session() as session:
        session.send(subscribe(1, place.on(), slow_reader=CONFLATE, window_bytes=1))
        await start_of(session, 1)
        for name, value in (("x", 0), ("x", 1), ("y", 1), ("x", 2), ("z", 1)):
            await place.tell("emit", name, value)
        await session.pong()
        assert await session.hear(1) == [("event", 1, "x", 0)]
        assert session.waiting(1) == 0

        session.send(credit(1, 1000))
        heard = await events_of(session, 1, 3)
        assert [said(each) for each in heard] == [
            ("event", 3, "y", 1),
            ("event", 4, "x", 2),
            ("event", 5, "z", 1),
        ]
        assert steps(heard) == [(3, 1), (4, 3), (5, 4)]
        assert [each.event.event.conflated for each in heard] == [1, 0, 0]
    assert place.server.node.audiences.conflated == conflated + 1


# Large events


async def test_a_large_event_travels_in_chunks_once_and_others_go_on(place: Place) -> None:
    async with place.session() as session:
        session.send(subscribe(1, place.on()), subscribe(2, place.on()))
        for stream in (1, 2):
            await start_of(session, stream)
        numbers = range(3, 43)
        session.send(
            call(3, place.on(), "big", 900_000),
            *[call(n, target("room", f"{place.key}-{n}"), "say", "x") for n in numbers[1:]],
        )
        for stream in (1, 2):
            (event,) = await events_of(session, stream, 1)
            assert sorted(event.event.streams) == [1, 2]
            assert json.loads(event.event.event.args.data) == ["x" * 900_000]
        for number in numbers:
            assert (await session.answer(number)).WhichOneof("answer") == "result"
        parts = [a.chunk.data for f in session.frames for a in f.answers if a.HasField("chunk")]
        assert len(parts) == 14
        assert max(map(len, parts)) == session.welcome.chunk_bytes


async def test_large_events_of_several_actors_do_not_mix(place: Place) -> None:
    count = 6
    rooms = [target("room", f"{place.key}-{n}") for n in range(count)]
    async with place.session() as session:
        session.send(*[subscribe(n, on) for n, on in enumerate(rooms, 1)])
        for stream in range(1, count + 1):
            await start_of(session, stream)
        session.send(*[call(100 + n, on, "big", 300_000 + n) for n, on in enumerate(rooms)])
        for n in range(count):
            (event,) = await events_of(session, n + 1, 1)
            assert len(event.event.event.args.data) == 300_004 + n


async def test_an_event_above_the_limit_fails_its_turn_and_no_subscription(place: Place) -> None:
    async with place.session() as session:
        session.send(subscribe(1, place.on()))
        await start_of(session, 1)
        session.send(call(2, place.on(), "big", 1 << 20), call(3, place.on(), "say", "small"))
        assert end_of(await session.answer(2)).reason == "EVENT_TOO_LARGE"
        assert value_of(await session.answer(3)) == 1
        assert await session.hear(1) == [("event", 1, "said", "small")]


# Many


@pytest.mark.parametrize("count", [1000, 10_000])
async def test_very_many_of_one_actor_are_told_in_few_frames(place: Place, count: int) -> None:
    async with place.session() as session:
        numbers = range(1, count + 1)
        session.send(*[subscribe(n, place.on()) for n in numbers])
        for number in numbers:
            await start_of(session, number)
        before = len(session.frames)
        await place.tell("say", "a", "b", "c")

        for sequence in (1, 2, 3):
            (event,) = await events_of(session, 1, 1)
            assert sorted(event.event.streams) == list(numbers)
            assert event.event.event.sequence == sequence
        assert len(session.frames) - before <= 3


async def test_very_many_that_resume_are_told_once_together(place: Place) -> None:
    await place.tell("say", *[f"{n}" for n in range(200)])
    async with place.session() as session:
        numbers = range(1, 501)
        session.send(*[subscribe(n, place.on(), from_sequence=1) for n in numbers])
        for number in numbers:
            await start_of(session, number)
            assert steps(await events_of(session, number, 200)) == [
                (n, n - 1) for n in range(1, 201)
            ]
        sent = [each for each in session.answers if each.WhichOneof("answer") == "event"]
        # One may be ahead of the others; a page is 128 events.
        assert len(sent) <= 200 + 128
        # And soon the server has none of it.
        await session.pong()
        await until(lambda: not any(isinstance(each, Emitted) for each in gc.get_objects()))


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_one_session_listens_to_very_many_actors(place: Place, count: int) -> None:
    rooms = [target("room", place.key, str(n)) for n in range(count)]
    numbers = range(1, count + 1)
    async with place.session() as session, place.session() as teller:
        session.send(*[subscribe(n, on) for n, on in zip(numbers, rooms, strict=True)])
        for number in numbers:
            await start_of(session, number)
        teller.send(*[call(n, on, "say", str(n)) for n, on in zip(numbers, rooms, strict=True)])
        for number in numbers:
            assert await session.hear(number) == [("event", 1, "said", str(number))]
        assert len(session.frames) < count / 2
    await until(lambda: not len(place.server.node.audiences))


# Who may not, and what ends


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("secret", "SUBSCRIPTION_FORBIDDEN"),
        ("broken", "INTERNAL_ERROR"),
        ("refused", "USER_ERROR"),
        ("odd", "INTERNAL_ERROR"),
    ],
)
async def test_an_actor_that_does_not_agree_ends_that_stream_only(
    place: Place, event: str, reason: str
) -> None:
    async with place.session() as session:
        session.send(
            subscribe(1, place.on("board"), event), subscribe(2, place.on("board"), "moved")
        )
        assert end_of(await session.answer(1)).reason == reason
        await start_of(session, 2)
        await place.tell("move", name="board")
        assert steps(await events_of(session, 2, 1)) == [(1, 0)]


@pytest.mark.parametrize(
    ("names", "limit"), [([f"n{n}" for n in range(101)], "100"), (["é" * 9000], str(16 << 10))]
)
async def test_too_many_names_are_refused(place: Place, names: list[str], limit: str) -> None:
    async with place.session() as session:
        session.send(subscribe(1, place.on(), *names))
        refusal = end_of(await session.answer(1))
        assert (refusal.reason, refusal.metadata["field"]) == ("REQUEST_INVALID", "names")
        assert refusal.metadata["limit"] == limit


async def test_an_actor_that_is_destroyed_says_its_last_and_ends_all(place: Place) -> None:
    async with place.session() as session:
        session.send(subscribe(1, place.on()), subscribe(2, place.on(), "other"))
        cursor = await start_of(session, 1)
        await start_of(session, 2)
        await place.tell("bye")
        assert await session.hear(1) == [("event", 1, "said", "bye")]
        for stream in (1, 2):
            refusal = end_of(await session.answer(stream))
            assert (refusal.status, refusal.reason) == ("NOT_FOUND", "ACTOR_DESTROYED")

        # It is gone by its id and for who creates nothing, and a new one has other numbers.
        session.send(
            subscribe(3, by_id(cursor.actor_id)),
            subscribe(4, place.on(create=False)),
            subscribe(5, place.on()),
        )
        for stream in (3, 4):
            assert end_of(await session.answer(stream)).reason == "ACTOR_NOT_FOUND"
        again = await start_of(session, 5)
        assert again.actor_id != cursor.actor_id
        session.send(subscribe(6, place.on(), after=cursor))
        assert end_of(await session.answer(6)).reason == "CURSOR_STALE"
        await place.tell("say", "new")
        assert await session.hear(5) == [("event", 1, "said", "new")]


async def test_one_without_credit_ends_with_its_actor_and_says_how_far_it_came(
    place: Place,
) -> None:
    async with place.session() as session:
        session.send(subscribe(1, place.on(), window_bytes=1))
        await start_of(session, 1)
        await place.tell("say", "a", "b", "c")
        await place.tell("bye")
        assert await session.hear(1) == [("event", 1, "said", "a")]
        end = (await session.answer(1)).end
        assert (end.cursor.sequence, end.code) == (1, 5)


async def test_one_outlives_the_sleep_of_its_actor(place: Place) -> None:
    async with place.session() as session:
        session.send(subscribe(1, place.on()))
        await start_of(session, 1)
        for number in range(1, 4):
            await place.tell("say", str(number))
            (event,) = await events_of(session, 1, 1)
            assert steps([event]) == [(number, number - 1)]
            assert place.server.node.catalog.evict(Address("default", "room", (place.key,)))


async def test_a_session_that_ends_leaves_no_subscription(place: Place) -> None:
    audiences = place.server.node.audiences
    async with place.session() as session:
        session.send(*[subscribe(n, place.on(), str(n)) for n in range(1, 51)])
        for stream in range(1, 51):
            await start_of(session, stream)
        assert len(audiences) == 1
        await session.cut()
        await until(lambda: not len(audiences))


async def test_one_that_is_cancelled_before_it_has_started_ends_once(place: Place) -> None:
    async with place.session() as session:
        session.send(subscribe(1, place.on()), cancel(1), call(2, place.on(), "say", "x"))
        assert (await session.answer(1)).end.code == 0
        await session.answer(2)
        await session.pong()
        assert session.waiting(1) == 0
    await until(lambda: not len(place.server.node.audiences))


async def test_order_holds_while_many_come_and_go(place: Place) -> None:
    """Each stream: where it starts, every event from there on, one end."""
    async with place.session() as session:

        async def talk() -> None:
            for number in range(100):
                await place.tell("say", str(number))

        talking = asyncio.create_task(talk())
        numbers = range(1, 101)
        for number in numbers:
            session.send(subscribe(number, place.on(), from_sequence=1))
            await session.pong()
            if number > 10:
                assert (await start_of(session, number - 10)).sequence == 0
                session.send(cancel(number - 10))
        await talking
        for number in numbers[-10:]:
            assert (await start_of(session, number)).sequence == 0
            session.send(cancel(number))
        for number in numbers:
            *events, last = await session.answers_to_end(number)
            assert steps(events) == [(n, n - 1) for n in range(1, len(events) + 1)]
            assert last.end.cursor.sequence == len(events)
