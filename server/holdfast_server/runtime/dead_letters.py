"""Sends whose target refused them until their tries were used up.

A letter is named by its row: sender, target and number. Sent again it goes to
the end of its lane under a new number, since the target's watermark may have
passed the old one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.runtime.node import Node

# Rows that one page looks at, whatever namespace they are of.
_LOOK_MAX = 1000


class DeadLetters:
    """Lists them, sends them again, discards them."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def list(
        self, namespace: str, after: bytes, limit: int
    ) -> tuple[list[tuple[bytes, records.SendRecord]], bytes]:
        """One page of (id, record), and where the next begins."""
        node = self._node
        await node.ready()
        start, end = keys.kind_range(keys.Kind.DEAD_SEND)
        rows = node.scan_some(start + after, end, limit=_LOOK_MAX, reverse=False)
        found: list[tuple[bytes, records.SendRecord]] = []
        size, following = 0, rows[-1][0] + b"\x00" if rows else b""
        for key, row in rows:
            record = node.decode_row(records.SendRecord, key, row)
            if record.namespace != namespace:
                continue
            size += len(row)
            if len(found) == limit or (found and size > node.limits.kv_read_bytes_max):
                following = key
                break
            found.append((key[2:], record))
        if not node.scan(following or end, end, limit=1, reverse=False):
            following = b""
        await node.committer.barrier()
        return found, following[2:]

    async def retry(self, namespace: str, letter: bytes) -> None:
        """Put it back into the outbox."""
        node = self._node
        await node.ready()
        key, record = self._find(namespace, letter)
        sender_id = keys.parse_send_key(key)[0]
        record.attempts = 0
        record.next_attempt_at_ms = 0
        batch = Batch()
        lanes = node.outbox.store(sender_id, [record], batch)
        batch.delete(key)
        await self._commit(batch)
        for lane in lanes:
            node.outbox.wake(lane)

    async def discard(self, namespace: str, letter: bytes) -> None:
        """Delete it."""
        await self._node.ready()
        key, _ = self._find(namespace, letter)
        batch = Batch()
        batch.delete(key)
        await self._commit(batch)

    async def _commit(self, batch: Batch) -> None:
        """Write `batch` and wait until it is durable."""
        committer = self._node.committer
        committer.submit(batch, committer.epoch, None)
        await committer.barrier()

    def _find(self, namespace: str, letter: bytes) -> tuple[bytes, records.SendRecord]:
        key = keys.kind_range(keys.Kind.DEAD_SEND)[0] + letter
        record = self._node.decode(records.SendRecord, key)
        if record is None or record.namespace != namespace:
            raise HoldfastError(errors.DEAD_LETTER_NOT_FOUND)
        return key, record
