"""ASGI to the gateway of the same process, over a socket that nobody else can reach.

The gateway is written on aiohttp's server, so a request of an ASGI server is sent to it as
HTTP once more. What the ASGI server knows of its client travels in a header, which is
believed on this socket only.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientSession,
    ClientTimeout,
    ClientWebSocketResponse,
    ClientWSTimeout,
    DummyCookieJar,
    UnixConnector,
    WSMsgType,
    WSServerHandshakeError,
)
from multidict import CIMultiDict
from yarl import URL

from holdfast.asgi import Message, Receive, Scope, Send
from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.gateway.exchange import FRONT, JSON_TYPE
from holdfast_server.gateway.failures import failure_of
from holdfast_server.gateway.transport import error_json

# Of one connection, and not of what is sent over it.
_HOP: Final = frozenset(
    {
        b"connection",
        b"expect",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        FRONT.encode(),
    }
)
# An ASGI server sends its own.
_SERVERS: Final = frozenset({b"date", b"server"})
# What aiohttp adds by itself.
_ADDED: Final = ("user-agent", "accept", "accept-encoding", "content-type")
# Codes that say how a close came about, and are never sent.
_NO_STATUS: Final = 1005
_ABNORMAL: Final = 1006
_NORMAL: Final = 1000
_FAILED: Final = 1011
_POLICY: Final = 1008
_CLOSE_S: Final = 2.0


class _Socket(ClientWebSocketResponse):
    """The gateway's end of a WebSocket, and the answer that opened it."""

    def __init__(
        self, reader: Any, writer: Any, protocol: Any, response: Any, *rest: Any, **more: Any
    ) -> None:
        super().__init__(reader, writer, protocol, response, *rest, **more)
        self.opening = response

    def cut(self) -> None:
        """End it without a word, as a client does that is lost."""
        self.opening.close()


class Bridge:
    """Serves the requests and WebSockets of an ASGI server by the gateway at a path."""

    def __init__(self, path: str) -> None:
        self._session = ClientSession(
            # A connection for each request: one that is kept may close as it is used.
            connector=UnixConnector(path, limit=0, force_close=True),
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=None, sock_connect=None),
            auto_decompress=False,
            skip_auto_headers=_ADDED,
            ws_response_class=_Socket,
        )

    async def close(self) -> None:
        """Cut what is under way."""
        await self._session.close()

    # Requests

    async def request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; cancelled when its client leaves."""
        body = _Body(receive)
        forward = asyncio.ensure_future(self._forward(scope, body, send))
        watch = asyncio.ensure_future(body.watch())
        if forward in await _first_to_end(forward, watch):
            forward.result()

    async def _forward(self, scope: Scope, body: _Body, send: Send) -> None:
        try:
            response = await self._session.request(
                scope["method"],
                _url(scope),
                headers=_headers(scope),
                data=body.parts() if _has_body(scope) else None,
                allow_redirects=False,
            )
        except ClientConnectorError:
            await refuse_request(send)
            return
        async with response:
            headers = _passed(response.raw_headers)
            await send(
                {"type": "http.response.start", "status": response.status, "headers": headers}
            )
            try:
                async for part in response.content.iter_any():
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            except ClientError as error:
                # The ASGI server cuts its own connection in turn.
                raise ConnectionAbortedError("the answer was cut off") from error
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    # WebSockets

    async def websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket to its end."""
        await receive()
        try:
            socket: Any = await self._session.ws_connect(
                _url(scope),
                protocols=scope.get("subprotocols", ()),
                headers=_headers(scope, websocket=True),
                # Sizes are the gateway's to judge.
                max_msg_size=0,
                timeout=ClientWSTimeout(ws_close=_CLOSE_S),
            )
        except WSServerHandshakeError:
            await send({"type": "websocket.close", "code": _POLICY})
            return
        except ClientConnectorError:
            await refuse_websocket(send)
            return
        headers = _passed(socket.opening.raw_headers, websocket=True)
        accept = {"type": "websocket.accept", "subprotocol": socket.protocol, "headers": headers}
        outward = asyncio.ensure_future(_outward(socket, accept, send))
        inward = asyncio.ensure_future(_inward(socket, receive))
        try:
            with suppress(OSError):
                for task in await _first_to_end(outward, inward):
                    task.result()
        finally:
            socket.cut()


async def _first_to_end(*tasks: asyncio.Task[None]) -> list[asyncio.Task[None]]:
    """Those that have ended when one has; the others are cancelled, and have ended too."""
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return [task for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Body:
    """A request's body, and whether its client is still there."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._parts: asyncio.Queue[bytes] = asyncio.Queue(1)

    async def watch(self) -> None:
        """Take what the client sends; returns when it leaves."""
        reads = True
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
            data = bytes(message.get("body", b""))
            if data and reads:
                await self._parts.put(data)
            if reads and not message.get("more_body", False):
                reads = False
                await self._parts.put(b"")

    async def parts(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        while part := await self._parts.get():
            yield part


async def _outward(socket: _Socket, accept: Message, send: Send) -> None:
    await send(accept)
    while True:
        message = await socket.receive()
        if message.type is WSMsgType.TEXT:
            await send({"type": "websocket.send", "text": message.data})
        elif message.type is WSMsgType.BINARY:
            await send({"type": "websocket.send", "bytes": message.data})
        else:
            break
    code, reason = socket.close_code, ""
    if message.type is WSMsgType.CLOSE:
        code, reason = message.data, message.extra or ""
    if code is None or code == _ABNORMAL:
        code = _FAILED
    elif code == 0 or code == _NO_STATUS:
        code = _NORMAL
    await send({"type": "websocket.close", "code": code, "reason": reason})


async def _inward(socket: _Socket, receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            break
        text = message.get("text")
        if text is not None:
            await socket.send_str(text)
        else:
            await socket.send_bytes(bytes(message["bytes"]))
    code = message.get("code", _NO_STATUS)
    if code == _ABNORMAL:
        socket.cut()
        return
    reason = (message.get("reason") or "").encode()
    await socket.close(code=_NORMAL if code == _NO_STATUS else code, message=reason)


async def refuse_request(send: Send) -> None:
    """Say that there is no server, in the way that clients wait for."""
    failure = _unavailable()
    headers = [
        (b"content-type", JSON_TYPE.encode()),
        (b"retry-after", b"1"),
        (b"x-rivet-error", f"{failure.group}.{failure.code}".encode()),
    ]
    await send({"type": "http.response.start", "status": failure.status, "headers": headers})
    await send({"type": "http.response.body", "body": error_json(failure)})


async def refuse_websocket(send: Send) -> None:
    """The same to a WebSocket."""
    reason = _unavailable().close_reason("")
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": _FAILED, "reason": reason})


def _unavailable() -> Any:
    return failure_of(HoldfastError(errors.SERVER_DRAINING, "the server does not run; nothing ran"))


def _url(scope: Scope) -> URL:
    """The request's target below where the application is mounted, as it was sent."""
    root = scope.get("root_path", "")
    raw = bytes(scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1")
    path = raw.partition("?")[0]
    for mounted in (root, quote(root)):
        if mounted and (path == mounted or path.startswith(mounted + "/")):
            path = path[len(mounted) :]
            break
    query = bytes(scope.get("query_string", b"")).decode("latin-1")
    target = "/" + path.removeprefix("/") + (f"?{query}" if query else "")
    return URL("http://holdfast" + target, encoded=True)


def _headers(scope: Scope, *, websocket: bool = False) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in scope["headers"]:
        lower = bytes(name).lower()
        if lower in _HOP or (websocket and lower.startswith(b"sec-websocket-")):
            continue
        headers.add(lower.decode("latin-1"), _text(bytes(value)))
    client = scope.get("client")
    front = {
        "secure": scope.get("scheme") in ("https", "wss"),
        "client": [str(client[0]), int(client[1] or 0)] if client else None,
    }
    headers[FRONT] = json.dumps(front)
    return headers


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _has_body(scope: Scope) -> bool:
    """Whether a request has a body, which HTTP/1 tells by headers alone."""
    headers = {bytes(name).lower(): bytes(value) for name, value in scope["headers"]}
    if b"content-length" in headers:
        return headers[b"content-length"].strip() != b"0"
    if b"transfer-encoding" in headers:
        return True
    http1 = str(scope.get("http_version", "1.1")).startswith("1")
    return not http1 and scope["method"] not in ("GET", "HEAD", "OPTIONS")


def _passed(
    raw: tuple[tuple[bytes, bytes], ...], *, websocket: bool = False
) -> list[tuple[bytes, bytes]]:
    """Headers of the gateway's answer that are of the answer itself."""
    pairs = ((name.lower(), value) for name, value in raw)
    return [
        (name, value)
        for name, value in pairs
        if name not in _HOP
        and name not in _SERVERS
        and not (websocket and name.startswith(b"sec-websocket-"))
    ]
