"""Raw HTTP and WebSockets of an actor, from a client.

    response = await room.fetch("/report?year=2026", headers={"accept": "text/csv"})
    async with room.websocket("/live") as websocket:
        await websocket.send("hello")

What carries them is the gateway, by HTTP, or, under `holdfast.testing`, the server itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Generator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from urllib.parse import quote

from holdfast.errors import HoldfastError
from holdfast.http import GivenHeaders, Pairs, Part, Response, header_pairs, is_token
from holdfast.websocket import SocketHost, WebSocket

if TYPE_CHECKING:
    from holdfast._handle import ActorHandle
    from holdfast._transport import Target

FetchBody: TypeAlias = bytes | str | AsyncIterable[Part] | None
"""The body of a request; an async iterator is sent part by part."""

# Methods that are meant whatever their case, as in a browser's fetch.
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
# What may stand in a path and its query as it is: RFC 3986, with escapes that are there.
_SAFE = "/?%:@!$&'()*+,;=-._~[]"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRequest:
    """A raw request, or the opening of a WebSocket. `params` are a value, not encoded."""

    namespace: str
    target: Target
    path: str
    method: str = "GET"
    headers: Pairs = ()
    body: FetchBody = None
    subprotocols: tuple[str, ...] = ()
    params: Any = None
    timeout: float | None = None


class RawTransport(Protocol):
    """What carries raw requests and WebSockets."""

    async def fetch(self, request: RawRequest) -> Response: ...
    async def open_socket(self, request: RawRequest) -> SocketHost: ...
    async def url(self, namespace: str, target: Target) -> str:
        """Where the actor is found at the gateway."""
        ...


def raw_path(path: str) -> str:
    """A path, with its query, as it is sent: it begins with one "/", and is escaped.

    Raises TypeError or ValueError for what is no path of an actor.
    """
    if not isinstance(path, str):
        raise TypeError(f"a path is a string, not {type(path).__name__}")
    if "#" in path:
        raise ValueError("a path has no fragment; write %23 for a '#'")
    if any(ord(each) < 32 or ord(each) == 127 for each in path):
        raise ValueError("a path has no control characters")
    name, mark, query = path.partition("?")
    return quote("/" + name.lstrip("/") + mark + query, safe=_SAFE)


def transport_of(handle: ActorHandle) -> RawTransport:
    """What carries the raw requests of a handle; HoldfastError where nothing does."""
    raw: RawTransport | None = getattr(handle._client, "_raw", None)
    if raw is None:
        raise HoldfastError("raw requests to another actor cannot be made inside an actor")
    return raw


def request_of(
    handle: ActorHandle,
    path: str,
    *,
    method: str = "GET",
    headers: GivenHeaders | None = None,
    body: FetchBody = None,
    subprotocols: Sequence[str] = (),
) -> RawRequest:
    """A raw request of a handle; TypeError or ValueError for what cannot be sent."""
    if not is_token(method):
        raise ValueError(f"{method!r} is no HTTP method")
    if not (body is None or isinstance(body, (bytes, str, bytearray, AsyncIterable))):
        raise TypeError(f"a body is bytes, str or an async iterator, not {type(body).__name__}")
    return RawRequest(
        namespace=handle._client.namespace,
        target=handle._target,
        path=raw_path(path),
        method=method.upper() if method.upper() in _METHODS else method,
        headers=header_pairs(() if headers is None else headers),
        body=body,
        subprotocols=tuple(subprotocols),
        params=handle._options.params,
        timeout=handle._timeout(),
    )


class ClientSocket:
    """A WebSocket that is being opened: `async with` it, or await it for the WebSocket.

    Leaving the block closes it with 1000.
    """

    def __init__(self, raw: RawTransport, request: RawRequest) -> None:
        self._raw = raw
        self._request = request
        self._websocket: WebSocket | None = None

    async def _open(self) -> WebSocket:
        request = self._request
        host = await self._raw.open_socket(request)
        return WebSocket(host, request.path, request.headers, subprotocols=request.subprotocols)

    def __await__(self) -> Generator[Any, None, WebSocket]:
        return self._open().__await__()

    async def __aenter__(self) -> WebSocket:
        self._websocket = await self._open()
        return self._websocket

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._websocket is not None and not self._websocket.closed:
            await self._websocket.close()


__all__ = ["ClientSocket", "FetchBody", "RawRequest", "RawTransport"]
