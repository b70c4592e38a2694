"""Events read from logs, kept for a moment for the subscribers that read on together.

Those that stand alike share a page, and with it each encoding and delivery of its
events: a log is read once, and a session is sent an event once, however many resume.
What a page holds may have been trimmed since; it has not been told in vain.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from holdfast_server.core.events import Emitted
from holdfast_server.runtime.event_log import value_of

if TYPE_CHECKING:
    from holdfast_server.runtime.node import Node

# Events of one page, and pages that are kept, for how long.
_EVENTS = 128
_PAGES = 8
_KEPT_S = 0.1


class Stored(NamedTuple):
    """An event of a log."""

    event: Emitted
    expires_ms: int


class Pages:
    """The pages of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        # By the actor, the first sequence wanted and the last that may be told.
        self._pages: dict[tuple[bytes, int, int], list[Stored]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def read(self, actor_id: bytes, first: int, last: int) -> list[Stored]:
        """Some of what an actor's log has from `first` through `last`."""
        page = self._pages.get((actor_id, first, last))
        if page is None:
            logs = self._node.event_logs
            page = [
                Stored(Emitted(record.name, value_of(record), sequence), logs.expires_ms(record))
                for sequence, record in logs.read(actor_id, first, last, _EVENTS)
            ]
            if len(self._pages) == _PAGES:
                del self._pages[next(iter(self._pages))]
            self._pages[actor_id, first, last] = page
            if self._timer is None:
                self._timer = self._node.loop.call_later(_KEPT_S, self.clear)
        return page

    def clear(self) -> None:
        """Forget all, also when numbers may be given again."""
        self._pages.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
