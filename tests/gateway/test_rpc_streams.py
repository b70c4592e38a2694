"""Server-streaming RPCs over the Connect protocol: envelopes, ends, and who goes away."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from grpc_health.v1 import health_pb2

from holdfast.v1 import event_service_pb2
from tests.gateway.conftest import Start
from tests.gateway.raw import line_to, request
from tests.gateway.rpc_actors import registry
from tests.gateway.rpcs import ACTORS, Rpcs, encoded, enveloped, invoke, stream_of, told
from tests.server.probe import until
from tests.server.stage import Stage, tasks
from tests.server.wire import target

events = event_service_pb2
EVENTS = "/holdfast.v1.EventService/SubscribeEvents"


@pytest.fixture
async def rpcs(start: Start, session: aiohttp.ClientSession) -> Rpcs:
    return Rpcs(session, await start(registry))


@pytest.mark.parametrize("encoding", ["json", "proto"])
async def test_items_and_a_good_end(rpcs: Rpcs, encoding: str, stage: Stage) -> None:
    async with rpcs.stream(stream_of("count", 3), encoding=encoding) as stream:
        assert [await stream.value() for _ in range(3)] == [0, 1, 2]
        assert await stream.end() == {}

    assert await rpcs.result(invoke("total")) == 3


async def test_items_leave_when_they_are_there(rpcs: Rpcs, stage: Stage) -> None:
    async with rpcs.stream(stream_of("count", 2, "x")) as stream:
        assert [await stream.value(), await stream.value()] == [0, 1]
        stage.let("x")
        assert await stream.end() == {}


@pytest.mark.parametrize("encoding", ["json", "proto"])
async def test_a_failure_is_the_end_of_the_stream(rpcs: Rpcs, encoding: str, stage: Stage) -> None:
    async with rpcs.stream(stream_of("count", 1, "fail"), encoding=encoding) as stream:
        assert await stream.value() == 0
        error = await stream.error()
        assert error[:2] == ("unknown", "USER_ERROR")
        assert error.metadata == {"group": "user", "code": "enough"}
    # Before any item it is the same, with the same status.
    async with rpcs.stream(stream_of("nothing"), encoding=encoding) as stream:
        assert (await stream.error())[:2] == ("not_found", "ACTION_NOT_FOUND")


async def test_the_deadline_ends_a_stream(rpcs: Rpcs, stage: Stage) -> None:
    async with rpcs.stream(stream_of("count", 1, "x"), connect_timeout_ms="80") as stream:
        assert await stream.value() == 0
        assert (await stream.error())[:2] == ("deadline_exceeded", "DEADLINE_EXCEEDED")

    await stage.reached("count ended")


async def test_a_client_that_hangs_up_ends_the_action(rpcs: Rpcs, stage: Stage) -> None:
    async with rpcs.stream(stream_of("count", 1, "x")) as stream:
        assert await stream.value() == 0
        stream.response.close()

    await stage.reached("count ended")
    await until(lambda: not rpcs.server.listener.calls._tasks)


async def test_a_client_that_takes_nothing_is_cut_off(start: Start, stage: Stage) -> None:
    server = await start(registry, http_stall_s=0.05)
    body = enveloped(encoded("json", stream_of("pour", 100_000)))

    async with line_to(server) as line:
        kind = "Content-Type: application/connect+json"
        await line.send(request("POST", f"{ACTORS}/StreamAction", kind, body=body))
        await stage.reached("pour ended")
        await until(lambda: server.gateway is not None and server.gateway.open_connections == 0)


async def test_a_stream_of_small_items_leaves_the_loop_to_others(rpcs: Rpcs, stage: Stage) -> None:
    body = enveloped(encoded("json", stream_of("pour", 1)))
    async with line_to(rpcs.server) as line:
        kind = "Content-Type: application/connect+json"
        await line.send(request("POST", f"{ACTORS}/StreamAction", kind, body=body))
        await until(lambda: "poured" in stage.kept)
        before = int(str(stage.kept["poured"]))
        assert await rpcs.result(invoke("total")) == 0
        # What the buffers of the system take is far more.
        assert int(str(stage.kept["poured"])) - before < 2000


async def test_messages_are_compressed_for_whom_it_helps(rpcs: Rpcs, stage: Stage) -> None:
    async with rpcs.stream(stream_of("pour", 5000), connect_accept_encoding="gzip") as stream:
        assert stream.response.headers["connect-content-encoding"] == "gzip"
        flags, data = await stream.next()
        assert (flags, len(data) > 5000) == (1, True)
    async with rpcs.stream(stream_of("count", 1), connect_accept_encoding="gzip") as stream:
        # A small one is not worth it.
        assert (await stream.next())[0] == 0
        assert await stream.end() == {}
    # HTTP's own headers are about the whole body, and there is nothing of the kind here.
    async with rpcs.stream(stream_of("pour", 5000), accept_encoding="gzip") as stream:
        assert "connect-content-encoding" not in stream.response.headers
        assert "content-encoding" not in stream.response.headers
        assert (await stream.next())[0] == 0


async def test_events_are_read_on_from_a_cursor(rpcs: Rpcs) -> None:
    await rpcs.result(invoke("add"))
    subscribe = events.SubscribeEventsRequest(target=target("desk", "a"), from_sequence=1)

    async with rpcs.stream(subscribe, path=EVENTS) as stream:
        seen: list[int] = []
        while not seen:
            response = await stream.item(events.SubscribeEventsResponse)
            seen += [event.sequence for event in response.events]
        assert seen == [1]
        cursor = response.cursor
    await rpcs.result(invoke("add"))
    subscribe = events.SubscribeEventsRequest(target=target("desk", "a"), after=cursor)

    async with rpcs.stream(subscribe, path=EVENTS, encoding="proto") as stream:
        while not response.events or response.events[0].sequence == 1:
            response = await stream.item(events.SubscribeEventsResponse)
        assert response.events[0].previous_sequence == 1
        # Live ones come too.
        await rpcs.result(invoke("add"))
        response = await stream.item(events.SubscribeEventsResponse)
        assert [event.sequence for event in response.events] == [3]


async def test_a_drain_ends_streams_between_two_items(
    start: Start, session: aiohttp.ClientSession, stage: Stage
) -> None:
    rpcs = Rpcs(session, await start(registry, drain_streams_s=0.01))
    async with rpcs.stream(stream_of("pour", 10)) as stream:
        await stream.value()
        async with tasks(stop := asyncio.ensure_future(rpcs.server.stop())):
            flags, data = await stream.next()
            while not flags:
                flags, data = await stream.next()
            assert json.loads(data)["error"]["code"] == "unavailable"
            await stop


async def test_a_stream_that_a_drain_cuts_in_the_middle_says_so_to_a_slow_reader(
    start: Start, stage: Stage
) -> None:
    server = await start(registry, drain_timeout_s=0.05, drain_streams_s=60.0)
    calls = server.listener.calls
    body = enveloped(encoded("json", stream_of("pour", 500_000)))
    async with line_to(server) as line:
        kind = "Content-Type: application/connect+json"
        await line.send(request("POST", f"{ACTORS}/StreamAction", kind, body=body))
        await line.until(b"connect+json")
        await until(lambda: bool(calls._tasks))
        async with tasks(stop := asyncio.ensure_future(server.stop())):
            await until(lambda: bool(calls._cut))
            # Only now the client takes what has been sent.
            said = await line.rest()
            await stop

    # One response, that is whole.
    assert b"HTTP/1.1" not in said
    assert said.endswith(b"0\r\n\r\n")
    end = said[said.rindex(b'{"error"') :]
    error = told(json.loads(end[: end.rindex(b"}") + 1])["error"])
    assert (error.code, error.reason, error.retry_s) == ("unavailable", "COMMIT_UNKNOWN", 0.5)
    assert stage.is_reached("pour ended")


async def test_health_is_watched_until_the_end(
    start: Start, session: aiohttp.ClientSession, stage: Stage
) -> None:
    rpcs = Rpcs(session, await start(registry, token="secret"))
    path = "/grpc.health.v1.Health/Watch"
    token = {"authorization": "Bearer secret"}
    call = asyncio.ensure_future(rpcs.result(invoke("wait", "x"), **token))
    await stage.reached("x")
    async with rpcs.stream(health_pb2.HealthCheckRequest(), path=path) as stream:
        seen = [await stream.item(health_pb2.HealthCheckResponse)]
        async with tasks(stop := asyncio.ensure_future(rpcs.server.stop())):
            seen.append(await stream.item(health_pb2.HealthCheckResponse))
            stage.let("x")
            assert await call == "x"
            assert (await stream.error()).reason == "SERVER_DRAINING"
            await stop

    serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    assert [each.status for each in seen] == list(serving)


async def test_a_subscription_ends_with_the_drain(
    start: Start, session: aiohttp.ClientSession
) -> None:
    rpcs = Rpcs(session, await start(registry, drain_timeout_s=0.05, drain_streams_s=0.01))
    subscribe = events.SubscribeEventsRequest(target=target("desk", "a"))
    async with rpcs.stream(subscribe, path=EVENTS) as stream:
        await stream.item(events.SubscribeEventsResponse)
        async with tasks(stop := asyncio.ensure_future(rpcs.server.stop())):
            error = await stream.error()
            await stop

    assert (error.code, error.reason, error.retry_s) == ("unavailable", "SERVER_DRAINING", 0.5)
