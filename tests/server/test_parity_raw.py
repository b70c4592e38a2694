"""What the driver suite of RivetKit asks of raw requests and WebSockets; see tests/PARITY.md."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfast import Actor, Context, Request, Response, WebSocket, action, setup
from tests.server.raw_front import Front, TestExchange, TestSocket
from tests.server.stage import stage
from tests.server.virtual import World, run


@pytest.fixture(autouse=True)
def quiet() -> None:
    stage.clear()


@dataclass
class Page:
    hits: int = 0
    lines: list[str] = field(default_factory=list)


class Site(Actor[Page]):
    """Answers requests, and takes its time over messages and over the end of a socket."""

    state = Page
    vars = dict

    async def on_before_connect(self, c: Context[Page], params: Any) -> None:
        if params.get("at"):
            stage.log.append("let in")
            await stage.pause(params["at"])

    async def on_wake(self, c: Context[Page]) -> None:
        stage.log.append("wake")
        c.vars["name"] = "kept"

    async def on_sleep(self, c: Context[Page]) -> None:
        stage.log.append("sleep")
        for websocket in c.websockets:
            await websocket.send("good night")
        if stage.kept.get("slowly"):
            await asyncio.sleep(3)
            for websocket in c.websockets:
                await websocket.send("sleep well")

    async def on_request(self, c: Context[Page], request: Request) -> Response:
        await request.body()
        c.state.hits += 1
        return Response(str(c.state.hits))

    async def on_websocket(self, c: Context[Page], websocket: WebSocket) -> None:
        await websocket.send("hello")
        async for message in websocket:
            if message == "for ever":
                await self._write_for_ever(c)
            await asyncio.sleep(2)
            c.state.lines.append(f"{message!s}")
        await asyncio.sleep(2)
        await c.kv.put("closed", str(websocket.close_code))
        c.state.lines.append(f"closed {c.vars['name']}")

    async def _write_for_ever(self, c: Context[Page]) -> None:
        async def write() -> None:
            try:
                for _ in range(1_000_000):
                    async with c.turn():
                        c.state.hits += 1
                    stage.kept["hits"] = c.vars["hits"] = c.vars.get("hits", 0) + 1
                    await asyncio.sleep(1)
            finally:
                stage.log.append(f"cut with {c.vars['name']}")

        c.keep_awake(write())

    @action
    async def rest(self, c: Context[Page]) -> None:
        c.sleep()

    @action
    async def end(self, c: Context[Page]) -> None:
        c.destroy()

    @action
    async def found(self, c: Context[Page]) -> list[Any]:
        return [c.state.hits, c.state.lines, await c.kv.get("closed")]


registry = setup(use={"site": Site})


async def found(world: World) -> list[Any]:
    seen: list[Any] = await world.call("found", name="site")
    return seen


async def opened(world: World, **options: Any) -> TestSocket:
    socket = TestSocket()
    Front(world, "site").connect(socket, **options)
    await socket.hears("hello")
    return socket


def awake(world: World) -> bool:
    return len(world.node.catalog) > 0


def test_requests_and_sockets_reach_the_actor_that_is_there_now() -> None:
    async def body(world: World) -> None:
        front = Front(world, "site")
        assert [(await front.get()).body for _ in range(2)] == [b"1", b"2"]
        socket = await opened(world)
        await world.call("end", name="site")
        assert (await socket.closes())[1] == "actor.destroyed"

        assert (await front.get()).body == b"1"
        again = await opened(world)
        again.hang_up()
        await world.pass_by(10)
        assert (await found(world))[1] == ["closed kept"]

    run(registry, body)


def test_a_socket_and_a_request_keep_their_actor_awake_until_they_end() -> None:
    async def body(world: World) -> None:
        socket = await opened(world)
        await world.pass_by(600)
        assert awake(world)
        socket.hang_up()
        await world.pass_by(60)
        assert not awake(world)

        exchange = TestExchange(ended=False)
        request = Front(world, "site").request(exchange, "POST")
        await world.pass_by(600)
        assert awake(world)
        exchange.end()
        await request
        assert exchange.body == b"1"
        await world.pass_by(60)
        assert not awake(world)
        assert stage.log == ["wake", "sleep"] * 2

    run(registry, body)


@pytest.mark.parametrize("what", ["message", "close"])
def test_what_a_socket_has_said_is_handled_before_its_actor_is_asleep(what: str) -> None:
    async def body(world: World) -> None:
        socket = await opened(world)
        if what == "message":
            socket.say("last")
        else:
            socket.hang_up(4000)
        await world.pass_by(1)
        await world.call("rest", name="site")
        await world.pass_by(20)
        assert not awake(world)

        _, lines, closed = await found(world)
        assert lines == (["last", "closed kept"] if what == "message" else ["closed kept"])
        assert closed == ("1001" if what == "message" else "4000")
        assert stage.log == ["wake", "sleep", "wake"]

    run(registry, body)


@pytest.mark.parametrize("slowly", [False, True])
def test_on_sleep_speaks_to_sockets_before_they_are_closed(slowly: bool) -> None:
    async def body(world: World) -> None:
        stage.kept["slowly"] = slowly
        socket = await opened(world)
        await world.call("rest", name="site")
        assert await socket.closes() == (1001, "websocket.going_away")
        assert socket.heard == ["good night", "sleep well"][: 1 + slowly]

    run(registry, body)


def test_handlers_that_exceed_the_grace_are_cut_and_keep_what_they_committed() -> None:
    async def body(world: World) -> None:
        sockets = [await opened(world) for _ in range(3)]
        for socket in sockets:
            socket.say("for ever")
        await world.pass_by(5)
        await world.call("rest", name="site")
        await world.pass_by(60)
        assert not awake(world)
        written = stage.kept["hits"]
        assert stage.log == ["wake", "sleep", *["cut with kept"] * 3]
        await world.pass_by(60)
        assert (await found(world))[0] == written == stage.kept["hits"]

    run(registry, body)


def test_a_socket_that_comes_during_a_sleep_opens_in_the_next_life() -> None:
    async def body(world: World) -> None:
        stage.kept["slowly"] = True
        await found(world)
        await world.call("rest", name="site")
        await world.pass_by(1)
        assert stage.log == ["wake", "sleep"]
        await opened(world)
        assert stage.log == ["wake", "sleep", "wake"]

    run(registry, body)


@pytest.mark.parametrize("what", ["request", "websocket"])
def test_what_is_let_in_while_its_actor_falls_asleep_runs_once(what: str) -> None:
    async def body(world: World) -> None:
        front, socket, exchange = Front(world, "site"), TestSocket(), TestExchange()
        params = {"at": "door"}
        if what == "request":
            serving = front.request(exchange, params=params)
        else:
            serving = front.connect(socket, params=params)
        await stage.reached("door")
        await world.call("rest", name="site")
        await world.pass_by(1)
        assert not awake(world)

        stage.let("door")

        if what == "request":
            await serving
            assert exchange.body == b"1"
        else:
            await socket.hears("hello")
        assert (await found(world))[0] == (what == "request")
        assert stage.log == ["wake", "let in", "sleep", "wake", "let in"]

    run(registry, body)
