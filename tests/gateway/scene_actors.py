"""The actors of the scenarios in tests/gateway/node/scenes.mjs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from holdfast import (
    Actor,
    BigInt,
    Context,
    Request,
    Response,
    UserError,
    WebSocket,
    action,
    setup,
)
from tests.gateway import actors
from tests.gateway.actors import Count


class Counter(actors.Counter):
    @action(name="nested.value", read_only=True)
    def nested_value(self, c: Context[Count]) -> int:
        return c.state.value

    @action(read_only=True, name="key")
    def its_key(self, c: Context[Count]) -> list[str]:
        return c.key

    @action
    async def nothing(self, c: Context[Count]) -> None: ...

    @action
    async def fail(self, c: Context[Count]) -> None:
        raise UserError(
            "not today: zoë", code="closed", metadata={"until": [1, None], "tag": ["$x", 1]}
        )

    @action
    async def take(self, c: Context[Count], text: str) -> int:
        return len(text)

    @action
    async def give(self, c: Context[Count], size: int) -> str:
        return "x" * size

    @action(name="destroy")
    async def end(self, c: Context[Count]) -> None:
        c.destroy()


class Waiter(Actor):
    """Turns that wait for one another; who waits is known in memory only."""

    interleave = True

    async def create_vars(self, c: Context) -> dict[str, asyncio.Event]:
        return {}

    @action
    async def wait(self, c: Context, name: str) -> str:
        released = c.vars[name] = asyncio.Event()
        try:
            await released.wait()
        finally:
            del c.vars[name]
        return name

    @action
    async def waiting(self, c: Context) -> list[str]:
        return list(c.vars)

    @action
    async def release(self, c: Context, name: str, said: str) -> str:
        c.vars[name].set()
        return said


class Values(Actor):
    @action
    async def echo(self, c: Context, value: Any = None) -> Any:
        return value

    @action
    async def bigint(self, c: Context, value: int) -> BigInt:
        return BigInt(value + 1)

    @action
    async def later(self, c: Context, at: datetime) -> datetime:
        return at + timedelta(seconds=1)

    @action
    async def reversed(self, c: Context, data: bytes) -> bytes:
        return data[::-1]

    @action
    async def kinds(self, c: Context, *values: Any) -> list[str]:
        return [type(value).__name__ for value in values]

    @action
    async def tags(self, c: Context, tags: set[str]) -> set[str]:
        return {max(tags)}

    @action
    async def squares(self, c: Context, count: int) -> dict[int, int]:
        return {number: number**2 for number in range(1, count + 1)}

    @action(name="withDefault")
    async def with_default(self, c: Context, text: str, more: str = "none") -> str:
        return f"{text}-{more}"


@dataclass
class Lines:
    lines: list[str] = field(default_factory=list)


class Room(Actor[Lines, Any]):
    state = Lines

    async def create_conn_state(self, c: Context[Lines, Any], params: Any) -> Any:
        if isinstance(params, dict) and params.get("banned"):
            raise UserError("you may not come in", code="banned", metadata={"for": "ever"})
        return params

    @action
    async def say(self, c: Context[Lines, Any], text: str, *more: Any) -> None:
        c.state.lines.append(text)
        c.broadcast("said", text, *more)

    @action(read_only=True)
    def lines(self, c: Context[Lines, Any]) -> list[str]:
        return c.state.lines

    @action(name="tellValues")
    async def tell_values(self, c: Context[Lines, Any]) -> None:
        c.broadcast("values", BigInt(5), b"\x01\x02", {"a"})

    @action
    async def whisper(self, c: Context[Lines, Any], text: str) -> None:
        c.conn.send("whisper", text)

    @action
    async def me(self, c: Context[Lines, Any]) -> Any:
        return c.conn.state

    @action
    async def present(self, c: Context[Lines, Any]) -> int:
        return len(list(c.conns))

    @action(name="dropMe")
    async def drop_me(self, c: Context[Lines, Any]) -> None:
        c.conn.disconnect("dropped")


class Site(Actor):
    """Speaks HTTP and WebSocket by itself."""

    async def on_request(self, c: Context, request: Request) -> Response:
        if request.path == "/refuse":
            raise UserError("no", code="refused")
        if request.path == "/missing":
            return Response("nothing here", status=404)
        if request.path == "/mirror":
            return Response(await request.body())
        seen = {
            "method": request.method,
            "path": request.raw_path,
            "query": str(request.query),
            "mine": request.headers.get("x-mine"),
            "body": (await request.body()).decode(),
        }
        return Response.from_json(seen, status=207, headers={"x-site": "ours"})

    async def on_websocket(self, c: Context, websocket: WebSocket) -> None:
        await websocket.send(f"{websocket.raw_path}?{websocket.query}")
        async for message in websocket:
            if message == "close":
                await websocket.close(4001, "bye")
            else:
                await websocket.send(message)


registry = setup(
    use={"counter": Counter, "room": Room, "site": Site, "values": Values, "waiter": Waiter}
)
