"""The stored events of actors: numbered, trimmed, read, deleted.

Events get their numbers in the tick in which their batch is submitted, so that the
log is in the order of commits. An activation keeps the sums of its log in memory;
rows are read only when they go, or when a subscriber wants them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import DecodeError

from holdfast_server.core.event_log import EventLog, count_to_drop, outlived
from holdfast_server.core.events import Emission, Emitted
from holdfast_server.core.values import Value
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.format import decode_closed, decode_restored
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.node import Node

_PAGE = 256
# Room for the incarnations of an actor between two restores; all fit in 53 bits.
_RESTORE_BITS = 10


class Emissions(NamedTuple):
    """What a turn emitted, numbered; `incarnation` is 0 when all of it is ephemeral."""

    incarnation: int
    events: list[Emitted]
    # Whether the batch must be synced before they leave, also that of a buffered turn.
    gated: bool


class EventLogs:
    """The event logs of one node's actors."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._retention_ms = int(node.limits.event_retention_s * 1000)
        # What the incarnations of this directory begin with, read when first needed.
        self._base: int | None = None

    def find(self, actor_id: bytes) -> EventLog:
        """The sums of an actor's log as of the last submitted batch."""
        key = keys.event_log_key(actor_id)
        record = self._node.decode(records.EventLogRecord, key)
        if record is None:
            return EventLog(incarnation=1 + self._incarnation_base())
        log = EventLog(
            incarnation=record.incarnation,
            first=record.first_sequence,
            last=record.last_sequence,
            bytes=record.bytes,
            due_ms=record.due_ms,
            buffered_epoch=record.buffered_epoch,
            trimmed=dict(record.trimmed),
            # A row of an earlier version does not say what was trimmed.
            trimmed_others=record.trimmed_others if record.trimmed else record.first_sequence - 1,
        )
        epoch = self._node.committer.epoch
        if log.buffered_epoch and log.buffered_epoch != epoch:
            orderly, unorderly = decode_closed(self._node.read(keys.closed_key()))
            log.incarnation = outlived(log.incarnation, log.buffered_epoch, orderly, unorderly)
            if log.incarnation != record.incarnation:
                log.buffered_epoch = 0
        log.incarnation += self._incarnation_base()
        return log

    def _incarnation_base(self) -> int:
        """Another one for each restore: what was told after the backup was taken is unknown
        here, and its numbers are given again."""
        if self._base is None:
            at_ms = decode_restored(self._node.read(keys.restored_key()))
            self._base = at_ms << _RESTORE_BITS
        return self._base

    def of(self, activation: Activation) -> EventLog:
        """The sums of the log that an activation writes."""
        if activation.event_log is None:
            activation.event_log = self.find(activation.actor_id)
        return activation.event_log

    # Writing

    def append(
        self, activation: Activation, emissions: list[Emission], batch: Batch, *, buffered: bool
    ) -> Emissions:
        """Number what a turn emits and add it to its batch, which is about to be submitted."""
        if all(emission.ephemeral for emission in emissions):
            events = [Emitted(emission.name, emission.args, 0) for emission in emissions]
            self._node.tally.events_ephemeral += len(events)
            return Emissions(0, events, gated=False)
        node, log, actor_id = self._node, self.of(activation), activation.actor_id
        now_ms, sequence = node.environment.clock.now_ms(), log.last
        rows: list[bytes] = []
        events = []
        for emission in emissions:
            if emission.ephemeral:
                events.append(Emitted(emission.name, emission.args, 0))
                continue
            sequence += 1
            events.append(Emitted(emission.name, emission.args, sequence))
            # In place, as in `_put_sums`: what a constructor is given costs twice as much.
            record = records.EventRecord()
            record.name = emission.name
            record.encoding, record.args = emission.args
            record.at_ms = now_ms
            if emission.retention_ms:
                record.retention_ms = emission.retention_ms
            rows.append(record.SerializeToString())
            if not log.due_ms:
                log.due_ms = now_ms + (emission.retention_ms or self._retention_ms)
                batch.put(keys.event_expiry_key(log.due_ms, actor_id), b"")
        node.tally.events += len(rows)
        node.tally.events_ephemeral += len(events) - len(rows)
        self._extend(actor_id, log, rows, batch)
        gated = self._gate(log, buffered=buffered)
        self._put_sums(actor_id, log, batch)
        return Emissions(log.incarnation, events, gated)

    def _extend(self, actor_id: bytes, log: EventLog, rows: list[bytes], batch: Batch) -> None:
        """Add rows, and delete the oldest beyond the bounds; new ones may go at once."""
        limits = self._node.limits
        size, before = log.bytes + sum(map(len, rows)), log.last
        if log.count + len(rows) <= limits.events_max and size <= limits.events_bytes_max:
            log.bytes, log.last = size, before + len(rows)
            for sequence, row in enumerate(rows, before + 1):
                batch.put(keys.event_key(actor_id, sequence), row)
            return
        names: list[str] = []

        def sizes() -> Iterator[int]:
            for row in chain(self._stored(actor_id, log.first, before), rows):
                names.append(_name_of(row))
                yield len(row)

        dropped, freed = count_to_drop(
            sizes(),
            log.count + len(rows),
            size,
            count_max=limits.events_max,
            bytes_max=limits.events_bytes_max,
        )
        if dropped:
            start = keys.event_key(actor_id, log.first)
            stored = log.first <= before
            log.trim(names)
            self._node.tally.events_trimmed += dropped
            if stored:
                batch.delete_range(start, keys.event_key(actor_id, min(log.first, before + 1)))
        log.bytes, log.last = size - freed, before + len(rows)
        for sequence, row in enumerate(rows, before + 1):
            if sequence >= log.first:
                batch.put(keys.event_key(actor_id, sequence), row)

    def _stored(self, actor_id: bytes, first: int, last: int) -> Iterator[bytes]:
        while first <= last:
            start, end = keys.event_key(actor_id, first), keys.event_key(actor_id, last + 1)
            rows = self._node.scan(start, end, limit=_PAGE, reverse=False)
            if not rows:
                return
            yield from (row for _, row in rows)
            first += len(rows)

    def _gate(self, log: EventLog, *, buffered: bool) -> bool:
        """Whether a sync must come before these events may leave.

        Numbers that left unsynced may be given again after a crash: that there are any
        in this epoch must be durable before. And events that wait for a sync must leave
        before those after them.
        """
        committer = self._node.committer
        if log.buffered_epoch != committer.epoch:
            log.buffered_epoch = committer.epoch if buffered else 0
            return True
        return not buffered or log.gate > committer.synced

    def _put_sums(self, actor_id: bytes, log: EventLog, batch: Batch) -> None:
        record = records.EventLogRecord()
        record.incarnation = log.incarnation - self._incarnation_base()
        record.first_sequence = log.first
        record.last_sequence = log.last
        record.bytes = log.bytes
        record.buffered_epoch = log.buffered_epoch
        record.due_ms = log.due_ms
        if log.trimmed:
            record.trimmed.update(log.trimmed)
        record.trimmed_others = log.trimmed_others
        batch.put(keys.event_log_key(actor_id), record.SerializeToString())

    def put_destruction(self, activation: Activation, batch: Batch) -> None:
        """Delete all events of an actor."""
        actor_id, log = activation.actor_id, self.of(activation)
        activation.event_log = None
        if not log.last:
            return
        start = keys.event_key(actor_id, 0)
        batch.delete_range(start, keys.prefix_end(keys.event_prefix(actor_id)))
        batch.delete(keys.event_log_key(actor_id))
        if log.due_ms:
            batch.delete(keys.event_expiry_key(log.due_ms, actor_id))

    # Reading

    def read(
        self, actor_id: bytes, first: int, last: int, limit: int
    ) -> list[tuple[int, records.EventRecord]]:
        """Rows that were written, in order."""
        start, end = keys.event_key(actor_id, first), keys.event_key(actor_id, last + 1)
        rows = self._node.scan_written(start, end, limit=limit, reverse=False)
        decode = self._node.decode_row
        return [
            (keys.parse_event_key(key)[1], decode(records.EventRecord, key, row))
            for key, row in rows
        ]

    def expires_ms(self, record: records.EventRecord) -> int:
        """From when on an event is no longer kept."""
        return record.at_ms + (record.retention_ms or self._retention_ms)

    def oldest(self, actor_id: bytes, log: EventLog) -> int:
        """The first event that is kept and not too old, the next one when none is."""
        return self.oldest_and_lost(actor_id, log, frozenset())[0]

    def oldest_and_lost(
        self, actor_id: bytes, log: EventLog, names: frozenset[str]
    ) -> tuple[int, int]:
        """`oldest`, and the last event before it of these names, or of any for none."""
        now_ms, first = self._node.environment.clock.now_ms(), log.first
        self._node.committer.apply()
        oldest, lost, limit = 0, log.last_trimmed(names), 1
        while not oldest and first <= log.last:
            rows = self.read(actor_id, first, log.last, limit)
            limit = _PAGE
            for sequence, record in rows:
                if self.expires_ms(record) > now_ms:
                    oldest = sequence
                    break
                if record.name in names:
                    lost = sequence
            if not rows:
                break
            first = rows[-1][0] + 1
        oldest = oldest or log.last + 1
        return oldest, lost if names else oldest - 1

    def expire(self, actor_id: bytes, due_ms: int, batch: Batch) -> EventLog | None:
        """Drop what is too old of an actor whose row in the index says `due_ms`; the sums
        to remember once the batch is submitted, None when nothing has to be."""
        log = self.find(actor_id)
        batch.delete(keys.event_expiry_key(due_ms, actor_id))
        if log.due_ms != due_ms:
            return None
        now_ms, before, log.due_ms = self._node.environment.clock.now_ms(), log.first, 0
        start, end = keys.event_key(actor_id, before), keys.event_key(actor_id, log.last + 1)
        names: list[str] = []
        for key, row in self._node.scan(start, end, limit=_PAGE, reverse=False):
            record = self._node.decode_row(records.EventRecord, key, row)
            log.due_ms = self.expires_ms(record)
            if log.due_ms > now_ms:
                break
            names.append(record.name)
            log.bytes -= len(row)
        log.trim(names)
        self._node.tally.events_trimmed += len(names)
        if log.first > before:
            batch.delete_range(start, keys.event_key(actor_id, log.first))
        if log.first > log.last:
            log.due_ms = 0
        else:
            batch.put(keys.event_expiry_key(log.due_ms, actor_id), b"")
        self._put_sums(actor_id, log, batch)
        return log


def _name_of(row: bytes) -> str:
    """The name of a stored event; "" for a row that does not decode, which may go all the same."""
    try:
        return records.EventRecord.FromString(row).name
    except DecodeError:
        return ""


def value_of(record: records.EventRecord) -> Value:
    """The stored arguments."""
    return Value(record.encoding, record.args)
