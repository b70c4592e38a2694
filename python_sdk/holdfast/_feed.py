"""One subscription as its reader sees it, whatever carries it.

A feed knows where it stands, so that it can go on there after any fault, and checks that
each event names the one before: what is missing is reported, what comes twice is dropped.
It holds at most about one window of events that were not yet taken: only what is taken
gives the server credit for more.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from holdfast._events import Decode, untyped_arguments
from holdfast._transport import Cursor, Encoded
from holdfast.errors import ActorError, DecodeError
from holdfast.events import DeliveredEvent, EventsTrimmed

WINDOW_BYTES: Final = 256 * 1024
log = logging.getLogger("holdfast")


class Carrier(Protocol):
    """What brings the events of one feed."""

    def open(self) -> None:
        """Subscribe, from where the feed stands."""
        ...

    def close(self) -> None:
        """Unsubscribe."""
        ...

    def grant(self, count: int) -> None:
        """This many bytes were taken."""
        ...

    def pause(self) -> float:
        """Seconds until the next try of what failed for a while."""
        ...


class Arrived(Protocol):
    """An event on the wire."""

    @property
    def name(self) -> str: ...
    @property
    def args(self) -> Any: ...
    @property
    def sequence(self) -> int: ...
    @property
    def previous_sequence(self) -> int: ...
    @property
    def conflated(self) -> int: ...


class Sink(Protocol):
    """What a feed delivers to: events, and in the place of one whose arguments are not of
    their declared types the error. `size` goes back through `Feed.taken`."""

    def event(self, event: DeliveredEvent, size: int) -> None: ...
    def misfit(self, error: DecodeError, size: int) -> None: ...
    def trimmed(self, error: EventsTrimmed) -> None: ...
    def failed(self, error: Exception) -> None: ...


class Feed:
    """See the module. `start` is None for from now on, or the first number wanted."""

    def __init__(self, start: int | None, sink: Sink, decode: Decode = untyped_arguments) -> None:
        self.start: int | Cursor | None = start
        self._decode = decode
        self.sink = sink
        self.carrier: Carrier | None = None
        self.pending: int = 0
        self.closed: bool = False
        # The connection of the feed is being opened anew, and the feed after it.
        self.parked: bool = False
        self._sequence: int | None = None if start is None else start - 1
        self._retry: asyncio.TimerHandle | None = None
        # The next "trimmed" only says where the numbers begin that may be read.
        self._searching = False
        self._full = False

    def open(self) -> None:
        """Subscribe, for the first time or again."""
        self.parked = False
        if not self.closed and self.carrier is not None:
            self.carrier.open()

    def park(self) -> None:
        """Wait to be opened again; the connection under it is being opened anew."""
        self.parked = True
        if self._retry is not None:
            self._retry.cancel()
        if self.carrier is not None:
            self.carrier.close()

    def close(self) -> None:
        """Unsubscribe; nothing more is delivered."""
        if self.closed:
            return
        self.closed = True
        if self._retry is not None:
            self._retry.cancel()
        if self.carrier is not None:
            self.carrier.close()

    def stands(self, cursor: Cursor) -> None:
        """Everything through the cursor was sent, or was not asked for."""
        at = self._sequence
        if at is not None and cursor.sequence < at:
            cursor = cursor._replace(sequence=at)
        self._sequence = cursor.sequence
        self.start = cursor
        self._searching = False

    def take(self, event: Arrived) -> None:
        """An event from the carrier."""
        if self.closed:
            return
        sequence, at = event.sequence, self._sequence
        if sequence:
            if at is not None:
                if sequence <= at:
                    return
                if event.previous_sequence > at:
                    self.sink.trimmed(EventsTrimmed("events", at, sequence))
            self._sequence = sequence
            if isinstance(self.start, Cursor):
                self.start = self.start._replace(sequence=sequence)
        size = len(event.name) + len(event.args.data)
        self.pending += size
        try:
            args = self._decode(event.name, Encoded(event.args.encoding, event.args.data))
        except DecodeError as error:
            self.sink.misfit(error, size)
            return
        self.sink.event(DeliveredEvent(event.name, args, sequence, event.conflated), size)

    def taken(self, size: int) -> None:
        """The reader has handled this much."""
        self.pending -= size
        if self.closed or self.carrier is None:
            return
        if self._full and self.pending <= 0:
            self._full = False
            self.open()
            return
        self.carrier.grant(size)

    def refused(self, error: ActorError, cursor: Cursor | None) -> None:
        """The server ended the subscription."""
        if self.closed:
            return
        if error.reason in ("EVENTS_TRIMMED", "CURSOR_STALE"):
            self._trimmed(error)
            self._again(0)
        elif error.reason == "SUBSCRIBER_TOO_SLOW":
            if cursor is not None and cursor.actor_id:
                self.stands(cursor)
            if self.pending > 0:
                self._full = True
            else:
                self._again(0)
        elif error.retryable:
            self._again(self.carrier.pause() if self.carrier is not None else 0)
        else:
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """It cannot go on."""
        if self.closed:
            return
        self.close()
        self.sink.failed(error)

    def _trimmed(self, error: ActorError) -> None:
        oldest = int((error.metadata or {}).get("oldest_sequence", 0))
        last = self._sequence or 0
        if not self._searching:
            self.sink.trimmed(EventsTrimmed("events", last, oldest or 1))
        # A stale cursor need not say where the other numbers begin: asking for the first
        # one does.
        self._searching = not oldest
        self._sequence = (oldest or 1) - 1
        self.start = oldest or 1

    def _again(self, delay: float) -> None:
        if self.parked or self.closed:
            return
        self._retry = asyncio.get_running_loop().call_later(delay, self.open)


class Buffer:
    """A sink that keeps events until they are asked for."""

    def __init__(self) -> None:
        self._items: deque[tuple[DeliveredEvent | DecodeError, int] | EventsTrimmed] = deque()
        self._error: Exception | None = None
        self._wanted: asyncio.Future[None] | None = None

    def event(self, event: DeliveredEvent, size: int) -> None:
        self._items.append((event, size))
        self._wake()

    def misfit(self, error: DecodeError, size: int) -> None:
        self._items.append((error, size))
        self._wake()

    def trimmed(self, error: EventsTrimmed) -> None:
        self._items.append(error)
        self._wake()

    def failed(self, error: Exception) -> None:
        self._error = error
        self._wake()

    async def next(self, taken: Callable[[int], None]) -> DeliveredEvent:
        """The next event; raises EventsTrimmed where some are missing, DecodeError for one
        that does not fit its types, and what ended it."""
        while not self._items:
            if self._error is not None:
                raise self._error
            self._wanted = asyncio.get_running_loop().create_future()
            await self._wanted
        item = self._items.popleft()
        if isinstance(item, EventsTrimmed):
            raise item
        event, size = item
        taken(size)
        if isinstance(event, DecodeError):
            raise event
        return event

    def _wake(self) -> None:
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)


class Events:
    """An async iterator of events; it unsubscribes when it is closed or let go of.

    A gap raises EventsTrimmed; iterating again goes on from the oldest event kept. An event
    that does not fit its types raises DecodeError; iterating again goes on after it.
    """

    def __init__(self, feed: Feed, buffer: Buffer, closed: Callable[[Feed], None]) -> None:
        self._feed = feed
        self._buffer = buffer
        self._loop = asyncio.get_running_loop()
        self._closed = closed

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> DeliveredEvent:
        if self._feed.closed and self._buffer._error is None and not self._buffer._items:
            raise StopAsyncIteration
        try:
            return await self._buffer.next(self._feed.taken)
        except StopReading:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Unsubscribe."""
        self._feed.close()
        self._closed(self._feed)
        self._buffer.failed(StopReading())

    def __del__(self) -> None:
        if self._feed.closed or self._loop.is_closed():
            return
        # The garbage collector may be on another thread.
        self._loop.call_soon_threadsafe(_let_go, self._feed, self._closed)


class StopReading(Exception):
    """The reader has closed its iterator, or the connection under it."""


def _let_go(feed: Feed, closed: Callable[[Feed], None]) -> None:
    feed.close()
    closed(feed)


__all__ = ["WINDOW_BYTES", "Buffer", "Events", "Feed", "StopReading"]
