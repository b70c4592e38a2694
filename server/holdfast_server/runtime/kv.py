"""The KV of one actor as one turn sees it: the store below, its own writes above.

Values are kept with a type byte before them, so that text comes back as text.
`take` puts the writes into a batch, with the row of bytes in use, which is
counted then, from what is really stored: turns that interleave cannot make it
drift.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.runtime.expiry import expiring, expiry_of, live
from holdfast_server.store import keys
from holdfast_server.store.api import Batch

if TYPE_CHECKING:
    from holdfast_server.runtime.activation import Activation

TEXT = b"t"
BYTES = b"b"
_PAGE = 1000


class KvView:
    """Reads and writes of one turn."""

    __slots__ = (
        "_activation",
        "_bytes",
        "_limits",
        "_prefix",
        "_ranges",
        "_written",
        "actor_id",
        "expires_ms",
    )

    def __init__(self, activation: Activation, actor_id: bytes) -> None:
        self._activation = activation
        self._limits = activation.node.limits
        self._prefix = keys.kv_key(actor_id, b"")
        self.actor_id = actor_id
        # Later writes by key (None deletes), after deletions of whole ranges.
        self._written: dict[bytes, bytes | None] = {}
        self._ranges: list[tuple[bytes, bytes]] = []
        self._bytes = 0
        # Of what `take` gave: when the first entry expires.
        self.expires_ms: int | None = None

    # Reading

    def get(self, key: bytes) -> bytes | None:
        """The value, type byte first."""
        if key in self._written:
            value = self._written[key]
        elif self._hidden(key):
            value = None
        else:
            value = self._activation.read(self._prefix + key)
        return None if value is None else live(value, self._now_ms())

    def _now_ms(self) -> int:
        return self._activation.node.environment.clock.now_ms()

    def scan(
        self, start: bytes, end: bytes | None, limit: int, reverse: bool
    ) -> list[tuple[bytes, bytes]]:
        """At most `limit` entries with start <= key < end, in key order or reversed."""
        low = self._prefix + start
        high = keys.prefix_end(self._prefix) if end is None else self._prefix + end
        if low >= high or limit <= 0:
            return []
        skip, activation = len(self._prefix), self._activation
        if not self._written and not self._ranges:
            rows = activation.scan(low, high, limit=limit, reverse=reverse)
            if not any(value[:1].isupper() for _, value in rows):
                return [(key[skip:], value) for key, value in rows]
        # Written keys may hide stored ones, and some have expired: read enough to fill the
        # page anyway.
        merged: dict[bytes, bytes] = {}
        wanted, now_ms = limit + len(self._written), self._now_ms()
        while True:
            rows = activation.scan(low, high, limit=wanted, reverse=reverse)
            for row, stored in rows:
                key, plain = row[skip:], live(stored, now_ms)
                if plain is not None and not self._hidden(key):
                    merged[key] = plain
            if len(rows) < wanted or len(merged) >= wanted:
                break
            if reverse:
                high = rows[-1][0]
            else:
                low = rows[-1][0] + b"\x00"
        for key, value in self._written.items():
            if key >= start and (end is None or key < end):
                merged.pop(key, None)
                plain = None if value is None else live(value, now_ms)
                if plain is not None:
                    merged[key] = plain
        return sorted(merged.items(), reverse=reverse)[:limit]

    def _hidden(self, key: bytes) -> bool:
        return any(first <= key < last for first, last in self._ranges)

    # Writing

    def put(self, entries: list[tuple[bytes, bytes]], expires_ms: int | None = None) -> None:
        """Write entries, each value with its type byte; all or none."""
        limits = self._limits
        # As the user counts: without the type bytes.
        self._check_batch(len(entries), sum(len(key) + len(value) - 1 for key, value in entries))
        for key, value in entries:
            self._check_key(key)
            if len(value) - 1 > limits.kv_value_bytes_max:
                raise HoldfastError(
                    errors.KV_VALUE_TOO_LARGE,
                    f"value of {len(value) - 1} bytes; at most {limits.kv_value_bytes_max}",
                    metadata={"limit": str(limits.kv_value_bytes_max)},
                )
        for key, value in entries:
            self._write(key, value if expires_ms is None else expiring(value, expires_ms))

    def delete(self, names: list[bytes]) -> None:
        self._check_batch(len(names), sum(map(len, names)))
        for key in names:
            self._check_key(key)
        for key in names:
            self._write(key, None)

    def delete_range(self, start: bytes, end: bytes) -> None:
        """Delete every key with start <= key < end."""
        if end <= start:
            return
        if len(self._ranges) >= self._limits.kv_batch_keys_max:
            raise HoldfastError(
                errors.KV_BATCH_TOO_LARGE,
                f"more than {self._limits.kv_batch_keys_max} deleted ranges in one turn",
                metadata={"limit": str(self._limits.kv_batch_keys_max)},
            )
        for key in [key for key in self._written if start <= key < end]:
            del self._written[key]
        self._ranges.append((start, end))

    def _write(self, key: bytes, value: bytes | None) -> None:
        self._bytes += len(key) + len(value or b"")
        if self._bytes > self._limits.turn_bytes_max:
            raise HoldfastError(
                errors.KV_BATCH_TOO_LARGE,
                f"a turn writes at most {self._limits.turn_bytes_max} bytes",
                metadata={"limit": str(self._limits.turn_bytes_max)},
            )
        self._written[key] = value

    def _check_key(self, key: bytes) -> None:
        limit = self._limits.kv_key_bytes_max
        if not key or len(key) > limit:
            raise HoldfastError(
                errors.KV_KEY_TOO_LARGE,
                f"key of {len(key)} bytes; 1 to {limit}",
                metadata={"limit": str(limit)},
            )

    def _check_batch(self, count: int, size: int) -> None:
        keys_max, bytes_max = self._limits.kv_batch_keys_max, self._limits.kv_batch_bytes_max
        if count > keys_max or size > bytes_max:
            raise HoldfastError(
                errors.KV_BATCH_TOO_LARGE,
                f"{count} keys and {size} bytes; at most {keys_max} keys and {bytes_max} bytes",
                metadata={"limit": str(keys_max if count > keys_max else bytes_max)},
            )

    # The writes as a batch

    def take(self, batch: Batch) -> None:
        """Add the writes since the last `clear`; KV_STORAGE_FULL when they do not fit."""
        self.expires_ms = None
        if not self._written and not self._ranges:
            return
        gone: list[tuple[int, bytes]] = []
        change = self._change(gone)
        row = keys.kv_usage_key(self.actor_id)
        used = int.from_bytes(self._activation.read(row) or b"") + change
        limit = self._limits.kv_storage_bytes_max
        if change > 0 and used > limit:
            raise HoldfastError(
                errors.KV_STORAGE_FULL,
                f"{used} bytes; at most {limit}",
                metadata={"limit": str(limit)},
            )
        for expired_ms, key in gone:
            batch.delete(keys.kv_expiry_key(self.actor_id, expired_ms, key))
        for start, end in self._ranges:
            batch.delete_range(self._prefix + start, self._prefix + end)
        for key, value in self._written.items():
            if value is None:
                batch.delete(self._prefix + key)
            else:
                batch.put(self._prefix + key, value)
                self._put_expiry(batch, key, value)
        batch.put(row, max(used, 0).to_bytes(8))

    def _put_expiry(self, batch: Batch, key: bytes, value: bytes) -> None:
        expires_ms = expiry_of(value)
        if expires_ms is not None:
            batch.put(keys.kv_expiry_key(self.actor_id, expires_ms, key), b"")
            earlier = self.expires_ms is None or expires_ms < self.expires_ms
            self.expires_ms = expires_ms if earlier else self.expires_ms

    def clear(self) -> None:
        """What `take` gave is about to be submitted."""
        self._written, self._ranges, self._bytes = {}, [], 0

    def _change(self, gone: list[tuple[int, bytes]]) -> int:
        """By how many bytes the writes make the stored entries grow; adds the expiries
        that go with what they replace."""
        change = 0
        for key, value in self._written.items():
            if value is not None:
                change += len(key) + len(value)
            if not self._hidden(key):
                before = self._activation.read(self._prefix + key)
                if before is not None:
                    change -= len(key) + len(before)
                    _note_expiry(gone, key, before)
        for index, (start, end) in enumerate(self._ranges):
            change -= self._range_bytes(start, end, self._ranges[:index], gone)
        return change

    def _range_bytes(
        self,
        start: bytes,
        end: bytes,
        counted: list[tuple[bytes, bytes]],
        gone: list[tuple[int, bytes]],
    ) -> int:
        """Bytes stored in a range, without what an earlier range has counted."""
        total, skip = 0, len(self._prefix)
        low, high = self._prefix + start, self._prefix + end
        while rows := self._activation.scan(low, high, limit=_PAGE, reverse=False):
            for row, value in rows:
                key = row[skip:]
                if not any(first <= key < last for first, last in counted):
                    total += len(key) + len(value)
                    _note_expiry(gone, key, value)
            low = rows[-1][0] + b"\x00"
        return total


def _note_expiry(gone: list[tuple[int, bytes]], key: bytes, stored: bytes) -> None:
    expires_ms = expiry_of(stored)
    if expires_ms is not None:
        gone.append((expires_ms, key))
