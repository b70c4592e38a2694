"""The gateway inside an ASGI application: a real ASGI server, and one that a test plays."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from starlette.applications import Starlette
from starlette.requests import Request as PageRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from yarl import URL

from holdfast import Actor, Client, Context, Request, Response, WebSocket, action, setup
from holdfast.asgi import ServerApp
from tests.asgi_server import served

QUERY = "rvt-namespace=default&rvt-method=getOrCreate&rvt-runner=default&rvt-key=a%2Fb,c"


class Shop(Actor[int]):
    """Answers over HTTP and WebSocket, and remembers what became of its clients."""

    state = 0

    @action
    async def add(self, c: Context[int], by: int) -> int:
        c.state += by
        c.broadcast("sum", c.state)
        return c.state

    @action
    async def key(self, c: Context[int]) -> list[str]:
        return list(c.key)

    async def on_request(self, c: Context[int], request: Request) -> Response:
        match request.path:
            case "/size":
                size = 0
                async for part in request.stream():
                    size += len(part)
                return Response(str(size))
            case "/parts":
                return Response(self.parts())
            case "/broken":
                return Response(self.broken())
            case "/wait":
                return Response(self.wait())
        return Response.from_json(
            {
                "url": request.url,
                "raw": request.raw_path,
                "client": request.client is not None and request.client[0],
                "x": request.headers.get_all("x-two"),
                "private": [name for name, _ in request.headers.pairs if "holdfast" in name],
            },
            status=201,
            headers={"x-shop": "open"},
        )

    async def parts(self) -> AsyncIterator[str]:
        yield "one "
        yield "two"

    async def broken(self) -> AsyncIterator[str]:
        yield "one "
        raise RuntimeError("broken")

    async def wait(self) -> AsyncIterator[str]:
        try:
            yield "began"
            while True:
                await asyncio.sleep(0.01)
                yield "."
        finally:
            gone.set()

    async def on_websocket(self, c: Context[int], websocket: WebSocket) -> None:
        try:
            async for message in websocket:
                if message == "close":
                    await websocket.close(4321, "as you wish")
                    return
                await websocket.send(message)
        finally:
            gone.set()


class Gone:
    """That a handler has seen its client off."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def set(self) -> None:
        self.event.set()

    async def wait(self) -> None:
        await self.event.wait()
        self.event = asyncio.Event()


gone = Gone()


@pytest.fixture(autouse=True)
async def fresh() -> None:
    gone.event = asyncio.Event()


@pytest.fixture
def app(tmp_path: Path) -> ServerApp:
    settings = {"grpc": "127.0.0.1:0", "admin": "off", "drain_timeout_s": 2.0}
    return setup(use={"shop": Shop}, **settings).asgi(data=str(tmp_path / "data"))


def mounted(app: ServerApp) -> Starlette:
    async def hello(request: PageRequest) -> PlainTextResponse:
        return PlainTextResponse("the page")

    return Starlette(
        routes=[Route("/", hello), Mount("/actors-of/mine", app)], lifespan=app.lifespan
    )


@pytest.fixture(params=["alone", "mounted"])
async def page(
    request: pytest.FixtureRequest, app: ServerApp
) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A client, and the path below which the gateway is."""
    alone = request.param == "alone"
    async with served(app if alone else mounted(app)) as session:
        yield session, "" if alone else "/actors-of/mine"


Page = tuple[aiohttp.ClientSession, str]


async def test_an_action_is_called(page: Page) -> None:
    session, root = page
    for expected in (2, 4):
        url = f"{root}/gateway/shop/action/add?{QUERY}"
        async with session.post(url, json={"args": [2]}) as answer:
            assert (answer.status, await answer.json()) == (200, {"output": expected})
            assert answer.headers.getall("x-rivet-ray-id")
            assert len(answer.headers.getall("date")) == len(answer.headers.getall("server")) == 1
    async with session.post(
        f"{root}/api/rivet/gateway/shop/action/key?{QUERY}", json={"args": []}
    ) as answer:
        assert await answer.json() == {"output": ["a/b", "c"]}


async def test_errors_are_those_of_the_gateway(page: Page) -> None:
    session, root = page
    async with session.post(f"{root}/gateway/shop/action/none?{QUERY}", json={}) as answer:
        assert (answer.status, answer.headers["x-rivet-error"]) == (404, "action.not_found")
    async with session.get(f"{root}/nowhere") as answer:
        assert answer.status == 404
    async with session.get(f"{root}/metadata", headers={"host": "evil.example"}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (403, "forbidden")


async def test_a_raw_request_is_as_it_was_sent(page: Page) -> None:
    session, root = page
    path = f"{root}/gateway/shop/request/a%2Fb/c?{QUERY}&q=1%202"
    headers = [("x-two", "1"), ("x-two", "2"), ("x-holdfast-front", '{"client": ["9.9.9.9", 1]}')]
    url = URL(str(session._base_url).rstrip("/") + path, encoded=True)
    async with session.get(url, headers=headers) as answer:
        assert (answer.status, answer.headers["x-shop"]) == (201, "open")
        told = await answer.json()
    assert told["raw"] == "/a%2Fb/c"
    assert told["url"].endswith("/a%2Fb/c?q=1%202")
    assert (told["client"], told["x"], told["private"]) == ("127.0.0.1", ["1", "2"], [])


async def test_bodies_stream_both_ways(page: Page) -> None:
    session, root = page

    async def body() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65536

    url = f"{root}/gateway/shop/request/size?{QUERY}"
    async with session.post(url, data=body()) as answer:
        assert await answer.text() == str(40 * 65536)
    async with session.post(url, data=io.BytesIO(b"x" * 3_000_000)) as answer:
        assert await answer.text() == "3000000"
    async with session.get(f"{root}/gateway/shop/request/parts?{QUERY}") as answer:
        assert await answer.text() == "one two"
    with pytest.raises(aiohttp.ClientError):
        async with session.get(f"{root}/gateway/shop/request/broken?{QUERY}") as answer:
            await answer.text()


async def test_a_client_that_leaves_ends_the_handler(page: Page) -> None:
    session, root = page
    async with session.get(f"{root}/gateway/shop/request/wait?{QUERY}") as answer:
        assert await answer.content.readexactly(5) == b"began"
        answer.close()
    await gone.wait()


async def test_a_raw_websocket_carries_text_bytes_and_codes(page: Page) -> None:
    session, root = page
    async with session.ws_connect(f"{root}/gateway/shop/websocket/?{QUERY}") as ws:
        await ws.send_str("text")
        assert await ws.receive_str() == "text"
        await ws.send_bytes(b"\x00" * 2_000)
        assert await ws.receive_bytes() == b"\x00" * 2_000
        await ws.send_str("close")
        message = await ws.receive()
    assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4321, "as you wish")
    await gone.wait()
    async with session.ws_connect(f"{root}/gateway/shop/websocket/?{QUERY}") as ws:
        await ws.close(code=4000)
    await gone.wait()


async def test_a_connection_hears_events(page: Page) -> None:
    session, root = page
    protocols = ("rivet", "rivet_encoding.json")
    url = f"{root}/gateway/shop/connect?{QUERY}"
    async with session.ws_connect(url, protocols=protocols) as ws:
        assert ws.protocol == "rivet"
        assert (await ws.receive_json())["body"]["tag"] == "Init"
        subscribe = {"eventName": "sum", "subscribe": True}
        await ws.send_json({"body": {"tag": "SubscriptionRequest", "val": subscribe}})
        await ws.send_json(
            {"body": {"tag": "ActionRequest", "val": {"id": 1, "name": "add", "args": [5]}}}
        )
        event, answer = await ws.receive_json(), await ws.receive_json()
    assert event["body"]["val"]["args"] == [5]
    assert answer["body"]["val"]["output"] == 5


async def test_a_body_that_is_too_large_is_refused_while_it_is_sent(page: Page) -> None:
    session, root = page
    for path in ("action/add", "request/size"):
        url = f"{root}/gateway/shop/{path}?{QUERY}"
        async with session.post(url, data=io.BytesIO(b"x" * 22_000_000)) as answer:
            assert (answer.status, (await answer.json())["code"]) == (413, "incoming_too_long")


async def test_what_a_client_asks_before_it_sends_is_answered(page: Page) -> None:
    session, root = page
    url = f"{root}/gateway/shop/action/add?{QUERY}"
    async with session.post(url, data=b'{"args": [7]}', expect100=True) as answer:
        assert await answer.json() == {"output": 7}


async def test_what_is_refused_to_a_websocket_is_its_close(page: Page) -> None:
    session, root = page
    async with session.ws_connect(f"{root}/gateway/none/websocket/?{QUERY}") as ws:
        message = await ws.receive()
    assert (message.type, message.data) == (WSMsgType.CLOSE, 1011)
    assert str(message.extra).startswith("actor.")


async def test_a_websocket_that_is_lost_ends_its_handler(page: Page) -> None:
    session, root = page
    ws = await session.ws_connect(f"{root}/gateway/shop/websocket/?{QUERY}")
    await ws.send_str("text")
    assert await ws.receive_str() == "text"
    transport = ws.get_extra_info("socket")
    transport.shutdown(socket.SHUT_RDWR)
    await gone.wait()
    await ws.close()


async def test_sockets_that_are_open_do_not_hold_up_a_drain(app: ServerApp) -> None:
    async with served(app) as session:
        ws = await session.ws_connect(f"/gateway/shop/websocket/?{QUERY}")
        await ws.send_str("text")
        assert await ws.receive_str() == "text"
    await gone.wait()


async def test_an_application_of_its_own_has_both(app: ServerApp) -> None:
    async with served(mounted(app)) as session:
        async with session.get("/") as answer:
            assert await answer.text() == "the page"
        async with Client(f"127.0.0.1:{app.port}") as client:
            assert await client.get_or_create(Shop, ["a/b", "c"]).add(3) == 3
        url = f"/actors-of/mine/gateway/shop/action/add?{QUERY}"
        async with session.post(url, json={"args": [1]}) as answer:
            assert await answer.json() == {"output": 4}
    assert app.port == 0


async def test_grpc_may_be_off(tmp_path: Path) -> None:
    app = setup(use={"shop": Shop}).asgi(data=str(tmp_path), grpc="off", admin="off")
    async with served(app) as session:
        assert app.port == 0
        url = f"/gateway/shop/action/add?{QUERY}"
        async with session.post(url, json={"args": [1]}) as answer:
            assert await answer.json() == {"output": 1}


async def test_what_was_answered_is_there_after_a_drain(app: ServerApp) -> None:
    for expected in (1, 2):
        async with app.running(), Client(f"127.0.0.1:{app.port}") as client:
            assert await client.get_or_create(Shop, ["kept"]).add(1) == expected


# A test as the ASGI server


def scope(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "path": "/health", "query_string": b"", "headers": [], **more}


async def test_without_a_lifespan_everybody_is_told_to_come_again(app: ServerApp) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope("http", method="GET"), receive, send)
    await app(scope("websocket"), receive, send)

    start, body, accept, close = sent
    assert start["status"] == 503
    assert dict(start["headers"])[b"retry-after"] == b"1"
    assert b'"code":"service_unavailable"' in body["body"]
    assert accept["type"] == "websocket.accept"
    assert (close["code"], close["reason"].split("#")[0]) == (1011, "guard.service_unavailable")


@pytest.mark.parametrize("settings", [{"http": "off"}, {"http": "0.0.0.0:80"}, {"htpp": "x"}])
async def test_a_start_that_fails_says_why(tmp_path: Path, settings: dict[str, str]) -> None:
    app = setup(use={"shop": Shop}).asgi(data=str(tmp_path), grpc="127.0.0.1:0", **settings)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "lifespan"}, receive, send)

    assert [each["type"] for each in sent] == ["lifespan.startup.failed"]
    assert "htt" in sent[0]["message"] or "htpp" in sent[0]["message"]


async def test_it_runs_once_at_a_time(app: ServerApp) -> None:
    async with app.running():
        with pytest.raises(RuntimeError, match="runs already"):
            async with app.running():
                pass
