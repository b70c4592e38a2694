"""A connection as a stream of a session."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import grpc.aio

from holdfast._feed import WINDOW_BYTES
from holdfast._messages import encoding, fill_target, milliseconds, put
from holdfast._session import Session, Unoffered
from holdfast._session_events import no_sessions
from holdfast._session_link import Link
from holdfast._session_streams import Stream, status_error
from holdfast._status import to_actor_error
from holdfast._trace import trace_headers
from holdfast._transport import Connect, Encoded
from holdfast.errors import ActorError, HoldfastError
from holdfast.v1 import session_service_pb2 as pb

# How long the end of a block waits for the server to run on_disconnect.
CLOSE_S: Final = 5.0


class Peer(Protocol):
    """Who holds a connection, and hears of it."""

    def opened(self, connection_id: str, actor_id: str) -> None:
        """It is open, or open again; a new one where the id is another."""
        ...

    def message(self, name: str, args: Encoded, number: int, missed: int | None) -> None:
        """A message of the actor; those after `missed` and before it are lost."""
        ...

    def cut(self) -> None:
        """It cannot be reached; the session goes on with it as soon as there is a link."""
        ...

    def lost(self, error: ActorError) -> None:
        """It must be opened anew: the server has it no more, or was never reached."""
        ...

    def closed(self, error: Exception | None, reason: str) -> None:
        """It is over: by the actor (no error), or for a failure."""
        ...


class SessionConnection(Stream):
    """See the module. `received` is the number of the last message that arrived."""

    __slots__ = (
        "_credit", "_handled", "_over", "_params", "_peer", "_request", "_retry", "_session",
        "_trace", "connection_id", "received",
    )  # fmt: skip

    lasting = True

    def __init__(self, session: Session, request: Connect, peer: Peer) -> None:
        super().__init__()
        self._session = session
        self._request = request
        self._peer = peer
        self._params: Encoded | None = None
        self._trace = trace_headers()
        self._credit = 0
        self._handled = 0
        self._retry: asyncio.TimerHandle | None = None
        self._over: asyncio.Future[None] | None = None
        self.connection_id: str = ""
        self.received: int = 0

    def open(self, params: Encoded | None) -> None:
        """Open a new connection."""
        self._params = params
        self.connection_id, self.received, self._handled = "", 0, 0
        try:
            self._session.open(self)
        except Unoffered:
            self.cut(Unoffered())

    def _resume(self) -> None:
        try:
            self._session.open(self)
        except (Unoffered, HoldfastError) as error:
            self.cut(error)

    async def close(self) -> None:
        """Disconnect, and wait until the server has: `on_disconnect` has run."""
        if self._retry is not None:
            self._retry.cancel()
        if not self._session.finish(self):
            return
        self._over = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._over
        except TimeoutError:
            pass
        finally:
            self._session.drop(self)

    def pause(self) -> float:
        """Seconds until the next try of what failed for a while."""
        return self._session.pause()

    def handled(self, number: int, size: int) -> None:
        """A message was handled."""
        self._credit += size
        self._handled = max(self._handled, number)
        if self.link is not None:
            self.link.owe(self)

    def owed(self, link: Link) -> None:
        if self._handled:
            link.command(self.number).acknowledge.message = self._handled
            self._handled = 0
        if self._credit >= WINDOW_BYTES // 4:
            link.command(self.number).credit.bytes = self._credit
            self._credit = 0

    def size(self) -> int:
        given = (self._params, self._request.target.input)
        return 256 + sum(len(value.data) for value in given if value is not None)

    def fill(self, command: pb.SessionCommand) -> None:
        request, message = self._request, command.connect
        fill_target(message.target, request.target)
        put(message.params, self._params)
        message.accept_encoding = encoding(request.encoding)
        message.window_bytes = WINDOW_BYTES
        self._credit = 0
        if self.connection_id:
            message.resume_connection_id = self.connection_id
            message.received_message = self.received
        if request.timeout is not None:
            message.timeout_ms = milliseconds(request.timeout)
        for name, value in self._trace:
            setattr(message, name, value)

    def _is_over(self) -> bool:
        if self._over is None:
            return False
        if not self._over.done():
            self._over.set_result(None)
        return True

    def connected(self, answer: pb.SessionConnected) -> None:
        self.connection_id = answer.connection_id
        self._peer.opened(answer.connection_id, answer.actor_id)

    def message(self, answer: pb.SessionMessage) -> None:
        number, at = answer.number, self.received
        if number:
            if number <= at:
                return
            self.received = number
        missed = at if number and answer.previous_number > at else None
        args = Encoded(answer.args.encoding, answer.args.data)
        self._peer.message(answer.name, args, number, missed)

    def end(self, answer: pb.SessionEnd) -> None:
        self._session.ended(self)
        if self._is_over():
            return
        if answer.code == 0:
            self._peer.closed(None, answer.message)
            return
        failure = to_actor_error(status_error(answer))
        resumed = bool(self.connection_id)
        if resumed and failure.retryable:
            self._peer.cut()
            self._retry = asyncio.get_running_loop().call_later(self.pause(), self._resume)
        elif failure.retryable or (resumed and failure.reason == "CONNECTION_NOT_FOUND"):
            self.connection_id = ""
            self._peer.lost(failure)
        else:
            self._peer.closed(failure, failure.message)

    def cut(self, error: Exception) -> None:
        if self._is_over():
            return
        if not isinstance(error, grpc.aio.AioRpcError):
            self._session.ended(self)
            self._peer.closed(no_sessions(error), "")
            return
        failure = to_actor_error(error)
        if not failure.retryable:
            self._session.ended(self)
            self._peer.closed(failure, failure.message)
        elif self.connection_id:
            self._peer.cut()
        else:
            self._session.ended(self)
            self._peer.lost(failure)


__all__ = ["Peer", "SessionConnection"]
