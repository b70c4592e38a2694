"""Where a subscription starts: resumed without a gap, or told that there is one."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.v1 import actor_service_pb2, event_pb2
from holdfast_server.app import Server
from holdfast_server.core.ids import parse_actor_id
from holdfast_server.store import keys
from holdfast_server.store.memory import MemoryStore
from holdfast_server.store.verify import check_rows
from tests.server.clock import MovedClock
from tests.server.conftest import Connect, Start
from tests.server.event_actors import registry
from tests.server.listening import Listener, listen
from tests.server.outcomes import Refusal, wire_refusal
from tests.server.probe import activation_of, until
from tests.server.wire import Wire, target

ROOM = target("room", "r")
BOARD = target("board", "b")


@pytest.fixture
async def server(start: Start, request: pytest.FixtureRequest) -> Server:
    settings = getattr(request, "param", {})
    return (await start(registry, store=MemoryStore(), **settings))[0]


@pytest.fixture
def wire(server: Server, connect: Connect) -> Wire:
    return connect(server)


async def refused(wire: Wire, **fields: Any) -> Refusal:
    return await wire_refusal(listen_or_raise(wire, **fields))


async def listen_or_raise(wire: Wire, on: Any = ROOM, **fields: Any) -> None:
    reader = Listener(wire, on, **fields)
    await reader.rpc.read()
    await reader.rpc.read()


def sound(server: Server) -> bool:
    server.node.committer.apply()
    return check_rows(server.node.store) == []  # type: ignore[arg-type]


async def test_a_reader_that_resumes_misses_nothing(wire: Wire) -> None:
    reader = await listen(wire, ROOM)
    await wire.invoke(ROOM, "say", "a", "b")
    await reader.take(2)
    reader.leave()
    await wire.invoke(ROOM, "say", "c", "d")
    resumed = await listen(wire, ROOM, after=reader.cursor)
    assert resumed.cursor.sequence == 2
    await wire.invoke(ROOM, "say", "e")
    assert [line for _, _, (line,) in await resumed.take(3)] == ["c", "d", "e"]


async def test_a_reader_starts_at_any_number_that_is_kept(wire: Wire) -> None:
    await wire.invoke(ROOM, "say", "a", "b", "c")
    for first in (1, 2, 3):
        reader = await listen(wire, ROOM, from_sequence=first)
        numbers = [number for number, _, _ in await reader.take(4 - first)]
        assert numbers == list(range(first, 4))
    coming = await listen(wire, ROOM, from_sequence=4)
    await wire.invoke(ROOM, "say", "d")
    assert await coming.take(1) == [(4, "said", ["d"])]


async def test_a_number_that_is_none_is_refused(wire: Wire) -> None:
    await wire.invoke(ROOM, "say", "a")
    beyond = await refused(wire, from_sequence=3)
    assert (beyond.reason, beyond.metadata["field"]) == ("REQUEST_INVALID", "from_sequence")
    assert "the last event is 1" in beyond.message
    assert (await refused(wire, from_sequence=0)).reason == "REQUEST_INVALID"


async def test_a_cursor_of_other_numbers_is_stale(wire: Wire) -> None:
    await wire.invoke(ROOM, "say", "a")
    reader = await listen(wire, ROOM, from_sequence=1)
    await reader.take(1)
    await wire.invoke(target("room", "other"), "say", "a")
    foreign = await wire_refusal(
        listen_or_raise(wire, target("room", "other"), after=reader.cursor)
    )
    assert (foreign.status, foreign.reason) == ("OUT_OF_RANGE", "CURSOR_STALE")
    for field, value in (("incarnation", 2), ("sequence", 9)):
        wrong = event_pb2.EventCursor()
        wrong.CopyFrom(reader.cursor)
        setattr(wrong, field, value)
        stale = await refused(wire, after=wrong)
        assert stale.reason == "CURSOR_STALE"
        assert stale.metadata["oldest_sequence"] == "1"
        assert stale.metadata["incarnation"] == "1"
        assert stale.metadata["actor_id"] == reader.cursor.actor_id


async def test_a_cursor_of_a_destroyed_actor_is_stale_after_it_is_made_again(wire: Wire) -> None:
    reader = await listen(wire, ROOM)
    await wire.invoke(ROOM, "say", "a")
    await reader.take(1)
    await wire.invoke(ROOM, "bye")
    await wire.invoke(ROOM, "say", "a", "b")
    assert (await refused(wire, after=reader.cursor)).reason == "CURSOR_STALE"
    again = await listen(wire, ROOM, from_sequence=1)
    assert await again.take(2) == [(1, "said", ["a"]), (2, "said", ["b"])]


async def test_a_destroyed_actor_says_its_last_and_ends_its_subscriptions(
    server: Server, wire: Wire
) -> None:
    reader = await listen(wire, ROOM)
    await wire.invoke(ROOM, "say", "a")
    actor_id = parse_actor_id(reader.cursor.actor_id)
    await wire.invoke(ROOM, "bye")
    assert await reader.take(2) == [(1, "said", ["a"]), (2, "said", ["bye"])]
    assert (await reader.refusal()).reason == "ACTOR_DESTROYED"
    assert (await refused(wire, on=target("room", "r", create=False))).reason == "ACTOR_NOT_FOUND"
    assert len(server.node.audiences) == 0
    kinds = (keys.Kind.EVENT, keys.Kind.EVENT_LOG, keys.Kind.EVENT_EXPIRY)
    for start, end in map(keys.kind_range, kinds):
        assert server.node.scan(start, end, limit=10, reverse=False) == [], actor_id


async def test_destroying_from_outside_ends_subscriptions_too(wire: Wire) -> None:
    reader = await listen(wire, ROOM)
    on = target("room", "r", create=False)
    await wire.actors.DestroyActor(actor_service_pb2.DestroyActorRequest(target=on))
    assert (await reader.refusal()).reason == "ACTOR_DESTROYED"


@pytest.mark.parametrize("server", [{"events_max": 3}], indirect=True)
async def test_events_are_trimmed_by_count(server: Server, wire: Wire) -> None:
    await wire.invoke(ROOM, "say", *"abcde")
    await wire.invoke(ROOM, "say", "f")
    trimmed = await refused(wire, from_sequence=3)
    assert (trimmed.status, trimmed.reason) == ("OUT_OF_RANGE", "EVENTS_TRIMMED")
    assert trimmed.metadata["oldest_sequence"] == "4"
    oldest = await listen(wire, ROOM, from_sequence=4)
    assert [line for _, _, (line,) in await oldest.take(3)] == ["d", "e", "f"]
    cursor = event_pb2.EventCursor()
    cursor.CopyFrom(oldest.cursor)
    cursor.sequence = 2
    assert (await refused(wire, after=cursor)).reason == "EVENTS_TRIMMED"
    cursor.sequence = 3
    assert await (await listen(wire, ROOM, after=cursor)).take(1) == [(4, "said", ["d"])]
    assert sound(server)


@pytest.mark.parametrize("server", [{"events_max": 3}], indirect=True)
async def test_what_is_trimmed_of_other_names_is_no_gap(server: Server, wire: Wire) -> None:
    await wire.invoke(ROOM, "emit", "rare", 1)
    readers = [await listen(wire, ROOM, names=["rare"]) for _ in range(2)]
    await wire.invoke(ROOM, "say", *"abcd")
    for reader in readers:
        reader.leave()
    resumed = await listen(wire, ROOM, after=readers[0].cursor, names=["rare"])
    # That none of its events has gone is known to who wakes up too.
    await until(lambda: server.node.catalog.evict(activation_of(server, "room", "r").address))
    await wire.invoke(ROOM, "emit", "rare", 6)
    assert await resumed.take(1) == [(6, "rare", [6])]
    assert (await refused(wire, after=readers[1].cursor)).reason == "EVENTS_TRIMMED"
    await wire.invoke(ROOM, "say", *"efgh")
    trimmed = await refused(wire, after=readers[1].cursor, names=["rare"])
    assert (trimmed.reason, trimmed.metadata["oldest_sequence"]) == ("EVENTS_TRIMMED", "8")
    assert sound(server)


@pytest.mark.parametrize("server", [{"event_retention_s": 100.0}], indirect=True)
@pytest.mark.parametrize("swept", [True, False])
async def test_what_is_too_old_of_other_names_is_no_gap(
    server: Server, wire: Wire, swept: bool
) -> None:
    clock = MovedClock(server)
    reader = await listen(wire, ROOM, names=["rare"])
    await wire.invoke(ROOM, "say", "old")
    reader.leave()
    clock.ahead_s = 101
    if swept:
        assert server.node.event_sweep.sweep() == 1
    resumed = await listen(wire, ROOM, after=reader.cursor, names=["rare"])
    await wire.invoke(ROOM, "emit", "rare", 2)
    assert await resumed.take(1) == [(2, "rare", [2])]
    clock.ahead_s = 202
    if swept:
        assert server.node.event_sweep.sweep() == 1
    trimmed = await refused(wire, after=reader.cursor, names=["rare"])
    assert (trimmed.reason, trimmed.metadata["oldest_sequence"]) == ("EVENTS_TRIMMED", "3")
    assert sound(server)


@pytest.mark.parametrize("server", [{"events_bytes_max": 1000}], indirect=True)
async def test_events_are_trimmed_by_bytes(server: Server, wire: Wire) -> None:
    for _ in range(5):
        await wire.invoke(ROOM, "big", 300)
    oldest = int((await refused(wire, from_sequence=1)).metadata["oldest_sequence"])
    assert oldest == 3
    assert sound(server)
    # What is larger than all that is kept is told to who listens, and not kept.
    reader = await listen(wire, ROOM)
    await wire.invoke(ROOM, "big", 2000)
    assert [number for number, _, _ in await reader.take(1)] == [6]
    assert (await refused(wire, from_sequence=6)).metadata["oldest_sequence"] == "7"
    assert sound(server)


@pytest.mark.parametrize("server", [{"events_max": 640}], indirect=True)
async def test_the_oldest_go_some_at_a_time(server: Server, wire: Wire) -> None:
    await wire.invoke(ROOM, "many", 640)
    assert rows(server, keys.Kind.EVENT) == 640
    counts = set()
    for _ in range(12):
        await wire.invoke(ROOM, "many", 1)
        counts.add(rows(server, keys.Kind.EVENT))
    assert counts == set(range(630, 641))
    assert sound(server)


@pytest.mark.parametrize("server", [{"event_retention_s": 100.0}], indirect=True)
async def test_events_are_trimmed_by_age(server: Server, wire: Wire) -> None:
    clock = MovedClock(server)
    await wire.invoke(ROOM, "say", "old")
    clock.ahead_s = 60
    await wire.invoke(ROOM, "say", "young")
    reader = await listen(wire, ROOM, from_sequence=1)
    assert len(await reader.take(2)) == 2
    clock.ahead_s = 101
    # Nobody has swept: what is too old is not told all the same.
    assert (await refused(wire, from_sequence=1)).metadata["oldest_sequence"] == "2"
    assert await (await listen(wire, ROOM, from_sequence=2)).take(1) == [(2, "said", ["young"])]
    assert rows(server, keys.Kind.EVENT) == 2
    assert server.node.event_sweep.sweep() == 1
    assert rows(server, keys.Kind.EVENT) == 1
    await wire.invoke(ROOM, "say", "new")
    assert await reader.take(1) == [(3, "said", ["new"])]
    assert sound(server)


@pytest.mark.parametrize("server", [{"event_retention_s": 100.0}], indirect=True)
async def test_events_of_a_sleeping_actor_go_too(server: Server, wire: Wire) -> None:
    clock = MovedClock(server)
    await wire.invoke(ROOM, "say", "a", "b")
    activation = activation_of(server, "room", "r")
    assert activation is not None
    await until(lambda: server.node.catalog.evict(activation.address))
    clock.ahead_s = 101
    assert server.node.event_sweep.sweep() == 1
    assert server.node.event_sweep.sweep() == 0
    assert (rows(server, keys.Kind.EVENT), rows(server, keys.Kind.EVENT_EXPIRY)) == (0, 0)
    assert (await refused(wire, from_sequence=1)).metadata["oldest_sequence"] == "3"
    # The numbers go on, and are kept again.
    await wire.invoke(ROOM, "say", "c")
    assert await (await listen(wire, ROOM, from_sequence=3)).take(1) == [(3, "said", ["c"])]
    assert sound(server)
    clock.ahead_s = 202
    assert server.node.event_sweep.sweep() == 1
    assert rows(server, keys.Kind.EVENT) == 0


async def test_a_declared_event_may_be_kept_for_another_time(server: Server, wire: Wire) -> None:
    clock = MovedClock(server)
    await wire.invoke(BOARD, "move")
    await wire.invoke(BOARD, "emit", "brief", "gone soon")
    await wire.invoke(BOARD, "move")
    clock.ahead_s = 61
    # What does not ask for it has no gap; what does is told.
    moves = await listen(wire, BOARD, names=["moved"], from_sequence=1)
    assert [number for number, _, _ in await moves.take(2)] == [1, 3]
    brief = await listen(wire, BOARD, names=["brief"], from_sequence=1)
    gap = await brief.refusal()
    assert (gap.reason, gap.metadata["oldest_sequence"]) == ("EVENTS_TRIMMED", "3")
    await listen(wire, BOARD, names=["brief"], from_sequence=3)


async def test_events_outlive_sleep_of_their_actor_and_so_do_subscriptions(
    server: Server, wire: Wire
) -> None:
    reader = await listen(wire, ROOM)
    await wire.invoke(ROOM, "say", "a")
    activation = activation_of(server, "room", "r")
    assert activation is not None
    await until(lambda: server.node.catalog.evict(activation.address))
    late = await listen(wire, ROOM, from_sequence=1)
    woken = activation_of(server, "room", "r")
    assert woken is None or woken.instance is None
    await wire.invoke(ROOM, "say", "b")
    for each in (reader, late):
        assert await each.take(2) == [(1, "said", ["a"]), (2, "said", ["b"])]


def rows(server: Server, kind: keys.Kind) -> int:
    start, end = keys.kind_range(kind)
    return len(server.node.scan(start, end, limit=1000, reverse=False))
