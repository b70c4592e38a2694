"""Requests that no client should send, byte by byte."""

from __future__ import annotations

import json

import aiohttp
import pytest

from holdfast_server.app import Server
from tests.gateway.browser import Browser, get_or_create
from tests.gateway.conftest import Start
from tests.gateway.raw import line_to, request
from tests.server.probe import until

ACT = f"/gateway/counter/action/increment?{get_or_create('a')}"
BODY = b'{"args":[]}'


async def value(server: Server) -> int:
    """What the counter says, by a request as it should be."""
    async with line_to(server) as line:
        await line.send(request("POST", ACT.replace("increment", "value"), body=BODY))
        status, _, body = await line.response()
    assert status == 200
    found: int = json.loads(body)["output"]
    return found


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n bad: folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nbad name: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nx: a\x00b\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/9\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1x\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_answered_and_hung_up_on(start: Start, data: bytes) -> None:
    server = await start()
    async with line_to(server) as line:
        await line.send(data)
        answer = await line.rest()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert json.loads(body)["code"] == "invalid"
    assert await value(server) == 0


SMUGGLED = request("POST", ACT, body=BODY)


@pytest.mark.parametrize(
    "head",
    [
        # Two lengths, or two ways of saying where the body ends.
        b"Content-Length: 5\r\nContent-Length: 0\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: identity, chunked\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
    ],
)
async def test_a_request_in_the_body_of_another_is_not_run(start: Start, head: bytes) -> None:
    server = await start()
    hidden = b"0\r\n\r\n" + SMUGGLED
    async with line_to(server) as line:
        await line.send(b"POST /nope HTTP/1.1\r\nHost: 127.0.0.1\r\n" + head + b"\r\n" + hidden)
        answer = await line.rest()

    # One answer, or none, to one request.
    assert answer.count(b"HTTP/1.1 ") + answer.count(b"HTTP/1.0 ") <= 1
    assert await value(server) == 0


async def test_requests_one_behind_the_other_are_answered_in_order(start: Start) -> None:
    server = await start()
    async with line_to(server) as line:
        await line.send(3 * request("POST", ACT, body=BODY))
        outputs = [json.loads((await line.response())[2])["output"] for _ in range(3)]

    assert outputs == [1, 2, 3]


async def test_a_body_in_chunks(start: Start) -> None:
    server = await start()
    async with line_to(server) as line:
        head = request("POST", ACT, "Transfer-Encoding: chunked")
        await line.send(head + b'4\r\n{"ar\r\n7\r\ngs":[]}\r\n0\r\n\r\n')
        status, _, body = await line.response()

    assert (status, json.loads(body)) == (200, {"output": 1})


@pytest.mark.parametrize("chunks", [b"zz\r\n{}\r\n", b"-1\r\n{}\r\n", b"2\r\n{}xx0\r\n\r\n"])
async def test_chunks_that_are_none(start: Start, chunks: bytes) -> None:
    server = await start()
    async with line_to(server) as line:
        await line.send(request("POST", ACT, "Transfer-Encoding: chunked") + chunks)
        answer = await line.rest()

    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert await value(server) == 0


async def test_a_client_that_asks_first_whether_to_go_on(start: Start) -> None:
    server = await start()
    async with line_to(server) as line:
        head = request("POST", ACT, "Expect: 100-continue", f"Content-Length: {len(BODY)}")
        await line.send(head)
        assert (await line.response())[0] == 100
        await line.send(BODY)
        status, _, body = await line.response()

    assert (status, json.loads(body)) == (200, {"output": 1})


# Limits


async def test_headers_that_are_too_large(start: Start) -> None:
    server = await start(http_header_bytes_max=10_000, http_headers_max=20)
    for data in (
        request("GET", "/health", f"x: {'y' * 10_001}"),
        request("GET", f"/{'y' * 10_001}"),
        request("GET", "/health", *(f"x{n}: y" for n in range(21))),
    ):
        async with line_to(server) as line:
            await line.send(data)
            assert await line.error() == (431, "request.invalid")
            assert await line.rest() == b""
    # What clients escape into a header fits.
    async with line_to(server) as line:
        await line.send(request("GET", "/health", f"x: {'y' * 9_000}"))
        assert (await line.response())[0] == 200


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_that_is_too_large(start: Start, declared: bool) -> None:
    server = await start(payload_bytes_max=1000)
    body = b"x" * 100_000
    async with line_to(server) as line:
        if declared:
            await line.send(request("POST", ACT, body=body))
        else:
            chunk = b"%x\r\n%s\r\n" % (len(body), body)
            await line.send(request("POST", ACT, "Transfer-Encoding: chunked") + chunk)
        assert await line.error() == (413, "message.incoming_too_long")

    assert await value(server) == 0


async def test_a_compressed_body_is_refused(browser: Browser) -> None:
    answer = await browser.ask("POST", ACT, data=BODY, headers={"content-encoding": "gzip"})

    assert (answer.status, answer.error) == (400, "request.invalid")


async def test_a_head_that_comes_too_slowly(start: Start) -> None:
    server = await start(http_header_timeout_s=0.05)
    async with line_to(server) as line:
        # As the first request of a connection, and behind another one.
        await line.send(request("GET", "/health"))
        assert (await line.response())[0] == 200
        await line.send(b"GET /health HT")
        assert await line.error() == (408, "action.timed_out")
        assert await line.rest() == b""
    async with line_to(server) as line:
        await line.send(b"G")
        assert await line.error() == (408, "action.timed_out")


async def test_a_body_that_comes_too_slowly(start: Start) -> None:
    server = await start(http_body_timeout_s=0.05)
    async with line_to(server) as line:
        await line.send(request("POST", ACT, "Content-Length: 100") + b'{"args"')
        assert await line.error() == (408, "action.timed_out")
        assert await line.rest() == b""

    assert await value(server) == 0


async def test_a_silent_connection_is_closed(start: Start) -> None:
    server = await start(http_idle_s=0.05)
    async with line_to(server) as line:
        assert await line.rest() == b""
    async with line_to(server) as line:
        await line.send(request("GET", "/health"))
        assert (await line.response())[0] == 200
        assert await line.rest() == b""


async def test_more_connections_than_may_be(start: Start, session: aiohttp.ClientSession) -> None:
    server = await start(http_connections_max=2)
    gateway = server.gateway
    assert gateway is not None
    async with line_to(server) as one, line_to(server):
        await until(lambda: gateway.open_connections == 2)
        async with line_to(server) as third:
            assert await third.error() == (503, "guard.service_unavailable")
            assert await third.rest() == b""
        await one.send(request("GET", "/health"))
        assert (await one.response())[0] == 200
    await until(lambda: gateway.open_connections == 0)
    assert await value(server) == 0


async def test_a_socket_that_is_half_open_is_found(
    start: Start, session: aiohttp.ClientSession
) -> None:
    server = await start(websocket_ping_s=0.05)
    gateway = server.gateway
    assert gateway is not None
    talk = await Browser(session, server).talk("counter", "a")
    # It takes what comes, and never answers a ping.
    talk.socket._response.connection.transport.pause_reading()  # type: ignore[union-attr]

    await until(lambda: not gateway.sockets)
    talk.socket._response.connection.transport.abort()  # type: ignore[union-attr]


@pytest.mark.parametrize("cut", [1, 40, 200, -1])
async def test_a_client_that_dies_in_the_middle_leaves_nothing(start: Start, cut: int) -> None:
    server = await start()
    gateway = server.gateway
    assert gateway is not None
    async with line_to(server) as line:
        await line.send(request("POST", ACT, "Content-Length: 100", body=BODY)[:cut])
        await until(lambda: gateway.open_connections == 1)
        line.hang_up()
        await until(lambda: gateway.open_connections == 0)

    assert await value(server) == 0
