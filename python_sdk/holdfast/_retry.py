"""Numbers that make a call take effect once, and how long to wait between tries.

A client numbers its mutating calls from 1. A number belongs to one call for
good, whatever number of tries that takes, and stays in flight until the call
was answered or given up; `acknowledged_below` never passes a number that may
still be sent, so the server never drops a reply that is still wanted.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

from holdfast._service_config import RETRY


class Sequence:
    """The numbers of one client. Used from one event loop only."""

    __slots__ = ("_in_flight", "_next", "client_id")

    def __init__(self, client_id: bytes | None = None) -> None:
        self.client_id: bytes = os.urandom(16) if client_id is None else client_id
        self._next = 1
        # Insertion order is numeric order, so the first key is the lowest.
        self._in_flight: dict[int, None] = {}

    @property
    def acknowledged_below(self) -> int:
        """The lowest number in flight; the next number when none is."""
        return next(iter(self._in_flight), self._next)

    def number(self) -> InFlight:
        """A number that is in flight inside the block."""
        return InFlight(self)

    def begin(self) -> int:
        """The next number, in flight from now on."""
        number = self._next
        self._next += 1
        self._in_flight[number] = None
        return number

    def end(self, number: int) -> None:
        """It is in flight no more."""
        del self._in_flight[number]


class InFlight:
    """One number of a sequence, for a block; a generator would cost each call more."""

    __slots__ = ("_number", "_sequence")

    def __init__(self, sequence: Sequence) -> None:
        self._sequence = sequence
        self._number = 0

    def __enter__(self) -> int:
        self._number = self._sequence.begin()
        return self._number

    def __exit__(self, *_: object) -> None:
        self._sequence.end(self._number)


class Backoff:
    """Delays that grow as the service config says, each drawn from its upper half.

    A delay the server asked for (RetryInfo) is a lower bound, jittered upwards.
    `spent_s` is the sum of the delays so far.
    """

    __slots__ = ("_ceiling", "_draw", "spent_s")

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._ceiling = RETRY.initial_backoff_s
        self.spent_s: float = 0.0

    def next(self, retry_after_s: float | None = None) -> float:
        """Seconds to wait before the next try."""
        ceiling = self._ceiling
        self._ceiling = min(ceiling * RETRY.backoff_multiplier, RETRY.max_backoff_s)
        delay = ceiling * (0.5 + self._draw() / 2)
        if retry_after_s is not None:
            delay += max(retry_after_s, 0.0)
        self.spent_s += delay
        return delay
