"""Unary RPCs over the Connect protocol: the answers, and what goes with them."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator
from urllib.parse import quote

import aiohttp
import grpc
import pytest
from google.protobuf import json_format
from grpc_health.v1 import health_pb2
from yarl import URL

from holdfast.v1 import (
    actor_pb2,
    actor_service_pb2,
    dead_letter_service_pb2,
    kv_service_pb2,
    schedule_service_pb2,
    session_service_pb2,
)
from holdfast_server.core.errors import CATALOGUE
from holdfast_server.gateway.connect.told import CODES
from holdfast_server.telemetry.observer import ObservedTurn, Observer
from tests.gateway.conftest import Start
from tests.gateway.rpc_actors import registry
from tests.gateway.rpcs import ACTORS, Rpcs, decoded, encoded, invoke, told
from tests.server.probe import until
from tests.server.stage import Stage, tasks
from tests.server.wire import Wire

pb = actor_service_pb2

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
READS = {
    "ActorService": {"DescribeActors", "GetActor", "ListActors"},
    "DeadLetterService": {"ListDeadLetters"},
    "KvService": {"GetKvEntries", "ListKvEntries"},
    "ScheduleService": {"GetSchedule", "GetScheduleHistory", "ListDeadSchedules", "ListSchedules"},
}
SERVICES = (
    actor_service_pb2.DESCRIPTOR.services_by_name["ActorService"],
    dead_letter_service_pb2.DESCRIPTOR.services_by_name["DeadLetterService"],
    kv_service_pb2.DESCRIPTOR.services_by_name["KvService"],
    schedule_service_pb2.DESCRIPTOR.services_by_name["ScheduleService"],
    session_service_pb2.DESCRIPTOR.services_by_name["SessionService"],
)


@pytest.fixture
async def rpcs(start: Start, session: aiohttp.ClientSession) -> Rpcs:
    return Rpcs(session, await start(registry))


@pytest.fixture
async def wire(rpcs: Rpcs) -> AsyncIterator[Wire]:
    """The same server over gRPC."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{rpcs.server.port}") as channel:
        yield Wire(channel)


@pytest.mark.parametrize("encoding", ["json", "proto"])
async def test_an_action_in_both_encodings(rpcs: Rpcs, encoding: str) -> None:
    answer = await rpcs.call(invoke("add", 2), encoding=encoding, connect_protocol_version="1")

    assert answer.status == 200
    assert answer.headers["content-type"] == f"application/{encoding}"
    assert answer.headers["x-rivet-ray-id"]
    response = decoded(encoding, answer.body, pb.InvokeActionResponse)
    assert response.result.data == b"2"
    assert response.durability == actor_pb2.DURABILITY_SYNCED


async def test_json_is_that_of_protobuf_with_either_spelling_of_names(rpcs: Rpcs) -> None:
    bodies = (
        b'{"target":{"getOrCreate":{"name":"desk","key":["a"]}},"action":"add"}',
        b'{"target":{"get_or_create":{"name":"desk","key":["a"]}},"action":"add"}',
    )
    for number, body in enumerate(bodies, 1):
        kind = "application/json; charset=utf-8"
        answer = await rpcs.post(f"{ACTORS}/InvokeAction", body, kind)
        assert base64.b64decode(answer.json["result"]["data"]) == b"%d" % number
        assert set(answer.json) == {"result", "durability", "actorId"}


async def test_a_retry_over_the_other_protocol_takes_effect_once(rpcs: Rpcs, wire: Wire) -> None:
    request = invoke("add", 5, idempotency_key="k-1")

    first = await rpcs.call(request, encoding="proto")
    again = await wire.actors.InvokeAction(request)
    third = json_format.Parse((await rpcs.call(request)).body, pb.InvokeActionResponse())

    assert pb.InvokeActionResponse.FromString(first.body).replayed is False
    assert [again.replayed, third.replayed] == [True, True]
    assert again.result == third.result
    assert await rpcs.result(invoke("total")) == 5


async def test_errors_have_code_status_and_details(rpcs: Rpcs) -> None:
    answer = await rpcs.call(invoke("fail"))
    error = told(answer.json)

    assert (answer.status, answer.headers["content-type"]) == (500, "application/json")
    assert answer.headers["x-rivet-error"] == "user.closed"
    assert answer.json["message"] == "not today"
    assert error == (
        "unknown",
        "USER_ERROR",
        {"group": "user", "code": "closed", "metadata_json": '{"until":[1,null]}'},
        None,
    )
    for message, status, code, reason in (
        (invoke("nothing"), 404, "not_found", "ACTION_NOT_FOUND"),
        (invoke("add", "x"), 400, "invalid_argument", "ACTION_INVALID_ARGUMENT"),
        (invoke("crash"), 500, "internal", "INTERNAL_ERROR"),
    ):
        for encoding in ("json", "proto"):
            answer = await rpcs.call(message, encoding=encoding)
            assert (answer.status, told(answer.json)[:2]) == (status, (code, reason))
            assert b"secret" not in answer.body


async def test_every_failure_is_told_as_grpc_tells_it(rpcs: Rpcs, wire: Wire) -> None:
    """The code, the message and the details are the same ones."""
    request = pb.CreateActorRequest(actor=actor_pb2.ActorKey(name="desk", key=["a"]))
    await wire.actors.CreateActor(request)
    answer = await rpcs.call(request)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await wire.actors.CreateActor(request)

    assert (answer.status, answer.json["code"]) == (409, "already_exists")
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert answer.json["message"] == caught.value.details()
    trailers = dict(caught.value.trailing_metadata() or ())
    packed = base64.b64decode(answer.json["details"][0]["value"] + "==")
    assert packed in trailers["grpc-status-details-bin"]


def test_every_status_has_a_code() -> None:
    assert {code.name for code in grpc.StatusCode} - {"OK"} == set(CODES)
    assert {reason.status for reason in CATALOGUE.values()} <= set(CODES)


# GET


def get_path(path: str, body: bytes, **more: str) -> str:
    query = {"connect": "v1", "encoding": "json", "message": quote(body), **more}
    return f"{path}?" + "&".join(f"{name}={value}" for name, value in query.items())


async def test_reads_are_got_in_every_way_of_spelling_them(
    rpcs: Rpcs, session: aiohttp.ClientSession
) -> None:
    await rpcs.result(invoke("add"))
    request = pb.GetActorRequest(actor=actor_pb2.ActorKey(name="desk", key=["a"]))
    text, binary = encoded("json", request), encoded("proto", request)
    safe = base64.urlsafe_b64encode(binary).decode()
    packed = base64.urlsafe_b64encode(gzip.compress(text)).decode()

    for query in (
        {"message": quote(text)},
        {"message": base64.urlsafe_b64encode(text).decode(), "base64": "1"},
        {"message": safe.rstrip("="), "base64": "1", "encoding": "proto"},
        {"message": quote(safe), "base64": "1", "encoding": "proto", "other": "x"},
        {"message": packed, "base64": "1", "compression": "gzip"},
    ):
        url = rpcs.url + get_path(f"{ACTORS}/GetActor", b"", **query)
        async with session.get(URL(url, encoded=True)) as response:
            encoding = query.get("encoding", "json")
            assert response.status == 200, await response.read()
            assert response.headers["content-type"] == f"application/{encoding}"
            assert response.headers["cache-control"] == "no-store"
            found = decoded(encoding, await response.read(), pb.GetActorResponse)
            assert found.actor.key == ["a"]


class Turns(Observer):
    """Counts turns."""

    def __init__(self) -> None:
        self.begun = 0

    def turn_began(self, turn: ObservedTurn) -> None:
        self.begun += 1


async def test_what_can_be_got_is_what_runs_nothing(
    start: Start, session: aiohttp.ClientSession
) -> None:
    turns = Turns()
    server = await start(registry, observer=turns)
    rpcs = Rpcs(session, server)
    await rpcs.result(invoke("add"))
    begun = turns.begun
    assert begun > 0

    got = {}
    for service in SERVICES:
        for method in service.methods:
            body = b'{"name":"desk","target":{"get":{"name":"desk","key":["a"]}}}'
            path = get_path(f"/{service.full_name}/{method.name}", body)
            async with session.get(URL(rpcs.url + path, encoded=True)) as answer:
                if answer.status == 405:
                    assert answer.headers["allow"] == "POST"
                elif answer.status != 505:
                    got.setdefault(service.name, set()).add(method.name)

    assert got == READS
    assert turns.begun == begun


@pytest.mark.parametrize(
    "query",
    ["", "encoding=json", "message=%7B%7D", "encoding=json&message=%7B%7D&message=%7B%7D",
     "encoding=json&message=%7B%7D&connect=v2", "encoding=json&message=%FF",
     "encoding=json&base64=1&message=%21%21%21", "encoding=json&message=%7B",
     "encoding=json&message=%7B%7D&" + "&".join(f"x{n}=" for n in range(40))],
)  # fmt: skip
async def test_a_malformed_query_is_refused(
    rpcs: Rpcs, session: aiohttp.ClientSession, query: str
) -> None:
    url = URL(f"{rpcs.url}{ACTORS}/ListActors?{query}", encoded=True)
    async with session.get(url) as response:
        assert response.status == 400
        assert told(await response.json())[:2] == ("invalid_argument", "REQUEST_INVALID")


async def test_an_encoding_that_is_none_is_an_unsupported_type(
    rpcs: Rpcs, session: aiohttp.ClientSession
) -> None:
    path = get_path(f"{ACTORS}/ListActors", b"{}", encoding="xml")
    async with session.get(rpcs.url + path) as response:
        assert response.status == 415
        assert response.headers["accept-post"] == "application/json, application/proto"


# Compression


async def test_gzip_both_ways(rpcs: Rpcs) -> None:
    message = gzip.compress(encoded("json", invoke("echo", "x" * 5000)))
    path, kind = f"{ACTORS}/InvokeAction", "application/json"

    # aiohttp decompresses what says that it is compressed.
    for headers, coding in (
        ({"content_encoding": "gzip"}, "gzip"),
        ({"content_encoding": "gzip", "accept_encoding": "identity"}, "gzip"),
    ):
        answer = await rpcs.post(path, message, kind, **headers)
        assert answer.status == 200, answer.body
        assert answer.headers["content-encoding"] == coding
        assert len(base64.b64decode(answer.json["result"]["data"])) == 5002


@pytest.mark.parametrize(
    ("accepted", "size", "coding"),
    [("gzip, br", 5000, "gzip"), ("br", 5000, None), ("identity", 5000, None),
     ("gzip;q=0", 5000, None), ("br;q=1.0, GZIP;q=0.5", 5000, "gzip"), ("gzip", 10, None)],
)  # fmt: skip
async def test_a_response_is_compressed_for_whom_it_helps(
    rpcs: Rpcs, accepted: str, size: int, coding: str | None
) -> None:
    answer = await rpcs.call(invoke("echo", "x" * size), accept_encoding=accepted)

    assert answer.headers.get("content-encoding") == coding
    assert "accept-encoding" in answer.headers["vary"].lower()
    assert len(base64.b64decode(answer.json["result"]["data"])) == size + 2


async def test_another_compression_is_unimplemented_and_says_which_there_are(rpcs: Rpcs) -> None:
    answer = await rpcs.call(invoke("add"), content_encoding="br")

    assert (answer.status, told(answer.json)[:2]) == (501, ("unimplemented", "RPC_UNIMPLEMENTED"))
    assert "gzip" in answer.json["message"]
    assert "identity" in answer.json["message"]


# Time, and who is there


async def test_the_deadline_reaches_the_call_and_ends_it(rpcs: Rpcs, stage: Stage) -> None:
    answer = await rpcs.call(invoke("wait", "late"), connect_timeout_ms="60")

    assert (answer.status, told(answer.json)[:2]) == (
        504,
        ("deadline_exceeded", "DEADLINE_EXCEEDED"),
    )
    await stage.reached("late cancelled")
    # It was the caller's, and the actor goes on.
    assert await rpcs.result(invoke("add")) == 1


async def test_a_client_that_hangs_up_ends_its_call(rpcs: Rpcs, stage: Stage) -> None:
    call = asyncio.ensure_future(rpcs.call(invoke("wait", "x")))
    await stage.reached("x")

    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    await stage.reached("x cancelled")
    await until(lambda: not rpcs.server.listener.calls._tasks)


class Traces(Observer):
    """Keeps the traces of turns."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def turn_began(self, turn: ObservedTurn) -> None:
        self.seen.append(turn.trace.trace_id)


async def test_the_trace_reaches_the_turn(start: Start, session: aiohttp.ClientSession) -> None:
    traces = Traces()
    rpcs = Rpcs(session, await start(registry, observer=traces))

    await rpcs.result(invoke("add"), traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")

    assert traces.seen[-1] == TRACE


async def test_a_drain_answers_what_is_under_way_and_refuses_the_rest(
    rpcs: Rpcs, stage: Stage
) -> None:
    call = asyncio.ensure_future(rpcs.result(invoke("wait", "x")))
    await stage.reached("x")

    async with tasks(stop := asyncio.ensure_future(rpcs.server.stop())):
        refused = await rpcs.call(invoke("add"))
        health = await rpcs.call(
            health_pb2.HealthCheckRequest(), path="/grpc.health.v1.Health/Check"
        )
        stage.let("x")
        assert await call == "x"
        await stop

    error = told(refused.json)
    assert (refused.status, error.code, error.reason) == (503, "unavailable", "SERVER_DRAINING")
    assert error.retry_s == 0.5
    assert refused.headers["retry-after"] == "1"
    assert json.loads(health.body) == {"status": "NOT_SERVING"}
    # Trailing metadata of the handler.
    assert health.headers["trailer-holdfast-reason"] == "the server is draining"


async def test_whatever_is_cut_by_a_drain_hears_that_its_outcome_is_unknown(
    start: Start, session: aiohttp.ClientSession, stage: Stage
) -> None:
    rpcs = Rpcs(session, await start(registry, drain_timeout_s=0.05))
    call = asyncio.ensure_future(rpcs.call(invoke("wait", "x", idempotency_key="k")))
    await stage.reached("x")

    await rpcs.server.stop()

    answer = await call
    assert (answer.status, told(answer.json)[:2]) == (503, ("unavailable", "COMMIT_UNKNOWN"))


async def test_targets_below_the_base_of_rivetkit_too(rpcs: Rpcs) -> None:
    answer = await rpcs.call(invoke("add"), path=f"/api/rivet{ACTORS}/InvokeAction")

    assert answer.status == 200
