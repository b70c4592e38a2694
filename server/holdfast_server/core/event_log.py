"""What is kept of an actor's events: their numbers, what goes, and where to start.

Numbers begin at 1 and have no gaps. What is kept is always a run that ends with the
last number: the oldest go first, by count, by bytes or by age. Bytes are those of the
stored rows. Of what has gone the last number of each name stays known, so that a reader
of some names is told of a gap only where one of its own events may be missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.events import Cursor
from holdfast_server.core.ids import format_actor_id

# What is over a bound is brought below it by this part of the bound, so that rows go
# many at a time.
_SLACK = 64
# Names whose last trimmed number is known; each is some bytes of a row that every turn
# with events writes.
_TRIMMED_NAMES = 32


@dataclass(slots=True)
class EventLog:
    """The numbers of one actor's events, as of the last submitted batch."""

    # Which life of the numbers.
    incarnation: int = 1
    # The oldest event kept, the next one when none is; the last one.
    first: int = 1
    last: int = 0
    bytes: int = 0
    # When the sweep looks at this actor, wall milliseconds; 0 for never.
    due_ms: int = 0
    # The epoch in which events may leave before they are synced; 0 for none.
    buffered_epoch: int = 0
    # Number of the last batch with events that waits for its sync.
    gate: int = 0
    # Number of the last event of each name that was trimmed, and of any other name.
    trimmed: dict[str, int] = field(default_factory=dict)
    trimmed_others: int = 0

    @property
    def count(self) -> int:
        """How many events are kept."""
        return self.last - self.first + 1

    def trim(self, names: Iterable[str]) -> None:
        """The oldest events, of these names in order, go; "" is one that nobody can read."""
        for name in names:
            if name:
                self.trimmed[name] = self.first
            else:
                # It may have been of any.
                self.trimmed.clear()
                self.trimmed_others = self.first
            self.first += 1
        while len(self.trimmed) > _TRIMMED_NAMES:
            oldest = min(self.trimmed, key=self.trimmed.__getitem__)
            self.trimmed_others = max(self.trimmed_others, self.trimmed.pop(oldest))

    def last_trimmed(self, names: frozenset[str]) -> int:
        """The last event of these names, or of all for none, that may have been trimmed."""
        if not names:
            return self.first - 1
        return max(self.trimmed.get(name, self.trimmed_others) for name in names)


def count_to_drop(
    sizes: Iterator[int], count: int, size: int, *, count_max: int, bytes_max: int
) -> tuple[int, int]:
    """How many of the oldest events go, and their bytes.

    `sizes` are those of the events, the oldest first; no more are read than go.
    """
    count_goal = count_max if count <= count_max else count_max - count_max // _SLACK
    bytes_goal = bytes_max if size <= bytes_max else bytes_max - bytes_max // _SLACK
    dropped = freed = 0
    while count - dropped > count_goal or size - freed > bytes_goal:
        freed += next(sizes)
        dropped += 1
    return dropped, freed


def outlived(incarnation: int, buffered_epoch: int, orderly: int, unorderly: int) -> int:
    """The incarnation that a stored one is now.

    Events that left before they were synced may be lost, and their numbers given
    again, where the epoch in which they left had no orderly end. `orderly` and
    `unorderly` are the last epochs with either end.
    """
    lost = 0 < buffered_epoch <= unorderly and buffered_epoch != orderly
    return incarnation + 1 if lost else incarnation


def place_of(
    start: int | Cursor | None, log: EventLog, actor_id: bytes, oldest: int, lost: int
) -> int:
    """The number behind which a subscription starts; `oldest` is the first one kept, and
    `lost` the last of those asked for that is not.

    CURSOR_STALE, EVENTS_TRIMMED or REQUEST_INVALID where it cannot start.
    """
    if start is None:
        return log.last
    if isinstance(start, Cursor):
        foreign = start.actor_id != actor_id or start.incarnation != log.incarnation
        if foreign or start.sequence > log.last:
            raise stale(actor_id, log.incarnation, oldest)
        behind = start.sequence
    else:
        if start < 1:
            raise invalid("from_sequence", "must be at least 1")
        if start > log.last + 1:
            raise invalid("from_sequence", f"is {start}; the last event is {log.last}")
        behind = start - 1
    if behind < lost:
        raise trimmed(actor_id, log.incarnation, oldest)
    return behind


def stale(actor_id: bytes, incarnation: int, oldest: int) -> HoldfastError:
    """The cursor is of other numbers."""
    return HoldfastError(
        errors.CURSOR_STALE, metadata=_place(actor_id, incarnation, oldest_sequence=oldest)
    )


def trimmed(actor_id: bytes, incarnation: int, oldest: int) -> HoldfastError:
    """What comes next for a subscriber is no longer kept."""
    return HoldfastError(
        errors.EVENTS_TRIMMED,
        f"the events asked for are no longer kept; the oldest has number {oldest}",
        metadata=_place(actor_id, incarnation, oldest_sequence=oldest),
    )


def too_slow(cursor: Cursor, lag: int, limit: int) -> HoldfastError:
    """A subscriber lags too far; the error says where to resume."""
    return HoldfastError(
        errors.SUBSCRIBER_TOO_SLOW,
        f"the subscriber lags {lag} events; at most {limit}",
        metadata={
            **_place(cursor.actor_id, cursor.incarnation, sequence=cursor.sequence),
            "limit": str(limit),
        },
    )


def _place(actor_id: bytes, incarnation: int, **numbers: int) -> dict[str, str]:
    place = {"actor_id": format_actor_id(actor_id), "incarnation": str(incarnation)}
    return place | {name: str(number) for name, number in numbers.items()}
