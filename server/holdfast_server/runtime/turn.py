"""One turn: what it has done so far, kept apart until it commits.

A Turn collects effects: KV writes (seen by its own reads), sends, destruction;
the state stays with the runner's instance. `batch` turns them into store
writes. Nothing here touches the store but to read. A turn that has ended
refuses everything with `no_turn`; a read-only one refuses every change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.mailbox import Mode
from holdfast_server.core.waits import Holder
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.runtime.activation import Activation, ReplyWriter

TEXT = b"t"
BYTES = b"b"
_SCAN_PAGE = 1000


class Turn:
    """Effects of one run of a handler, and its place in the graph of waits."""

    __slots__ = (
        "activation",
        "actor_id",
        "admitted",
        "committed",
        "deadline",
        "destroyed",
        "ended",
        "kv",
        "kv_added",
        "kv_bytes",
        "kv_ranges",
        "mode",
        "reply",
        "sending",
        "sends",
        "sent",
        "targets",
        "traceparent",
    )

    def __init__(
        self, activation: Activation, mode: Mode, deadline: float | None, traceparent: str
    ) -> None:
        self.activation = activation
        self.mode = mode
        self.deadline = deadline
        self.traceparent = traceparent
        self.kv: dict[bytes, bytes | None] | None = None
        self.kv_ranges: list[tuple[bytes, bytes]] = []
        self.kv_added = 0
        self.kv_bytes = 0
        self.sends: list[records.SendRecord] = []
        # Whether a batch of this turn held sends; the outbox row it delivers.
        self.sending = False
        self.sent: tuple[bytes, int] | None = None
        self.destroyed = False
        self.ended = False
        # Whether c.commit() has run: a point of no return.
        self.committed = False
        # Activations that this turn's outgoing calls wait for.
        self.targets: list[Activation] = []
        # Set while it waits in the mailbox.
        self.admitted: asyncio.Future[None] | None = None
        # Where the reply of a keyed call goes, and the actor's id at the start.
        self.reply: ReplyWriter | None = None
        self.actor_id = b""

    @property
    def label(self) -> str:
        return str(self.activation.address)

    def waits_for(self) -> Iterable[Holder]:
        for target in self.targets:
            yield from target.mailbox.running

    def check_change(self) -> None:
        """Raise unless this turn may change something."""
        if self.ended:
            raise HoldfastError(errors.NO_TURN)
        if self.mode is Mode.READ_ONLY:
            raise HoldfastError(errors.READ_ONLY)

    def check_read(self) -> None:
        if self.ended:
            raise HoldfastError(errors.NO_TURN)

    # KV

    def kv_get(self, key: bytes) -> bytes | None:
        """The stored value (type byte first) as this turn sees it."""
        self.check_read()
        if self.kv is not None:
            if key in self.kv:
                return self.kv[key]
            if any(start <= key < end for start, end in self.kv_ranges):
                return None
        activation = self.activation
        return activation.node.read(keys.kv_key(activation.actor_id, key))

    def kv_put(self, entries: list[tuple[bytes, bytes]]) -> None:
        self.check_change()
        limits = self.activation.node.limits
        self._check_batch(len(entries), sum(len(k) + len(v) for k, v in entries))
        for key, value in entries:
            _check_kv_key(key, limits.kv_key_bytes_max)
            if len(value) - 1 > limits.kv_value_bytes_max:
                raise HoldfastError(
                    errors.KV_VALUE_TOO_LARGE,
                    f"value of {len(value) - 1} bytes; at most {limits.kv_value_bytes_max}",
                    metadata={"limit": str(limits.kv_value_bytes_max)},
                )
        for key, value in entries:
            self._set(key, value)

    def kv_delete(self, names: list[bytes]) -> None:
        self.check_change()
        self._check_batch(len(names), 0)
        for key in names:
            self._set(key, None)

    def kv_delete_range(self, start: bytes, end: bytes) -> None:
        self.check_change()
        if end <= start:
            return
        cursor = start
        while rows := self.kv_scan(cursor, end, _SCAN_PAGE, False):
            self.kv_added -= sum(len(key) + len(value) for key, value in rows)
            cursor = rows[-1][0] + b"\x00"
        overlay = self._overlay()
        for key in [key for key in overlay if start <= key < end]:
            del overlay[key]
        self.kv_ranges.append((start, end))

    def kv_scan(
        self, start: bytes, end: bytes | None, limit: int, reverse: bool
    ) -> list[tuple[bytes, bytes]]:
        """Rows of a range as this turn sees them."""
        self.check_read()
        node, actor_id = self.activation.node, self.activation.actor_id
        prefix = keys.kv_key(actor_id, b"")
        low = keys.kv_key(actor_id, start)
        high = keys.prefix_end(prefix) if end is None else keys.kv_key(actor_id, end)
        if low >= high:
            return []
        overlay = self.kv or {}
        if not overlay and not self.kv_ranges:
            rows = node.scan(low, high, limit=limit, reverse=reverse)
            return [(key[len(prefix) :], value) for key, value in rows]
        # Written keys may hide stored ones: read enough to fill the page anyway.
        merged: dict[bytes, bytes] = {}
        extra = limit + len(overlay)
        while True:
            rows = node.scan(low, high, limit=extra, reverse=reverse)
            for stored, value in rows:
                key = stored[len(prefix) :]
                if not any(first <= key < last for first, last in self.kv_ranges):
                    merged[key] = value
            if len(rows) < extra or len(merged) >= limit + len(overlay):
                break
            if reverse:
                high = rows[-1][0]
            else:
                low = rows[-1][0] + b"\x00"
        for key, changed in overlay.items():
            if key >= start and (end is None or key < end):
                merged.pop(key, None)
                if changed is not None:
                    merged[key] = changed
        return sorted(merged.items(), reverse=reverse)[:limit]

    def _overlay(self) -> dict[bytes, bytes | None]:
        if self.kv is None:
            self.kv = {}
        return self.kv

    def _set(self, key: bytes, value: bytes | None) -> None:
        before = self.kv_get(key)
        self.kv_added -= len(key) + len(before) if before is not None else 0
        if value is not None:
            size = len(key) + len(value)
            self.kv_added += size
            self.kv_bytes += size
        self._overlay()[key] = value
        limits = self.activation.node.limits
        if self.kv_bytes > limits.turn_bytes_max:
            raise HoldfastError(
                errors.KV_BATCH_TOO_LARGE, metadata={"limit": str(limits.turn_bytes_max)}
            )

    def _check_batch(self, count: int, size: int) -> None:
        limits = self.activation.node.limits
        if count > limits.kv_batch_keys_max or size > limits.kv_batch_bytes_max:
            raise HoldfastError(
                errors.KV_BATCH_TOO_LARGE,
                f"{count} keys and {size} bytes; at most {limits.kv_batch_keys_max} keys "
                f"and {limits.kv_batch_bytes_max} bytes",
            )

    # Effects as writes

    def take(self) -> Batch:
        """Everything collected since the last commit as writes; then empty again."""
        batch = Batch()
        activation = self.activation
        if self.kv is not None:
            actor_id = activation.actor_id
            for start, end in self.kv_ranges:
                batch.delete_range(keys.kv_key(actor_id, start), keys.kv_key(actor_id, end))
            for key, value in self.kv.items():
                if value is None:
                    batch.delete(keys.kv_key(actor_id, key))
                else:
                    batch.put(keys.kv_key(actor_id, key), value)
            self._take_usage(batch)
            self.kv, self.kv_ranges = None, []
        if self.sends:
            activation.node.outbox.store(self, batch)
            self.sending = True
        return batch

    def _take_usage(self, batch: Batch) -> None:
        node, actor_id = self.activation.node, self.activation.actor_id
        row = keys.kv_usage_key(actor_id)
        used = int.from_bytes(node.read(row) or b"") + self.kv_added
        if self.kv_added > 0 and used > node.limits.kv_storage_bytes_max:
            raise HoldfastError(
                errors.KV_STORAGE_FULL, metadata={"limit": str(node.limits.kv_storage_bytes_max)}
            )
        self.kv_added = 0
        batch.put(row, max(used, 0).to_bytes(8))


def _check_kv_key(key: bytes, limit: int) -> None:
    if not key or len(key) > limit:
        raise HoldfastError(
            errors.KV_KEY_TOO_LARGE,
            f"key of {len(key)} bytes; 1 to {limit}",
            metadata={"limit": str(limit)},
        )
