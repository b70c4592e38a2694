"""Calls over a session, against a server in this process that breaks when told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from holdfast import payload
from holdfast._session_frames import FRAME_BYTES
from holdfast.client import Client
from holdfast.errors import ActorError, HoldfastError
from tests.unit.sdk.fake_actors import Refusal
from tests.unit.sdk.fake_server import Server, running
from tests.unit.sdk.fake_session import Sessions, cuts, impatient


@asynccontextmanager
async def session(**options: Any) -> AsyncIterator[tuple[Sessions, Client, Server]]:
    sessions = Sessions()
    async with running(sessions, **options) as (server, client):
        yield sessions, client, server


async def test_a_call_goes_over_the_session_with_all_it_has() -> None:
    async with session(namespace="blue", token="secret") as (sessions, client, server):
        handle = client.get_or_create("geometry", ["a", "b"], input={"size": 3})
        assert await handle.with_options(timeout=5.0).add(1, deep={"k": b"v"}) == [
            [1],
            {"deep": {"k": b"v"}},
        ]
        (hello,) = sessions.hellos
        assert (hello.protocol, hello.namespace, len(hello.client_id)) == (1, "blue", 16)
        assert sessions.metadata[0]["authorization"] == "Bearer secret"
        (call,) = sessions.calls
        assert list(call.target.get_or_create.key) == ["a", "b"]
        assert payload.decode(call.target.input.data, call.target.input.encoding) == {"size": 3}
        assert (call.action, call.number, call.acknowledged_below) == ("add", 1, 1)
        assert 0 < call.timeout_ms <= 5000
        await handle.with_options(idempotency_key="mine").add(1)
        assert (sessions.calls[1].idempotency_key, sessions.calls[1].number) == ("mine", 0)
        assert server.requests == []
        assert await handle.resolve() == "A1"
        assert len(server.requests) == 1


async def test_what_is_ready_together_goes_in_one_frame() -> None:
    async with session() as (sessions, client, _):
        handle = client.get("geometry", "one")
        await handle.add(0)
        del sessions.frames[:]
        assert await asyncio.gather(*(handle.add(n) for n in range(50))) == [
            [[n], {}] for n in range(50)
        ]
        assert sessions.frames == [["call"] * 50]


async def test_a_client_told_to_opens_no_session() -> None:
    async with session(session=False) as (sessions, client, server):
        await client.get("geometry", "one").add(1)
        assert sessions.hellos == []
        assert len(server.requests) == 1


async def test_a_server_without_sessions_is_asked_once() -> None:
    sessions = Sessions()
    sessions.refusals = [(grpc.StatusCode.UNIMPLEMENTED, "no")] * 2
    async with running(sessions) as (server, client):
        handle = client.get("geometry", "one")
        assert await asyncio.gather(handle.add(1), handle.add(2)) == [[[1], {}], [[2], {}]]
        assert [n async for n in handle.action_stream("count", 2)] == [0, 1]
        assert [r.client_sequence.number for r in server.requests] == [1, 2, 3]
        assert len(sessions.refusals) == 1


async def test_large_commands_and_answers_travel_in_chunks_and_hold_up_nothing() -> None:
    async with session() as (sessions, client, _):
        handle = client.get("geometry", "one")
        await handle.add(0)
        del sessions.frames[:]
        large, small = b"x" * (2 * FRAME_BYTES), 1
        big = asyncio.create_task(handle.add(large))
        await asyncio.sleep(0)
        assert await handle.add(small) == [[1], {}]
        assert await big == [[large], {}]
        kinds = [kind for frame in sessions.frames for kind in frame]
        assert kinds.index("call") < len(kinds) - 1
        assert kinds.count("chunk") >= 32
        assert len(await handle.big(1_000_000)) == 1_000_000


async def test_what_a_session_cannot_carry_goes_beside_it() -> None:
    sessions = Sessions()
    sessions.message_bytes_max = 100_000
    async with running(sessions) as (server, client):
        handle = client.get("geometry", "one")
        await handle.add(0)
        await handle.add("x" * 200_000)
        assert len(server.requests) == 1


async def test_errors_and_retries_are_those_of_a_unary_call() -> None:
    async with session() as (sessions, client, _):
        handle = client.get("geometry", "one")
        metadata = {"group": "user", "code": "forbidden", "metadata_json": '{"hint":["ask"]}'}
        sessions.failures = [Refusal("UNKNOWN", "USER_ERROR", metadata)]
        with pytest.raises(ActorError) as caught:
            await handle.add(1)
        error = caught.value
        assert (error.group, error.code, error.message) == ("user", "forbidden", "told to fail")
        assert error.metadata == {"hint": ["ask"]}
        sessions.failures = [Refusal("UNAVAILABLE", "COMMIT_UNKNOWN")] * 2
        assert await handle.add(2) == [[2], {}]
        assert [c.number for c in sessions.calls] == [1, 2, 2, 2]


async def test_a_cancelled_call_is_cancelled_at_the_server() -> None:
    async with session() as (sessions, client, _):
        sessions.hold = asyncio.Event()
        call = asyncio.create_task(client.get("geometry", "one").add(1))
        await sessions.arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        sessions.hold = None
        await client.get("geometry", "one").add(2)
        assert sessions.cancelled == [1]
        assert [args for _, args in sessions.ran] == [[2]]


async def test_a_deadline_holds_where_the_server_says_nothing() -> None:
    async with session() as (sessions, client, _):
        sessions.hold = asyncio.Event()
        with pytest.raises(ActorError) as caught:
            await client.get("geometry", "one").with_options(timeout=0.1).add(1)
        assert (caught.value.group, caught.value.code) == ("action", "timed_out")


async def test_a_server_that_opens_no_session_is_not_waited_for_longer_than_the_call() -> None:
    sessions = Sessions()
    sessions.silent = True
    async with running(sessions) as (_, client):
        with pytest.raises(ActorError) as caught:
            await client.get("geometry", "one").with_options(timeout=0.1).add(1)
        assert caught.value.status in ("DEADLINE_EXCEEDED", "UNAVAILABLE")


async def test_a_stream_gives_its_items_and_stops_when_left() -> None:
    async with session() as (sessions, client, _):
        handle = client.get("geometry", "one")
        assert [n async for n in handle.action_stream("count", 5)] == [0, 1, 2, 3, 4]
        sessions.hold = asyncio.Event()
        items = handle.action_stream("count", 5)
        waiting = asyncio.ensure_future(anext(items))
        sessions.arrived.clear()
        await sessions.arrived.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        sessions.hold = None
        await handle.add(1)
        assert sessions.cancelled == [2]


async def test_more_calls_than_streams_wait_for_their_turn() -> None:
    sessions = Sessions()
    sessions.streams_max = 3
    async with running(sessions) as (_, client):
        handle = client.get("geometry", "one")
        found = await asyncio.gather(*(handle.add(n) for n in range(20)))
        assert found == [[[n], {}] for n in range(20)]


async def test_calls_under_way_are_sent_again_and_run_once() -> None:
    async with session() as (sessions, client, _):
        handle = client.get("geometry", "one")
        sessions.hold = asyncio.Event()
        calls = [asyncio.create_task(handle.add(n)) for n in range(5)]
        await sessions.arrived.wait()
        hold, sessions.hold = sessions.hold, None
        sessions.cut()
        assert await asyncio.gather(*calls) == [[[n], {}] for n in range(5)]
        hold.set()
        assert sessions.hellos[1].resume_token == b"token-1"
        assert sorted(args[0] for _, args in sessions.ran) == list(range(5))


@pytest.mark.parametrize("seed", range(30))
async def test_a_cut_at_any_frame_loses_and_repeats_nothing(seed: int) -> None:
    """The seed is in the name of the test."""
    draw = random.Random(seed)
    sessions = Sessions()
    sessions.cut_after = cuts([draw.randint(1, 6) for _ in range(12)])
    async with impatient(sessions) as client:
        handle = client.get("geometry", "one")
        found: list[Any] = []
        for n in range(0, 40, 4):
            found += await asyncio.gather(*(handle.add(n + i) for i in range(4)))
        assert found == [[[n], {}] for n in range(40)]
        assert sorted(args[0] for _, args in sessions.ran) == list(range(40))


async def test_a_closed_client_says_so() -> None:
    async with session() as (sessions, client, _):
        sessions.hold = asyncio.Event()
        call = asyncio.create_task(client.get("geometry", "one").add(1))
        await sessions.arrived.wait()
        await client.close()
        with pytest.raises(HoldfastError, match="the client is closed"):
            await call


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    ],
)
async def test_a_session_that_is_refused_fails_the_calls(
    code: grpc.StatusCode, reason: str
) -> None:
    sessions = Sessions()
    sessions.refusals = [(code, "no")]
    async with running(sessions) as (_, client):
        with pytest.raises(ActorError) as caught:
            await client.get("geometry", "one").add(1)
        assert caught.value.reason == reason
        assert await client.get("geometry", "one").add(2) == [[2], {}]


async def test_a_server_that_drains_is_left_for_another_session() -> None:
    async with session() as (sessions, client, _):
        handle = client.get("geometry", "one")
        sessions.hold = asyncio.Event()
        first = asyncio.create_task(handle.add(1))
        await sessions.arrived.wait()
        hold, sessions.hold = sessions.hold, None
        sessions.runs[0].send(go_away={"reason": "draining"})
        while len(sessions.hellos) < 2:
            await handle.add(2)
        assert not first.done()
        hold.set()
        assert await first == [[1], {}]
