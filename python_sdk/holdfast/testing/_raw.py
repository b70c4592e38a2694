"""Raw requests and WebSockets of a harness's client: no network, and the test's clock."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, Protocol, TypeVar

from holdfast._transport import Target
from holdfast.fetch import RawRequest, RawTransport
from holdfast.http import BodySource, Pairs, Response
from holdfast.testing.errors import HarnessError
from holdfast.websocket import SocketHost

R = TypeVar("R")


class Runs(Protocol):
    """A harness, for its client."""

    async def raw(self) -> RawTransport:
        """The server's side, once the harness has started."""
        ...

    async def run(self, run: Callable[[], Coroutine[Any, Any, R]], what: str) -> R: ...


class ClockedRaw:
    """RawTransport whose waits move the clock."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def fetch(self, request: RawRequest) -> Response:
        """Send a request to the server under test."""
        raw, what = await self._runs.raw(), f"{request.method} {request.path}"
        answer = await self._runs.run(lambda: raw.fetch(request), what)
        source = _ClockedBody(self._runs, answer, what)
        return Response.received(answer.status, answer.headers.pairs, source)

    async def open_socket(self, request: RawRequest) -> _ClockedSocket:
        """Open a WebSocket to the server under test."""
        raw = await self._runs.raw()
        what = f"the WebSocket {request.path}"
        return _ClockedSocket(
            self._runs, await self._runs.run(lambda: raw.open_socket(request), what), what
        )

    async def url(self, namespace: str, target: Target) -> NoReturn:
        """A harness listens nowhere."""
        raise HarnessError("a harness has no gateway, and so no URL of an actor")


class _ClockedBody:
    def __init__(self, runs: Runs, answer: Response, what: str) -> None:
        self._runs = runs
        self._source: BodySource = answer.source
        self._what = what

    async def read(self) -> bytes:
        return await self._runs.run(self._source.read, f"the answer to {self._what}")

    async def close(self) -> None:
        close = getattr(self._source, "close", None)
        if close is not None:
            await self._runs.run(close, f"giving up the answer to {self._what}")


class _ClockedSocket:
    def __init__(self, runs: Runs, host: SocketHost, what: str) -> None:
        self._runs = runs
        self._host = host
        self._what = what
        self.conn = None

    @property
    def subprotocol(self) -> str | None:
        return self._host.subprotocol

    @property
    def ended(self) -> tuple[int, str] | None:
        return self._host.ended

    async def accept(self, subprotocol: str | None, headers: Pairs) -> None:
        await self._host.accept(subprotocol, headers)

    async def receive(self) -> str | bytes:
        return await self._runs.run(self._host.receive, f"a message of {self._what}")

    async def send(self, message: str | bytes) -> None:
        await self._runs.run(lambda: self._host.send(message), f"sending to {self._what}")

    async def drain(self) -> None:
        await self._runs.run(self._host.drain, f"sending to {self._what}")

    async def close(self, code: int, reason: str) -> None:
        await self._runs.run(lambda: self._host.close(code, reason), f"closing {self._what}")


__all__ = ["ClockedRaw"]
