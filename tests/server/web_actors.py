"""Actors with raw handlers, for the tests of requests and WebSockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from holdfast import (
    Actor,
    Context,
    EventStream,
    Request,
    Response,
    UserError,
    WebSocket,
    action,
    event_stream,
    setup,
)
from holdfast.connection import Connection
from tests.server.stage import stage


@dataclass
class Page:
    hits: int = 0
    notes: list[str] = field(default_factory=list)


class Web(Actor[Page]):
    """Answers by path, so that a test says what it wants done."""

    state = Page
    action_timeout_s = 5
    vars = set

    async def on_request(self, c: Context[Page], request: Request) -> Any:
        return await getattr(self, "path_" + request.path.strip("/").split("/")[0])(c, request)

    async def path_hit(self, c: Context[Page], request: Request) -> Response:
        c.state.hits += 1
        return Response(str(c.state.hits), 201, {"x-kind": "hit"})

    async def path_echo(self, c: Context[Page], request: Request) -> Response:
        body = await request.body()
        return Response(body, headers=[("x-seen", value) for value in request.headers.values()])

    async def path_where(self, c: Context[Page], request: Request) -> Response:
        said = {
            "method": request.method,
            "url": request.url,
            "path": request.path,
            "query": dict(request.query),
            "all": request.query.get_all("a"),
            "raw": str(request.query),
        }
        return Response.from_json(said)

    async def path_json(self, c: Context[Page], request: Request) -> Response:
        return Response.from_json(await request.json())

    async def path_limited(self, c: Context[Page], request: Request) -> Response:
        return Response(await request.body(limit=10))

    async def path_upload(self, c: Context[Page], request: Request) -> Response:
        """Notes each part as it comes: a turn each."""
        async for part in request.stream():
            c.state.notes.append(part.decode())
        return Response(str(len(c.state.notes)))

    async def path_careful(self, c: Context[Page], request: Request) -> Response:
        """Notes that the client has gone."""
        try:
            async for part in request.stream():
                c.state.notes.append(part.decode())
        finally:
            c.state.notes.append("end")
        return Response("done")

    async def path_count(self, c: Context[Page], request: Request) -> Response:
        async def numbers() -> AsyncIterator[str]:
            try:
                for number in range(3):
                    c.state.hits += 1
                    yield f"{number} "
            finally:
                c.state.notes.append("closed")

        return Response(numbers(), headers={"content-type": "text/x-numbers"})

    async def path_upper(self, c: Context[Page], request: Request) -> Response:
        async def louder() -> AsyncIterator[bytes]:
            async for part in request.stream():
                c.state.notes.append(part.decode())
                yield part.upper()

        return Response(louder())

    async def path_events(self, c: Context[Page], request: Request) -> Response:
        async def events() -> AsyncIterator[Any]:
            yield "one\ntwo"
            yield {"n": 1}

        return Response(event_stream(events()))

    async def path_follow(self, c: Context[Page], request: Request) -> Response:
        stream = EventStream(c, keepalive_s=15)
        c.vars.add(stream)
        return Response(stream)

    async def path_nothing(self, c: Context[Page], request: Request) -> None:
        c.state.hits += 1

    async def path_refuse(self, c: Context[Page], request: Request) -> Response:
        c.state.hits += 1
        raise UserError("no", code="refused", metadata={"why": "because"})

    async def path_crash(self, c: Context[Page], request: Request) -> Response:
        c.state.hits += 1
        raise ZeroDivisionError("a secret")

    async def path_half(self, c: Context[Page], request: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            c.state.hits += 1
            yield "half"
            c.state.hits += 10
            raise ZeroDivisionError("a secret")

        return Response(parts())

    async def path_wait(self, c: Context[Page], request: Request) -> Response:
        c.state.hits += 1
        try:
            await stage.pause("wait")
        except asyncio.CancelledError:
            stage.log.append("cancelled")
            raise
        return Response("waited")

    async def path_big(self, c: Context[Page], request: Request) -> Response:
        c.state.hits += 1
        return Response(b"x" * int(request.query["size"]))

    async def path_destroy(self, c: Context[Page], request: Request) -> Response:
        c.destroy()
        return Response("gone")

    @action
    async def add(self, c: Context[Page], count: int) -> int:
        c.state.hits += count
        return c.state.hits

    @action
    async def tell(self, c: Context[Page], data: Any, fails: bool = False) -> int:
        """Send an event to whoever follows."""
        for stream in list(c.vars):
            if stream.closed:
                c.vars.discard(stream)
            else:
                await stream.send(data)
        if fails:
            raise UserError("no")
        return len(c.vars)

    @action
    async def finish(self, c: Context[Page]) -> None:
        for stream in c.vars:
            stream.close()

    @action
    async def rest(self, c: Context[Page]) -> None:
        c.sleep()

    @action(read_only=True)
    def page(self, c: Context[Page]) -> list[Any]:
        return [c.state.hits, list(c.state.notes)]


class Plain(Actor[Page]):
    """Without raw handlers."""

    state = Page

    @action(read_only=True)
    def page(self, c: Context[Page]) -> list[Any]:
        return [c.state.hits, list(c.state.notes)]


@dataclass
class Guest:
    name: str
    seen: int = 0


class Club(Actor[Page, Guest]):
    """Whose hooks of connections see every client."""

    state = Page

    async def create_conn_state(self, c: Context[Page, Guest], params: Any) -> Guest:
        if params.get("name") == "mallory":
            raise UserError("you are not on the list", code="denied")
        return Guest(params.get("name", ""))

    async def on_connect(self, c: Context[Page, Guest], conn: Connection[Guest]) -> None:
        if conn.state.name:
            c.state.notes.append(f"+{conn.state.name}")

    async def on_disconnect(self, c: Context[Page, Guest], conn: Connection[Guest]) -> None:
        if conn.state.name:
            c.state.notes.append(f"-{conn.state.name}")

    async def on_request(self, c: Context[Page, Guest], request: Request) -> Response:
        c.state.notes.append(f"{request.path} of {c.conn.state.name}")
        if request.path == "/fail":
            raise UserError("no")
        if request.path == "/parts":
            return Response(self.parts(c))
        return Response(c.conn.state.name)

    async def parts(self, c: Context[Page, Guest]) -> AsyncIterator[str]:
        for _ in range(2):
            c.conn.state.seen += 1
            yield f"{c.conn.state.seen}"

    async def on_websocket(self, c: Context[Page, Guest], websocket: WebSocket) -> None:
        async for message in websocket:
            c.conn.state.seen += 1
            await websocket.send(f"{c.conn.state.name} {c.conn.state.seen} {message!s}")

    @action(read_only=True)
    def page(self, c: Context[Page, Guest]) -> list[Any]:
        return [c.state.hits, list(c.state.notes)]


registry = setup(use={"web": Web, "plain": Plain, "club": Club})
