"""What of a turn leaves when its commit is durable: its answer, sends, messages and events.

The committer releases the effects of batches in the order in which these were submitted.
What a failed one would have let out is dropped, but for its answer, which is the error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.values import Durability

if TYPE_CHECKING:
    from holdfast_server.runtime.node import Node
    from holdfast_server.runtime.turn import Turn

log = logging.getLogger("holdfast.actor")

# Every commit begins with it, and a member costs less by a name of its own (see `core.mailbox`).
_NONE: Final = Durability.NONE


Told = Callable[[Durability, HoldfastError | None], None]
"""Called on the loop with what a commit reached, or with why nobody knows; must not raise."""


class Effects:
    """The effects of one commit, taken out of its turn."""

    __slots__ = (
        "_actor_id",
        "_afters",
        "_emitted",
        "_lanes",
        "_node",
        "_told",
        "durable",
        "reached",
        "watched",
    )

    def __init__(self, node: Node, turn: Turn, told: Told | None = None) -> None:
        self._node = node
        # Who is told what becomes of it, where nobody waits for `durable`.
        self._told = told
        self._actor_id = turn.actor_id
        self._lanes, turn.lanes = turn.lanes, None
        self._afters, turn.afters = turn.afters, None
        self._emitted, turn.emitted = turn.emitted, None
        # Done when the answer may leave.
        self.durable: asyncio.Future[Durability] | None = None
        if told is None:
            self.durable = node.loop.create_future()
        self.reached = _NONE
        # What the observer wants to see the end of.
        self.watched: object = None

    @property
    def gated(self) -> bool:
        """Whether it has events that wait for a sync."""
        return self._emitted is not None and self._emitted.gated

    def publish_ephemeral(self) -> None:
        """There is no batch, so that all of its events are ephemeral and wait for nothing."""
        if self._emitted is not None:
            self._node.audiences.publish(self._actor_id, self._emitted)
            self._emitted = None

    def leave(self) -> None:
        """All that the turn has seen is durable, and it wrote nothing."""
        _run(self._afters, False)
        _run(self._afters, True)
        if self._told is not None:
            # Its turn is over first, as for every other.
            self._node.loop.call_soon(self._told, _NONE, None)
        elif self.durable is not None:
            self.durable.set_result(_NONE)

    def release(self, error: HoldfastError | None) -> None:
        """The commit is durable, or has failed."""
        node = self._node
        if self.watched is not None:
            node.observer.commit_ended(self.watched, node.committer.group, error)
        if error is None:
            for lane in self._lanes or ():
                node.outbox.wake(lane)
            _run(self._afters, False)
            if self._emitted is not None:
                node.audiences.publish(self._actor_id, self._emitted)
            _run(self._afters, True)
        if self._told is not None:
            self._told(self.reached, error)
            return
        durable = self.durable
        if durable is None or durable.done():
            return
        if error is None:
            durable.set_result(self.reached)
        else:
            durable.set_exception(error)
            # Whoever waited may have gone: then nobody needs to hear of it.
            durable.exception()


def _run(afters: list[tuple[bool, Callable[[], None]]] | None, late: bool) -> None:
    for when, act in afters or ():
        if when is not late:
            continue
        try:
            act()
        except Exception:
            # Others wait for the same sync.
            log.exception("what a turn does after its commit failed")
