"""ASGI applications as handlers of an actor, and responses that are applications."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as StarletteRequest
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket as StarletteSocket

from holdfast import Actor, Context, Request, action, asgi_handler, setup
from holdfast_server.core.errors import HoldfastError
from tests.server.raw_front import Front, TestExchange, TestSocket
from tests.server.virtual import World, run


@dataclass
class Shelf:
    items: list[str] = field(default_factory=list)


async def listing(request: StarletteRequest) -> JSONResponse:
    c = request.scope["holdfast"]
    return JSONResponse({"key": c.key, "items": c.state.items})


async def put(request: StarletteRequest) -> PlainTextResponse:
    c = request.scope["holdfast"]
    c.state.items.append((await request.body()).decode())
    return PlainTextResponse("put", 201, {"x-name": request.path_params["name"]})


async def lines(request: StarletteRequest) -> StreamingResponse:
    c = request.scope["holdfast"]

    async def made() -> AsyncIterator[str]:
        for number in range(3):
            c.state.items.append(str(number))
            yield f"{number}\n"

    return StreamingResponse(made(), media_type="text/plain")


async def fails(request: StarletteRequest) -> PlainTextResponse:
    request.scope["holdfast"].state.items.append("lost")
    raise ZeroDivisionError


async def teapot(request: StarletteRequest) -> PlainTextResponse:
    request.scope["holdfast"].state.items.append("kept")
    raise HTTPException(418, "a teapot")


async def chat(websocket: StarletteSocket) -> None:
    c = websocket.scope["holdfast"]
    if websocket.query_params.get("who") == "mallory":
        await websocket.close(4003, "go away")
        return
    await websocket.accept(subprotocol="chat", headers=[(b"x-room", b"1")])
    async for text in websocket.iter_text():
        c.state.items.append(text)
        await websocket.send_text(text.upper())
        await websocket.send_bytes(b"\x00")
        if text == "close":
            await websocket.close(4000, "bye")
            return
    c.state.items.append("left")


app = Starlette(
    routes=[
        Route("/items", listing),
        Mount("/items", routes=[Route("/{name}", put, methods=["PUT"])]),
        Route("/lines", lines),
        Route("/fails", fails),
        Route("/teapot", teapot),
        WebSocketRoute("/chat", chat),
    ]
)


class Mounted(Actor[Shelf]):
    state = Shelf
    on_request = on_websocket = asgi_handler(app)

    @action(read_only=True)
    def items(self, c: Context[Shelf]) -> list[str]:
        return list(c.state.items)


class Returning(Actor[Shelf]):
    """An ordinary handler that gives responses of Starlette's."""

    state = Shelf
    file: Path

    async def on_request(self, c: Context[Shelf], request: Request) -> Any:
        c.state.items.append(request.path)
        if request.path == "/file":
            return FileResponse(self.file)
        if request.path == "/moved":
            return RedirectResponse("/elsewhere")
        if request.path == "/stream":
            return StreamingResponse(self.parts(), status_code=202)
        if request.path == "/listening":
            return listening
        if request.path == "/none":
            return silent
        if request.path == "/odd":
            return odd
        return JSONResponse({"a": 1}, headers={"x-a": "b"})

    async def parts(self) -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    @action(read_only=True)
    def items(self, c: Context[Shelf]) -> list[str]:
        return list(c.state.items)


async def listening(scope: Any, receive: Any, send: Any) -> None:
    """Waits for its client to leave beside its answer, as frameworks do."""

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope["holdfast"].state.items.append("over")

    listener = asyncio.create_task(listen())
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for part in (b"a", b"b"):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})
    await listener


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """An application that does not answer."""


async def odd(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.body", "body": b"without a start"})


registry = setup(use={"mounted": Mounted, "returning": Returning})


async def items(world: World, name: str = "mounted") -> list[str]:
    found: list[str] = await world.call("items", name=name)
    return found


async def refused(task: asyncio.Task[None]) -> str:
    with pytest.raises(HoldfastError) as caught:
        await task
    return f"{caught.value.group}.{caught.value.code}"


def test_an_application_answers_with_the_context_of_the_actor_at_hand() -> None:
    async def body(world: World) -> None:
        front = Front(world, "mounted")
        answer = await front.post(b"jam", "/items/a%20b")
        assert answer.status == 405
        exchange = TestExchange(b"jam")
        await front.request(exchange, "PUT", "/items/a%20b", length=3)
        assert (exchange.status, exchange.body) == (201, b"put")
        assert exchange.header("x-name") == "a b"
        listed = await front.get("/items?x=1")
        assert listed.body == b'{"key":["a"],"items":["jam"]}'
        assert (await front.get("/absent")).status == 404
        world.crash()
        assert await items(world) == ["jam"]

    run(registry, body)


def test_a_streamed_answer_of_an_application_is_a_turn_for_each_part() -> None:
    async def body(world: World) -> None:
        front, exchange = Front(world, "mounted"), TestExchange()
        task = front.request(exchange, "GET", "/lines", length=0)
        await exchange.until(1)
        exchange.leave()
        assert await refused(task) == "action.cancelled"
        assert len(await items(world)) < 3
        whole = await front.get("/lines", key="b")
        assert whole.sent == [b"0\n", b"1\n", b"2\n"]
        assert whole.header("content-type") == "text/plain; charset=utf-8"

    run(registry, body)


def test_what_an_application_raises_undoes_its_turn_and_what_it_answers_does_not() -> None:
    async def body(world: World) -> None:
        front = Front(world, "mounted")
        failed = front.request(TestExchange(), "GET", "/fails", length=0)
        assert await refused(failed) == "internal.internal_error"
        assert await items(world) == []
        answer = await front.get("/teapot")
        assert (answer.status, answer.body) == (418, b"a teapot")
        assert await items(world) == ["kept"]

    run(registry, body)


def test_an_application_serves_a_websocket() -> None:
    async def body(world: World) -> None:
        front, socket = Front(world, "mounted"), TestSocket()
        front.connect(socket, "/chat", subprotocols=("chat",))
        socket.say("one")
        await socket.hears("ONE", b"\x00")
        assert socket.accepted == "chat"
        socket.say("close")
        assert await socket.closes() == (4000, "bye")
        other = TestSocket()
        front.connect(other, "/chat", subprotocols=("chat",))
        other.say("two")
        await other.hears("TWO", b"\x00")
        other.hang_up(1001)
        await world.pass_by(1)
        assert await items(world) == ["one", "close", "two", "left"]
        kept_out = TestSocket()
        front.connect(kept_out, "/chat?who=mallory", subprotocols=("chat",))
        assert await kept_out.closes() == (4003, "go away")
        nowhere = TestSocket()
        front.connect(nowhere, "/nowhere")
        assert (await nowhere.closes())[0] in (1000, 1008)

    run(registry, body)


def test_a_response_of_starlette_is_a_response(tmp_path: Path) -> None:
    Returning.file = tmp_path / "data.bin"
    Returning.file.write_bytes(bytes(range(256)))

    async def body(world: World) -> None:
        front = Front(world, "returning")
        answer = await front.get("/")
        assert (answer.status, answer.body) == (200, b'{"a":1}')
        assert answer.header("x-a") == "b"
        streamed = await front.get("/stream")
        assert (streamed.status, streamed.sent) == (202, [b"a", b"b"])
        moved = await front.get("/moved")
        assert (moved.status, moved.header("location")) == (307, "/elsewhere")

    run(registry, body)


def test_an_application_may_wait_for_its_client_to_leave_beside_its_answer() -> None:
    async def body(world: World) -> None:
        answer = await Front(world, "returning").get("/listening")
        assert answer.sent == [b"a", b"b"]
        assert await items(world, "returning") == ["/listening", "over"]

    run(registry, body)


@pytest.mark.parametrize(("path", "code"), [("/none", "internal"), ("/odd", "internal")])
def test_an_application_that_does_not_answer_fails(path: str, code: str) -> None:
    async def body(world: World) -> None:
        task = Front(world, "returning").request(TestExchange(), "GET", path, length=0)
        assert await refused(task) == f"{code}.internal_error"
        assert await items(world, "returning") == []

    run(registry, body)


@pytest.mark.parametrize("value", [None, 3, "app", Starlette])
def test_what_is_no_application_cannot_be_mounted(value: Any) -> None:
    with pytest.raises(TypeError):
        asgi_handler(value)
