"""What is counted while a server works: plain numbers that a scrape reads.

To count must cost a call next to nothing. So a number is an attribute, added to in place
by the one thread of the loop, and a histogram's bucket is found by the length of a whole
number in bits. Names, labels and text are for whoever reads (`telemetry.metrics`).
"""

from __future__ import annotations

from typing import Final, NamedTuple

# Microseconds of half a million years.
_SLOTS: Final = 64
_MICROS: Final = 1_000_000.0


class Histogram:
    """How often a value was of which size: bucket `n` counts those of `n` bits, which are
    below 2 to the n. `total` is their sum."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * _SLOTS
        self.total = 0.0

    def add(self, value: int) -> None:
        """Count a whole number that is not negative."""
        self.total += value
        self.counts[value.bit_length()] += 1

    def take(self, seconds: float) -> None:
        """Count a time in seconds, by its microseconds; `total` is in seconds."""
        self.total += seconds
        self.counts[int(seconds * _MICROS).bit_length()] += 1

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def copy(self) -> Histogram:
        """It as it is now, for another thread."""
        copied = Histogram()
        copied.counts, copied.total = self.counts[:], self.total
        return copied

    def include(self, other: Histogram) -> None:
        """Count all that `other` has counted."""
        self.total += other.total
        self.counts = [mine + more for mine, more in zip(self.counts, other.counts, strict=True)]


class Summary(NamedTuple):
    """How many values there were, and their sum."""

    values: int
    total: float


class Sample(NamedTuple):
    """One number of a scrape: the metric, the values of its labels, the number."""

    name: str
    value: float | Histogram | Summary
    labels: tuple[str, ...] = ()


class ActorTally:
    """The actors of one class: how many came into memory and left it, how many were
    created and destroyed."""

    __slots__ = ("created", "destroyed", "left", "loaded")

    def __init__(self) -> None:
        self.loaded = self.left = self.created = self.destroyed = 0

    def include(self, other: ActorTally) -> None:
        """Count all that `other` has counted."""
        self.loaded += other.loaded
        self.left += other.left
        self.created += other.created
        self.destroyed += other.destroyed


class CallTally:
    """The calls of one kind: how long they took, and why some failed."""

    __slots__ = ("durations", "errors")

    def __init__(self) -> None:
        # Of all, failed ones too.
        self.durations = Histogram()
        # By what it is named after; empty for most.
        self.errors: dict[str, int] = {}

    def failed(self, why: str, seconds: float) -> None:
        """One failed after so long."""
        self.durations.take(seconds)
        self.errors[why] = self.errors.get(why, 0) + 1

    def include(self, other: CallTally) -> None:
        """Count all that `other` has counted."""
        self.durations.include(other.durations)
        for why, count in other.errors.items():
            self.errors[why] = self.errors.get(why, 0) + count
