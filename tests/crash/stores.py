"""Stores around the real one: one that dies at a point, one that can lose power.

SIGKILL leaves the page cache to the kernel, so that what was written and not
synced survives it. A power cut is played at the level of files: RocksDB only
appends to its write-ahead log, so that the log's length when a sync began is
synced once that sync has ended, and everything beyond may be cut off. RocksDB
syncs its other files by itself before it refers to them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

import msgspec

from holdfast_server.core.tally import Sample
from holdfast_server.store import keys
from holdfast_server.store.api import DELETE, PUT, Batch, Store
from holdfast_server.store.v1 import records_pb2 as records
from tests.crash.plan import Kind, Point, Stage

_KINDS = {
    (PUT, keys.Kind.STATE): Kind.STATE,
    (PUT, keys.Kind.OUTBOX): Kind.SEND,
    (PUT, keys.Kind.INBOX): Kind.DELIVERY,
    (DELETE, keys.Kind.OUTBOX): Kind.SETTLE,
    (PUT, keys.Kind.TIMER): Kind.TIMER,
    (DELETE, keys.Kind.TIMER): Kind.FIRE,
    (PUT, keys.Kind.DIRECTORY): Kind.CREATE,
    (DELETE, keys.Kind.DIRECTORY): Kind.DESTROY,
}


def die() -> NoReturn:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def say(word: str) -> None:
    """Tell the test something, on a line of its own."""
    os.write(sys.stdout.fileno(), f"{word}\n".encode())


def is_started_row(key: bytes, value: bytes) -> bool:
    """Whether a row is the reply of a turn that has committed in its middle."""
    if keys.Kind(int.from_bytes(key[:2])) is not keys.Kind.REPLY:
        return False
    outcome = records.ReplyRecord.FromString(value).outcome
    return outcome == records.ReplyRecord.OUTCOME_STARTED


def kinds_of(batch: Batch) -> set[Kind]:
    """What a batch holds."""
    found = {Kind.ANY}
    for op, key, value in batch.ops:
        kind = _KINDS.get((op, keys.Kind(int.from_bytes(key[:2]))))
        if kind is not None:
            found.add(kind)
        elif op == PUT and is_started_row(key, value):
            found.add(Kind.STARTED)
    return found


class Wrapped:
    """A store that does what `inner` does."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    @property
    def epoch(self) -> int:
        return self.inner.epoch

    def get(self, key: bytes) -> bytes | None:
        return self.inner.get(key)

    def multi_get(self, keys: list[bytes]) -> list[bytes | None]:
        return self.inner.multi_get(keys)

    def scan(
        self, start: bytes, end: bytes, *, limit: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        return self.inner.scan(start, end, limit=limit, reverse=reverse)

    def write(self, batch: Batch, epoch: int) -> None:
        self.inner.write(batch, epoch)

    def sync(self) -> None:
        self.inner.sync()

    def reopen(self) -> int:
        return self.inner.reopen()

    def checkpoint(self, path: str) -> None:
        self.inner.checkpoint(path)

    def samples(self) -> list[Sample]:
        return self.inner.samples()

    def close(self) -> None:
        self.inner.close()


class CrashStore(Wrapped):
    """Kills its process the N-th time that a point is reached."""

    def __init__(self, inner: Store, point: Point) -> None:
        super().__init__(inner)
        self._point = point
        self._left = point.count
        # Kinds of the batches that the next sync covers; written on the loop,
        # taken by the committer thread.
        self._unsynced: set[Kind] = set()
        self._lock = threading.Lock()

    def write(self, batch: Batch, epoch: int) -> None:
        kinds = kinds_of(batch)
        if self._reached(Stage.BEFORE_WRITE, kinds):
            die()
        self.inner.write(batch, epoch)
        with self._lock:
            self._unsynced |= kinds
        if self._reached(Stage.AFTER_WRITE, kinds):
            die()

    def sync(self) -> None:
        with self._lock:
            kinds, self._unsynced = self._unsynced, set()
        if self._reached(Stage.BEFORE_SYNC, kinds):
            die()
        if self._reached(Stage.HELD_SYNC, kinds):
            say("held")
            threading.Event().wait()
        self.inner.sync()
        if self._reached(Stage.AFTER_SYNC, kinds):
            die()

    def _reached(self, stage: Stage, kinds: set[Kind]) -> bool:
        if stage is not self._point.stage or self._point.kind not in kinds:
            return False
        self._left -= 1
        return self._left == 0


def log_lengths(data: str | Path) -> dict[str, int]:
    """The write-ahead logs of a data directory and their lengths."""
    found: dict[str, int] = {}
    for path in (Path(data) / "rocks").glob("*.log"):
        try:
            found[path.name] = path.stat().st_size
        except FileNotFoundError:
            # RocksDB drops a log once its rows are in a synced table.
            continue
    return found


class PowerStore(Wrapped):
    """Records beside the data directory how much of the log every sync made durable."""

    def __init__(self, inner: Store, data: str, synced_path: str) -> None:
        super().__init__(inner)
        self._data = data
        self._record_file = os.open(
            synced_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        # An open ends in a sync.
        self._record(log_lengths(data))

    def sync(self) -> None:
        # A batch that is written while the disk works is not covered.
        lengths = log_lengths(self._data)
        self.inner.sync()
        self._record(lengths)

    def reopen(self) -> int:
        epoch = self.inner.reopen()
        self._record(log_lengths(self._data))
        return epoch

    def close(self) -> None:
        self.inner.close()
        os.close(self._record_file)

    def _record(self, lengths: dict[str, int]) -> None:
        os.write(self._record_file, msgspec.json.encode(lengths) + b"\n")


def cut_power(data: str | Path, synced_path: str | Path) -> int:
    """Drop what a dead server had not synced; the number of bytes that went."""
    whole, _, _ = Path(synced_path).read_bytes().rpartition(b"\n")
    synced = msgspec.json.decode(whole.rpartition(b"\n")[2], type=dict[str, int])
    dropped = 0
    for name, length in log_lengths(data).items():
        kept = min(length, synced.get(name, 0))
        os.truncate(Path(data) / "rocks" / name, kept)
        dropped += length - kept
    return dropped
