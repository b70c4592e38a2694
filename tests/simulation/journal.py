"""What happened in a simulation, as its clients saw it: the history that is judged, and the
lines whose digest is the same for the same seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

from holdfast import ActorError
from tests.crash.history import History, Operation
from tests.simulation.linear import Call
from tests.simulation.loop import SimLoop

# Errors that a call may end with when the world is bad enough for long enough; of whether it
# took effect they say nothing.
EXCUSED: Final = frozenset(
    {
        ("action", "turn_interrupted"),
        # With tiny limits.
        ("outbox", "full"),
    }
)
# Where a message, or the disk, may take as long as a call may.
LATE: Final = frozenset({("action", "timed_out")})


class Journal(History):
    """The history of the ledgers' operations, and of everything else."""

    def __init__(self, loop: SimLoop, *, late: bool = False) -> None:
        super().__init__()
        self._loop = loop
        self._excused = EXCUSED | LATE if late else EXCUSED
        self._digest = hashlib.sha256()
        self.lines: list[str] = []
        # The calls of each cell.
        self.cells: dict[str, list[Call]] = {}
        self.readings: list[Reading] = []
        self.visits: list[Visit] = []

    @property
    def digest(self) -> str:
        """Of all lines, with the time of each."""
        return self._digest.hexdigest()

    def excuses(self, error: ActorError) -> bool:
        """Whether a call may end so, for all that a client knows."""
        return error.retryable or (error.group, error.code) in self._excused

    def note(self, *words: Any) -> None:
        """Write a line."""
        line = f"{self._loop.time():.9f} {self._loop.ticks} " + " ".join(map(str, words))
        self.lines.append(line)
        self._digest.update(line.encode() + b"\n")

    def begin(self, ledger: str, action: str, **more: Any) -> Operation:
        operation = super().begin(ledger, action, **more)
        self.note(operation, "begins", *more.values())
        return operation

    def see(self, operation: Operation, position: int, part: int) -> None:
        self.note(operation, part, "is at", position)
        super().see(operation, position, part)

    def read(self, ledger: str, position: int, entry: str) -> None:
        self.note(ledger, "has", entry, "at", position)
        super().read(ledger, position, entry)

    def fail(self, operation: Operation, error: ActorError) -> bool:
        self.note(operation, "failed with", error.code, error.message)
        if self.excuses(error) and error.code != "turn_interrupted":
            return False
        return super().fail(operation, error)

    def violate(self, what: str) -> None:
        self.note("VIOLATION", what)
        super().violate(what)


@dataclass
class Reading:
    """The events that one reader was told, and where it noticed gaps."""

    ledger: str
    # Number, entry and position.
    events: list[tuple[int, str, int]] = field(default_factory=list)
    # Indices of `events` before which there may be a gap.
    gaps: list[int] = field(default_factory=list)


@dataclass
class Visit:
    """One connection of a client: what it said, and the echoes that it heard."""

    room: str
    acknowledged: list[int] = field(default_factory=list)
    # Tag and position.
    echoes: list[tuple[int, int]] = field(default_factory=list)
    opened: int = 0
    closed: int = 0
    trimmed: bool = False
    # Whether it stayed until all that was sent must have come.
    stayed: bool = False


__all__ = ["Journal", "Reading", "Visit"]
