"""The schedules of one actor as one turn sees them: the store below, its own changes above.

`take` puts the changes into the turn's batch: each schedule's row, its row in the index
of timers, and the row that sums up the actor. What is stored is read then, not before,
so that turns that interleave cannot leave an index row that stands for nothing. A turn
that is itself the fire of a schedule finds that schedule moved on already: its batch
consumes it, whatever else the turn does with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from holdfast_server.core import errors
from holdfast_server.core.cron import Cron
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import format_actor_id, parse_actor_id
from holdfast_server.core.schedule import Cadence, Every, Kind, Waiting
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.decode import decode
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.core.limits import Limits
    from holdfast_server.runtime.fire import Fire

_PAGE = 256
# What a schedule keeps when the same is set again under its name.
_KEPT = ("created_at_ms", "tick_ms", "due_ms", "decided", "catch_up", "attempts", "missed_before")


class Rows(Protocol):
    """Reads of the store that see every commit of the actor."""

    def read(self, key: bytes) -> bytes | None: ...

    def scan(
        self, start: bytes, end: bytes, *, limit: int, reverse: bool
    ) -> list[tuple[bytes, bytes]]: ...


class Change(NamedTuple):
    """What becomes of a schedule; `merge`: it is set again, and keeps what it was."""

    record: records.ScheduleRecord | None
    merge: bool


def cadence_of(record: records.ScheduleRecord) -> Cadence:
    """The ticks of a recurring schedule."""
    if record.kind == Kind.CRON:
        return Cron(record.expression, record.timezone)
    return Every(record.interval_ms, record.created_at_ms)


def rest_of(record: records.ScheduleRecord) -> bytes:
    """The rest of a schedule's key."""
    return keys.named_rest(record.name) if record.name else keys.one_shot_rest(record.number)


def await_tick(record: records.ScheduleRecord, waiting: Waiting) -> None:
    """A schedule waits for this tick from now on."""
    record.tick_ms = waiting.tick_ms
    record.due_ms = 0 if record.paused and not waiting.decided else waiting.tick_ms
    record.decided, record.catch_up, record.attempts = waiting.decided, waiting.catch_up, 0
    record.missed_before = 0


def format_schedule_id(actor_id: bytes, number: int) -> str:
    """The id that users see: whose schedule it is, and which."""
    return f"{format_actor_id(actor_id)}-{number:x}"


def parse_schedule_id(text: str, field: str = "schedule_id") -> tuple[bytes, int]:
    """Actor id and number; SCHEDULE_NOT_FOUND for what is no id of a schedule."""
    actor, _, number = text.partition("-")
    try:
        found = parse_actor_id(actor), int(number, 16)
    except (HoldfastError, ValueError):
        found = b"", -1
    if not 0 < found[1] < 1 << 64 or format_schedule_id(*found) != text:
        raise HoldfastError(
            errors.SCHEDULE_NOT_FOUND,
            f"{field}: not an id of a schedule: {text[:80]!r}",
            metadata={"field": field},
        )
    return found


class Agenda:
    """Reads and changes of one turn."""

    __slots__ = (
        "_changes",
        "_limits",
        "_more",
        "_rows",
        "_sweep_ms",
        "actor_id",
        "earliest_ms",
        "fire",
    )

    def __init__(
        self, rows: Rows, limits: Limits, actor_id: bytes, fire: Fire | None = None
    ) -> None:
        self._rows = rows
        self._limits = limits
        self.actor_id = actor_id
        self._changes: dict[bytes, Change] = {}
        # By how many schedules and runs to keep the changes make the actor grow.
        self._more = 0, 0
        # When the actor's KV has to be swept, if a turn made that earlier.
        self._sweep_ms = 0
        # The fire that this turn is, until a batch has consumed it.
        self.fire = fire
        # Of what `take` gave: the earliest due time, to be armed after the commit.
        self.earliest_ms: int | None = None

    # Reading

    def find(self, rest: bytes) -> records.ScheduleRecord | None:
        """A schedule by the rest of its key."""
        return self._above(rest, self.stored(rest))

    def _above(
        self, rest: bytes, stored: records.ScheduleRecord | None
    ) -> records.ScheduleRecord | None:
        """A schedule with what this turn makes of it."""
        below = stored
        if self.fire is not None and self.fire.rest == rest and stored is not None:
            below = self.fire.consumed(stored)
        change = self._changes.get(rest)
        if change is None:
            return below
        record = change.record
        return _merged(below, record) if change.merge and record is not None else record

    def find_number(self, number: int) -> records.ScheduleRecord | None:
        """A schedule by its number, also a recurring one."""
        record = self.find(keys.one_shot_rest(number))
        if record is not None:
            return record
        return next((each for each in self.list() if each.number == number), None)

    def stored(self, rest: bytes) -> records.ScheduleRecord | None:
        """A schedule as of the last commit."""
        key = keys.schedule_key(self.actor_id, rest)
        row = self._rows.read(key)
        return None if row is None else decode(records.ScheduleRecord, key, row)

    def _stored_rests(self) -> list[bytes]:
        start = keys.schedule_key(self.actor_id)
        end, found = keys.prefix_end(start), []
        while rows := self._rows.scan(start, end, limit=_PAGE, reverse=False):
            found += [keys.parse_schedule_key(key)[1] for key, _ in rows]
            start = rows[-1][0] + b"\x00"
        return found

    def list(self) -> list[records.ScheduleRecord]:
        """All of them, in the order in which they are due; paused ones last."""
        found = {rest: self.find(rest) for rest in (*self._stored_rests(), *self._changes)}
        listed = [record for record in found.values() if record is not None]
        return sorted(listed, key=lambda each: (each.due_ms or 1 << 63, each.number))

    # Changing

    def add(self, record: records.ScheduleRecord, *, checked: bool = True) -> None:
        """A new one-shot. `checked`: refuse it where there is no room, which reads the
        store; else that is found by `take`."""
        # Its number is no other's.
        self._change(rest_of(record), Change(record, False), checked, fresh=True)

    def set(self, record: records.ScheduleRecord, *, checked: bool = True) -> None:
        """A recurring one, new or set again under its name."""
        rest = rest_of(record)
        before = self._changes.get(rest)
        fresh = before is not None and not before.merge and before.record is None
        if before is not None and before.record is not None and not before.merge:
            record = _merged(before.record, record)
        merge = before is None or before.merge
        self._change(rest, Change(record, merge and not fresh), checked)

    def put(self, record: records.ScheduleRecord) -> None:
        """One that `find` gave, changed."""
        self._change(rest_of(record), Change(record, False), False)

    def delete(self, record: records.ScheduleRecord) -> None:
        """One that `find` gave."""
        self._change(rest_of(record), Change(None, False), True)

    def sweep_at(self, due_ms: int) -> None:
        """An entry of the actor's KV expires then."""
        self._sweep_ms = min(self._sweep_ms or due_ms, due_ms)

    def _change(self, rest: bytes, change: Change, checked: bool, *, fresh: bool = False) -> None:
        if checked:
            before, after = None if fresh else self.find(rest), change.record
            more = (after is not None) - (before is not None)
            history = _history_of(after) - _history_of(before)
            if more > 0 or history > 0:
                stored, summed = self._summed(), records.AgendaRecord()
                summed.schedules = max(stored.schedules + self._more[0] + more, 0)
                summed.history = max(stored.history + self._more[1] + history, 0)
                self._check(stored, summed)
            self._more = self._more[0] + more, self._more[1] + history
        self._changes[rest] = change

    # The changes as writes

    def take(self, batch: Batch) -> None:
        """Add the writes since the last `clear`; an error when they do not fit."""
        self.earliest_ms = None
        touched = dict.fromkeys(self._changes)
        if self.fire is not None:
            touched[self.fire.rest] = None
        if not touched and not self._sweep_ms:
            return
        stored, summed = self._summed(), records.AgendaRecord()
        summed.CopyFrom(stored)
        for rest in touched:
            before = self.stored(rest)
            after = self._above(rest, before)
            if self.fire is not None and rest == self.fire.rest:
                self.fire.check(before)
            summed.schedules += (after is not None) - (before is not None)
            summed.history += _history_of(after) - _history_of(before)
            self._write(batch, rest, before, after)
        if touched:
            self._check(stored, summed)
        earlier = self._sweep_ms and not 0 < summed.sweep_due_ms <= self._sweep_ms
        if not touched and not earlier:
            return
        if earlier:
            if summed.sweep_due_ms:
                batch.delete(keys.timer_key(summed.sweep_due_ms, self.actor_id, 0))
            batch.put(keys.timer_key(self._sweep_ms, self.actor_id, 0), b"")
            summed.sweep_due_ms = self._sweep_ms
            self._arm(self._sweep_ms)
        batch.put(keys.agenda_key(self.actor_id), summed.SerializeToString())

    def clear(self) -> None:
        """What `take` gave is about to be submitted."""
        self._changes = {}
        self._more = 0, 0
        self._sweep_ms = 0
        self.fire = None

    def _write(
        self,
        batch: Batch,
        rest: bytes,
        before: records.ScheduleRecord | None,
        after: records.ScheduleRecord | None,
    ) -> None:
        key = keys.schedule_key(self.actor_id, rest)
        if before is not None:
            if before.due_ms:
                batch.delete(keys.timer_key(before.due_ms, self.actor_id, before.number))
            if after is None:
                batch.delete(key)
            if before.history_max and (after is None or after.number != before.number):
                runs = keys.schedule_run_prefix(self.actor_id, before.number)
                batch.delete_range(runs, keys.prefix_end(runs))
            elif after is not None and after.history_max < before.history_max:
                first = keys.schedule_run_key(self.actor_id, after.number, 0)
                kept = max(after.fires - after.history_max + 1, 0)
                batch.delete_range(first, keys.schedule_run_key(self.actor_id, after.number, kept))
        if after is not None:
            batch.put(key, after.SerializeToString())
            if after.due_ms:
                batch.put(keys.timer_key(after.due_ms, self.actor_id, after.number), rest)
                self._arm(after.due_ms)

    def _arm(self, due_ms: int) -> None:
        self.earliest_ms = due_ms if self.earliest_ms is None else min(self.earliest_ms, due_ms)

    def _summed(self) -> records.AgendaRecord:
        key = keys.agenda_key(self.actor_id)
        row = self._rows.read(key)
        return records.AgendaRecord() if row is None else decode(records.AgendaRecord, key, row)

    def _check(self, before: records.AgendaRecord, summed: records.AgendaRecord) -> None:
        limits = self._limits
        if summed.schedules > max(limits.schedules_max, before.schedules):
            raise HoldfastError(
                errors.MAX_SCHEDULES_EXCEEDED,
                f"{summed.schedules} schedules; at most {limits.schedules_max}",
                metadata={"limit": str(limits.schedules_max)},
            )
        if summed.history > max(limits.schedule_history_actor_max, before.history):
            limit = limits.schedule_history_actor_max
            raise HoldfastError(
                errors.SCHEDULE_INVALID_MAX_HISTORY,
                f"history_max: {summed.history} runs of all jobs of the actor; at most {limit}",
                metadata={"field": "history_max", "limit": str(limit)},
            )


def _history_of(record: records.ScheduleRecord | None) -> int:
    return 0 if record is None else record.history_max


def _merged(
    before: records.ScheduleRecord | None, wanted: records.ScheduleRecord
) -> records.ScheduleRecord:
    """A recurring schedule set again: with the same cadence it keeps what it waits for."""
    if before is None:
        return wanted
    merged = records.ScheduleRecord()
    merged.CopyFrom(wanted)
    merged.number, merged.fires, merged.paused = before.number, before.fires, before.paused
    if _beat(before) == _beat(wanted):
        for field in _KEPT:
            setattr(merged, field, getattr(before, field))
    elif merged.paused:
        merged.due_ms = 0
    return merged


def _beat(record: records.ScheduleRecord) -> tuple[int, str, str, int]:
    return record.kind, record.expression, record.timezone, record.interval_ms


class ActorRows:
    """Rows of an actor that need not be in memory."""

    __slots__ = ("read", "scan")

    def __init__(
        self,
        read: Callable[[bytes], bytes | None],
        scan: Callable[..., list[tuple[bytes, bytes]]],
    ) -> None:
        self.read = read
        self.scan = scan


def put_destruction(rows: Rows, actor_id: bytes, batch: Batch) -> None:
    """Delete all that an actor has scheduled, its timers among it."""
    key = keys.agenda_key(actor_id)
    row = rows.read(key)
    if row is None:
        return
    batch.delete(key)
    sweep_ms = decode(records.AgendaRecord, key, row).sweep_due_ms
    if sweep_ms:
        batch.delete(keys.timer_key(sweep_ms, actor_id, 0))
    start = keys.schedule_key(actor_id)
    end = keys.prefix_end(start)
    while found := rows.scan(start, end, limit=_PAGE, reverse=False):
        for each, value in found:
            record = decode(records.ScheduleRecord, each, value)
            if record.due_ms:
                batch.delete(keys.timer_key(record.due_ms, actor_id, record.number))
        start = found[-1][0] + b"\x00"
    for prefix in (
        keys.schedule_key(actor_id),
        keys.schedule_run_prefix(actor_id),
        keys.schedule_dead_prefix(actor_id),
        keys.kv_expiry_prefix(actor_id),
    ):
        batch.delete_range(prefix, keys.prefix_end(prefix))
