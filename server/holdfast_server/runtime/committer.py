"""Group commit and the output gate: nothing leaves before it is synced.

Turns hand over batches at any moment. Those that wait are applied to the store
as one unsynced write, when a sync starts or when something is read that they
may have changed; then the committer thread syncs while the loop goes on with
the next turns. How long a sync waits for company is the pace's decision.
Every batch has a number; `synced` is the number up to which everything is
durable. Releases run in order, on the loop, never before their batch is synced
(buffered ones: written). If a write or a sync fails, the outcome of all that
wait is unknown: each release gets the error, and `on_failure` is told once.
Applying on the loop costs microseconds and cannot wait for the disk's sync;
the sync holds no interpreter lock.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.pace import Pace
from holdfast_server.runtime.environment import Threads
from holdfast_server.runtime.tally import CommitTally
from holdfast_server.store.api import Batch, StaleEpochError, Store, StoreError

Release = Callable[[HoldfastError | None], None]

# More are not kept for one write, which would hold the loop for too long.
_PENDING_MAX = 256
# Below this a wait looks at the clock in each tick of the loop, whose timers are no finer.
_TICKED_S = 0.002


class Committer:
    """Joins the batches of many actors into one synced write."""

    def __init__(
        self,
        *,
        store: Store,
        threads: Threads,
        loop: asyncio.AbstractEventLoop,
        stopwatch: Callable[[], float],
        on_failure: Callable[[BaseException], None],
        wait_s: float = 0.0,
    ) -> None:
        self._store = store
        self._threads = threads
        self._loop = loop
        self._now = stopwatch
        self._on_failure = on_failure
        self._pace = Pace(wait_s)
        self._pending: list[tuple[Batch, Release | None, bool]] = []
        self._written: deque[Release | None] = deque()
        # What is scheduled: a write, the start of a sync, or a look at the pace.
        self._applying = False
        self._starting = False
        self._look: asyncio.Handle | None = None
        self._syncing = False
        # Number of the last batch that a sync has taken up.
        self._taken = 0
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tickets = 0
        # The owner's proof that every activation carries; whether the store has to be
        # reopened before anything can commit.
        self.epoch = store.epoch
        self.failed = False
        # Numbers of the last batch that was submitted, written, synced.
        self.submitted = 0
        self.written = 0
        self.synced = 0
        # Of the batches that are released now: how many went together.
        self.group = 0
        self.tally = CommitTally()
        # Of the batches that no sync has taken up and that wait for one: when the first was
        # submitted, how many there are, and the sum of the times when they were.
        self._first_at = self._sum_at = 0.0
        self._gated = 0

    def submit(
        self, batch: Batch, epoch: int, release: Release | None, *, buffered: bool = False
    ) -> int:
        """Take a batch; `release` is called on the loop when its fate is known."""
        if epoch != self.epoch or self.failed:
            reason = errors.STALE_EPOCH if epoch != self.epoch else errors.STORE_UNAVAILABLE
            raise HoldfastError(reason)
        self.submitted += 1
        self._pending.append((batch, release, buffered))
        if (buffered or len(self._pending) >= _PENDING_MAX) and not self._applying:
            self._applying = True
            self._loop.call_soon(self.apply)
        now = self._now()
        if not buffered:
            if not self._gated:
                self._first_at = now
            self._gated += 1
            self._sum_at += now
        delay_s = self._pace.came(self.submitted - self._taken, now)
        if not (self._syncing or self._starting):
            self._start_in(delay_s)
        return self.submitted

    def apply(self) -> None:
        """Write everything submitted, so that reads of the store see it."""
        self._applying = False
        if not self._pending:
            return
        group, self._pending = self._pending, []
        if len(group) == 1:
            batch = group[0][0]
        else:
            batch = Batch()
            for part, _, _ in group:
                batch.extend(part)
        try:
            self._store.write(batch, self.epoch)
        except (StoreError, StaleEpochError, OSError) as error:
            self._written.extend(release for _, release, _ in group)
            self._fail(error)
            return
        self.written += len(group)
        self.group = len(group)
        for _, release, buffered in group:
            if buffered and release is not None:
                release(None)
                release = None
            self._written.append(release)

    async def until_synced(self, number: int, epoch: int) -> None:
        """Wait until the batch `number` of `epoch` and all before it are durable.

        Of an earlier epoch nobody knows which of its last batches are.
        """
        if self.failed or epoch != self.epoch:
            raise HoldfastError(errors.COMMIT_UNKNOWN)
        if self.synced >= number:
            return
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._tickets += 1
        heapq.heappush(self._waiters, (number, self._tickets, waiter))
        await waiter

    async def barrier(self) -> None:
        """Wait until everything submitted so far is durable."""
        await self.until_synced(self.submitted, self.epoch)

    def reopened(self, epoch: int) -> None:
        """The store is open again under a new epoch: nothing old is pending."""
        assert self.failed
        assert not self._syncing
        self.failed = False
        self.epoch = epoch
        self.synced = self.written = self._taken = self.submitted

    @property
    def quiet(self) -> bool:
        """Whether no sync is running, so that the store may be closed."""
        return not self._syncing

    def _start_in(self, delay_s: float) -> None:
        """Start a sync at the end of the loop's tick, or look at the pace again."""
        if self._starting:
            return
        if delay_s <= 0:
            self._starting = True
            self._loop.call_soon(self._start_sync)
        elif self._look is None:
            self._look_in(delay_s if delay_s >= _TICKED_S else 0.0)

    def _look_in(self, delay_s: float) -> None:
        due = self._now() + delay_s
        if delay_s:
            self._look = self._loop.call_later(delay_s, self._on_look, due)
        else:
            self._look = self._loop.call_soon(self._on_look, due)

    def _on_look(self, due: float) -> None:
        self._look = None
        waiting = self.submitted - self._taken
        if waiting and not self._syncing and not self.failed:
            now = self._now()
            self._pace.looked(now - due, now)
            self._start_in(self._pace.left(waiting, now))

    def _start_sync(self) -> None:
        self._starting = False
        self._stop_looking()
        if self._syncing or self.failed:
            return
        self.apply()
        if self.failed or not self._written:
            return
        self._syncing = True
        number, count, began = self.written, len(self._written), self._now()
        self._taken = number
        gated = self._first_at, self._sum_at, self._gated
        self._forget_waits()
        future = self._threads.sync(self._store.sync)
        future.add_done_callback(
            lambda done: self._loop.call_soon_threadsafe(
                self._on_synced, done, number, count, began, gated
            )
        )

    def _stop_looking(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _on_synced(
        self,
        done: Future[None],
        number: int,
        count: int,
        began: float,
        gated: tuple[float, float, int],
    ) -> None:
        self._syncing = False
        error = done.exception()
        if error is not None or self.failed:
            self._fail(error or StoreError("the store failed"))
            return
        self.synced = number
        waiting, now = self.submitted - number, self._now()
        self._pace.synced(count, waiting, now - began, now)
        self._count(count, now, began, gated)
        if waiting:
            self._start_in(self._pace.left(waiting, now))
        self._release(count)

    def _count(self, count: int, now: float, began: float, gated: tuple[float, float, int]) -> None:
        tally, (first_at, sum_at, waited) = self.tally, gated
        tally.groups.add(count)
        tally.syncs.take(now - began)
        if waited:
            tally.latencies.take(now - first_at)
            tally.gated += waited
            tally.gate_s += waited * now - sum_at

    def _forget_waits(self) -> None:
        self._first_at = self._sum_at = 0.0
        self._gated = 0

    def _release(self, count: int) -> None:
        self.group = count
        for release in [self._written.popleft() for _ in range(count)]:
            if release is not None:
                release(None)
        while self._waiters and self._waiters[0][0] <= self.synced:
            waiter = heapq.heappop(self._waiters)[2]
            if not waiter.done():
                waiter.set_result(None)

    def _fail(self, cause: BaseException) -> None:
        first = not self.failed
        self.failed = True
        self._stop_looking()
        self._forget_waits()
        self._written.extend(release for _, release, _ in self._pending)
        self._pending.clear()
        released, self._written = self._written, deque()
        waiters, self._waiters = self._waiters, []
        for release in released:
            if release is not None:
                release(HoldfastError(errors.COMMIT_UNKNOWN))
        for _, _, waiter in waiters:
            if not waiter.done():
                waiter.set_exception(HoldfastError(errors.COMMIT_UNKNOWN))
        if first:
            self._on_failure(cause)
