"""The simulated disk, and the thread that syncs it, as timers of the simulation's loop.

A sync takes time. Just what was written before it began becomes durable, at a moment
before its end, so that a death may come when the disk knows of a sync and the server does
not. A death, or a failure, keeps some of the oldest unsynced batches, never one without those
before it: what RocksDB finds in a log that was torn off.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from random import Random
from typing import Any

from holdfast_server.store.api import Store
from holdfast_server.store.faults import FaultyStore, Operation
from tests.server.virtual import InlineThreads


class SimDisk(FaultyStore):
    """A store that a death leaves with what was synced, and perhaps a little more."""

    def __init__(self, inner: Store, rng: Random) -> None:
        super().__init__(inner)
        self._rng = rng
        # What the sync under way covers; None outside one.
        self.mark: int | None = None

    def reopen(self) -> int:
        self.unsynced_kept = self._rng.choice((0, self._rng.randint(0, self.unsynced)))
        return super().reopen()

    def trouble(self) -> str:
        """Let the next operation of some kind fail, with or without effect; says which."""
        operation = self._rng.choice(_OPERATIONS)
        applied = operation in ("write", "sync") and self._rng.random() < 0.5
        self.fail_next(operation, applied=applied)
        if self._rng.random() < 0.3:
            self.fail_next("reopen")
        return f"{operation} {applied}"

    def heal(self) -> None:
        """Fail no more."""
        self._failing.clear()

    def _covered(self) -> int:
        everything = super()._covered()
        return everything if self.mark is None else min(self.mark, everything)


_OPERATIONS: tuple[Operation, ...] = ("write", "write", "sync", "sync", "read")


class SimThreads(InlineThreads):
    """The committer's thread: one work after the other, each of which takes up to twice
    `sync_s`. One for each life."""

    def __init__(self, disk: SimDisk, rng: Random, sync_s: float) -> None:
        self._disk = disk
        self._rng = rng
        self._sync_s = sync_s
        self._waiting: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self._busy = False

    def sync(self, work: Callable[[], None]) -> Future[None]:
        done: Future[None] = Future()
        self._waiting.append((work, done))
        if not self._busy:
            self._next()
        return done

    def _next(self) -> None:
        self._busy = bool(self._waiting)
        if not self._busy:
            return
        work, done = self._waiting.popleft()
        mark, loop = self._disk.unsynced, asyncio.get_running_loop()

        def begin() -> None:
            self._disk.mark = mark
            result = self.action(work)
            self._disk.mark = None
            loop.call_later(self._half_s(), end, result)

        def end(result: Future[None]) -> None:
            error = result.exception()
            if done.set_running_or_notify_cancel():
                if error is not None:
                    done.set_exception(error)
                else:
                    done.set_result(None)
            self._next()

        loop.call_later(self._half_s(), begin)

    def _half_s(self) -> float:
        return self._sync_s * self._rng.random() ** 3

    def wait(self, done: Future[Any]) -> Any:
        return done.result()


__all__ = ["SimDisk", "SimThreads"]
