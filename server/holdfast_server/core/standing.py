"""Where one subscriber stands: its filter, its cursor, its credit, what waits for it.

A subscriber holds no queue. One that is live stands behind everything published; one
without credit for the next event falls behind, and reads the log from there when credit
comes. One that conflates does not fall behind: what it has no credit for waits, the
latest of each name. Every delivery names the place that its reader knows, so that what
was left out on purpose is no gap.
"""

from __future__ import annotations

from enum import IntEnum

from holdfast_server.core.events import Emitted, Event


class Phase(IntEnum):
    """STARTING waits for what it may be told to be durable; BEHIND reads the log."""

    STARTING = 0
    LIVE = 1
    BEHIND = 2
    ENDED = 3


# A reader hears of its cursor when it has passed this many events of other names.
_PASSED_MAX = 256


class Standing:
    """The state of one subscription."""

    __slots__ = (
        "conflates",
        "credit",
        "encoding",
        "names",
        "passed",
        "phase",
        "ready",
        "sequence",
        "spared",
        "told",
        "waiting",
        "waiting_bytes",
    )

    def __init__(
        self, names: frozenset[str], encoding: int, credit: int, sequence: int, *, conflates: bool
    ) -> None:
        self.names = names
        self.encoding = encoding
        self.credit = credit
        # Everything through here was delivered, passed, or waits.
        self.sequence = sequence
        # Where its reader knows that it stands: behind the last delivery.
        self.told = sequence
        self.conflates = conflates
        self.phase = Phase.STARTING
        # Whether the next event may be delivered at once: live, with credit, none waits.
        self.ready = False
        # Events passed since the reader was last told of its cursor.
        self.passed = 0
        # Of one that conflates: the latest event of each name, in order, how many bytes
        # they have, and how many events were left out since the last delivery.
        self.waiting: dict[str, Emitted] | None = None
        self.waiting_bytes = 0
        self.spared = 0

    def wants(self, name: str) -> bool:
        """Whether events of this name were asked for."""
        return not self.names or name in self.names

    def enter(self, phase: Phase) -> None:
        """Go on in another phase."""
        self.phase = phase
        self.update()

    def update(self) -> None:
        """Credit or what waits has changed."""
        self.ready = self.phase is Phase.LIVE and self.credit > 0 and not self.waiting

    def advance(self, event: Event) -> int:
        """`event` is delivered: the cursor before it, 0 for an ephemeral one."""
        self.credit -= event.size
        if self.credit <= 0:
            self.ready = False
        if not event.sequence:
            return 0
        previous, self.told = self.told, event.sequence
        self.sequence = max(self.sequence, event.sequence)
        self.passed = 0
        return previous

    def pass_by(self, sequence: int) -> bool:
        """An event that was not asked for; whether the reader should hear of the cursor."""
        self.sequence = sequence
        self.passed += 1
        if self.passed < _PASSED_MAX or self.waiting:
            return False
        self.passed = 0
        self.told = sequence
        return True

    def spare(self, event: Emitted, *, names_max: int, bytes_max: int) -> int:
        """Let `event` wait in place of earlier ones of its name; how many were left out.

        Beyond `names_max` names or `bytes_max` bytes the oldest is left out.
        """
        waiting = self.waiting
        if waiting is None:
            waiting = self.waiting = {}
        spared = 0
        earlier = waiting.pop(event.name, None)
        if earlier is not None:
            self.waiting_bytes -= earlier.size
            spared += 1
        waiting[event.name] = event
        self.waiting_bytes += event.size
        while len(waiting) > 1 and (len(waiting) > names_max or self.waiting_bytes > bytes_max):
            self.waiting_bytes -= waiting.pop(next(iter(waiting))).size
            spared += 1
        self.spared += spared
        self.sequence = max(self.sequence, event.sequence)
        self.ready = False
        return spared

    def next_waiting(self) -> Emitted | None:
        """The oldest event that waits, while there is credit for it."""
        if not self.waiting or self.credit <= 0:
            return None
        event = self.waiting.pop(next(iter(self.waiting)))
        self.waiting_bytes -= event.size
        return event

    def take_spared(self) -> int:
        """How many events were left out since the last delivery."""
        spared, self.spared = self.spared, 0
        return spared
