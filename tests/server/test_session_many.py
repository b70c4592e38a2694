"""Very many subscriptions in a session, and how subscriptions end.

One server for all tests here; each has actors of its own.
"""

from __future__ import annotations

import asyncio
import gc

import pytest

from holdfast_server.core.events import Emitted
from holdfast_server.core.ids import Address
from tests.server.place import Place, events_of, start_of, steps
from tests.server.probe import until
from tests.server.session import (
    call,
    cancel,
    end_of,
    subscribe,
)
from tests.server.wire import by_id, target

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
