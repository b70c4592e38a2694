"""A store that fails on demand, around any other, for tests.

It keeps the Store contract while it fails: a failed write or sync leaves the
outcome unknown, everything is refused until `reopen`, and `reopen` keeps every
synced batch and drops unsynced ones whole, newest first. To drop them from any
inner store it remembers, per unsynced batch, the rows as they were before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

from holdfast_server.core.tally import Sample
from holdfast_server.store.api import DELETE_RANGE, Batch, StaleEpochError, Store, StoreError

Operation = Literal["read", "write", "sync", "reopen"]


class FaultyStore:
    """`inner`, with failures set by `fail_next`, `fail_after` and `broken`.

    `unsynced_kept` is how many of the oldest unsynced batches the next reopen
    keeps; None keeps all. `before_sync` runs in the syncing thread, so that a
    test can hold a sync back.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.unsynced_kept: int | None = None
        self.broken = False
        self.before_sync: Callable[[], None] | None = None
        # What the errors say, after what failed.
        self.cause = "injected"
        self._failing: dict[Operation, bool] = {}
        self._countdown: int | None = None
        self._failed = False
        self._undo: list[Batch] = []
        self._lock = threading.RLock()
        self._sync_lock = threading.Lock()

    def fail_next(self, operation: Operation, *, applied: bool = False) -> None:
        """Fail the next `operation`; `applied` lets it take effect before."""
        with self._lock:
            self._failing[operation] = applied

    def fail_after(self, count: int) -> None:
        """Let `count` writes and syncs through, then fail one."""
        with self._lock:
            self._countdown = count

    @property
    def unsynced(self) -> int:
        """Batches written since the last sync began to be durable."""
        with self._lock:
            return len(self._undo)

    @property
    def epoch(self) -> int:
        return self.inner.epoch

    def get(self, key: bytes) -> bytes | None:
        self._check("read")
        return self.inner.get(key)

    def multi_get(self, keys: list[bytes]) -> list[bytes | None]:
        self._check("read")
        return self.inner.multi_get(keys)

    def scan(
        self, start: bytes, end: bytes, *, limit: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        self._check("read")
        return self.inner.scan(start, end, limit=limit, reverse=reverse)

    def write(self, batch: Batch, epoch: int) -> None:
        with self._lock:
            if epoch != self.inner.epoch:
                raise StaleEpochError(f"epoch {epoch} is not {self.inner.epoch}")
            self._check_failed()
            fault = self._take_fault("write")
            if fault is not False:
                undo = self._undo_of(batch)
                self._latch(lambda: self.inner.write(batch, epoch))
                self._undo.append(undo)
            if fault is not None:
                self._failed = True
                raise StoreError(f"write failed: {self.cause}")

    def sync(self) -> None:
        with self._sync_lock:
            with self._lock:
                self._check_failed()
                fault = self._take_fault("sync")
                begun = self._covered()
            if self.before_sync is not None:
                self.before_sync()
            if fault is not False:
                self._latch(self.inner.sync)
                with self._lock:
                    del self._undo[:begun]
            if fault is not None:
                self._failed = True
                raise StoreError(f"sync failed: {self.cause}")

    def reopen(self) -> int:
        with self._sync_lock, self._lock:
            self._failed = True
            if self._take_fault("reopen") is not None:
                raise StoreError(f"reopen failed: {self.cause}")
            epoch = self.inner.reopen()
            kept = len(self._undo) if self.unsynced_kept is None else self.unsynced_kept
            for undo in reversed(self._undo[kept:]):
                self.inner.write(undo, epoch)
            # What an open finds is durable from then on.
            self.inner.sync()
            self._undo.clear()
            self._failed = False
            return epoch

    def checkpoint(self, path: str) -> None:
        self._check("read")
        self.inner.checkpoint(path)

    def samples(self) -> list[Sample]:
        return self.inner.samples()

    def close(self) -> None:
        with self._sync_lock, self._lock:
            self.inner.close()
            self._undo.clear()

    def _covered(self) -> int:
        """How many of the oldest unsynced batches the sync that begins makes durable."""
        return len(self._undo)

    def _check(self, operation: Operation) -> None:
        with self._lock:
            self._check_failed()
            if self._take_fault(operation) is not None:
                raise StoreError(f"{operation} failed: {self.cause}")

    def _check_failed(self) -> None:
        if self._failed:
            raise StoreError("the store failed and was not reopened")

    def _take_fault(self, operation: Operation) -> bool | None:
        """None: go on. False: fail without effect. True: take effect, then fail."""
        if operation in self._failing:
            return self._failing.pop(operation)
        if operation in ("write", "sync") and self._countdown is not None:
            if self._countdown == 0:
                self._countdown = None
                return False
            self._countdown -= 1
        return False if self.broken and operation != "read" else None

    def _latch(self, call: Callable[[], None]) -> None:
        """A failure of the inner store's own is a failure of this one."""
        try:
            call()
        except StoreError:
            self._failed = True
            raise

    def _undo_of(self, batch: Batch) -> Batch:
        """What turns the rows that `batch` touches back into what they are now."""
        touched: set[bytes] = set()
        for op, key, value in batch.ops:
            if op == DELETE_RANGE:
                start = key
                while rows := self.inner.scan(start, value, limit=1000):
                    touched.update(row for row, _ in rows)
                    start = rows[-1][0] + b"\x00"
            else:
                touched.add(key)
        undo = Batch()
        order = sorted(touched)
        for key, before in zip(order, self.inner.multi_get(order), strict=True):
            if before is None:
                undo.delete(key)
            else:
                undo.put(key, before)
        return undo
