"""Raw answers and WebSockets for code without an event loop."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from holdfast import http, websocket
from holdfast._background import Runner
from holdfast.fetch import ClientSocket
from holdfast.websocket import WebSocketClosed


class Response:
    """An answer to a raw request; as `holdfast.Response`, blocking."""

    __slots__ = ("_answer", "_runner")

    def __init__(self, runner: Runner, answer: http.Response) -> None:
        self._runner = runner
        self._answer = answer

    @property
    def status(self) -> int:
        """The status code."""
        return self._answer.status

    @property
    def ok(self) -> bool:
        """Whether the status is from 200 to 299."""
        return self._answer.ok

    @property
    def headers(self) -> http.Headers:
        """The headers."""
        return self._answer.headers

    def body(self, *, limit: int | None = None) -> bytes:
        """The whole body; with more than `limit` bytes raises ActorError."""
        return self._runner.run(self._answer.body(limit=limit))

    def text(self, *, limit: int | None = None) -> str:
        """The whole body as text in UTF-8."""
        return self._runner.run(self._answer.text(limit=limit))

    def json(self, *, limit: int | None = None) -> Any:
        """The whole body as JSON."""
        return self._runner.run(self._answer.json(limit=limit))

    def stream(self, *, limit: int | None = None) -> Iterator[bytes]:
        """The parts of the body as they come; they are not kept."""
        return self._runner.iterate(self._answer.stream(limit=limit))

    def close(self) -> None:
        """Read no more of the body."""
        self._runner.run(self._answer.close())

    def __repr__(self) -> str:
        return repr(self._answer)


class WebSocket:
    """A raw WebSocket, to be used with `with`; as `holdfast.WebSocket`, blocking."""

    __slots__ = ("_opening", "_runner", "_websocket")

    def __init__(self, runner: Runner, opening: ClientSocket) -> None:
        self._runner = runner
        self._opening = opening
        self._websocket: websocket.WebSocket | None = None

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that was agreed on; None without."""
        return self._open.subprotocol

    @property
    def closed(self) -> bool:
        """Whether it is closed, as far as is known here."""
        return self._open.closed

    @property
    def close_code(self) -> int | None:
        """Why it is closed; None while it is open."""
        return self._open.close_code

    @property
    def close_reason(self) -> str:
        """What was said when it was closed; empty without."""
        return self._open.close_reason

    def receive(self) -> str | bytes:
        """The next message. Raises WebSocketClosed when there is none left."""
        return self._runner.run(self._open.receive())

    def send(self, message: str | bytes) -> None:
        """Send text or binary. Raises WebSocketClosed on a closed socket."""
        self._runner.run(self._open.send(message))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it; nothing where it is closed already."""
        self._runner.run(self._open.close(code, reason))

    def __iter__(self) -> Iterator[str | bytes]:
        try:
            while True:
                yield self.receive()
        except WebSocketClosed:
            return

    def __enter__(self) -> Self:
        self._websocket = self._runner.run(self._opening.__aenter__())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._runner.run(self._opening.__aexit__(exc_type, exc, traceback))

    @property
    def _open(self) -> websocket.WebSocket:
        if self._websocket is None:
            # Without a block nobody would close it.
            self.__enter__()
        assert self._websocket is not None
        return self._websocket


__all__ = ["Response", "WebSocket"]
