"""A store in memory, for tests and for servers that may forget everything.

Keys are kept in a sorted list beside a dict of values; a lock makes each call
one moment. Nothing can fail, so that `sync` has nothing to do and `reopen`
only raises the epoch. `close` ends it; a checkpoint is the only thing that
outlives it.
"""

from __future__ import annotations

import bisect
import os
import threading
from pathlib import Path
from typing import Final

import msgspec

from holdfast_server.core.tally import Sample
from holdfast_server.store import format as store_format
from holdfast_server.store.api import DELETE, PUT, Batch, StaleEpochError, StoreError

_ROWS: Final = "rows.msgpack"


class MemoryStore:
    """The Store contract over a dict."""

    def __init__(self, rows: dict[bytes, bytes] | None = None) -> None:
        self._values: dict[bytes, bytes] = dict(rows or {})
        self._keys: list[bytes] = sorted(self._values)
        self._lock = threading.Lock()
        self._closed = False
        self._epoch = self._open()

    @classmethod
    def from_checkpoint(cls, path: str) -> MemoryStore:
        """A new store that begins with the rows of a checkpoint."""
        data = (Path(path) / _ROWS).read_bytes()
        return cls(dict(msgspec.msgpack.decode(data, type=list[tuple[bytes, bytes]])))

    @property
    def epoch(self) -> int:
        return self._epoch

    def get(self, key: bytes) -> bytes | None:
        with self._lock:
            self._check_open()
            return self._values.get(key)

    def multi_get(self, keys: list[bytes]) -> list[bytes | None]:
        with self._lock:
            self._check_open()
            return [self._values.get(key) for key in keys]

    def scan(
        self, start: bytes, end: bytes, *, limit: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        with self._lock:
            self._check_open()
            first = bisect.bisect_left(self._keys, start)
            last = max(first, bisect.bisect_left(self._keys, end))
            if reverse:
                found = self._keys[max(first, last - limit) : last][::-1]
            else:
                found = self._keys[first : min(last, first + limit)]
            return [(key, self._values[key]) for key in found]

    def write(self, batch: Batch, epoch: int) -> None:
        with self._lock:
            if epoch != self._epoch:
                raise StaleEpochError(f"epoch {epoch} is not {self._epoch}")
            self._check_open()
            self._apply(batch)

    def sync(self) -> None:
        with self._lock:
            self._check_open()

    def reopen(self) -> int:
        with self._lock:
            self._check_open()
            self._epoch = self._open()
            return self._epoch

    def checkpoint(self, path: str) -> None:
        with self._lock:
            self._check_open()
            rows = [(key, self._values[key]) for key in self._keys]
        try:
            os.mkdir(path)
            with open(Path(path) / _ROWS, "xb") as file:
                file.write(msgspec.msgpack.encode(rows))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(f"checkpoint failed: {error}") from error

    def samples(self) -> list[Sample]:
        return []

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._apply(store_format.closing(self._values.get, self._epoch))
            self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")

    def _open(self) -> int:
        epoch, batch = store_format.opening(self._values.get)
        self._apply(batch)
        return epoch

    def _apply(self, batch: Batch) -> None:
        for op, key, value in batch.ops:
            if op == PUT:
                if key not in self._values:
                    bisect.insort(self._keys, key)
                self._values[key] = value
            elif op == DELETE:
                if self._values.pop(key, None) is not None:
                    del self._keys[bisect.bisect_left(self._keys, key)]
            else:
                first = bisect.bisect_left(self._keys, key)
                last = bisect.bisect_left(self._keys, value)
                for gone in self._keys[first:last]:
                    del self._values[gone]
                del self._keys[first:last]
