"""Calls in a session are the calls of ActorService: same results, same failures."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest

from holdfast.v1 import actor_pb2, payload_pb2
from holdfast.v1 import actor_service_pb2 as actors_pb
from holdfast.v1 import session_service_pb2 as pb
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Connect, Start
from tests.server.outcomes import Refusal, refusal_of
from tests.server.session import RawSession, call, end_of, opened, value_of
from tests.server.wire import Wire, as_json, by_id, target

COUNTER = target("counter", "a")
Case = dict[str, Any]


def json_bytes(data: bytes) -> payload_pb2.Payload:
    return payload_pb2.Payload(encoding=payload_pb2.PAYLOAD_ENCODING_JSON, data=data)


# Fields of both requests; every one on an actor of its own.
CASES: dict[str, Case] = {
    "a result": {"action": "increment", "args": as_json([2])},
    "named arguments": {"action": "increment", "kwargs": as_json({"by": 4})},
    "nothing returned": {"action": "sleep", "args": as_json([0])},
    "read-only": {"action": "value"},
    "a user error": {"action": "fail", "args": as_json(["user"])},
    "an internal error": {"action": "fail", "args": as_json(["bug"])},
    "a cheat": {"action": "cheat"},
    "no such action": {"action": "nothing"},
    "no action": {"action": ""},
    "no target": {"action": "value", "target": actor_pb2.ActorTarget()},
    "no such actor": {"action": "value", "target": target("counter", "none", create=False)},
    "no such class": {"action": "value", "target": target("nothing", "a")},
    "a bad name": {"action": "value", "target": target("-", "a")},
    "a bad id": {"action": "value", "target": by_id("short")},
    "a long key": {"action": "value", "target": target("counter", *["x"] * 1000)},
    "a bad argument": {"action": "increment", "args": as_json(["x"])},
    "a surplus argument": {"action": "increment", "args": as_json([1, 2, 3])},
    "malformed": {"action": "increment", "args": json_bytes(b"[1")},
    "a bad encoding": {
        "action": "increment",
        "args": payload_pb2.Payload(encoding=77, data=b"x"),  # type: ignore[arg-type]
    },
    "a bad answer encoding": {"action": "value", "accept_encoding": 77},
    "too long": {"action": "increment", "args": json_bytes(b" " * (1 << 20) + b"[1]")},
    "the wrong kind": {"action": "stream", "args": as_json([1])},
    "a key": {"action": "increment", "idempotency_key": "k"},
    "a long idempotency key": {"action": "increment", "idempotency_key": "k" * 256},
    "a cycle": {"action": "circle", "args": as_json(["other"])},
}


async def by_rpc(wire: Wire, case: Case) -> actors_pb.InvokeActionResponse | Refusal:
    fields = {"target": COUNTER, "accept_encoding": 1, **case}
    try:
        answer: actors_pb.InvokeActionResponse = await wire.actors.InvokeAction(
            actors_pb.InvokeActionRequest(**fields)
        )
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)
    return answer


async def by_session(session: RawSession, number: int, case: Case) -> pb.SessionResult | Refusal:
    fields = {"target": COUNTER, **case}
    session.send(pb.SessionCommand(stream=number, call=pb.SessionCall(**fields)))
    answer = await session.answer(number)
    return answer.result if answer.WhichOneof("answer") == "result" else end_of(answer)


@pytest.mark.parametrize("name", CASES)
async def test_a_call_comes_to_the_same_either_way(
    start: Start, connect: Connect, name: str
) -> None:
    case = CASES[name]
    one, _ = await start(data="one")
    other, _ = await start(data="other")

    expected = await by_rpc(connect(one), case)
    async with opened(other) as session:
        found = await by_session(session, 1, case)

    if isinstance(expected, Refusal):
        assert found == expected
    else:
        assert isinstance(found, pb.SessionResult)
        assert found.result == expected.result
        assert found.durability == expected.durability
        assert found.replayed == expected.replayed
        assert len(found.actor_id) == 26


async def test_what_a_key_answered_is_answered_either_way(start: Start, connect: Connect) -> None:
    server, _ = await start(store=MemoryStore())
    wire, case = connect(server), {"action": "increment", "idempotency_key": "k"}
    async with opened(server) as session:
        first = await by_rpc(wire, case)
        again = await by_session(session, 1, case)
        other = await by_session(session, 2, {**case, "args": as_json([5])})

    assert isinstance(first, actors_pb.InvokeActionResponse)
    assert isinstance(again, pb.SessionResult)
    assert again.replayed
    assert (again.result, again.actor_id) == (first.result, first.actor_id)
    assert isinstance(other, Refusal)
    assert other.reason == "IDEMPOTENCY_KEY_REUSED"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"idempotency_key": "k", "number": 1}, "idempotency_key"),
        ({"number": 1, "acknowledged_below": 2}, "acknowledged_below"),
    ],
)
async def test_a_bad_number_fails_its_call_only(
    start: Start, fields: dict[str, Any], field: str
) -> None:
    server, _ = await start(store=MemoryStore())
    async with opened(server) as session:
        session.send(call(1, COUNTER, "increment", **fields), call(2, COUNTER, "value"))
        refusal = end_of(await session.answer(1))

        assert (refusal.reason, refusal.metadata["field"]) == ("REQUEST_INVALID", field)
        assert value_of(await session.answer(2)) == 0


async def test_a_number_needs_a_client_id(start: Start) -> None:
    server, _ = await start(store=MemoryStore())
    async with opened(server, client_id=b"") as session:
        session.send(call(1, COUNTER, "increment", number=1))
        refusal = end_of(await session.answer(1))

        assert (refusal.reason, refusal.metadata["field"]) == ("REQUEST_INVALID", "number")


async def test_calls_of_one_actor_run_in_the_order_sent(start: Start) -> None:
    server, _ = await start(store=MemoryStore())
    async with opened(server) as session:
        numbers = range(1, 201)
        session.send(*[call(n, COUNTER, "increment") for n in numbers])

        assert [value_of(await session.answer(n)) for n in numbers] == list(numbers)
        # What is ready together leaves together.
        assert len(session.frames) < 50


async def test_answers_that_are_ready_together_share_a_frame(start: Start) -> None:
    server, _ = await start(store=MemoryStore())
    async with opened(server) as session:
        session.send(*[call(n, COUNTER, "value", number=0) for n in range(1, 101)])
        for n in range(1, 101):
            await session.answer(n)

        assert max(len(frame.answers) for frame in session.frames) == 100


async def test_a_deadline_ends_a_call(start: Start) -> None:
    server, _ = await start(store=MemoryStore())
    async with opened(server) as session:
        session.send(call(1, COUNTER, "sleep", 60, timeout_ms=50))
        assert end_of(await session.answer(1)).reason == "DEADLINE_EXCEEDED"


async def test_a_call_cut_in_flight_runs_once_and_is_answered_again(start: Start) -> None:
    server, _ = await start()
    counted = {"number": 1, "acknowledged_below": 1}
    async with opened(server) as session:
        session.send(call(1, COUNTER, "increment", 5, **counted))
        await session.cut()
    for _ in range(2):
        async with opened(server) as session:
            session.send(call(1, COUNTER, "increment", 5, **counted), call(2, COUNTER, "value"))
            assert value_of(await session.answer(1)) == 5
            assert value_of(await session.answer(2)) == 5


async def test_a_call_under_way_goes_on_without_its_session(start: Start) -> None:
    server, client = await start(store=MemoryStore())
    async with opened(server) as session:
        session.send(call(1, COUNTER, "sleep", 0.2), call(2, COUNTER, "increment", 3))
        await session.pong()
        await session.cut()

    counter = client.get_or_create("counter", ["a"])
    async with asyncio.timeout(20):
        while await counter.action("value") != 3:
            pass


async def test_many_streams_are_refused_one_by_one(start: Start) -> None:
    server, _ = await start(store=MemoryStore(), session_streams_max=2)
    async with opened(server) as session:
        session.send(*[call(n, COUNTER, "sleep", 0.2) for n in (1, 2, 3)])
        refusal = end_of(await session.answer(3))

        assert refusal.reason == "SESSION_TOO_MANY_STREAMS"
        assert refusal.metadata["limit"] == "2"
        assert refusal.retry_after_s is not None
        for number in (1, 2):
            assert json.loads((await session.answer(number)).result.result.data) is None
        session.send(call(4, COUNTER, "value"))
        assert value_of(await session.answer(4)) == 0
