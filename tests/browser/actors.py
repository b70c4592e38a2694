"""The actors that pages call, and the one that serves the pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from holdfast import (
    Actor,
    BigInt,
    Connection,
    Context,
    Event,
    EventStream,
    Request,
    Response,
    UserError,
    WebSocket,
    action,
    asgi_handler,
    event_stream,
    setup,
)
from tests.browser.chromium import BUILT


async def empty(request: StarletteRequest) -> HTMLResponse:
    """A page with nothing on it."""
    return HTMLResponse('<!doctype html><title>empty</title><link rel="icon" href="data:,">')


pages = StaticFiles(directory=BUILT / "pages", html=True, check_dir=False)


class Site(Actor):
    """Serves the pages of the tests."""

    interleave = True
    on_request = asgi_handler(
        Starlette(routes=[Route("/empty", empty), Mount("/", pages)]),
    )


@dataclass
class Count:
    value: int = 0


class Counter(Actor[Count]):
    """Counts, and tells of it."""

    state = Count
    vars = set
    emits = {"count": Event(int)}

    @action
    async def increment(self, c: Context[Count], by: int = 1) -> int:
        if by < 0:
            raise UserError("it only grows", code="negative", metadata={"by": by})
        c.state.value += by
        c.broadcast("count", c.state.value)
        for stream in c.vars:
            await stream.send(c.state.value, event="count")
        return c.state.value

    @action(read_only=True)
    def value(self, c: Context[Count]) -> int:
        return c.state.value

    @action
    async def crash(self, c: Context[Count]) -> None:
        raise RuntimeError("a secret")

    @action
    async def echo(self, c: Context[Count], value: Any = None) -> Any:
        return value

    @action
    async def big(self, c: Context[Count]) -> BigInt:
        return BigInt(2**60)

    @action(name="upTo")
    async def up_to(self, c: Context[Count], end: int) -> AsyncIterator[int]:
        for number in range(end):
            yield number

    async def on_request(self, c: Context[Count], request: Request) -> Response:
        """`/follow`, `/count` and `/mirror`."""
        if request.path == "/follow":
            stream = EventStream(c)
            await stream.send("here", event="hello", retry_s=0.05)
            c.vars.add(stream)
            return Response(stream)
        if request.path == "/count":
            return Response(event_stream(self.ten()))
        if request.path == "/mirror":
            return Response(await request.body(), headers={"x-method": request.method})
        return Response(request.path, status=404)

    async def ten(self) -> AsyncIterator[int]:
        for number in range(10):
            yield number

    async def on_websocket(self, c: Context[Count], websocket: WebSocket) -> None:
        """Sends back what comes, and counts it."""
        await websocket.send(f"hello {websocket.query.get('name', 'nobody')}")
        async for message in websocket:
            if message == "close":
                await websocket.close(4001, "as you wish")
            else:
                c.state.value += 1
                await websocket.send(message)


@dataclass
class Lines:
    lines: list[str] = field(default_factory=list)


@dataclass
class Guest:
    name: str = "nobody"


class Room(Actor[Lines, Guest]):
    """Knows who is there by the parameters of connections."""

    state = Lines

    async def create_conn_state(self, c: Context[Lines, Guest], params: Any) -> Guest:
        name = params.get("name", "nobody") if isinstance(params, dict) else "nobody"
        if name == "banned":
            raise UserError("you may not come in", code="banned", metadata={"for": "ever"})
        return Guest(name)

    async def on_connect(self, c: Context[Lines, Guest], conn: Connection[Guest]) -> None:
        conn.send("hello", conn.state.name)
        c.broadcast("came", conn.state.name)

    async def on_disconnect(self, c: Context[Lines, Guest], conn: Connection[Guest]) -> None:
        c.broadcast("left", conn.state.name)

    @action
    async def say(self, c: Context[Lines, Guest], text: str) -> int:
        assert c.conn is not None
        c.state.lines.append(f"{c.conn.state.name}: {text}")
        c.broadcast("said", c.state.lines[-1])
        return len(c.state.lines)

    @action(read_only=True)
    def lines(self, c: Context[Lines, Guest]) -> list[str]:
        return c.state.lines

    @action(read_only=True)
    async def slowly(self, c: Context[Lines, Guest]) -> None:
        await asyncio.Event().wait()


registry = setup(use={"site": Site, "counter": Counter, "room": Room})
