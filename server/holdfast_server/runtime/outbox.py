"""Delivers `c.send`: at least once over the wire, exactly once in effect.

Rows of a sender are delivered in order, one at a time for each sender. The
receiving turn commits the row's number as its watermark for that sender; a
delivery at or below the watermark is acknowledged without running. A raising
target is tried again with backoff, then dead-lettered. Rows wait on disk: in
memory there is one entry for each sender that has any.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.call import Call, Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import Address, scope_of
from holdfast_server.core.values import Value
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.node import Node
    from holdfast_server.runtime.turn import Turn

log = logging.getLogger("holdfast.outbox")

# Failures that pass by themselves and so do not count as tries of the target.
_PASSING = frozenset(
    {
        errors.COMMIT_UNKNOWN.reason,
        errors.STORE_UNAVAILABLE.reason,
        errors.SERVER_DRAINING.reason,
        errors.SERVER_OVERLOADED.reason,
        errors.ACTOR_OVERLOADED.reason,
        errors.STALE_EPOCH.reason,
    }
)


class Outbox:
    """Sends that have been committed and not yet taken effect."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._slots = asyncio.Semaphore(node.limits.outbox_in_flight_max)
        self._senders: dict[bytes, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Take up what was left on disk."""
        start, end = keys.kind_range(keys.Kind.OUTBOX)
        while rows := self._node.scan(start, end, limit=1, reverse=False):
            sender_id, _ = keys.parse_send_key(rows[0][0])
            self.wake(sender_id)
            start = keys.prefix_end(keys.outbox_prefix(sender_id))

    def stop(self) -> None:
        for task in self._senders.values():
            task.cancel()
        self._senders.clear()

    def restart(self) -> None:
        self.stop()
        self.start()

    def store(self, turn: Turn, batch: Batch) -> None:
        """Put a turn's sends into its batch, numbered after those before."""
        activation, limits = turn.activation, self._node.limits
        prefix = keys.outbox_prefix(activation.actor_id)
        last = self._node.scan(prefix, keys.prefix_end(prefix), limit=1, reverse=True)
        number = self._next_number(activation, last)
        first = self._node.scan(prefix, keys.prefix_end(prefix), limit=1, reverse=False)
        oldest = keys.parse_send_key(first[0][0])[1] if first else number
        if number + len(turn.sends) - oldest > limits.outbox_rows_max:
            raise HoldfastError(errors.OUTBOX_FULL, metadata={"limit": str(limits.outbox_rows_max)})
        for offset, record in enumerate(turn.sends):
            row = record.SerializeToString()
            batch.put(keys.outbox_key(activation.actor_id, number + offset), row)
        turn.sends = []

    def _next_number(self, activation: Activation, last: list[tuple[bytes, bytes]]) -> int:
        """Numbers must never repeat for a sender, also once its rows are gone:
        the wall clock in microseconds is ahead of any count of sends."""
        now = self._node.environment.clock.now_ms() * 1000
        return max(now, keys.parse_send_key(last[0][0])[1] + 1) if last else now

    def wake(self, sender_id: bytes) -> None:
        """A sender has committed sends: deliver them."""
        if sender_id not in self._senders and not self._node.closed:
            task = self._node.loop.create_task(self._deliver_all(sender_id))
            self._senders[sender_id] = task

    async def _deliver_all(self, sender_id: bytes) -> None:
        prefix = keys.outbox_prefix(sender_id)
        try:
            while True:
                rows = self._node.scan(prefix, keys.prefix_end(prefix), limit=1, reverse=False)
                if not rows:
                    return
                async with self._slots:
                    await self._deliver(rows[0][0], rows[0][1])
        except HoldfastError as error:
            log.warning("outbox of a sender paused: %s", error)
        finally:
            if self._senders.get(sender_id) is asyncio.current_task():
                del self._senders[sender_id]

    async def _deliver(self, row_key: bytes, row: bytes) -> None:
        node = self._node
        record = records.SendRecord.FromString(row)
        address = Address(record.namespace, record.name, tuple(record.key))
        sent = keys.parse_send_key(row_key)
        wait_ms = record.next_attempt_at_ms - node.environment.clock.now_ms()
        if wait_ms > 0:
            await asyncio.sleep(wait_ms / 1000)
        call = Call(
            target=Target(address=address, create=True),
            action=record.action,
            args=Value(record.encoding, record.args),
            kwargs=Value(record.encoding, record.kwargs) if record.kwargs else None,
            traceparent=record.traceparent,
            sent=sent,
        )
        try:
            await node.invoke(call)
        except HoldfastError as error:
            if error.reason.reason in _PASSING:
                await asyncio.sleep(error.reason.retry_after_s or 0.1)
                return
            self._failed(row_key, record, error)
            return
        batch = Batch()
        batch.delete(row_key)
        batch.delete(keys.inbox_key(scope_of(address), sent[0]))
        node.committer.submit(batch, node.committer.epoch, None)

    def _failed(self, row_key: bytes, record: records.SendRecord, error: HoldfastError) -> None:
        node, limits = self._node, self._node.limits
        record.attempts += 1
        record.last_error = str(error)
        batch = Batch()
        if record.attempts >= limits.outbox_attempts_max:
            batch.delete(row_key)
            batch.put(keys.dead_send_key(*keys.parse_send_key(row_key)), record.SerializeToString())
            log.error("send to %s/%s dead-lettered: %s", record.name, list(record.key), error)
        else:
            backoff = min(
                limits.outbox_backoff_s * 2 ** (record.attempts - 1), limits.outbox_backoff_max_s
            )
            now = node.environment.clock.now_ms()
            record.next_attempt_at_ms = now + int(backoff * 1000)
            batch.put(row_key, record.SerializeToString())
        node.committer.submit(batch, node.committer.epoch, None)
