"""Raw requests and WebSockets by HTTP, to the gateway of a server; the only user of aiohttp.

Nothing is tried again: whether a raw request took effect, only its actor knows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from holdfast._gateway_url import REQUEST, WEBSOCKET, actor_url, names_itself, with_token
from holdfast._token import NoToken, Tokens, TokenSource
from holdfast._transport import Target
from holdfast.errors import ActorError, HoldfastError
from holdfast.fetch import FetchBody, RawRequest
from holdfast.http import Pairs, Response
from holdfast.websocket import WebSocketClosed

Resolve = Callable[[str, Target], Awaitable[str]]
"""Finds the id of an actor, which it creates if it is to."""

_TOKEN: Final = "x-rivet-token"
_PARAMS: Final = "x-rivet-conn-params"
# What a client says, and is answered, when it has something to say in the subprotocols.
_PROTOCOL: Final = "rivet"
_BROKEN = (aiohttp.ClientError, ConnectionError)
# The close code of a connection that broke.
_ABNORMAL: Final = 1006


class HttpRaw:
    """RawTransport over a gateway."""

    def __init__(self, gateway: str, token: TokenSource, resolve: Resolve) -> None:
        self._gateway = gateway
        self.tokens: Tokens = Tokens(token)
        self._resolve = resolve
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def fetch(self, request: RawRequest) -> Response:
        """Send a request; its answer, whose body may still be coming."""
        url = await self._url_of(request, REQUEST)
        try:
            async with asyncio.timeout(request.timeout):
                headers = [*request.headers, *await self._headers(request)]
                answer = await self._opened().request(
                    request.method,
                    url,
                    headers=headers,
                    data=_body(request.body),
                    allow_redirects=False,
                )
        except TimeoutError:
            raise _late() from None
        except _BROKEN as error:
            raise _unavailable(error) from None
        pairs = tuple(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.raw_headers
        )
        return Response.received(answer.status, pairs, _HttpBody(answer))

    async def open_socket(self, request: RawRequest) -> HttpSocket:
        """Open a WebSocket."""
        url = await self._url_of(request, WEBSOCKET)
        protocols = list(request.subprotocols)
        if request.params is not None:
            said = quote(_json(request.params), safe="")
            protocols = [_PROTOCOL, f"rivet_conn_params.{said}", *protocols]
        try:
            async with asyncio.timeout(request.timeout):
                socket = await self._opened().ws_connect(
                    url,
                    headers=[*request.headers, *await self._headers(request)],
                    protocols=protocols,
                    max_msg_size=0,
                )
        except TimeoutError:
            raise _late() from None
        except aiohttp.WSServerHandshakeError as error:
            raise ActorError(
                "server", "no_websocket", f"the gateway answers {error.status}: {error.message}"
            ) from None
        except _BROKEN as error:
            raise _unavailable(error) from None
        return HttpSocket(socket)

    async def url(self, namespace: str, target: Target) -> str:
        """Where the actor is found, with the token, for whoever can send no header."""
        found = Target(actor_id=await self._id_of(namespace, target))
        return with_token(actor_url(self._gateway, namespace, found), await self._token())

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def _id_of(self, namespace: str, target: Target) -> str:
        if target.actor_id is not None:
            return target.actor_id
        return await self._resolve(namespace, target)

    async def _url_of(self, request: RawRequest, kind: str) -> URL:
        target = request.target
        if not names_itself(target):
            target = Target(actor_id=await self._id_of(request.namespace, target))
        text = actor_url(self._gateway, request.namespace, target, kind + request.path)
        # It is escaped already.
        return URL(text, encoded=True)

    async def _token(self) -> str | None:
        try:
            return await self.tokens.ask()
        except NoToken as error:
            raise ActorError(
                "auth", "unauthenticated", str(error), reason="UNAUTHENTICATED"
            ) from error

    async def _headers(self, request: RawRequest) -> Pairs:
        headers: Pairs = ()
        token = await self._token()
        if token is not None:
            headers = ((_TOKEN, token),)
        if request.params is not None:
            headers = (*headers, (_PARAMS, _json(request.params)))
        return headers

    def _opened(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None:
            self._loop = loop
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                # What was asked for is what is sent, and what was answered is what is given.
                skip_auto_headers=("Content-Type", "Accept", "Accept-Encoding", "User-Agent"),
                auto_decompress=False,
            )
        elif self._loop is not loop:
            raise HoldfastError("a client belongs to the event loop of its first call")
        return self._session


def _body(body: FetchBody) -> Any:
    if body is None or isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode("utf-8")
    if isinstance(body, (bytearray, memoryview)):
        return bytes(body)

    async def parts() -> AsyncIterator[bytes]:
        async for part in body:
            yield part.encode("utf-8") if isinstance(part, str) else bytes(part)

    return parts()


def _json(params: Any) -> str:
    """Parameters of a connection, in ASCII; TypeError for what JSON cannot say."""
    return json.dumps(params, separators=(",", ":"), allow_nan=False)


def _late() -> ActorError:
    return ActorError("action", "timed_out", "the deadline has passed", reason="DEADLINE_EXCEEDED")


def _unavailable(error: Exception) -> ActorError:
    text = f"the gateway cannot be reached: {error or type(error).__name__}"
    return ActorError("server", "unavailable", text, status="UNAVAILABLE")


class _HttpBody:
    """BodySource of an answer."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def read(self) -> bytes:
        try:
            return await self._answer.content.readany()
        except _BROKEN as error:
            raise _unavailable(error) from None

    async def close(self) -> None:
        """Nobody reads the rest."""
        self._answer.close()


class HttpSocket:
    """SocketHost over a client's WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.ended: tuple[int, str] | None = None
        self.conn = None

    @property
    def subprotocol(self) -> str | None:
        chosen = self._socket.protocol
        return None if chosen == _PROTOCOL else chosen

    async def accept(self, subprotocol: str | None, headers: Pairs) -> None:
        raise HoldfastError("only an actor accepts a WebSocket")

    async def receive(self) -> str | bytes:
        if self.ended is not None:
            raise WebSocketClosed(*self.ended)
        message = await self._socket.receive()
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            data: str | bytes = message.data
            return data
        if message.type is aiohttp.WSMsgType.CLOSE:
            # What the server said: the library's own code becomes 1006 where the network has
            # gone before the answer to it could be sent.
            raise self._end(message.data or _ABNORMAL, str(message.extra or ""))
        raise self._end(self._socket.close_code or _ABNORMAL, "")

    async def send(self, message: str | bytes) -> None:
        if self.ended is not None:
            raise WebSocketClosed(*self.ended)
        try:
            if isinstance(message, str):
                await self._socket.send_str(message)
            else:
                await self._socket.send_bytes(message)
        except _BROKEN:
            raise self._end(self._socket.close_code or _ABNORMAL, "") from None

    async def drain(self) -> None:
        """What was sent is with the system."""

    async def close(self, code: int, reason: str) -> None:
        if self.ended is None:
            self.ended = code, reason
            await self._socket.close(code=code, message=reason.encode("utf-8"))

    def _end(self, code: int, reason: str) -> WebSocketClosed:
        self.ended = code, reason
        return WebSocketClosed(code, reason)


__all__ = ["HttpRaw", "HttpSocket"]
