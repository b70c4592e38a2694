"""What a server under test is given in place of the machine: clock, threads, disk, observer."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from holdfast.testing._loop import LoopHub
from holdfast.testing._time import TestTime
from holdfast.testing.faults import Faults
from holdfast_server.core.tally import Sample
from holdfast_server.store.api import Batch, StoreError
from holdfast_server.store.faults import FaultyStore
from holdfast_server.telemetry.observer import ObservedTurn, Observer


class TestClock:
    """The wall clock, by the test clock."""

    __test__ = False

    def __init__(self, time: TestTime) -> None:
        self._time = time

    def now_ms(self) -> int:
        return self._time.wall_us() // 1000


class TestThreads:
    """Syncs run at once on the loop, so that two runs are alike; actions on threads, which
    the clock waits for."""

    __test__ = False

    def __init__(self, hub: LoopHub, faults: Faults, action_threads_max: int) -> None:
        self._hub = hub
        self._faults = faults
        self._actions = ThreadPoolExecutor(action_threads_max, thread_name_prefix="holdfast-action")

    def sync(self, work: Callable[[], None]) -> Future[None]:
        done: Future[None] = Future()
        slow = self._faults.take("slow_disk")
        if slow is None:
            _work(work, done)
        else:
            self._hub.loop.call_later(slow.delay_us / 1e6, _work, work, done)
        return done

    def action(self, work: Callable[[], Any]) -> Future[Any]:
        return self._hub.work(lambda: self._actions.submit(work))

    def wait(self, done: Future[Any]) -> Any:
        self._hub.thread_waits(done)
        return done.result()

    @property
    def busy(self) -> bool:
        return False

    def close(self) -> None:
        self._actions.shutdown(wait=False, cancel_futures=True)


def _work(work: Callable[[], None], done: Future[None]) -> None:
    try:
        work()
    except Exception as error:
        done.set_exception(error)
    else:
        done.set_result(None)


class PluggedStore:
    """The disk as one life of the server sees it; a dead server's writes reach nothing."""

    def __init__(self, disk: FaultyStore, faults: Faults) -> None:
        self._disk = disk
        self._faults = faults
        self._plugged = True

    def unplug(self) -> None:
        """The server has died."""
        self._plugged = False

    @property
    def epoch(self) -> int:
        return self._disk.epoch

    def get(self, key: bytes) -> bytes | None:
        return self._ready().get(key)

    def multi_get(self, keys: list[bytes]) -> list[bytes | None]:
        return self._ready().multi_get(keys)

    def scan(
        self, start: bytes, end: bytes, *, limit: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        return self._ready().scan(start, end, limit=limit, reverse=reverse)

    def write(self, batch: Batch, epoch: int) -> None:
        disk = self._ready()
        if self._faults.take("disk_full") is not None:
            disk.cause = "No space left on device"
            disk.fail_next("write")
        disk.write(batch, epoch)

    def sync(self) -> None:
        disk = self._ready()
        if self._faults.take("disk_error") is not None:
            disk.cause = "Input/output error"
            disk.fail_next("sync", applied=False)
        disk.sync()

    def reopen(self) -> int:
        disk = self._ready()
        # What a failed sync left behind is as lost as in a power cut.
        disk.unsynced_kept = 0
        if self._faults.lasts("disk_full"):
            self._faults.take("disk_full")
            disk.cause = "No space left on device"
            disk.fail_next("reopen")
        return disk.reopen()

    def checkpoint(self, path: str) -> None:
        self._ready().checkpoint(path)

    def samples(self) -> list[Sample]:
        return self._disk.samples()

    def close(self) -> None:
        """The disk outlives the server."""
        if self._plugged:
            self._disk.sync()
        self._plugged = False

    def _ready(self) -> FaultyStore:
        if not self._plugged:
            raise StoreError("the server has stopped")
        return self._disk


class FaultObserver(Observer):
    """Lets the server die around the commit of a turn."""

    __slots__ = ("_die", "_faults")

    def __init__(self, faults: Faults, die: Callable[[], None]) -> None:
        self._faults = faults
        self._die = die

    def turn_began(self, turn: ObservedTurn) -> None:
        turn.span = self

    def commit_began(self, turn: ObservedTurn, writes: int, size: int) -> object:
        if self._takes("crash_before_commit", turn):
            self._die()
        return turn

    def commit_ended(self, commit: object, group: int, error: BaseException | None) -> None:
        turn: Any = commit
        if error is None and self._takes("crash_after_commit", turn):
            self._die()

    def _takes(self, kind: str, turn: ObservedTurn) -> bool:
        if not self._faults.any_of(kind):
            return False
        address = turn.address
        return self._faults.take(kind, address.name, address.key, turn.action) is not None


def seeded(seed: int | str, purpose: str) -> random.Random:
    """Random numbers of one purpose: what one part draws changes nothing for another."""
    return random.Random(f"holdfast {seed} {purpose}")
