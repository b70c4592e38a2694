"""A front without a network: exchanges and sockets whose client's side is the test's."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast import payload as codec
from holdfast_server.core.raw import Headers, RequestHead
from holdfast_server.core.values import Encoding, Value
from holdfast_server.runtime.fronts import CLOSE_ABNORMAL, ClientGone, SocketClosed
from holdfast_server.runtime.node import Node
from holdfast_server.runtime.requesting import call_of, serve_request
from holdfast_server.runtime.serving import serve_websocket
from tests.server.virtual import World


def encoded(value: object) -> Value | None:
    if value is None:
        return None
    return Value(Encoding.MSGPACK, codec.encode(value, codec.Encoding.MSGPACK))


class TestExchange:
    """A request whose body the test gives, and the answer that comes of it."""

    __test__ = False

    def __init__(self, *parts: bytes, ended: bool = True) -> None:
        self._parts: asyncio.Queue[bytes | None] = asyncio.Queue()
        for part in parts:
            self.give(part)
        if ended:
            self.end()
        self.status = 0
        self.headers: Headers = ()
        self.sent: list[bytes] = []
        self.gone = False
        # Where the client does not read.
        self.open = asyncio.Event()
        self.open.set()
        self._news = asyncio.Condition()

    # The test's side

    def give(self, part: bytes) -> None:
        """A part of the body comes."""
        self._parts.put_nowait(part)

    def end(self) -> None:
        self._parts.put_nowait(b"")

    def leave(self) -> None:
        """The client goes away."""
        self.gone = True
        self._parts.put_nowait(None)
        self.open.set()

    @property
    def body(self) -> bytes:
        return b"".join(self.sent)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    async def until(self, count: int) -> None:
        """Wait for so many parts of the answer."""
        async with self._news:
            await self._news.wait_for(lambda: len(self.sent) >= count)

    # Exchange

    async def receive(self) -> bytes:
        part = await self._parts.get()
        if part is None:
            raise ClientGone
        if not part:
            self._parts.put_nowait(b"")
        return part

    async def start(self, status: int, headers: Headers) -> None:
        assert not self.status
        await self._gate()
        self.status, self.headers = status, headers
        async with self._news:
            self._news.notify_all()

    async def send(self, data: bytes) -> None:
        assert self.status
        assert data
        await self._gate()
        self.sent.append(data)
        async with self._news:
            self._news.notify_all()

    async def _gate(self) -> None:
        await self.open.wait()
        if self.gone:
            raise ClientGone


class TestSocket:
    """A WebSocket whose client is the test."""

    __test__ = False

    def __init__(self) -> None:
        self._in: asyncio.Queue[str | bytes | SocketClosed] = asyncio.Queue()
        self.heard: list[str | bytes] = []
        self.accepted: str | bool | None = False
        self.closed: tuple[int, str] | None = None
        self.reads = 0
        # Where the client does not read.
        self.open = asyncio.Event()
        self.open.set()
        self._news = asyncio.Condition()

    # The test's side

    def say(self, *messages: str | bytes) -> None:
        for message in messages:
            self._in.put_nowait(message)

    def hang_up(self, code: int = CLOSE_ABNORMAL, reason: str = "") -> None:
        self._in.put_nowait(SocketClosed(code, reason))

    async def hears(self, *messages: str | bytes) -> None:
        """Wait until exactly these have come, and forget them."""
        async with self._news:
            await self._news.wait_for(lambda: len(self.heard) >= len(messages) or self.closed)
        assert self.heard == list(messages)
        self.heard.clear()

    async def closes(self) -> tuple[int, str]:
        """Wait until the server closes it; code and reason."""
        async with self._news:
            await self._news.wait_for(lambda: self.closed)
        assert self.closed is not None
        return self.closed

    # Socket

    async def accept(self, subprotocol: str | None, headers: Headers) -> None:
        assert self.accepted is False
        self.accepted = subprotocol

    async def receive(self) -> str | bytes:
        assert self.accepted is not False
        self.reads += 1
        message = await self._in.get()
        if isinstance(message, SocketClosed):
            self._in.put_nowait(message)
            raise message
        return message

    async def send(self, message: str | bytes) -> None:
        assert self.accepted is not False
        assert self.closed is None
        await self.open.wait()
        self.heard.append(message)
        async with self._news:
            self._news.notify_all()

    async def close(self, code: int, reason: str) -> None:
        assert self.closed is None
        self.closed = code, reason
        self._in.put_nowait(SocketClosed(code, reason))
        async with self._news:
            self._news.notify_all()


class Front:
    """Opens requests and sockets to actors of a world."""

    def __init__(self, world: World, name: str = "web") -> None:
        self._world = world
        self._name = name

    @property
    def node(self) -> Node:
        return self._world.node

    def request(
        self,
        exchange: TestExchange,
        method: str = "GET",
        target: str = "/",
        *,
        key: str = "a",
        headers: Headers = (),
        length: int | None = None,
        params: Any = None,
        deadline: float | None = None,
        create: bool = True,
    ) -> asyncio.Task[None]:
        """A request under way; without a `length` that of its body is not known."""
        head = RequestHead(method=method, target=target, headers=headers, content_length=length)
        call = call_of(
            self._world.target(key, self._name, create=create),
            params=encoded(params),
            deadline=deadline,
        )
        return asyncio.create_task(serve_request(self.node, call, head, exchange))

    async def get(self, target: str = "/", method: str = "GET", **options: Any) -> TestExchange:
        """The answer to a request without a body."""
        exchange = TestExchange()
        await self.request(exchange, method, target, length=0, **options)
        return exchange

    async def post(self, body: bytes, target: str = "/", **options: Any) -> TestExchange:
        """The answer to a request with a body whose length is told."""
        exchange = TestExchange(body)
        await self.request(exchange, "POST", target, length=len(body), **options)
        return exchange

    def connect(
        self,
        socket: TestSocket,
        target: str = "/",
        *,
        key: str = "a",
        headers: Headers = (),
        subprotocols: tuple[str, ...] = (),
        params: Any = None,
    ) -> asyncio.Task[None]:
        """A socket under way."""
        head = RequestHead(method="GET", target=target, headers=headers, subprotocols=subprotocols)
        call = call_of(self._world.target(key, self._name), params=encoded(params))
        return asyncio.create_task(serve_websocket(self.node, call, head, socket))
