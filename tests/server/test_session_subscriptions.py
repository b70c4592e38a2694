"""Subscriptions in a session: filters, places to start, credit, large events.

One server for all tests here; each has actors of its own.
"""

from __future__ import annotations

import json

import pytest

from tests.server.listening import CONFLATE
from tests.server.place import Place, events_of, start_of, steps
from tests.server.session import (
    call,
    cancel,
    credit,
    end_of,
    said,
    subscribe,
    value_of,
)
from tests.server.stage import Stage
from tests.server.wire import by_id, target

pytestmark = pytest.mark.asyncio(loop_scope="module")


# What comes after it


@pytest.mark.parametrize("end", ["let", "cancel"])
async def test_calls_to_its_actor_wait_until_it_stands(
    place: Place, stage: Stage, end: str
) -> None:
    await place.tell("open", name="board")
    actor_id = await place.client.get("board", [place.key]).resolve()
    async with place.session() as session:
        session.send(subscribe(1, place.on("board"), "slow"))
        session.send(call(2, place.on("board"), "emit", "slow", "x"))
        session.send(call(3, by_id(actor_id), "emit", "slow", "y"))
        session.send(call(4, place.on("room"), "say", "elsewhere"))
        await stage.reached(f"known {place.key}")

        # Those to other actors do not.
        assert value_of(await session.answer(4)) == 1
        assert [session.waiting(n) for n in (1, 2, 3)] == [0, 0, 0]
        if end == "cancel":
            session.send(cancel(1))
            assert (await session.answer(1)).WhichOneof("answer") == "end"
        else:
            stage.let(f"known {place.key}")
            assert (await start_of(session, 1)).sequence == 0
            assert steps(await events_of(session, 1, 2)) == [(1, 0), (2, 1)]

        assert [value_of(await session.answer(n)) for n in (2, 3)] == [None, None]
    stage.let(f"known {place.key}")


async def test_a_call_waits_for_a_subscription_no_longer_than_its_deadline(
    place: Place, stage: Stage
) -> None:
    await place.tell("open", name="board")
    async with place.session() as session:
        session.send(subscribe(1, place.on("board"), "slow"))
        session.send(call(2, place.on("board"), "move", timeout_ms=50))
        assert end_of(await session.answer(2)).reason == "DEADLINE_EXCEEDED"
        stage.let(f"known {place.key}")
        await start_of(session, 1)


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
            subscribe(3, place.on(), "said", "other", after=cursor),
            subscribe(5, place.on(), "other", after=cursor),
        )
        for stream in (2, 3):
            refusal = end_of(await session.answer(stream))
            assert (refusal.status, refusal.reason) == ("OUT_OF_RANGE", "EVENTS_TRIMMED")
            assert refusal.metadata["oldest_sequence"] == "3"
        # None of these has been trimmed.
        assert await start_of(session, 5) == cursor
        session.send(subscribe(6, place.on(), from_sequence=3, window_bytes=1 << 20))
        await start_of(session, 6)
        assert steps(await events_of(session, 6, 2)) == [(3, 2), (4, 3)]


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
