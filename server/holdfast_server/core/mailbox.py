"""Who may run now: the admission rule of one actor's turns, without any I/O.

Exclusive turns run alone, interleaved ones together, in the order they came:
nobody overtakes a waiting turn, so neither kind starves the other. Read-only
turns run beside everything and never wait. A re-entrant turn joins the turn
that waits for it. The number of waiting turns is bounded.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Mode(IntEnum):
    """How a turn runs beside others of its actor."""

    EXCLUSIVE = 0
    INTERLEAVED = 1
    READ_ONLY = 2


# For what is on the way of every call: to find a member through its class is a call
# of its own in Python 3.11.
EXCLUSIVE: Final = Mode.EXCLUSIVE
INTERLEAVED: Final = Mode.INTERLEAVED
READ_ONLY: Final = Mode.READ_ONLY


class MailboxFull(Exception):
    """The turn was not taken: `mailbox_max` or `read_only_max` is reached."""


class Bounds(NamedTuple):
    """How many turns of one actor may wait, and how many read-only ones run at once;
    one for all mailboxes of a class."""

    waiting: int
    read_only: int


class Mailbox(Generic[T]):
    """Admits turns in order. `running` holds the turns that have the actor."""

    __slots__ = ("_bounds", "_read_only", "exclusive", "running", "waiting")

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._read_only = 0
        self.exclusive = False
        # An idle mailbox, of which there may be very many, has neither list.
        self.running: list[T] | tuple[()] = ()
        self.waiting: deque[tuple[T, Mode]] | None = None

    @property
    def idle(self) -> bool:
        return not (self.running or self.waiting or self._read_only)

    def offer(self, turn: T, mode: Mode, *, joins: bool = False) -> bool:
        """Whether `turn` runs now; else it waits. `joins`: run beside its waiter."""
        if mode is READ_ONLY:
            if self._read_only >= self._bounds.read_only:
                raise MailboxFull
            self._read_only += 1
            return True
        if joins or (not self.waiting and self._fits(mode)):
            self._start(turn, mode)
            return True
        if self.waiting is None:
            self.waiting = deque()
        if len(self.waiting) >= self._bounds.waiting:
            raise MailboxFull
        self.waiting.append((turn, mode))
        return False

    def release(self, turn: T, mode: Mode) -> list[T]:
        """`turn` has ended; the turns that run now because of it."""
        if mode is READ_ONLY:
            self._read_only -= 1
            return []
        assert isinstance(self.running, list)
        self.running.remove(turn)
        if not self.running:
            self.running = ()
            self.exclusive = False
        return self._start_waiting() if self.waiting else []

    def withdraw(self, turn: T) -> list[T]:
        """`turn` no longer waits; the turns that run now because of it."""
        if self.waiting:
            self.waiting = deque(entry for entry in self.waiting if entry[0] is not turn)
        return self._start_waiting()

    def _start_waiting(self) -> list[T]:
        admitted: list[T] = []
        while self.waiting and self._fits(self.waiting[0][1]):
            following, mode = self.waiting.popleft()
            self._start(following, mode)
            admitted.append(following)
        if not self.waiting:
            self.waiting = None
        return admitted

    def _fits(self, mode: Mode) -> bool:
        return not self.running or (mode is INTERLEAVED and not self.exclusive)

    def _start(self, turn: T, mode: Mode) -> None:
        if isinstance(self.running, list):
            self.running.append(turn)
        else:
            self.running = [turn]
        if mode is EXCLUSIVE:
            self.exclusive = True
