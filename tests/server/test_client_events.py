"""Events as a client reads them from a real server: typed, trimmed, slow, and without sessions."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from holdfast import ActorError, Client, DecodeError, DeliveredEvent, EventsTrimmed, HoldfastError
from holdfast_server.app import Server
from holdfast_server.store.memory import MemoryStore
from tests.server import event_actors
from tests.server.conftest import Start
from tests.server.cutting import proxied
from tests.server.live_actors import Salon, registry
from tests.server.probe import until
from tests.server.typed_actors import Feed, Move, NewerFeed, Place, Price, Profile
from tests.server.typed_actors import registry as typed

WAYS = ("conn.events", "handle.events", "EventService")


async def typed_client(start: Start) -> Client:
    return (await start(typed, store=MemoryStore()))[1]


async def taken(events: Any, count: int) -> list[DeliveredEvent]:
    """The next events of an iterator."""
    return [await anext(events) for _ in range(count)]


# Types

MOVE = Move("ada", Place(1, 2), datetime(2026, 6, 1, tzinfo=UTC), ["x"])
TYPED: list[tuple[str, tuple[Any, ...]]] = [
    ("moved", (MOVE, 3)),
    ("price", (Price("HF", 1999),)),
    ("profile", (Profile(name="ada", age=36),)),
    ("prices", ({"a": Price("A", 1)},)),
    ("pinged", ()),
    ("undeclared", ({"x": 1}, [2])),
]


@pytest.mark.parametrize("encoding", ["msgpack", "json", "cbor"])
@pytest.mark.parametrize(("name", "args"), TYPED)
async def test_events_of_a_typed_handle_have_their_declared_types(
    start: Start, name: str, args: tuple[Any, ...], encoding: str
) -> None:
    client = await typed_client(start)
    feed = client.get_or_create(Feed, ["a"]).with_options(encoding=encoding)
    heard: list[Any] = []
    async with feed.connect() as conn, Client(client.address, session=False) as plain:
        conn.on(name, lambda *found: heard.append(found))
        feed.on(name, lambda *found: heard.append(found))
        events = [
            source(name)
            for source in (conn.events, feed.events, plain.get_or_create(Feed, ["a"]).events)
        ]
        # A subscription of another stream may begin late: it reads on from here.
        await feed.emit(name, *args)
        await conn.send(name, *args)
        for each in events[:2]:
            assert (await anext(each)).args == args
        await until(lambda: len(heard) == 3)
        while True:
            await feed.emit(name, *args)
            with_plain = asyncio.ensure_future(anext(events[2]))
            done, _ = await asyncio.wait([with_plain], timeout=0.05)
            if done:
                break
            with_plain.cancel()
        assert with_plain.result().args == args
    assert heard[:3] == [args] * 3


@pytest.mark.parametrize(
    ("actor", "before", "told"),
    [("room", "", ("said", "say", "x")), ("board", "open", ("secret", "emit", "secret", "x"))],
)
async def test_who_listens_and_then_calls_hears_what_the_call_tells(
    start: Start, actor: str, before: str, told: tuple[str, ...]
) -> None:
    _, client = await start(event_actors.registry, store=MemoryStore())
    name, call, *args = told
    for key in "abcdefgh":
        handle = client.get_or_create(actor, [key])
        if before:
            await handle.action(before)
        heard: list[str] = []
        handle.on(name, heard.append)
        events = handle.events(name)
        # It is there when the first one has not been made yet, or is asked who may listen.
        await handle.action(call, *args)
        async with asyncio.timeout(10):
            assert (await anext(events)).args == ("x",)
        await until(lambda heard=heard: heard == ["x"])
        await events.aclose()


async def test_a_handle_by_name_gives_plain_data(start: Start) -> None:
    client = await typed_client(start)
    feed = client.get_or_create("feed", ["a"])
    async with feed.connect() as conn:
        events = conn.events("moved")
        await conn.emit("moved", Move("ada", Place(1, 2)), 3)
        (event,) = await taken(events, 1)
        assert event.args[0]["to"] == {"x": 1, "y": 2}


async def test_what_does_not_fit_is_told_and_reading_goes_on(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    client = await typed_client(start)
    client.register(NewerFeed, "feed")
    feed = client.get_or_create(NewerFeed, ["a"])
    heard: list[Any] = []
    errors: list[Exception] = []
    connection = feed.connect()
    connection.on_error(errors.append)
    async with connection as conn:
        conn.on("moved", heard.append)
        conn.on("profile", heard.append)
        feed.on("profile", heard.append)
        events = conn.events("moved", "profile", "pinged")
        await conn.emit("moved", MOVE, 3)
        await conn.emit("profile", Profile(name="ada"))
        await conn.emit("pinged")
        for text in (
            r"event 'moved' does not fit Event\(Move\): .*takes 1 positional",
            r"event 'profile' does not fit Event\(int\): Expected `int`, got `object`",
        ):
            with pytest.raises(DecodeError, match=text):
                await anext(events)
        assert (await anext(events)).name == "pinged"
        await until(lambda: len(errors) == 2)
        with caplog.at_level(logging.ERROR, "holdfast"):
            await conn.send("profile", Profile(name="ada"))
            await until(lambda: len(errors) == 3)
    assert all(isinstance(error, DecodeError) for error in errors)
    assert heard == []


async def test_a_message_of_a_declared_name_is_checked_where_it_is_sent(start: Start) -> None:
    client = await typed_client(start)
    async with client.get_or_create(Feed, ["a"]).connect() as conn:
        with pytest.raises(ActorError) as caught:
            await conn.send("profile", 1)
    assert caught.value.reason == "EVENT_INVALID_ARGUMENT"
    assert (caught.value.metadata or {})["event"] == "profile"


# Reading


async def salon_server(start: Start, **settings: Any) -> tuple[Server, Client]:
    return await start(registry, store=MemoryStore(), **settings)


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_reads_from_a_number_and_by_names(start: Start, way: str) -> None:
    _, client = await salon_server(start)
    salon = client.get_or_create(Salon, ["a"])
    for number in range(9):
        await salon.emit("ab"[number % 2], number)
    async with Client(client.address, session=False) as plain, salon.connect() as conn:
        source: Any = {
            "conn.events": conn.events,
            "handle.events": salon.events,
            "EventService": plain.get_or_create(Salon, ["a"]).events,
        }[way]
        everything = await taken(source(from_sequence=1), 9)
        assert [(each.sequence, each.args) for each in everything] == [
            (number + 1, (number,)) for number in range(9)
        ]
        named = source("b", from_sequence=4)
        assert [each.sequence for each in await taken(named, 3)] == [4, 6, 8]
        later = asyncio.create_task(anext(named))
        await salon.emit("a", 9)
        await salon.emit("b", 10)
        assert (await later).sequence == 11
        await named.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(named)


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_trimmed_is_told_with_the_oldest_kept(start: Start, way: str) -> None:
    server, direct = await salon_server(start, events_max=64)
    salon = direct.get_or_create(Salon, ["a"])
    async with proxied(f"127.0.0.1:{server.port}") as proxy:
        options: dict[str, Any] = {"session": way != "EventService", "timeout": None}
        async with Client(proxy.address, **options) as client:
            handle = client.get_or_create(Salon, ["a"])
            connection = handle.connect() if way == "conn.events" else None
            events: Any
            if connection is not None:
                events = (await connection.__aenter__()).events("x", from_sequence=1)
            else:
                events = handle.events("x", from_sequence=1)
            await salon.emit("x", 1)
            assert (await anext(events)).sequence == 1
            # Away, while more is emitted than is kept.
            proxy.closed = True
            proxy.cut()
            await salon.emit_many("x", 100, 10)
            proxy.closed = False
            with pytest.raises(EventsTrimmed) as caught:
                await anext(events)
            oldest = caught.value.oldest_sequence
            assert (caught.value.kind, caught.value.last_sequence) == ("events", 1)
            assert [each.sequence for each in await taken(events, 102 - oldest)] == list(
                range(oldest, 102)
            )
            if connection is not None:
                await connection.close()
    # It is the oldest that anybody can still read.
    again = salon.events(from_sequence=1)
    with pytest.raises(EventsTrimmed) as caught:
        await anext(again)
    assert caught.value.oldest_sequence == oldest
    assert 102 - oldest <= 64


@pytest.mark.parametrize("way", WAYS)
async def test_a_destroyed_actor_ends_its_readers(start: Start, way: str) -> None:
    _, client = await salon_server(start)
    salon = client.get_or_create(Salon, ["a"])
    async with Client(client.address, session=False) as plain:
        connection = salon.connect()
        conn = await connection.__aenter__()
        source: Any = {
            "conn.events": conn.events,
            "handle.events": salon.events,
            "EventService": plain.get_or_create(Salon, ["a"]).events,
        }[way]
        events = source(from_sequence=1)
        await salon.emit("x", 1)
        await anext(events)
        await salon.close_down()
        with pytest.raises(ActorError) as caught:
            await anext(events)
        assert (caught.value.group, caught.value.code) == ("actor", "destroyed")


# Slow readers


@pytest.mark.parametrize("way", WAYS)
async def test_a_reader_that_is_ended_for_being_slow_reads_on_from_the_log(
    start: Start, way: str
) -> None:
    _, client = await salon_server(start, subscription_lag_max=100, subscription_window_bytes=2000)
    salon = client.get_or_create(Salon, ["a"])
    async with Client(client.address, session=False) as plain, salon.connect() as conn:
        source: Any = {
            "conn.events": conn.events,
            "handle.events": salon.events,
            "EventService": plain.get_or_create(Salon, ["a"]).events,
        }[way]
        events = source("x", from_sequence=1)
        for _ in range(5):
            await salon.emit_many("x", 200, 20)
        assert [each.sequence for each in await taken(events, 1000)] == list(range(1, 1001))


async def test_a_conflating_reader_gets_the_latest_of_each_name(start: Start) -> None:
    _, client = await salon_server(start, subscription_window_bytes=2000)
    salon = client.get_or_create(Salon, ["a"])
    async with salon.connect() as conn:
        for source in (conn.events, salon.events):
            events = source("x", "y", slow_reader="conflate")
            await salon.emit("y", "first")
            assert (await anext(events)).args == ("first",)
            await salon.emit_many("xy", 2000, 500, ephemeral=True)
            found = []
            while not {("x", 1998), ("y", 1999)} <= {(each.name, each.args[0]) for each in found}:
                found.append(await anext(events))
            assert len(found) < 1500
            assert len(found) + sum(each.conflated for each in found) == 2000
            for name in "xy":
                numbers = [each.args[0] for each in found if each.name == name]
                assert numbers == sorted(set(numbers))


async def test_a_slow_listener_hears_the_latest_where_it_says_so(start: Start) -> None:
    _, client = await salon_server(start)
    salon = client.get_or_create(Salon, ["a"])
    heard: dict[str, list[int]] = {"conn": [], "handle": [], "all": []}
    gate = asyncio.Event()

    def slow(which: str) -> Any:
        async def listen(number: int, filling: str) -> None:
            await gate.wait()
            heard[which].append(number)

        return listen

    async with salon.connect() as conn:
        conn.on("x", slow("conn"), slow_reader="conflate")
        salon.on("x", slow("handle"), slow_reader="conflate")
        conn.on("x", slow("all"))
        # Behind the subscriptions, on the same stream.
        await conn.lines()
        for _ in range(40):
            await salon.emit_many("x", 25, 500)
        gate.set()
        await until(lambda: len(heard["all"]) == 1000)
        await until(lambda: heard["conn"][-1:] == heard["handle"][-1:] == [24])
    assert heard["all"] == [*range(25)] * 40
    assert len(heard["conn"]) < 1000
    assert len(heard["handle"]) < 1000


async def test_closing_the_client_ends_its_readers_without_a_word(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    server, _ = await salon_server(start)
    for session in (True, False):
        client = Client(f"127.0.0.1:{server.port}", session=session)
        salon = client.get_or_create(Salon, [str(session)])
        heard: list[int] = []
        salon.on("x", heard.append)
        events = salon.events("x", from_sequence=1)
        await salon.emit("x", 1)
        assert (await anext(events)).args == (1,)
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(HoldfastError, match="the client is closed"):
            await waiting
    assert caplog.records == []


async def test_a_wrong_policy_or_name_is_refused(start: Start) -> None:
    _, client = await salon_server(start)
    salon: Any = client.get_or_create(Salon, ["a"])
    connection: Any = salon.connect()
    for source in (salon, connection):
        with pytest.raises(ValueError, match="slow_reader is one of end, conflate"):
            source.on("x", print, slow_reader="drop")
        with pytest.raises(ValueError, match="slow_reader is one of end, conflate"):
            source.events("x", slow_reader="drop")
        with pytest.raises(TypeError, match="the name of an event is a string"):
            source.on(1, print)
