"""`fetch`, `websocket` and `get_gateway_url` of the Python client, through the gateway."""

from __future__ import annotations

import asyncio
import base64
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any

import aiohttp
import pytest
from yarl import URL

from holdfast import (
    Actor,
    ActorError,
    Client,
    Context,
    HoldfastError,
    Request,
    Response,
    UserError,
    WebSocket,
    WebSocketClosed,
    action,
    blocking,
    setup,
)
from holdfast_server.app import Server
from tests.gateway.conftest import Start

TOKEN = "s3cret/+="


@dataclass
class Notes:
    lines: list[str] = field(default_factory=list)


class Desk(Actor[Notes]):
    async def create_state(self, c: Context[Notes], input: list[str] | None) -> Notes:
        return Notes(list(input or []))

    async def on_request(self, c: Context[Notes], request: Request) -> Response:
        if request.path == "/refuse":
            raise UserError("no", code="refused", metadata={"why": [1]})
        if request.path == "/parts":
            return Response(self.parts())
        if request.path == "/wait":
            await asyncio.Event().wait()
        body = await request.body()
        c.state.lines.append(body.decode("utf-8", "replace"))
        said = {
            "method": request.method,
            "path": request.path,
            "query": dict(request.query),
            "headers": {name.lower(): value for name, value in request.headers.pairs},
            "key": c.key,
            "params": None if c.conn is None else c.conn.params,
            "lines": c.state.lines,
        }
        return Response.from_json(said, 203)

    async def parts(self) -> AsyncIterator[bytes]:
        for number in range(3):
            yield bytes([number]) * 1000

    async def on_websocket(self, c: Context[Notes], websocket: WebSocket) -> None:
        if websocket.path == "/refuse":
            raise UserError("no", code="refused")
        if websocket.subprotocols:
            await websocket.accept(websocket.subprotocols[0])
        await websocket.send(f"{websocket.path} {c.conn.params}")
        async for message in websocket:
            if message == "bye":
                await websocket.close(4001, "bye")
            await websocket.send(message)
        c.state.lines.append(f"closed {websocket.close_code}")

    @action
    async def lines(self, c: Context[Notes]) -> list[str]:
        return c.state.lines


registry = setup(use={"desk": Desk})


def client_of(server: Server, **options: Any) -> Client:
    gateway = f"http://127.0.0.1:{server.http_port}"
    return Client(f"127.0.0.1:{server.port}", gateway=gateway, **options)


@pytest.fixture
async def client(start: Start) -> AsyncIterator[Client]:
    async with client_of(await start(registry)) as client:
        yield client


@pytest.mark.parametrize("key", [[], ["a"], ["a b", "ä/&=?", ""], ["a,b"], [""]])
async def test_a_request_reaches_the_actor_of_the_handle(client: Client, key: list[str]) -> None:
    desk = client.get_or_create(Desk, key)
    answer = await desk.fetch("x/ä b?q=1&rvt=2", method="PUT", body=b"data", headers={"x-y": "z"})
    assert (answer.status, answer.headers["content-type"]) == (203, "application/json")
    said = await answer.json()
    assert (said["method"], said["path"], said["key"]) == ("PUT", "/x/ä b", key)
    assert said["query"] == {"q": "1", "rvt": "2"}
    assert said["headers"]["x-y"] == "z"
    assert "x-rivet-token" not in said["headers"]
    assert await desk.lines() == ["data"]
    by_id = client.get_for_id(Desk, await desk.resolve())
    assert (await (await by_id.fetch()).json())["lines"] == ["data", ""]


async def test_an_actor_is_made_with_its_input(client: Client) -> None:
    desk = client.get_or_create(Desk, ["a"], input=["first"])
    assert (await (await desk.fetch()).json())["lines"] == ["first", ""]


async def test_params_are_those_of_the_handle(client: Client) -> None:
    desk = client.get_or_create(Desk, ["a"], params={"name": "zoë"})
    assert (await (await desk.fetch()).json())["params"] == {"name": "zoë"}
    async with desk.websocket("/live") as websocket:
        assert await websocket.receive() == "/live {'name': 'zoë'}"


async def test_errors_are_answers(client: Client) -> None:
    refused = await client.get_or_create(Desk, ["a"]).fetch("/refuse")
    assert (refused.status, refused.ok) == (400, False)
    said = await refused.json()
    assert (said["group"], said["code"], said["metadata"]) == ("user", "refused", {"why": [1]})
    missing = await client.get(Desk, ["missing"]).fetch()
    assert (missing.status, (await missing.json())["code"]) == (404, "not_found")


async def test_bodies_go_in_parts_both_ways(client: Client) -> None:
    async def body() -> AsyncIterator[str]:
        for part in ("one ", "two ", "three"):
            yield part

    desk = client.get_or_create(Desk, ["a"])
    sent = await desk.fetch(method="POST", body=body())
    assert (await sent.json())["lines"] == ["one two three"]
    answer = await desk.fetch("/parts")
    assert b"".join([part async for part in answer.stream()]) == b"".join(
        bytes([number]) * 1000 for number in range(3)
    )
    unread = await desk.fetch("/parts")
    await unread.close()


async def test_a_fetch_has_the_timeout_of_its_handle(client: Client) -> None:
    with pytest.raises(ActorError) as caught:
        await client.get_or_create(Desk, ["a"]).with_options(timeout=0.05).fetch("/wait")
    assert (caught.value.code, caught.value.status) == ("timed_out", "DEADLINE_EXCEEDED")


async def test_a_websocket_echoes_and_closes_on_either_side(client: Client) -> None:
    desk = client.get_or_create(Desk, ["a"])
    websocket = await desk.websocket("/live?x=1", subprotocols=["one", "two"])
    assert websocket.subprotocol == "one"
    assert await websocket.receive() == "/live {}"
    for message in ("ä", b"\x00\xff"):
        await websocket.send(message)
        assert await websocket.receive() == message
    await websocket.send("bye")
    rest = [message async for message in websocket]
    assert rest in ([], ["bye"])
    assert (websocket.close_code, websocket.close_reason) == (4001, "bye")
    with pytest.raises(WebSocketClosed):
        await websocket.send("x")
    async with desk.websocket() as other:
        await other.receive()
    assert other.closed
    refused = await desk.websocket("/refuse")
    with pytest.raises(WebSocketClosed) as caught:
        await refused.receive()
    assert caught.value.code == 1011
    assert caught.value.reason.startswith("user.refused")
    while len(await desk.lines()) < 2:  # noqa: ASYNC110 - the server has its own task for it
        await asyncio.sleep(0)
    assert await desk.lines() == ["closed 4001", "closed 1000"]


async def test_a_token_is_shown_and_a_url_has_it(start: Start) -> None:
    server = await start(registry, token=TOKEN)
    async with client_of(server, token=TOKEN) as client:
        desk = client.get_or_create(Desk, ["a"])
        assert (await desk.fetch()).ok
        async with desk.websocket() as websocket:
            assert await websocket.receive() == "/ {}"
        url = await desk.get_gateway_url()
        assert url.endswith("@s3cret%2F%2B%3D")
        asked = URL(f"{url}/request/x", encoded=True)
        async with aiohttp.ClientSession() as session, session.get(asked) as answer:
            assert answer.status == 203
    async with client_of(server, token="wrong") as client:
        refused = await client.get(Desk, ["a"]).fetch()
        assert refused.status in (401, 403)


async def test_a_gateway_that_is_not_there_is_an_error(start: Start) -> None:
    server = await start(registry)
    async with client_of(server) as client:
        desk = client.get_or_create(Desk, ["a"])
        websocket = await desk.websocket()
        await websocket.receive()
        await server.stop()
        with pytest.raises(WebSocketClosed) as closed:
            await websocket.receive()
        assert closed.value.code in (1001, 1006)
        with pytest.raises(ActorError) as caught:
            await desk.fetch()
        assert (caught.value.code, caught.value.status) == ("unavailable", "UNAVAILABLE")
        with pytest.raises(ActorError):
            await desk.websocket()
    with pytest.raises(HoldfastError, match="closed"):
        await desk.fetch()


async def test_without_an_http_client_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "holdfast._http", raising=False)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    client = Client("127.0.0.1:1", gateway="http://127.0.0.1:1")
    with pytest.raises(HoldfastError, match=r"holdfast\[http\]"):
        await client.get(Desk).fetch()


@pytest.mark.parametrize("said", [b"\x88\x05\x0f\xa1bye", b"\x88\x00"])
async def test_a_close_is_what_the_server_said_though_it_has_gone(said: bytes) -> None:
    client_has_gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await reader.readuntil(b"\r\n\r\n")).decode()
        (key,) = re.findall(r"(?i)sec-websocket-key: (\S+)", asked)
        seal = sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n")
        writer.write(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
        writer.write(b"Sec-WebSocket-Accept: " + base64.b64encode(seal) + b"\r\n\r\n" + said)
        writer.write_eof()
        await reader.read()
        client_has_gone.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    gateway = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with (
        server,
        Client("127.0.0.1:1", gateway=gateway) as client,
        client.get_or_create(Desk, ["a"]).websocket() as websocket,
    ):
        await client_has_gone.wait()
        with pytest.raises(WebSocketClosed):
            await websocket.receive()
        expected = (4001, "bye") if len(said) > 2 else (1006, "")
        assert (websocket.close_code, websocket.close_reason) == expected


async def test_the_blocking_client_has_the_same(start: Start) -> None:
    server = await start(registry)

    def work() -> None:
        gateway = f"http://127.0.0.1:{server.http_port}"
        with blocking.Client(f"127.0.0.1:{server.port}", gateway=gateway) as client:
            desk = client.get_or_create(Desk, ["a"])
            answer = desk.fetch("/x", body="data")
            assert (answer.status, answer.json()["lines"]) == (203, ["data"])
            assert sum(map(len, desk.fetch("/parts").stream())) == 3000
            assert desk.get_gateway_url().startswith(f"{gateway}/gateway/")
            with desk.websocket() as websocket:
                assert websocket.receive() == "/ {}"
                websocket.send("bye")
                assert list(websocket) in ([], ["bye"])
                assert websocket.close_code == 4001

    await asyncio.to_thread(work)
