"""A subscription as a stream of a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import grpc.aio

from holdfast._feed import WINDOW_BYTES, Carrier, Feed
from holdfast._messages import encoding, fill_target
from holdfast._session import Session, Unoffered
from holdfast._session_link import Link
from holdfast._session_streams import Stream, status_error
from holdfast._status import to_actor_error
from holdfast._transport import Cursor, Subscribe
from holdfast.errors import HoldfastError
from holdfast.v1 import event_pb2
from holdfast.v1 import session_service_pb2 as pb

_LOST: Final = ("CONNECTION_NOT_FOUND", "CONNECTION_CLOSED")


class SessionSubscription(Stream):
    """Carries one feed; of the actor, or of a connection, which ends with it."""

    __slots__ = ("_beside", "_connection", "_credit", "_feed", "_request", "_session")

    lasting = True

    def __init__(
        self,
        session: Session,
        request: Subscribe,
        feed: Feed,
        *,
        connection: Stream | None = None,
        beside: Callable[[Feed], Carrier] | None = None,
    ) -> None:
        super().__init__()
        self._session = session
        self._request = request
        self._feed = feed
        self._connection = connection
        self._beside = beside
        self._credit = 0

    def open(self) -> None:
        """Subscribe, from where the feed stands."""
        if self.link is not None:
            return
        if self._connection is not None and not self._session.holds(self._connection):
            self._feed.parked = True
            return
        try:
            self._session.open(self)
        except Unoffered:
            self.cut(Unoffered())

    def close(self) -> None:
        """Unsubscribe."""
        self._session.drop(self)

    def pause(self) -> float:
        """Seconds until the next try of what failed for a while."""
        return self._session.pause()

    def grant(self, count: int) -> None:
        """This many bytes were taken."""
        self._credit += count
        if self._credit >= WINDOW_BYTES // 4 and self.link is not None:
            self.link.owe(self)

    def owed(self, link: Link) -> None:
        if self._credit > 0:
            link.command(self.number).credit.bytes = self._credit
            self._credit = 0

    def size(self) -> int:
        source = self._request.target.input
        return 256 + (len(source.data) if source is not None else 0)

    def parent(self) -> Stream | None:
        return self._connection

    def fill(self, command: pb.SessionCommand) -> None:
        request, message, start = self._request, command.subscribe, self._feed.start
        if self._connection is not None:
            message.connection = self._connection.number
        else:
            fill_target(message.target, request.target)
        message.names.extend(request.names)
        if isinstance(start, Cursor):
            message.after.CopyFrom(event_pb2.EventCursor(**start._asdict()))
        elif start is not None:
            message.from_sequence = start
        message.accept_encoding = encoding(request.encoding)
        message.slow_reader = event_pb2.SlowReader.ValueType(request.slow_reader)
        # What is still unread here is not granted again.
        message.window_bytes = max(WINDOW_BYTES - self._feed.pending, 1)
        self._credit = 0

    def subscribed(self, answer: pb.SessionSubscribed) -> None:
        self._feed.stands(cursor_of(answer.cursor))

    def event(self, event: event_pb2.Event) -> None:
        self._feed.take(event)

    def end(self, answer: pb.SessionEnd) -> None:
        self._session.ended(self)
        if self._feed.parked or self._feed.closed:
            return
        if answer.code == 0:
            # The connection was closed, which says what is to be said.
            self._feed.parked = self._connection is not None
            return
        failure = to_actor_error(status_error(answer))
        if self._connection is not None and failure.reason in _LOST:
            self._feed.parked = True
            return
        cursor = cursor_of(answer.cursor) if answer.HasField("cursor") else None
        self._feed.refused(failure, cursor)

    def cut(self, error: Exception) -> None:
        if isinstance(error, grpc.aio.AioRpcError):
            failure = to_actor_error(error)
            if failure.retryable:
                return
            self._session.ended(self)
            self._feed.failed(failure)
            return
        self._session.ended(self)
        if isinstance(error, Unoffered) and self._beside is not None:
            self._feed.carrier = self._beside(self._feed)
            self._feed.open()
        else:
            self._feed.failed(no_sessions(error))


def cursor_of(cursor: event_pb2.EventCursor) -> Cursor:
    """A cursor of the wire."""
    return Cursor(cursor.actor_id, cursor.incarnation, cursor.sequence)


def no_sessions(error: Exception) -> Exception:
    """What a user reads where the server has no sessions; other errors as they are."""
    if isinstance(error, Unoffered):
        return HoldfastError("the server offers no sessions, which connections need")
    return error


__all__ = ["SessionSubscription", "cursor_of", "no_sessions"]
