"""Raw HTTP and WebSockets without a network: the client's calls meet the runtime here.

Implements the face of `runtime/fronts.py`. What a client sees of a failure is what it
would see of the gateway: an answer in JSON, or a close with 1011.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, Final

from holdfast import payload
from holdfast._transport import Target as SdkTarget
from holdfast.errors import ActorError, HoldfastError
from holdfast.fetch import FetchBody, RawRequest
from holdfast.http import Response
from holdfast.websocket import WebSocketClosed
from holdfast_server.core import errors
from holdfast_server.core.call import Call, Target
from holdfast_server.core.errors import HoldfastError as ServerError
from holdfast_server.core.errors import invalid
from holdfast_server.core.ids import Address, check_key, check_name, parse_actor_id
from holdfast_server.core.raw import Headers, RequestHead
from holdfast_server.core.values import Encoding, Value
from holdfast_server.gateway.failures import failure_of
from holdfast_server.runtime.fronts import CLOSE_ABNORMAL, ClientGone, SocketClosed
from holdfast_server.runtime.requesting import call_of, serve_request
from holdfast_server.runtime.serving import serve_websocket
from holdfast_server.testing.wire import Server, Wire

# What is on its way between two ends before the sender has to wait.
_WINDOW_BYTES: Final = 64 << 10


class InProcessRaw:
    """RawTransport to whatever server runs."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def fetch(self, request: RawRequest) -> Response:
        """Send a request; its answer, whose body may still be coming."""
        server, exchange = self._server(), _Exchange(request.body)
        head = _head(request, exchange.length, "http")
        exchange.task = _serve(server, _request(server, request, head, exchange))
        try:
            async with asyncio.timeout(request.timeout):
                status, headers = await exchange.answer()
        except TimeoutError:
            exchange.leave()
            raise ActorError(
                "action", "timed_out", "the deadline has passed", reason="DEADLINE_EXCEEDED"
            ) from None
        except asyncio.CancelledError:
            exchange.leave()
            raise
        return Response.received(status, headers, exchange)

    async def open_socket(self, request: RawRequest) -> _Socket:
        """Open a WebSocket."""
        server = self._server()
        head = _head(request, 0, "http")
        socket = _Socket()
        socket.task = _serve(server, _websocket(server, request, head, socket))
        async with asyncio.timeout(request.timeout):
            await socket.opened
        return socket

    def _server(self) -> Server:
        server = self._wire.server
        if server is None:
            raise _broken("the server is down")
        return server


def _serve(server: Server, serving: Any) -> asyncio.Task[None]:
    loop = asyncio.get_running_loop()
    return loop.create_task(serving, context=server.domain.context())


def _broken(why: str) -> ActorError:
    return ActorError("server", "unavailable", why, status="UNAVAILABLE")


def _head(request: RawRequest, length: int | None, scheme: str) -> RequestHead:
    headers: Headers = request.headers
    if not any(name.lower() == "host" for name, _ in headers):
        headers = (("host", "holdfast.testing"), *headers)
    return RequestHead(
        method=request.method,
        target=request.path,
        headers=headers,
        scheme=scheme,
        content_length=length,
        subprotocols=request.subprotocols,
    )


def _call(server: Server, request: RawRequest) -> Call:
    node, params = server.node, None
    if request.params is not None:
        data = payload.encode(request.params, payload.Encoding.MSGPACK)
        limit = node.limits.params_bytes_max
        if len(data) > limit:
            raise ServerError(
                errors.MESSAGE_INCOMING_TOO_LONG,
                f"params: {len(data)} bytes; at most {limit}",
                metadata={"field": "params", "limit": str(limit)},
            )
        params = Value(Encoding.MSGPACK, data)
    return call_of(_target(server, request.namespace, request.target), params=params)


def _target(server: Server, namespace: str, target: SdkTarget) -> Target:
    if namespace not in server.node.namespaces:
        raise invalid("namespace", "does not exist")
    if target.actor_id is not None:
        return Target(actor_id=parse_actor_id(target.actor_id), namespace=namespace)
    check_name(target.name, "name")
    check_key(target.key, "key", server.node.limits)
    value = None if target.input is None else Value(target.input.encoding, target.input.data)
    address = Address(namespace, target.name, target.key)
    return Target(address=address, create=target.create, input=value)


async def _request(
    server: Server, request: RawRequest, head: RequestHead, exchange: _Exchange
) -> None:
    try:
        await serve_request(server.node, _call(server, request), head, exchange)
    except ServerError as error:
        exchange.refuse(error)
    else:
        exchange.end()
    finally:
        exchange.breaks("the connection broke: the server died")


async def _websocket(
    server: Server, request: RawRequest, head: RequestHead, socket: _Socket
) -> None:
    try:
        try:
            call = _call(server, request)
        except ServerError as error:
            await socket.shut(1011, f"{error.group}.{error.code}")
            return
        await serve_websocket(server.node, call, head, socket.server)
    finally:
        socket.breaks()


async def _parts(body: FetchBody) -> AsyncIterator[bytes]:
    if isinstance(body, AsyncIterable):
        async for part in body:
            yield part.encode("utf-8") if isinstance(part, str) else bytes(part)
    elif body is not None:
        yield body.encode("utf-8") if isinstance(body, str) else bytes(body)


class _Pipe:
    """Items from one end to the other, and its end; a sender waits for the window."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._bytes = 0
        self._end: BaseException | None = None
        self._changed = asyncio.Event()

    def end(self, error: BaseException) -> None:
        """Whoever takes more than there is, or puts more, gets this."""
        if self._end is None:
            self._end = error
            self._changed.set()

    async def put(self, item: Any) -> None:
        while self._bytes > _WINDOW_BYTES and self._end is None:
            self._changed.clear()
            await self._changed.wait()
        if self._end is not None:
            raise self._end
        self._items.append(item)
        self._bytes += len(item)
        self._changed.set()

    async def take(self) -> Any:
        while not self._items:
            if self._end is not None:
                raise self._end
            self._changed.clear()
            await self._changed.wait()
        item = self._items.popleft()
        self._bytes -= len(item)
        self._changed.set()
        return item


class _Exchange:
    """Exchange of the server, and source of the answer's body for the client."""

    def __init__(self, body: FetchBody) -> None:
        self.task: asyncio.Task[None]
        self.length = None if isinstance(body, AsyncIterable) else 0
        if isinstance(body, str):
            self.length = len(body.encode("utf-8"))
        elif isinstance(body, (bytes, bytearray)):
            self.length = len(body)
        self._given = _parts(body)
        self._gone = False
        self._pipe = _Pipe()
        loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[tuple[int, Headers]] = loop.create_future()

    # The client

    async def answer(self) -> tuple[int, Headers]:
        """Status and headers, when they come."""
        return await asyncio.shield(self._answer)

    async def read(self) -> bytes:
        """The next part of the answer, empty at its end."""
        try:
            part: bytes = await self._pipe.take()
        except EOFError:
            return b""
        return part

    async def close(self) -> None:
        """The client reads no more."""
        self.leave()

    def leave(self) -> None:
        """The client has gone."""
        self._gone = True
        self._pipe.end(ClientGone())
        self.task.cancel()
        # Nobody needs to hear of it.
        self._answer.cancel()

    # The server's front

    def refuse(self, error: ServerError) -> None:
        """What the gateway would answer."""
        failure = failure_of(error)
        if self._answer.done():
            self.breaks("the answer was cut short")
            return
        said = {"group": failure.group, "code": failure.code, "message": failure.message}
        if failure.metadata is not None:
            said["metadata"] = failure.metadata
        data = json.dumps(said).encode("utf-8")
        headers = (("content-type", "application/json"), ("content-length", str(len(data))))
        self._answer.set_result((failure.status, headers))
        self._pipe._items.append(data)
        self.end()

    def end(self) -> None:
        """The answer is complete."""
        self._pipe.end(EOFError())

    def breaks(self, why: str) -> None:
        """The connection breaks, unless the answer is complete."""
        self._pipe.end(_broken(why))
        if not self._answer.done():
            self._answer.set_exception(_broken(why))

    async def receive(self) -> bytes:
        if self._gone:
            raise ClientGone
        async for part in self._given:
            if part:
                return part
        return b""

    async def start(self, status: int, headers: Headers) -> None:
        if self._gone:
            raise ClientGone
        if not self._answer.done():
            self._answer.set_result((status, headers))

    async def send(self, data: bytes) -> None:
        await self._pipe.put(data)


class _Socket:
    """SocketHost of the client; `server` is the front's end of it."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None]
        self.conn = None
        self.subprotocol: str | None = None
        self.ended: tuple[int, str] | None = None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.incoming, self.outgoing = _Pipe(), _Pipe()
        self.server = _ServerSocket(self)

    async def accept(self, subprotocol: str | None, headers: Headers) -> None:
        raise HoldfastError("only an actor accepts a WebSocket")

    async def receive(self) -> str | bytes:
        try:
            message: str | bytes = await self.incoming.take()
        except SocketClosed as closed:
            self.ended = closed.code, closed.reason
            raise WebSocketClosed(closed.code, closed.reason) from None
        return message

    async def send(self, message: str | bytes) -> None:
        try:
            await self.outgoing.put(message)
        except SocketClosed as closed:
            raise WebSocketClosed(closed.code, closed.reason) from None

    async def drain(self) -> None:
        """What was sent is on its way."""

    async def close(self, code: int, reason: str) -> None:
        self.ended = code, reason
        closed = SocketClosed(code, reason)
        self.outgoing.end(closed)
        self.incoming.end(closed)

    async def shut(self, code: int, reason: str) -> None:
        """The server closes it."""
        closed = SocketClosed(code, reason)
        self.incoming.end(closed)
        self.outgoing.end(closed)
        self._open()

    def breaks(self) -> None:
        """The server's end has gone."""
        self.incoming.end(SocketClosed(CLOSE_ABNORMAL))
        self.outgoing.end(SocketClosed(CLOSE_ABNORMAL))
        self._open()

    def _open(self) -> None:
        if not self.opened.done():
            self.opened.set_result(None)


class _ServerSocket:
    """Socket of the runtime."""

    def __init__(self, client: _Socket) -> None:
        self._client = client

    async def accept(self, subprotocol: str | None, headers: Headers) -> None:
        self._client.subprotocol = subprotocol
        self._client._open()

    async def receive(self) -> str | bytes:
        message: str | bytes = await self._client.outgoing.take()
        return message

    async def send(self, message: str | bytes) -> None:
        await self._client.incoming.put(message)

    async def close(self, code: int, reason: str) -> None:
        await self._client.shut(code, reason)
