"""Events as the runtime sees them: what is emitted, who wants it, where readers stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from holdfast_server.core import errors
from holdfast_server.core.auth import Identity
from holdfast_server.core.call import Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.trace import NO_TRACE, TraceContext
from holdfast_server.core.values import Encoding, Value


class Event(NamedTuple):
    """One event in one encoding; `sequence` is 0 for an ephemeral one."""

    name: str
    args: Value
    sequence: int

    @property
    def size(self) -> int:
        """What it takes of a reader's credit."""
        return len(self.name) + len(self.args.data)


def too_large(what: str, limit: int, size: int) -> HoldfastError:
    """EVENT_TOO_LARGE, for events and messages alike."""
    return HoldfastError(
        errors.EVENT_TOO_LARGE,
        f"{what}; at most {limit}",
        metadata={"limit": str(limit), "size": str(size)},
    )


class Emission(NamedTuple):
    """What a turn wants to emit, encoded; `retention_ms` is 0 for the server's setting."""

    name: str
    args: Value
    ephemeral: bool
    retention_ms: int = 0

    @property
    def size(self) -> int:
        """What it counts against the limits."""
        return len(self.name) + len(self.args.data)


class Delivery(NamedTuple):
    """An event for one subscriber: `previous` is where it stood, `conflated` how
    many events it was spared."""

    event: Event
    previous: int
    conflated: int = 0


class Emitted:
    """An event that was emitted, and each encoding and delivery of it that was asked for,
    made once."""

    __slots__ = ("_deliveries", "_events", "name", "sequence", "size")

    def __init__(self, name: str, args: Value, sequence: int) -> None:
        self.name = name
        self.sequence = sequence
        event = Event(name, args, sequence)
        self.size = event.size
        self._events = {args.encoding: event}
        self._deliveries: dict[tuple[int, int], Delivery] = {}

    def encoded(self, encoding: int, transcode: Callable[[Value, int], Value]) -> Event:
        """The event in one encoding."""
        event = self._events.get(encoding)
        if event is None:
            (first,) = list(self._events.values())[:1]
            event = Event(self.name, transcode(first.args, encoding), self.sequence)
            self._events[encoding] = event
        return event

    def delivered(
        self, previous: int, encoding: int, transcode: Callable[[Value, int], Value]
    ) -> Delivery:
        """What all subscribers get that stand at `previous` and want it so."""
        delivery = self._deliveries.get((previous, encoding))
        if delivery is None:
            delivery = Delivery(self.encoded(encoding, transcode), previous)
            self._deliveries[previous, encoding] = delivery
        return delivery


class Message(NamedTuple):
    """What an actor sent to one connection; `number` is 0 for an ephemeral one,
    `previous` the number of the one before."""

    name: str
    args: Value
    number: int
    previous: int

    @property
    def size(self) -> int:
        """What it takes of the connection's credit."""
        return len(self.name) + len(self.args.data)


class Cursor(NamedTuple):
    """A place in an actor's events: everything through `sequence` is behind it."""

    actor_id: bytes
    incarnation: int
    sequence: int


class SlowReader(IntEnum):
    """What happens to a subscriber that reads too slowly (proto numbers)."""

    END = 1
    CONFLATE = 2


@dataclass(slots=True, kw_only=True)
class Subscribe:
    """A request to subscribe. `start` is None for from now on, the first sequence
    wanted, or a cursor to go on after. `names` is empty for all."""

    target: Target
    names: frozenset[str] = frozenset()
    start: int | Cursor | None = None
    encoding: int = Encoding.MSGPACK
    slow_reader: SlowReader = SlowReader.END
    window_bytes: int = 0
    # The connection that subscribes, if it is one.
    connection: bytes | None = None
    deadline: float | None = None
    trace: TraceContext = field(default=NO_TRACE)
    # As in a Call.
    auth: Identity | None = field(default=None, repr=False)


@dataclass(slots=True, kw_only=True)
class Connect:
    """A request to open a connection, or to go on with `resume` after the message
    `received`. `session` is the 16-byte digest of the session that owns it."""

    target: Target
    params: Value | None = None
    session: bytes
    encoding: int = Encoding.MSGPACK
    window_bytes: int = 0
    resume: bytes | None = None
    received: int = 0
    deadline: float | None = None
    trace: TraceContext = field(default=NO_TRACE)
    # As in a Call.
    auth: Identity | None = field(default=None, repr=False)
    # The turn (opaque to the core) that waits for it, and the activation whose code asks, as
    # in a Call.
    origin: object | None = field(default=None, repr=False)
    caller: object | None = field(default=None, repr=False)
