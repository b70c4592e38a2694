"""What the clients of a crash test asked for and were told.

An operation is invoked, and then acknowledged, refused by the actor,
interrupted or of unknown fate. Whatever else a client learns is a sighting: that an
entry was at a position of a ledger. The oracle compares all of it with what is
found in the end.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from holdfast import ActorError


class Fate(Enum):
    """What a client knows of an operation."""

    UNKNOWN = "unknown"
    ACKNOWLEDGED = "acknowledged"
    # The actor raised: the operation has left no trace.
    REFUSED = "refused"
    # It committed in its middle and not at its end.
    INTERRUPTED = "interrupted"


@dataclass(slots=True)
class Operation:
    """One call and all its tries. `parts` is how many entries a whole run writes."""

    tag: int
    ledger: str
    action: str
    parts: int = 1
    # Whom each entry sends to.
    targets: Sequence[str] = ()
    # Whether the answer promises less than a sync.
    buffered: bool = False
    fate: Fate = Fate.UNKNOWN
    # The different answers it was given under one key; more than one is too many.
    answers: list[bytes] = field(default_factory=list)

    def entry(self, part: int) -> str:
        return f"{self.tag}.{part}"

    def __str__(self) -> str:
        return f"{self.action} {self.tag} of {self.ledger}"


class Sighting(NamedTuple):
    """A client was told that `entry` is the `position`-th of a ledger."""

    ledger: str
    position: int
    entry: str
    by: str


class History:
    """Everything that one test's clients did, in one process and one loop."""

    def __init__(self) -> None:
        self.operations: dict[int, Operation] = {}
        self.sightings: list[Sighting] = []
        # What was plainly wrong when it happened.
        self.violations: list[str] = []
        self.acknowledged = 0
        self._tags = itertools.count(1)
        self._waiting: list[tuple[int, asyncio.Event]] = []

    def begin(
        self,
        ledger: str,
        action: str,
        *,
        parts: int = 1,
        targets: Sequence[str] = (),
        buffered: bool = False,
    ) -> Operation:
        operation = Operation(next(self._tags), ledger, action, parts, targets, buffered)
        self.operations[operation.tag] = operation
        return operation

    def acknowledge(self, operation: Operation, position: int) -> None:
        """The operation has returned the position of its last entry."""
        self._settle(operation, Fate.ACKNOWLEDGED)
        self.see(operation, position, operation.parts)

    def promise(self, operation: Operation) -> None:
        """The operation was accepted, and takes effect later."""
        self._settle(operation, Fate.ACKNOWLEDGED)
        self._count()

    def see(self, operation: Operation, position: int, part: int) -> None:
        """The operation has told where one of its entries is."""
        if not operation.buffered:
            entry, by = operation.entry(part), str(operation)
            self.sightings.append(Sighting(operation.ledger, position, entry, by))
        self._count()

    def _count(self) -> None:
        self.acknowledged += 1
        for number, event in self._waiting:
            if self.acknowledged >= number:
                event.set()

    def read(self, ledger: str, position: int, entry: str) -> None:
        """A read-only action has shown a ledger's last entry."""
        if position:
            self.sightings.append(Sighting(ledger, position, entry, "a read"))

    def fail(self, operation: Operation, error: ActorError) -> bool:
        """Take what an error says of an operation; whether each try must be told the same.

        Most errors say that something is wrong.
        """
        if (error.group, error.code) == ("user", "refused"):
            self._settle(operation, Fate.REFUSED)
        elif error.code == "turn_interrupted":
            self._settle(operation, Fate.INTERRUPTED)
        else:
            self.violate(f"{operation} failed with {error.group}.{error.code}: {error.message}")
        return True

    def answer(self, operation: Operation, answer: bytes) -> None:
        """The bytes of a definite answer; all tries of one key must get the same."""
        if answer not in operation.answers:
            operation.answers.append(answer)

    def violate(self, what: str) -> None:
        self.violations.append(what)

    async def until_acknowledged(self, number: int) -> None:
        """Wait until so many answers have come in all."""
        event = asyncio.Event()
        if self.acknowledged >= number:
            return
        self._waiting.append((number, event))
        await event.wait()

    def _settle(self, operation: Operation, fate: Fate) -> None:
        if operation.fate not in (Fate.UNKNOWN, fate):
            self.violate(f"{operation} was {operation.fate.value}, then {fate.value}")
        operation.fate = fate
