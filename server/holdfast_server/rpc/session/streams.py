"""The streams of one session by number, and what may be said about each kind.

A number is used once, and numbers rise. A stream is `arriving` while its first
command comes in chunks, then what that command makes of it; it leaves the table
with its one end. What is said about a number that is not open is ignored, since
it may have crossed the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import ClassVar, Final, Protocol

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError


class Kind(Enum):
    """What a stream is."""

    ARRIVING = "arriving"
    CALL = "call"
    STREAMING = "streaming call"
    CONNECTION = "connection"
    SUBSCRIPTION = "subscription"


# Commands about an open stream, by kind.
ACCEPTS: Final[Mapping[Kind, frozenset[str]]] = {
    Kind.ARRIVING: frozenset({"cancel", "chunk"}),
    Kind.CALL: frozenset({"cancel"}),
    Kind.STREAMING: frozenset({"cancel", "credit"}),
    Kind.CONNECTION: frozenset({"cancel", "credit", "acknowledge"}),
    Kind.SUBSCRIPTION: frozenset({"cancel", "credit"}),
}
# Commands that open a stream.
OPENING: Final = frozenset({"call", "connect", "subscribe"})

# More than any credit that a client gives.
UNBOUNDED: Final = 1 << 80


def protocol_error(field: str, message: str, *, limit: object = None) -> HoldfastError:
    """A SESSION_INVALID that names the field and, where there is one, the limit."""
    return errors.naming(errors.SESSION_INVALID, field, message, limit)


class Stream:
    """One open stream; what a kind does not accept is never asked of it."""

    __slots__ = ("number",)
    kind: ClassVar[Kind]

    def __init__(self, number: int) -> None:
        self.number = number

    def cancel(self) -> None:
        """The client ends it."""

    def credit(self, count: int) -> None:
        """The client lets `count` bytes more come."""

    def acknowledge(self, message: int) -> None:
        """The client has handled the messages through this one."""

    def broken(self) -> None:
        """The session has gone: nobody hears what becomes of it."""

    @property
    def resumable(self) -> bool:
        """Whether it may go on in another session, should this one break."""
        return False

    def streams_end(self) -> None:
        """The server drains and ends what would go on for long."""

    def hold(self) -> None:
        """The session is full: let nothing more come from whoever sends by credit."""

    def release(self) -> None:
        """There is room again."""


class Source(Protocol):
    """Whatever sends by credit."""

    def grant(self, count: int) -> None: ...


class Fed(Stream):
    """A stream that an actor feeds, by credit. What comes before its source is there is
    kept; while it is held, more than any credit is taken from it."""

    __slots__ = ("_held", "_owed", "_source")

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._source: Source | None = None
        self._owed = 0
        self._held = False

    def feed_from(self, source: Source) -> None:
        """The source is there; it may send at once."""
        self._source = source
        if self._owed:
            source.grant(self._owed)

    def credit(self, count: int) -> None:
        if self._source is None:
            self._owed += count
        else:
            self._source.grant(count)

    def hold(self) -> None:
        if not self._held:
            self._held = True
            self.credit(-UNBOUNDED)

    def release(self) -> None:
        if self._held:
            self._held = False
            self.credit(UNBOUNDED)


class Streams:
    """The open streams of a session."""

    __slots__ = ("_last", "_most", "_open")

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[int, Stream] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Stream]:
        """A copy's iterator: streams may end meanwhile."""
        return iter(list(self._open.values()))

    def beginning_after(self, number: int) -> list[Stream]:
        """All of them, those above `number` first."""
        streams = list(self._open.values())
        above = [stream for stream in streams if stream.number > number]
        return above + [stream for stream in streams if stream.number <= number]

    def claim(self, number: int) -> None:
        """A command opens this number."""
        if number <= self._last:
            raise protocol_error("stream", f"{number} is not above {self._last}, the last opened")
        self._last = number

    def is_new(self, number: int) -> bool:
        return number > self._last

    def add(self, stream: Stream) -> None:
        """Open a claimed number; SESSION_TOO_MANY_STREAMS ends it instead."""
        if len(self._open) >= self._most:
            raise HoldfastError(
                errors.SESSION_TOO_MANY_STREAMS, metadata={"limit": str(self._most)}
            )
        self._open[stream.number] = stream

    def get(self, number: int) -> Stream | None:
        return self._open.get(number)

    def about(self, number: int, command: str) -> Stream | None:
        """The open stream that a command is about; None when it has ended."""
        stream = self._open.get(number)
        if stream is None:
            if not number:
                raise protocol_error("stream", f"{command} is about a stream; 0 is none")
            return None
        if command not in ACCEPTS[stream.kind]:
            raise protocol_error(command, f"not for stream {number}, a {stream.kind.value}")
        return stream

    def end(self, number: int) -> bool:
        """Take a stream out; False when it has ended before."""
        return self._open.pop(number, None) is not None

    def clear(self) -> list[Stream]:
        """Take all out."""
        streams = list(self._open.values())
        self._open.clear()
        return streams
