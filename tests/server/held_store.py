"""A store whose syncs are held back, to see what leaves the server before them."""

from __future__ import annotations

import asyncio
import threading

from holdfast_server.store.faults import FaultyStore
from holdfast_server.store.memory import MemoryStore


class HeldStore(FaultyStore):
    """A store whose next sync waits, in its own thread, until it is let go."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self._reached = threading.Event()
        self._change = threading.Condition()
        self._held = False
        self._passes = 0
        self.before_sync = self._wait

    def hold(self) -> None:
        self._reached.clear()
        self._held = True

    def let_go(self) -> None:
        with self._change:
            self._held = False
            self._change.notify()

    def let_one_go(self) -> None:
        """The sync that waits goes on; the next one will wait."""
        self._reached.clear()
        with self._change:
            self._passes += 1
            self._change.notify()

    async def reached(self) -> None:
        """Return once a sync waits."""
        await asyncio.to_thread(self._reached.wait)

    def _wait(self) -> None:
        with self._change:
            self._reached.set()
            self._change.wait_for(lambda: not self._held or self._passes)
            self._passes = max(self._passes - 1, 0)
