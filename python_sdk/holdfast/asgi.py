"""Any ASGI application as the handler of an actor's requests and WebSockets.

    class Shop(Actor[State]):
        on_request = on_websocket = asgi_handler(app)

The application finds the actor's context as `scope["holdfast"]`, in Starlette as
`request.scope["holdfast"]`. What it does is done in turns of the actor: one until it first
sends or waits for its client, then one for each part. It gets no lifespan events: what
belongs to an actor is made in its `create_vars`.

The same way a response that is an ASGI application itself, as all of Starlette's are, can
be returned by an ordinary `on_request`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias
from urllib.parse import unquote

from holdfast.errors import HoldfastError
from holdfast.http import BodySource, ClientDisconnected, Pairs, Request, Target
from holdfast.websocket import WebSocket, WebSocketClosed

if TYPE_CHECKING:
    from holdfast.context import Context

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class AsgiApp(Protocol):
    """An ASGI application; a Starlette response is one too."""

    def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Send, /
    ) -> Awaitable[None]: ...


class ServerApp(AsgiApp, Protocol):
    """A server as an ASGI application; what `Registry.asgi` gives."""

    @property
    def port(self) -> int:
        """The port of gRPC; 0 while the server does not run."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Run the server for as long as the block lasts, and drain it at the end."""

    def lifespan(self, app: Any) -> AbstractAsyncContextManager[None]:
        """`running`, as Starlette and FastAPI take it."""


class ResponseSink(Protocol):
    """Where an answer goes: whole, at the end of the turn, or in parts."""

    def respond(self, status: int, headers: Pairs, body: bytes) -> None: ...
    async def start(self, status: int, headers: Pairs) -> None: ...
    async def send(self, data: bytes) -> None: ...


# 2.4: `send` raises an OSError when the client has gone, so that applications need no task
# of their own to learn it.
_VERSIONS: Final = {"version": "3.0", "spec_version": "2.4"}


class _Gone(OSError):
    """ASGI's way to say that the client has gone."""


def is_asgi_app(value: object) -> bool:
    """Whether this can be called with scope, receive and send."""
    return callable(value) and not isinstance(value, type)


def asgi_handler(
    app: AsgiApp,
) -> Callable[[Any, Context[Any, Any], Any], Coroutine[Any, Any, Any]]:
    """`on_request` or `on_websocket`, or both, that run an ASGI application.

    Raises TypeError for what is no application.
    """
    if not is_asgi_app(app):
        raise TypeError(f"an ASGI application is a callable object, not {type(app).__name__}")

    async def handler(self: Any, c: Context[Any, Any], request: Any) -> Any:
        """Runs an ASGI application."""
        if isinstance(request, WebSocket):
            await serve_socket(app, c, request)
            return None
        return app

    return handler


def _scope(kind: str, target: Target, c: Context[Any, Any]) -> dict[str, Any]:
    scheme = target.url.partition(":")[0]
    return {
        "type": kind,
        "asgi": dict(_VERSIONS),
        "http_version": "1.1",
        "scheme": scheme,
        "path": unquote(target.raw_path),
        "raw_path": target.raw_path.encode("ascii", "surrogateescape"),
        "query_string": str(target.query).encode("ascii", "surrogateescape"),
        "root_path": "",
        "headers": [(name.lower().encode(), _latin(value)) for name, value in target.headers.pairs],
        "client": getattr(target, "client", None),
        "server": None,
        "holdfast": c,
        "state": {},
    }


def _latin(value: str) -> bytes:
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8")


def _pairs(message: Message) -> Pairs:
    return tuple(
        (bytes(name).decode("latin-1"), bytes(value).decode("latin-1"))
        for name, value in message.get("headers", ())
    )


# Requests


async def respond_with(
    app: AsgiApp, c: Context[Any, Any], request: Request, body: BodySource, sink: ResponseSink
) -> None:
    """Run an application for a request: what it sends goes to `sink`."""
    run = _HttpRun(body, sink)
    scope = {**_scope("http", request, c), "method": request.method}
    try:
        await app(scope, run.receive, run.send)
    except Exception:
        # Frameworks have their own names for it.
        if run.gone is not None:
            raise run.gone from None
        raise
    if run.gone is not None:
        raise run.gone
    if not run.complete:
        raise HoldfastError("the ASGI application has sent no complete response")


class _HttpRun:
    """One request to an application."""

    def __init__(self, body: BodySource, sink: ResponseSink) -> None:
        self._body = body
        self._sink = sink
        self._read = False
        # Whether the answer is complete, or the client has gone.
        self._over = asyncio.Event()
        # What was said of the answer, until there is something of its body.
        self.head: Message | None = None
        self.started = self.complete = False
        # That the client has gone, as it was told.
        self.gone: ClientDisconnected | None = None

    async def receive(self) -> Message:
        if self._read:
            # Applications wait so, beside their answer, for the client to leave.
            await self._over.wait()
            return {"type": "http.disconnect"}
        try:
            data = await self._body.read()
        except ClientDisconnected as gone:
            self._leave(gone)
            return {"type": "http.disconnect"}
        self._read = not data
        return {"type": "http.request", "body": data, "more_body": bool(data)}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start" and self.head is None and not self.started:
            self.head = message
        elif kind == "http.response.body" and (self.head or self.started) and not self.complete:
            await self._send_body(message)
        else:
            raise HoldfastError(f"the ASGI application sends {kind!r} where it is not expected")

    async def _send_body(self, message: Message) -> None:
        data, more = bytes(message.get("body", b"")), bool(message.get("more_body", False))
        head, self.head = self.head, None
        if not more:
            self.complete = True
            self._over.set()
        try:
            if head is not None:
                self.started = True
                status, headers = head["status"], _pairs(head)
                if not more:
                    self._sink.respond(status, headers, data)
                    return
                await self._sink.start(status, headers)
            if data:
                await self._sink.send(data)
        except ClientDisconnected as gone:
            self._leave(gone)
            raise _Gone("the client has gone") from gone

    def _leave(self, gone: ClientDisconnected) -> None:
        self.gone = gone
        self._read = True
        self._over.set()


# WebSockets


async def serve_socket(app: AsgiApp, c: Context[Any, Any], websocket: WebSocket) -> None:
    """Run an application for a WebSocket, until the application ends."""
    run = _SocketRun(websocket)
    scope = {**_scope("websocket", websocket, c), "subprotocols": list(websocket.subprotocols)}
    await app(scope, run.receive, run.send)
    if not websocket.closed:
        await websocket.close(1000 if run.accepted else 1008)


class _SocketRun:
    """One WebSocket to an application."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._connected = False
        # One that is resumed was accepted before, and the application is told so.
        self.accepted = False

    async def receive(self) -> Message:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        try:
            message = await self._websocket.receive()
        except WebSocketClosed as closed:
            return {"type": "websocket.disconnect", "code": closed.code, "reason": closed.reason}
        if isinstance(message, str):
            return {"type": "websocket.receive", "text": message, "bytes": None}
        return {"type": "websocket.receive", "bytes": message, "text": None}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if self._websocket.closed and kind == "websocket.send":
            raise _Gone("the WebSocket is closed")
        try:
            if kind == "websocket.accept":
                self.accepted = True
                await self._websocket.accept(message.get("subprotocol"), _pairs(message))
            elif kind == "websocket.send":
                text = message.get("text")
                await self._websocket.send(message["bytes"] if text is None else text)
            elif kind == "websocket.close":
                code = message.get("code", 1000)
                # 1000 before accept is ASGI's way to refuse.
                code = 1008 if code == 1000 and not self.accepted else code
                await self._websocket.close(code, message.get("reason") or "")
            else:
                raise HoldfastError(f"the ASGI application sends {kind!r}, which is unknown")
        except WebSocketClosed as closed:
            raise _Gone(str(closed)) from closed


__all__ = ["AsgiApp", "ServerApp", "asgi_handler"]
