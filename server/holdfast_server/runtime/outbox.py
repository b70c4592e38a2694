"""Delivers `c.send`: at least once over the wire, exactly once in effect.

A lane is the line of sends from one sender to one target, delivered in order,
one at a time; lanes do not wait for each other. The receiving turn commits the
row's number as its watermark for that sender; a delivery at or below the
watermark is acknowledged without running. A raising target is tried again with
backoff, then the row is dead-lettered and the lane goes on.

Rows wait on disk. In memory there is a task for each lane at work and a timer
for each lane that backs off, a bounded number of both; lanes beyond are found
on disk again: those to work at by a pass over the rows that goes on where it ran
out of room, those that back off by the next tick, since they are not yet due.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.call import Call, Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import address_of, scope_of
from holdfast_server.core.trace import TraceContext
from holdfast_server.core.values import Value
from holdfast_server.runtime.environment import housekeeping
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.runtime.node import Node

log = logging.getLogger("holdfast.outbox")

Lane = tuple[bytes, bytes]

# The longest time between two looks at a waiting row: the wall clock may be set.
_NAP_MAX_S = 60.0
_PASS_S = 5.0


class Outbox:
    """Sends that have been committed and not yet taken effect."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._slots = asyncio.Semaphore(node.limits.outbox_in_flight_max)
        self._lanes: dict[Lane, asyncio.Task[None]] = {}
        self._napping: dict[Lane, asyncio.TimerHandle] = {}
        # Where the pass over the rows goes on; None when every lane is known.
        self._cursor: bytes | None = None
        # Whether a lane that the pass has gone by found no room since.
        self._missed = False
        # Whether a lane that backs off found no room for its timer.
        self._left = False
        # Number of the batch that the newest sends are in.
        self._newest = 0
        # Undelivered rows and bytes of the senders that have sent lately.
        self._counts: OrderedDict[bytes, tuple[int, int]] = OrderedDict()

    def start(self) -> None:
        """Take up what is on disk."""
        self._cursor = keys.kind_range(keys.Kind.OUTBOX)[0]
        self._pass()
        self._node.loop.call_later(_PASS_S, self._tick)

    def stop(self) -> None:
        for task in self._lanes.values():
            task.cancel()
        for timer in self._napping.values():
            timer.cancel()
        self._lanes.clear()
        self._napping.clear()

    def restart(self) -> None:
        """The store was reopened: what memory knew may not have been committed."""
        self.stop()
        self._counts.clear()
        self._cursor = keys.kind_range(keys.Kind.OUTBOX)[0]
        self._pass()

    @housekeeping
    def _tick(self) -> None:
        if not self._node.closed:
            if self._left and self._cursor is None:
                self._left = False
                self._cursor = keys.kind_range(keys.Kind.OUTBOX)[0]
            self._pass()
            self._node.loop.call_later(_PASS_S, self._tick)

    def _pass(self) -> None:
        """Give room to lanes that wait on disk, from the cursor on."""
        _, end = keys.kind_range(keys.Kind.OUTBOX)
        try:
            while self._cursor is not None and self._has_room():
                rows = self._scan(self._cursor, end, 1)
                if rows:
                    sender_id, scope, _ = keys.parse_send_key(rows[0][0])
                    self.wake((sender_id, scope))
                    self._cursor = keys.prefix_end(keys.outbox_prefix(sender_id, scope))
                else:
                    self._cursor = keys.kind_range(keys.Kind.OUTBOX)[0] if self._missed else None
                    self._missed = False
        except HoldfastError as error:
            log.warning("sends wait until the store is open: %s", error)

    # Sending

    def store(self, sender_id: bytes, sends: list[records.SendRecord], batch: Batch) -> list[Lane]:
        """Put a turn's sends into its batch; the lanes to wake once it is durable."""
        limits = self._node.limits
        rows, size = self._count(sender_id)
        following: dict[bytes, int] = {}
        for record in sends:
            scope = scope_of(address_of(record))
            number = following.get(scope) or self._next_number(sender_id, scope)
            following[scope] = number + 1
            data = record.SerializeToString()
            rows, size = rows + 1, size + len(data)
            batch.put(keys.outbox_key(sender_id, scope, number), data)
        if rows > limits.outbox_rows_max or size > limits.outbox_bytes_max:
            raise HoldfastError(
                errors.OUTBOX_FULL,
                f"{rows} undelivered sends of {size} bytes; at most {limits.outbox_rows_max} "
                f"and {limits.outbox_bytes_max} bytes",
                metadata={"limit": str(limits.outbox_rows_max)},
            )
        self._remember(sender_id, rows, size)
        self._newest = self._node.committer.submitted + 1
        return [(sender_id, scope) for scope in following]

    def _count(self, sender_id: bytes) -> tuple[int, int]:
        """Undelivered rows and bytes of a sender."""
        known = self._counts.get(sender_id)
        if known is not None:
            return known
        prefix = keys.outbox_prefix(sender_id)
        rows = self._scan(prefix, keys.prefix_end(prefix), self._node.limits.outbox_rows_max + 1)
        return len(rows), sum(len(value) for _, value in rows)

    def _remember(self, sender_id: bytes, rows: int, size: int) -> None:
        self._counts[sender_id] = (rows, size)
        self._counts.move_to_end(sender_id)
        if len(self._counts) > self._node.limits.outbox_lanes_max:
            self._counts.popitem(last=False)

    def _next_number(self, sender_id: bytes, scope: bytes) -> int:
        """After every row of the lane. A number may come again once its row is
        gone: the target's watermark went in the same batch."""
        last = 0
        for prefix in (
            keys.outbox_prefix(sender_id, scope),
            keys.dead_send_prefix(sender_id, scope),
        ):
            rows = self._node.scan(prefix, keys.prefix_end(prefix), limit=1, reverse=True)
            if rows:
                last = max(last, keys.parse_send_key(rows[0][0])[2])
        return last + 1

    # Delivering

    def wake(self, lane: Lane) -> None:
        """A lane has rows: deliver them."""
        if lane in self._lanes or lane in self._napping or self._node.closed:
            return
        if self._has_room():
            self._lanes[lane] = self._node.loop.create_task(self._deliver_all(lane))
        elif self._cursor is None:
            self._cursor = keys.kind_range(keys.Kind.OUTBOX)[0]
        else:
            self._missed = True

    @property
    def working(self) -> int:
        """Lanes at work."""
        return len(self._lanes)

    @property
    def backing_off(self) -> int:
        """Lanes that wait for their next try, as far as memory knows them."""
        return len(self._napping)

    def _has_room(self) -> bool:
        return len(self._lanes) < self._node.limits.outbox_lanes_max

    async def _deliver_all(self, lane: Lane) -> None:
        prefix = keys.outbox_prefix(*lane)
        wait_s = 0.0
        try:
            while rows := self._scan(prefix, keys.prefix_end(prefix), 1):
                key, row = rows[0]
                record = self._node.decode_row(records.SendRecord, key, row)
                wait_ms = record.next_attempt_at_ms - self._node.environment.clock.now_ms()
                if wait_ms > 0:
                    wait_s = wait_ms / 1000
                    break
                await self._durable()
                async with self._slots:
                    wait_s = await self._deliver(lane, key, record)
                if wait_s:
                    break
        except HoldfastError as error:
            log.warning("a lane of the outbox stopped until the store is open: %s", error)
        finally:
            self._ended(lane, wait_s)

    async def _durable(self) -> None:
        """Wait until no row that was read can be lost: a lane at work also finds
        those that are written and not synced."""
        committer = self._node.committer
        # A batch that failed before it was submitted has left its number to another.
        newest = min(self._newest, committer.submitted)
        if newest > committer.synced:
            await committer.until_synced(newest, committer.epoch)

    def _ended(self, lane: Lane, wait_s: float) -> None:
        """A lane has nothing to do now; it comes back in `wait_s` seconds if that is set."""
        if self._lanes.get(lane) is not asyncio.current_task():
            return
        del self._lanes[lane]
        node = self._node
        if node.closed or node.committer.failed:
            return
        if not wait_s:
            self._counts.pop(lane[0], None)
        elif len(self._napping) < node.limits.outbox_lanes_max:
            nap_s = min(wait_s, _NAP_MAX_S)
            self._napping[lane] = node.loop.call_later(nap_s, self._wake_up, lane)
        else:
            self._left = True
        self._pass()

    def _wake_up(self, lane: Lane) -> None:
        self._napping.pop(lane, None)
        self.wake(lane)

    async def _deliver(self, lane: Lane, row_key: bytes, record: records.SendRecord) -> float:
        """Try one row; the seconds to wait before the next look at the lane."""
        node, limits = self._node, self._node.limits
        sender_id, target_scope = lane
        call = Call(
            target=Target(address=address_of(record), create=True),
            action=record.action,
            args=Value(record.encoding, record.args),
            kwargs=Value(record.encoding, record.kwargs) if record.kwargs else None,
            trace=TraceContext(record.traceparent, record.tracestate),
            sent=(sender_id, keys.parse_send_key(row_key)[2]),
        )
        size = record.ByteSize()
        try:
            await node.invoke(call)
        except HoldfastError as error:
            if error.reason.reason in errors.PASSING:
                return error.reason.retry_after_s or limits.outbox_backoff_s
            return self._failed(lane, row_key, record, str(error))
        except Exception as error:
            log.exception("delivering a send to %s/%s", record.name, list(record.key))
            return self._failed(lane, row_key, record, type(error).__name__)
        node.tally.sends += 1
        batch = Batch()
        batch.delete(row_key)
        batch.delete(keys.inbox_key(target_scope, sender_id))
        self._settle(sender_id, size, batch)
        return 0.0

    def _failed(self, lane: Lane, row_key: bytes, record: records.SendRecord, why: str) -> float:
        node, limits = self._node, self._node.limits
        size = record.ByteSize()
        record.attempts += 1
        record.last_error = why
        node.tally.sends_failed += 1
        batch = Batch()
        if record.attempts >= limits.outbox_attempts_max:
            node.tally.sends_dead += 1
            log.error("send to %s/%s dead-lettered: %s", record.name, list(record.key), why)
            batch.delete(row_key)
            number = keys.parse_send_key(row_key)[2]
            batch.put(keys.dead_send_key(*lane, number), record.SerializeToString())
            self._drop_oldest_dead(lane[0], batch)
            self._settle(lane[0], size, batch)
            return 0.0
        doubled_s: float = limits.outbox_backoff_s * 2 ** (record.attempts - 1)
        backoff_s = min(doubled_s, limits.outbox_backoff_max_s)
        record.next_attempt_at_ms = node.environment.clock.now_ms() + int(backoff_s * 1000)
        batch.put(row_key, record.SerializeToString())
        node.committer.submit(batch, node.committer.epoch, None)
        return backoff_s

    def _settle(self, sender_id: bytes, size: int, batch: Batch) -> None:
        rows, total = self._counts.get(sender_id, (0, 0))
        if rows:
            self._counts[sender_id] = (rows - 1, max(total - size, 0))
        self._node.committer.submit(batch, self._node.committer.epoch, None)

    def _drop_oldest_dead(self, sender_id: bytes, batch: Batch) -> None:
        prefix, limit = keys.dead_send_prefix(sender_id), self._node.limits.outbox_dead_max
        rows = self._scan(prefix, keys.prefix_end(prefix), limit)
        if len(rows) >= limit:
            log.error("dead letters of a sender are full; the first is dropped")
            batch.delete(rows[0][0])

    def _scan(self, start: bytes, end: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        return self._node.scan(start, end, limit=limit, reverse=False)
