"""Declared events: their types, who may subscribe to them, and the limits of all events."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from holdfast.v1 import actor_service_pb2
from holdfast_server.app import Server
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Connect, Start
from tests.server.event_actors import registry
from tests.server.listening import Listener, listen
from tests.server.outcomes import Refusal, wire_refusal
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


async def refusal_to_listen(wire: Wire, on: Any, **fields: Any) -> Refusal:
    return await wire_refusal(Listener(wire, on, **fields).rpc.read())


async def test_a_declared_event_carries_its_types(wire: Wire) -> None:
    reader = await listen(wire, BOARD, names=["moved"])
    await wire.invoke(BOARD, "move")
    assert await reader.take(1) == [(1, "moved", ["ada", {"x": 1, "y": 2}])]


@pytest.mark.parametrize(
    ("name", "args", "message", "argument"),
    [
        ("moved", [1, {"x": 1, "y": 2}], "argument 0: Expected `str`, got `int`", "0"),
        ("moved", ["ada", {"x": 1, "y": "2"}], "argument 1 at .y: Expected `int`, got `str`", "1"),
        ("moved", ["ada"], "event 'moved' takes 2 arguments, got 1", None),
        ("moved", ["ada", {"x": 1, "y": 2}, 3], "takes 2 arguments, got 3", None),
        ("typing", ["yes"], "argument 0: Expected `bool`", "0"),
    ],
)
async def test_other_arguments_are_refused_where_they_are_broadcast(
    wire: Wire, name: str, args: list[Any], message: str, argument: str | None
) -> None:
    refusal = await wire_refusal(wire.invoke(BOARD, "emit", name, *args))
    assert (refusal.status, refusal.reason) == ("INVALID_ARGUMENT", "EVENT_INVALID_ARGUMENT")
    assert message in refusal.message
    assert refusal.metadata.get("argument") == argument
    assert refusal.metadata["event"] == name


async def test_an_event_declared_ephemeral_always_is(wire: Wire) -> None:
    reader = await listen(wire, BOARD, names=["typing", "moved"])
    await wire.invoke(BOARD, "emit", "typing", True)
    await wire.invoke(BOARD, "move")
    assert [number for number, _, _ in await reader.take(2)] == [0, 1]


async def test_undeclared_names_work_beside_declared_ones(wire: Wire) -> None:
    reader = await listen(wire, BOARD, names=["anything"])
    await wire.invoke(BOARD, "emit", "anything", {"at": "all"}, 1)
    assert await reader.take(1) == [(1, "anything", [{"at": "all"}, 1])]


async def test_describe_shows_declared_events(wire: Wire) -> None:
    request = actor_service_pb2.DescribeActorsRequest(name="board")
    (board,) = (await wire.actors.DescribeActors(request)).actors
    events = {event.name: event for event in board.events}
    assert list(events) == sorted(events)
    assert {name: event.ephemeral for name, event in events.items() if event.ephemeral} == {
        "typing": True
    }
    schema = json_format.MessageToDict(events["moved"].arguments_schema)
    assert schema["type"] == "array"
    assert schema["prefixItems"] == [{"type": "string"}, {"$ref": "#/$defs/Move"}]
    assert (schema["minItems"], schema["maxItems"]) == (2, 2)
    assert schema["$defs"]["Move"]["properties"]["x"] == {"type": "integer"}


async def test_the_actor_says_who_may_subscribe(wire: Wire) -> None:
    await wire.invoke(BOARD, "move")
    refusal = await refusal_to_listen(wire, BOARD, names=["moved", "secret"])
    assert (refusal.status, refusal.reason) == ("PERMISSION_DENIED", "SUBSCRIPTION_FORBIDDEN")
    assert refusal.metadata["event"] == "secret"
    await wire.invoke(BOARD, "open")
    reader = await listen(wire, BOARD, names=["secret"])
    await wire.invoke(BOARD, "emit", "secret", "psst")
    assert await reader.take(1) == [(2, "secret", ["psst"])]


async def test_a_reader_of_everything_needs_to_be_allowed_everything(wire: Wire) -> None:
    await wire.invoke(BOARD, "open")
    refusal = await refusal_to_listen(wire, BOARD)
    # The first that is guarded, in the order of names.
    assert refusal.reason == "INTERNAL_ERROR"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("broken", "INTERNAL_ERROR"), ("odd", "INTERNAL_ERROR"), ("refused", "USER_ERROR")],
)
async def test_a_guard_that_fails_lets_nobody_in(
    server: Server, wire: Wire, name: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await refusal_to_listen(wire, BOARD, names=[name])).reason == reason
    assert len(server.node.audiences) == 0
    if reason == "INTERNAL_ERROR":
        assert f"can_subscribe of event {name}" in caplog.text


async def test_what_cannot_be_encoded_fails_at_the_broadcast(wire: Wire) -> None:
    refusal = await wire_refusal(wire.invoke(ROOM, "strange"))
    assert refusal.reason == "VALUE_NOT_ENCODABLE"
    assert (await wire_refusal(wire.invoke(ROOM, "nameless"))).reason == "REQUEST_INVALID"


LIMITS = {"event_bytes_max": 1000, "turn_events_max": 5, "event_names_max": 2, "subscribers_max": 2}


@pytest.mark.parametrize("server", [LIMITS], indirect=True)
async def test_an_event_that_is_too_large_fails_its_turn(wire: Wire) -> None:
    refusal = await wire_refusal(wire.invoke(ROOM, "big", 1000))
    assert (refusal.status, refusal.reason) == ("RESOURCE_EXHAUSTED", "EVENT_TOO_LARGE")
    assert refusal.metadata["limit"] == "1000"
    assert int(refusal.metadata["size"]) > 1000
    many = await wire_refusal(wire.invoke(ROOM, "many", 6))
    assert (many.reason, many.metadata["limit"]) == ("EVENT_TOO_LARGE", "5")
    await wire.invoke(ROOM, "many", 5)
    reader = await listen(wire, ROOM, from_sequence=1)
    assert len(await reader.take(5)) == 5


@pytest.mark.parametrize("server", [{"turn_bytes_max": 5000}], indirect=True)
async def test_the_events_of_a_turn_are_bounded_together(wire: Wire) -> None:
    refusal = await wire_refusal(wire.invoke(ROOM, "many", 6, 900))
    assert (refusal.reason, refusal.metadata["limit"]) == ("EVENT_TOO_LARGE", "5000")
    await wire.invoke(ROOM, "many", 5, 900)


@pytest.mark.parametrize("server", [LIMITS], indirect=True)
async def test_too_many_names_and_too_many_subscribers_are_refused(wire: Wire) -> None:
    names = await refusal_to_listen(wire, ROOM, names=["a", "b", "c"])
    assert (names.reason, names.metadata) == (
        "REQUEST_INVALID",
        {**names.metadata, "field": "names", "limit": "2"},
    )
    assert (await refusal_to_listen(wire, ROOM, names=[""])).metadata["field"] == "names"
    readers = [await listen(wire, ROOM, names=["a", "b"]) for _ in range(2)]
    full = await refusal_to_listen(wire, ROOM)
    assert (full.reason, full.metadata["limit"]) == ("TOO_MANY_CONNECTIONS", "2")
    await listen(wire, target("room", "other"))
    assert len(readers) == 2


async def test_events_have_no_encoding_protobuf(wire: Wire) -> None:
    refusal = await refusal_to_listen(wire, ROOM, accept_encoding=4)
    assert refusal.reason == "ENCODING_INVALID"
    assert (await refusal_to_listen(wire, ROOM, accept_encoding=9)).reason == "ENCODING_INVALID"
