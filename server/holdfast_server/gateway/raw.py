"""Raw HTTP and WebSockets of actors: the front that `runtime/fronts.py` asks for.

The actor gets what was sent: method, path and query behind what led to it, headers, body;
and what it answers is sent as it is, but for what the gateway itself owes to pages and to
its clients. An answer that cannot be completed is cut short, so that nobody takes it for
whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from aiohttp import WSMsgType, web

from holdfast_server.core import errors
from holdfast_server.core.call import Target
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.raw import Headers, RequestHead
from holdfast_server.core.values import Value
from holdfast_server.gateway.desk import Desk
from holdfast_server.gateway.exchange import FRONT, Exchange
from holdfast_server.gateway.failures import failure_of
from holdfast_server.gateway.guard import Lease, namespace_of
from holdfast_server.gateway.websocket import PROTOCOL, Sockets, WebSocket
from holdfast_server.gateway.wire import FAILED
from holdfast_server.runtime.fronts import CLOSE_ABNORMAL, ClientGone, SocketClosed
from holdfast_server.runtime.requesting import call_of, serve_request
from holdfast_server.runtime.serving import serve_websocket

REQUEST: Final = "/request"
WEBSOCKET: Final = "/websocket"
# What is between the client and the gateway.
_OURS: Final = frozenset({"x-rivet-token", "x-rivet-target", "x-rivet-actor", FRONT})
_OFFERS: Final = f"{PROTOCOL}_"


def raw_target(prefix: str, path: str, query: str) -> str | None:
    """What the actor sees of a path below `prefix`, with the query; None for another path."""
    if path != prefix and not path.startswith(prefix + "/"):
        return None
    rest = path[len(prefix) :] or "/"
    return f"{rest}?{query}" if query else rest


async def answer_raw(
    desk: Desk, exchange: Exchange, target: Target, shown: str, params: Value | None
) -> web.StreamResponse:
    """The answer of an actor to a request, of which it sees `shown` as its target."""
    call = call_of(target, params=params, trace=exchange.trace, auth=exchange.auth)
    answer = RawExchange(exchange)
    try:
        await serve_request(desk.node, call, _head(exchange, shown), answer)
    except BaseException:
        if answer.response is None:
            raise
        transport = exchange.http.transport
        if transport is not None:
            transport.abort()
    assert answer.response is not None
    return answer.response


async def serve_raw(
    desk: Desk,
    sockets: Sockets,
    exchange: Exchange,
    target: Target,
    shown: str,
    params: Value | None,
    tokens: Sequence[str | None],
) -> web.StreamResponse:
    """Serve a WebSocket of an actor to its end; `tokens` are those that its client showed."""
    call = call_of(target, params=params, trace=exchange.trace, auth=exchange.auth)
    socket = RawSocket(desk, sockets, exchange, tokens, namespace_of(target))
    sockets.add(socket)
    try:
        await serve_websocket(desk.node, call, _head(exchange, shown), socket)
    finally:
        sockets.discard(socket)
        socket.lease.close()
    return socket.response


def _head(exchange: Exchange, shown: str) -> RequestHead:
    http = exchange.http
    length = http.content_length
    if length is None and "transfer-encoding" not in http.headers:
        length = 0
    offered = (part.strip() for line in exchange.offered for part in line.split(","))
    return RequestHead(
        method=http.method,
        target=shown,
        headers=tuple(
            (name, _text(value))
            for name, value in http.headers.items()
            if name.lower() not in _OURS
        ),
        scheme="https" if exchange.secure else "http",
        client=exchange.client,
        content_length=length,
        subprotocols=tuple(
            name for name in offered if name and name != PROTOCOL and not name.startswith(_OFFERS)
        ),
    )


def _text(value: str) -> str:
    """A header as text: what is no UTF-8 is Latin-1, as browsers send it."""
    if value.isascii():
        return value
    data = value.encode("utf-8", "surrogateescape")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


class RawExchange:
    """One request and its answer, for the runtime."""

    __slots__ = ("_exchange", "_expected", "response")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._expected = False
        # None until it has begun.
        self.response: web.StreamResponse | None = None

    async def receive(self) -> bytes:
        """The next part of the body."""
        exchange = self._exchange
        timeout_s = exchange.limits.http_body_timeout_s
        try:
            if not self._expected:
                self._expected = True
                await exchange.expect_body()
            async with asyncio.timeout(timeout_s):
                return await exchange.http.content.readany()
        except TimeoutError:
            raise HoldfastError(
                errors.DEADLINE_EXCEEDED,
                f"no part of the body arrived within {timeout_s:g} s",
                metadata={"limit": "http_body_timeout_s"},
            ) from None
        except web.RequestPayloadError as error:
            raise invalid("body", f"is malformed: {str(error)[:200]}") from None
        except ConnectionError:
            raise ClientGone from None

    async def start(self, status: int, headers: Headers) -> None:
        """Send status and headers."""
        exchange = self._exchange
        response = self.response = web.StreamResponse(status=status)
        for name, value in headers:
            response.headers.add(name, value)
        for name, value in exchange.answer_headers.items():
            # A page is told what the actor tells it, where it tells it something.
            response.headers.setdefault(name, value)
        try:
            await response.prepare(exchange.http)
        except ConnectionError:
            raise ClientGone from None

    async def send(self, data: bytes) -> None:
        """Send a part of the body."""
        exchange, response = self._exchange, self.response
        assert response is not None
        if exchange.http.method == "HEAD":
            return
        await exchange.write(response, data)


class RawSocket:
    """One WebSocket, for the runtime."""

    def __init__(
        self,
        desk: Desk,
        sockets: Sockets,
        exchange: Exchange,
        tokens: Sequence[str | None],
        namespace: str | None,
    ) -> None:
        self._sockets = sockets
        self._exchange = exchange
        self._accepted = False
        # Why it has to close, if that was told before it was open.
        self._refusal: HoldfastError | None = None
        limit = desk.limits.websocket_message_bytes_max
        self.response = WebSocket(exchange, limit, raw=True)
        if not self.response.can_prepare(exchange.http):
            raise invalid("upgrade", "is no WebSocket's")
        self.lease = Lease(
            desk.guard, tokens, "websocket", exchange.auth, exchange.http.transport, self._refused
        )
        self.lease.namespace = namespace

    # For the gateway

    def drain(self) -> None:
        """The runtime closes it."""

    def recheck(self) -> None:
        """Other tokens are accepted: close if its own is not, or allows it no more."""
        self.lease.recheck()

    def _refused(self, error: HoldfastError) -> None:
        self._refusal = error
        if self._accepted:
            reason = failure_of(error).close_reason(self._exchange.ray)
            self._sockets.spawn(self.close(FAILED, reason))

    # For the runtime

    async def accept(self, subprotocol: str | None, headers: Headers) -> None:
        """Complete the handshake; with the subprotocol of our clients, if they offer it."""
        response = self.response
        self._accepted = True
        if subprotocol is not None:
            response.prefer(subprotocol)
        for name, value in headers:
            response.headers.add(name, value)
        try:
            await response.prepare(self._exchange.http)
        except ConnectionError:
            raise SocketClosed from None
        if self._refusal is not None:
            self._refused(self._refusal)

    async def receive(self) -> str | bytes:
        """The next message."""
        message = await self.response.receive()
        if message.type is WSMsgType.TEXT or message.type is WSMsgType.BINARY:
            data: str | bytes = message.data
            return data
        if message.type is WSMsgType.CLOSE:
            raise SocketClosed(message.data or CLOSE_ABNORMAL, message.extra or "")
        raise SocketClosed(self.response.close_code or CLOSE_ABNORMAL)

    async def send(self, message: str | bytes) -> None:
        """Send a message."""
        try:
            if isinstance(message, str):
                await self.response.send_str(message)
            else:
                await self.response.send_bytes(message)
        except ConnectionError:
            raise SocketClosed from None

    async def close(self, code: int, reason: str) -> None:
        """Close it."""
        if not self._accepted:
            await self.accept(None, ())
        try:
            await self.response.close(code=code, message=reason.encode())
        except ConnectionError:
            raise SocketClosed from None
