"""The actors that clients of the gateway call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from holdfast import (
    Actor,
    BigInt,
    Connection,
    Context,
    Request,
    Response,
    UserError,
    WebSocket,
    action,
    setup,
)
from tests.server.stage import stage


@dataclass
class Count:
    value: int = 0


class Counter(Actor[Count]):
    async def create_state(self, c: Context[Count], input: dict[str, int] | None) -> Count:
        return Count((input or {}).get("start", 0))

    @action
    async def increment(self, c: Context[Count], by: int = 1) -> int:
        c.state.value += by
        c.broadcast("count", c.state.value)
        return c.state.value

    @action(read_only=True)
    def value(self, c: Context[Count]) -> int:
        return c.state.value

    @action
    async def echo(self, c: Context[Count], value: Any = None) -> Any:
        return value

    @action
    async def fail(self, c: Context[Count]) -> None:
        raise UserError("not today", code="closed", metadata={"until": [1, None]})

    @action
    async def crash(self, c: Context[Count]) -> None:
        raise RuntimeError("a secret")

    @action
    async def put(self, c: Context[Count], key: str, value: bytes) -> None:
        await c.kv.put(key, value)

    @action
    async def flood(self, c: Context[Count], count: int, size: int) -> None:
        for number in range(count):
            c.broadcast("flood", number, "x" * size)

    @action
    async def marked(self, c: Context[Count]) -> list[Any]:
        return [BigInt(5), 5, 2**60]

    @action
    async def vanish(self, c: Context[Count]) -> None:
        c.destroy()

    @action
    async def ask_missing(self, c: Context[Count]) -> None:
        stage.log.append("asked")
        await c.client.get("counter", ["is missing"]).action("value")


@dataclass
class Guests:
    names: list[str] = field(default_factory=list)


@dataclass
class Guest:
    name: str = "nobody"


class Door(Actor[Guests, Guest]):
    state = Guests

    async def on_before_connect(self, c: Context[Guests, Guest], params: Any) -> None:
        if isinstance(params, dict) and params.get("banned"):
            raise UserError("you may not come in", code="banned", metadata={"for": "ever"})

    async def create_conn_state(self, c: Context[Guests, Guest], params: Any) -> Guest:
        return Guest((params or {}).get("name", "nobody"))

    async def on_connect(self, c: Context[Guests, Guest], conn: Connection[Guest]) -> None:
        c.state.names.append(conn.state.name)
        c.broadcast("came", conn.state.name)
        conn.send("hello", conn.state.name)

    async def on_disconnect(self, c: Context[Guests, Guest], conn: Connection[Guest]) -> None:
        c.state.names.remove(conn.state.name)
        stage.mark(f"{conn.state.name} left")

    @action(read_only=True)
    def names(self, c: Context[Guests, Guest]) -> list[str]:
        return c.state.names

    @action
    async def me(self, c: Context[Guests, Guest]) -> str:
        assert c.conn is not None
        return c.conn.state.name

    @action
    async def show_out(self, c: Context[Guests, Guest], name: str) -> None:
        for conn in list(c.conns):
            if conn.state.name == name:
                conn.disconnect("good bye")


class Waiter(Actor):
    interleave = True

    @action
    async def wait(self, c: Context, name: str) -> str:
        await stage.pause(name)
        return name

    @action
    async def pass_by(self, c: Context) -> str:
        return "passed"

    @action
    async def stop(self, c: Context) -> None:
        c.destroy()


class Needy(Actor):
    """Cannot be made without another actor."""

    async def on_create(self, c: Context, input: object) -> None:
        stage.log.append("asked")
        await c.client.get("counter", ["is missing"]).action("value")

    @action
    async def nothing(self, c: Context) -> None:
        pass


class Site(Actor[Guests, Guest]):
    """Speaks HTTP and WebSocket by itself."""

    state = Guests

    async def create_conn_state(self, c: Context[Guests, Guest], params: Any) -> Guest:
        return Guest((params or {}).get("name", "nobody"))

    async def on_request(self, c: Context[Guests, Guest], request: Request) -> Response:
        page = request.path.strip("/").partition("/")[0]
        if page == "parts":
            return Response(self.parts(c), headers={"content-type": "text/plain"})
        if page == "broken":
            return Response(self.broken(c))
        if page == "refuse":
            raise UserError("no", code="refused", metadata={"why": "because"})
        if page == "upload":
            sizes = [len(part) async for part in request.stream()]
            return Response(str(sum(sizes)))
        seen = {
            "method": request.method,
            "url": request.url,
            "headers": {name: request.headers[name] for name in request.headers},
            "body": (await request.body()).decode("latin-1"),
            "who": c.conn.state.name if c.conn is not None else None,
        }
        return Response.from_json(seen, status=207, headers={"x-site": "mine"})

    async def parts(self, c: Context[Guests, Guest]) -> AsyncIterator[str]:
        for number in range(3):
            c.state.names.append(str(number))
            yield f"{number};"
            await stage.pause(f"part {number}")

    async def broken(self, c: Context[Guests, Guest]) -> AsyncIterator[str]:
        yield "begun"
        raise RuntimeError("in the middle")

    async def on_websocket(self, c: Context[Guests, Guest], websocket: WebSocket) -> None:
        if websocket.path == "/chosen":
            await websocket.accept("chat", headers={"x-site": "mine"})
        if websocket.path == "/refuse":
            raise UserError("no", code="refused")
        await websocket.send(f"{websocket.url} {websocket.subprotocols}")
        async for message in websocket:
            if message == "close":
                await websocket.close(4001, "bye")
            else:
                c.state.names.append(str(message))
                await websocket.send(message)
        stage.mark("socket closed")

    @action(read_only=True)
    def names(self, c: Context[Guests, Guest]) -> list[str]:
        return c.state.names


registry = setup(
    use={"counter": Counter, "door": Door, "needy": Needy, "site": Site, "waiter": Waiter}
)
