"""Events of an actor, as a client gets them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from holdfast.errors import HoldfastError

SlowReader: TypeAlias = Literal["end", "conflate"]
"""What happens to a reader that is slower than the events: "end", where events wait in the
actor's log and a reader that falls out of it is told; "conflate", where only the latest
of each name waits."""


@dataclass(frozen=True, slots=True)
class DeliveredEvent:
    """One event: its name, its arguments, and the actor's number of it, from 1.

    `sequence` is 0 for an ephemeral event. `conflated` is how many events were left out
    before this one since the reader was slow, with slow_reader="conflate".
    """

    name: str
    args: tuple[Any, ...]
    sequence: int
    conflated: int = 0


class EventsTrimmed(HoldfastError):
    """A reader has missed events, or messages of a connection, that are no longer kept.

    `kind` is "events" or "messages". `last_sequence` is the number of the last one that
    arrived, 0 before the first, and `oldest_sequence` that of the oldest from which the
    reader can go on. Numbers may begin anew where an actor was restored or was not synced:
    then `oldest_sequence` need not be above `last_sequence`.
    """

    def __init__(self, kind: str, last_sequence: int, oldest_sequence: int) -> None:
        super().__init__(kind, last_sequence, oldest_sequence)
        self.kind = kind
        self.last_sequence = last_sequence
        self.oldest_sequence = oldest_sequence

    def __str__(self) -> str:
        return (
            f"{self.kind} after {self.last_sequence} are no longer kept: "
            f"the oldest is {self.oldest_sequence}"
        )


__all__ = ["DeliveredEvent", "EventsTrimmed", "SlowReader"]
