"""What is counted of a node's work; `figures` says what of it is told, and how.

Each number belongs to the loop's thread and only grows, but for those that say how many
there are at the moment.
"""

from __future__ import annotations

import asyncio

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.tally import CallTally, Histogram


class CommitTally:
    """The groups of one committer."""

    __slots__ = ("gate_s", "gated", "groups", "latencies", "syncs")

    def __init__(self) -> None:
        # Batches of a group; from the submission of its first to its durability; its sync.
        self.groups = Histogram()
        self.latencies = Histogram()
        self.syncs = Histogram()
        # Batches that waited for a sync, and how long all of them together.
        self.gated = 0
        self.gate_s = 0.0


class NodeTally:
    """What happens in one node, apart from its actions and its commits."""

    __slots__ = (
        "errors",
        "events",
        "events_ephemeral",
        "events_trimmed",
        "joined",
        "mailbox_waiting",
        "mailbox_waits",
        "replayed",
        "sends",
        "sends_dead",
        "sends_failed",
        "store_failures",
        "timer_delays",
        "timers_failed",
        "timers_given_up",
    )

    def __init__(self) -> None:
        # Calls that failed, by reason.
        self.errors: dict[str, int] = {}
        # Retries that were answered by a stored reply, or by the call that was under way.
        self.replayed = self.joined = 0
        # Turns that had to wait for their actor, those that do now, and how long.
        self.mailbox_waiting = 0
        self.mailbox_waits = Histogram()
        # Events that were emitted, and those that are no longer kept.
        self.events = self.events_ephemeral = self.events_trimmed = 0
        # Sends that took effect, tries that failed, dead letters.
        self.sends = self.sends_failed = self.sends_dead = 0
        # How late fires began; tries that failed; fires that were given up.
        self.timer_delays = Histogram()
        self.timers_failed = self.timers_given_up = 0
        self.store_failures = 0

    def failed(self, error: BaseException, seconds: float, calls: CallTally | None) -> None:
        """A call failed after so long; `calls` is that of its action, if that was found."""
        why = reason_of(error).reason
        self.errors[why] = self.errors.get(why, 0) + 1
        if calls is not None:
            calls.failed(why, seconds)


def reason_of(error: BaseException) -> errors.Reason:
    """The reason of the catalogue that a failure is counted under."""
    if isinstance(error, HoldfastError):
        return error.reason
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return errors.CANCELLED
    return errors.INTERNAL_ERROR
