"""What the runtime asks of a store: ordered bytes, atomic batches, one sync.

The contract, which every implementation passes (`tests/contract`):

- `write` applies a whole batch or nothing, in memory and in the log, without
  syncing. What it wrote is seen by the next read. It refuses an epoch that is
  not the store's own with `StaleEpochError`, certainly without writing.
- `sync` makes everything written before it was called durable. It may be
  called from another thread while the loop goes on writing, and holds no
  interpreter lock while the disk works.
- Any other failure of `write` or `sync` is a `StoreError`: the outcome is
  unknown. The store then refuses everything until `reopen`, which loses no
  synced batch, keeps or drops unsynced ones whole, and returns a new epoch.
- Batches become visible, and durable, in the order they were written.
"""

from __future__ import annotations

from typing import Final, Protocol

from holdfast_server.core.tally import Sample

PUT: Final = 0
DELETE: Final = 1
DELETE_RANGE: Final = 2


class StoreError(Exception):
    """The disk or the engine failed; what the failed call did is unknown."""


class StaleEpochError(Exception):
    """The writer's epoch is not the store's; certainly nothing was written."""


class CorruptRecordError(Exception):
    """A stored record does not decode; `key` says which."""

    def __init__(self, key: bytes, message: str) -> None:
        self.key = key
        super().__init__(f"corrupt record {key.hex()}: {message}")


class Batch:
    """Writes that happen together, in order; later ones win.

    `ops` holds (PUT, key, value), (DELETE, key, b"") and
    (DELETE_RANGE, start, end), the end excluded.
    """

    __slots__ = ("ops",)

    def __init__(self) -> None:
        self.ops: list[tuple[int, bytes, bytes]] = []

    @property
    def size(self) -> int:
        """Bytes of all keys and values."""
        return sum(len(key) + len(value) for _, key, value in self.ops)

    def put(self, key: bytes, value: bytes) -> None:
        self.ops.append((PUT, key, value))

    def delete(self, key: bytes) -> None:
        self.ops.append((DELETE, key, b""))

    def delete_range(self, start: bytes, end: bytes) -> None:
        assert start <= end
        self.ops.append((DELETE_RANGE, start, end))

    def extend(self, other: Batch) -> None:
        self.ops.extend(other.ops)

    def __bool__(self) -> bool:
        return bool(self.ops)


class Store(Protocol):
    """An ordered map of bytes with atomic, fenced batches."""

    @property
    def epoch(self) -> int:
        """Grows by at least one with every open; the owner's proof in `write`."""
        ...

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`; StoreError when it cannot be read."""
        ...

    def multi_get(self, keys: list[bytes]) -> list[bytes | None]:
        """The values of `keys`, in their order, from one moment."""
        ...

    def scan(
        self, start: bytes, end: bytes, *, limit: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """At most `limit` rows with start <= key < end, in key order or reversed."""
        ...

    def write(self, batch: Batch, epoch: int) -> None:
        """Apply `batch` atomically, unsynced."""
        ...

    def sync(self) -> None:
        """Make everything written before durable; blocks, off the loop."""
        ...

    def reopen(self) -> int:
        """Close and open again after a failure; returns the new epoch."""
        ...

    def checkpoint(self, path: str) -> None:
        """Write a consistent copy of everything synced to the new directory `path`."""
        ...

    def samples(self) -> list[Sample]:
        """What the engine tells of itself; nothing while it is not open."""
        ...

    def close(self) -> None:
        """Sync and close; idempotent."""
        ...
