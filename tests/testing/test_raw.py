"""Raw requests and WebSockets of a harness's client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from holdfast import (
    Actor,
    ActorError,
    Context,
    EventStream,
    Request,
    Response,
    UserError,
    WebSocket,
    WebSocketClosed,
    action,
    setup,
)
from holdfast.testing import blocking_harness, harness
from holdfast.testing.errors import HarnessError


@dataclass
class Board:
    count: int = 0


class Desk(Actor[Board]):
    state = Board
    vars = set
    sleep_timeout_s = 30

    async def on_request(self, c: Context[Board], request: Request) -> Response:
        if request.path == "/refuse":
            raise UserError("no", code="refused", metadata={"why": 1})
        if request.path == "/slow":
            await asyncio.sleep(10)
        if request.path == "/parts":
            return Response(self.parts(c))
        if request.path == "/break":
            return Response(self.parts(c, breaks=True))
        if request.path == "/follow":
            stream = EventStream(c)
            c.vars.add(stream)
            return Response(stream)
        c.state.count += 1
        body = await request.body()
        said = f"{request.method} {request.url} {dict(request.query)} {body.decode()}"
        return Response(said, 201, {"x-count": str(c.state.count)})

    async def parts(self, c: Context[Board], breaks: bool = False) -> AsyncIterator[str]:
        for number in range(3):
            c.state.count += 1
            await asyncio.sleep(1)
            yield str(number)
            if breaks:
                raise ZeroDivisionError

    async def on_websocket(self, c: Context[Board], websocket: WebSocket) -> None:
        if websocket.path == "/refuse":
            raise UserError("no", code="refused")
        if websocket.subprotocols:
            await websocket.accept(websocket.subprotocols[-1])
        await websocket.send(f"hello {websocket.query.get('name')}")
        async for message in websocket:
            c.state.count += 1
            await websocket.send(message)
            if message == "bye":
                await websocket.close(4001, "bye")

    @action
    async def tick(self, c: Context[Board]) -> int:
        for stream in c.vars:
            await stream.send(c.state.count)
        for websocket in c.websockets:
            await websocket.send("tick")
        return c.state.count

    @action
    async def later(self, c: Context[Board]) -> None:
        c.schedule.after(timedelta(minutes=5), "tick")


class Guarded(Actor):
    async def on_before_connect(self, c: Context, params: Any) -> None:
        if params.get("token") != "sesame":
            raise UserError("bad token", code="forbidden")

    async def on_request(self, c: Context, request: Request) -> Response:
        return Response(c.conn.params["token"])


registry = setup(use={"desk": Desk, "guarded": Guarded})


async def test_a_fetch_gives_the_answer_of_the_handler() -> None:
    async with harness(registry) as h:
        desk = h.client.get_or_create(Desk, ["a"])
        answer = await desk.fetch("path?x=1", method="post", body="ä", headers={"x-y": "z"})
        assert (answer.status, answer.ok) == (201, True)
        assert answer.headers["X-Count"] == "1"
        assert await answer.text() == "POST http://holdfast.testing/path?x=1 {'x': '1'} ä"
        assert await desk.tick() == 1


async def test_a_fetch_waits_by_the_test_clock_and_has_the_timeout_of_its_handle() -> None:
    async with harness(registry) as h:
        desk = h.client.get_or_create(Desk, ["a"])
        began = h.now()
        assert (await desk.fetch("/slow")).ok
        assert h.now() - began == timedelta(seconds=10)
        with pytest.raises(ActorError) as caught:
            await desk.with_options(timeout=3).fetch("/slow")
        assert caught.value.code == "timed_out"


async def test_an_error_is_an_answer_in_json_as_the_gateway_gives_it() -> None:
    async with harness(registry) as h:
        desk = h.client.get_or_create(Desk, ["a"])
        refused = await desk.fetch("/refuse")
        assert refused.status == 400
        assert await refused.json() == {
            "group": "user",
            "code": "refused",
            "message": "no",
            "metadata": {"why": 1},
        }
        missing = await h.client.get(Desk, ["missing"]).fetch()
        assert (missing.status, (await missing.json())["code"]) == (404, "not_found")


async def test_an_answer_in_parts_is_read_as_it_comes() -> None:
    async with harness(registry) as h:
        desk = h.client.get_or_create(Desk, ["a"])
        answer = await desk.fetch("/parts")
        began, times = h.now(), []
        async for part in answer.stream():
            times.append((part, (h.now() - began).total_seconds()))
        assert times == [(b"0", 1.0), (b"1", 2.0), (b"2", 3.0)]
        broken = await desk.fetch("/break")
        with pytest.raises(ActorError) as caught:
            await broken.body()
        assert caught.value.code == "unavailable"


async def test_a_body_may_be_sent_in_parts() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    async with harness(registry) as h:
        answer = await h.client.get_or_create(Desk, ["a"]).fetch(method="PUT", body=parts())
        assert (await answer.text()).endswith(" ab")


async def test_event_streams_and_sockets_hear_of_other_turns() -> None:
    async with harness(registry) as h:
        desk = h.client.get_or_create(Desk, ["a"])
        answer = await desk.fetch("/follow")
        items = answer.stream()
        async with desk.websocket("/?name=ada") as websocket:
            assert await websocket.receive() == "hello ada"
            await desk.tick()
            assert await anext(items) == b"data: 0\n\n"
            assert await websocket.receive() == "tick"
            await desk.later()
            # Nobody sends before the timer fires: the clock goes there by itself.
            began = h.now()
            assert await websocket.receive() == "tick"
            assert h.now() - began == timedelta(minutes=5)
        await items.aclose()


async def test_a_websocket_echoes_and_tells_why_it_closes() -> None:
    async with harness(registry) as h:
        desk = h.client.get_or_create(Desk, ["a"])
        websocket = await desk.websocket(subprotocols=["one", "two"])
        assert websocket.subprotocol == "two"
        await websocket.receive()
        for message in ("text", b"\x00", "bye"):
            await websocket.send(message)
        assert [message async for message in websocket] == ["text", b"\x00", "bye"]
        assert (websocket.close_code, websocket.close_reason) == (4001, "bye")
        with pytest.raises(WebSocketClosed):
            await websocket.send("x")
        refused = await desk.websocket("/refuse")
        with pytest.raises(WebSocketClosed) as caught:
            await refused.receive()
        assert (caught.value.code, caught.value.reason) == (1011, "user.refused")


async def test_a_crash_breaks_what_is_open() -> None:
    async with harness(registry) as h:
        desk = h.client.get_or_create(Desk, ["a"])
        answer = await desk.fetch("/follow")
        websocket = await desk.websocket()
        await websocket.receive()
        await h.crash()
        with pytest.raises(ActorError):
            await answer.body()
        with pytest.raises(WebSocketClosed) as caught:
            await websocket.receive()
        assert caught.value.code == 1006
        assert (await desk.fetch("/x")).headers["x-count"] == "1"


async def test_params_go_to_the_hooks_of_connections() -> None:
    async with harness(registry) as h:
        guarded = h.client.get_or_create(Guarded, ["a"])
        assert (await guarded.fetch()).status == 400
        let_in = guarded.with_options(params={"token": "sesame"})
        assert await (await let_in.fetch()).text() == "sesame"


async def test_a_harness_has_no_url() -> None:
    async with harness(registry) as h:
        with pytest.raises(HarnessError, match="no gateway"):
            await h.client.get_or_create(Desk, ["a"]).get_gateway_url()


@pytest.mark.parametrize(
    ("path", "options", "error"),
    [
        ("/a#b", {}, ValueError),
        ("/a\nb", {}, ValueError),
        (b"/a", {}, TypeError),
        ("/", {"method": "A B"}, ValueError),
        ("/", {"body": 3}, TypeError),
        ("/", {"headers": {"a b": "c"}}, ValueError),
        ("/", {"headers": {"a": "b\r\nc: d"}}, ValueError),
        ("/", {"headers": {"a": 1}}, TypeError),
    ],
)
async def test_what_cannot_be_sent_is_refused_at_once(
    path: Any, options: Any, error: type[Exception]
) -> None:
    async with harness(registry) as h:
        with pytest.raises(error):
            await h.client.get_or_create(Desk, ["a"]).fetch(path, **options)


def test_the_blocking_harness_has_the_same() -> None:
    with blocking_harness(registry) as h:
        desk = h.client.get_or_create(Desk, ["a"])
        answer = desk.fetch("/x")
        assert (answer.status, answer.text()) == (201, "GET http://holdfast.testing/x {} ")
        assert list(desk.fetch("/parts").stream()) == [b"0", b"1", b"2"]
        with desk.websocket() as websocket:
            assert websocket.receive() == "hello None"
            websocket.send("bye")
            assert list(websocket) == ["bye"]
            assert (websocket.close_code, websocket.closed) == (4001, True)
