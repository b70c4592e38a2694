"""Drops events whose time has come, also those of actors that sleep.

The index has one row for each actor that keeps events, with the time at which its
oldest one goes; rows are met in the order of that time. Between the read and the
submitted batch nothing waits, and an activation in memory learns the new sums in the
same tick, so that both always agree.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from holdfast_server.core.ids import address_of, scope_of
from holdfast_server.runtime.environment import housekeeping
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.core.event_log import EventLog
    from holdfast_server.runtime.node import Node

log = logging.getLogger("holdfast.events")

_PAGE = 64
_INTERVAL_S = 5.0


class EventSweep:
    """The clock of kept events."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def start(self) -> None:
        self._node.loop.call_later(_INTERVAL_S, self._tick)

    @housekeeping
    def _tick(self) -> None:
        if self._node.closed:
            return
        handled = 0
        try:
            if not self._node.committer.failed:
                handled = self.sweep()
        except Exception:
            log.exception("sweeping events failed")
        if handled == _PAGE:
            # There is more, and others want the loop too.
            self._node.loop.call_soon(self._tick)
        else:
            self.start()

    def sweep(self) -> int:
        """Handle what is due; the number of index rows handled."""
        node = self._node
        start, _ = keys.kind_range(keys.Kind.EVENT_EXPIRY)
        end = keys.event_expiry_key(node.environment.clock.now_ms() + 1, b"")
        rows = node.scan(start, end, limit=_PAGE, reverse=False)
        for key, _ in rows:
            due_ms, actor_id = keys.parse_event_expiry_key(key)
            batch = Batch()
            sums = node.event_logs.expire(actor_id, due_ms, batch)
            node.committer.submit(batch, node.committer.epoch, None)
            if sums is not None:
                self._tell(actor_id, sums)
        return len(rows)

    def _tell(self, actor_id: bytes, sums: EventLog) -> None:
        """The activation of this actor, if there is one, goes on from these sums."""
        record = self._node.decode(records.ActorRecord, keys.actor_key(actor_id))
        if record is None:
            return
        address = address_of(record)
        activation = self._node.find_scope(scope_of(address))
        if activation is not None and activation.event_log is not None:
            sums.gate = activation.event_log.gate
            activation.event_log = sums
