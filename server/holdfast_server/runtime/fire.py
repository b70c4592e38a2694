"""One fire: the turn that a due schedule causes, and what it leaves in the store.

The schedule is consumed, or moved on, by the first commit of the turn, together with the
turn's effects; so its effect is exactly once. A commit in the middle of the turn says
"running" in the history of a recurring schedule, and leaves a dead letter for a one-shot;
the turn's end takes that back. What a crash left there is `interrupted`, and told from
what still runs by the epoch that it carries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.schedule import (
    Decision,
    Kind,
    Missed,
    Moved,
    Overlap,
    Policy,
    Result,
    move_on,
)
from holdfast_server.runtime.agenda import await_tick, cadence_of, format_schedule_id, rest_of
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.environment import Clock


def policy_of(record: records.ScheduleRecord) -> Policy:
    """How a recurring schedule treats what is late."""
    return Policy(Missed(record.missed), Overlap(record.overlap), max(record.missed_max, 1))


class Fire:
    """One try of a fire. `record` is the schedule as it was due."""

    __slots__ = (
        "_clock",
        "_moved",
        "_runs",
        "actor_id",
        "began_ms",
        "decision",
        "ended_ms",
        "epoch",
        "record",
        "rest",
        "shown",
        "started",
    )

    def __init__(
        self,
        actor_id: bytes,
        record: records.ScheduleRecord,
        decision: Decision,
        began_ms: int,
        clock: Clock,
        epoch: int,
    ) -> None:
        self.actor_id = actor_id
        self.record = record
        self.rest = rest_of(record)
        self.decision = decision
        self.epoch = epoch
        self._clock = clock
        # When it was decided: the ticks after it are those that it may overlap.
        self.began_ms = began_ms
        self.ended_ms = 0
        # Whether a commit in the middle of the turn has consumed the schedule.
        self.started = False
        # What a runner shows of it to the action, once it has been asked.
        self.shown: object = None
        self._moved: Moved | None = None
        # Whether the schedule was there to have a history.
        self._runs = False

    # What the action may know

    @property
    def fire_id(self) -> str:
        """The same for all tries, and for no other fire of this store."""
        return f"{format_schedule_id(self.actor_id, self.record.number)}-{self._number}"

    @property
    def tick_ms(self) -> int:
        tick = self.decision.tick_ms
        return self.record.tick_ms if tick is None else tick

    @property
    def attempt(self) -> int:
        """From 1."""
        return self.record.attempts + 1

    @property
    def _number(self) -> int:
        return self.record.fires + 1

    # The schedule

    def stands(self, activation: Activation) -> bool:
        """Whether the schedule is still as it was when it was found due."""
        key = keys.schedule_key(self.actor_id, self.rest)
        return activation.read(key) == self.record.SerializeToString()

    def check(self, stored: records.ScheduleRecord | None) -> None:
        """Refuse the commit of a one-shot that was cancelled meanwhile."""
        there = stored is not None and stored.number == self.record.number
        self._runs = there and stored.history_max > 0 if stored is not None else False
        if not there and self.record.kind == Kind.AT:
            raise HoldfastError(errors.SCHEDULE_CANCELLED)

    def consumed(self, stored: records.ScheduleRecord) -> records.ScheduleRecord | None:
        """What the schedule is once it has fired; None when it is over."""
        if stored.number != self.record.number:
            return stored
        if self.record.kind == Kind.AT:
            return None
        moved = move_on(
            cadence_of(self.record),
            policy_of(self.record),
            self.decision,
            self.began_ms,
            self._clock.now_ms(),
        )
        after = records.ScheduleRecord()
        after.CopyFrom(stored)
        after.attempts = 0
        after.fires += 1 + (moved.skipped > 0)
        if stored.tick_ms == self.record.tick_ms and stored.due_ms == self.record.due_ms:
            if moved.waiting is None:
                return None
            await_tick(after, moved.waiting)
        self._moved = moved
        return after

    # The history

    def put_started(self, batch: Batch) -> None:
        """The turn commits in its middle: it must never run again."""
        if self.started:
            return
        self.started = True
        if self.record.kind == Kind.AT:
            letter = records.ScheduleRecord()
            letter.CopyFrom(self.record)
            letter.due_ms, letter.running_epoch = 0, self.epoch
            letter.dead_at_ms = self._clock.now_ms()
            letter.attempts += 1
            batch.put(self._dead_key(), letter.SerializeToString())
        else:
            self._put_runs(batch, Result.RUNNING, None)

    def put_ended(self, batch: Batch, error: HoldfastError | None = None) -> None:
        """The turn is over, and nothing more will be tried."""
        self.ended_ms = self._clock.now_ms()
        if self.record.kind != Kind.AT:
            self._put_runs(batch, Result.OK if error is None else Result.ERROR, error)
        elif error is None and self.started:
            batch.delete(self._dead_key())
        elif error is not None:
            self.put_dead(batch, error)

    def put_dead(self, batch: Batch, error: HoldfastError) -> None:
        """A one-shot is given up."""
        letter = records.ScheduleRecord()
        letter.CopyFrom(self.record)
        letter.due_ms, letter.attempts, letter.running_epoch = 0, self.attempt, 0
        letter.dead_at_ms = self._clock.now_ms()
        letter.last_error_code, letter.last_error = error_text(error)
        batch.put(self._dead_key(), letter.SerializeToString())

    def put_skipped(self, batch: Batch) -> None:
        """Ticks that did not fire, as one entry with the number of this fire."""
        first, count = self.decision.first_missed_ms, self.decision.missed
        self._put_run(batch, self._number, _skipped(self.record, first, count))

    def _put_runs(self, batch: Batch, result: Result, error: HoldfastError | None) -> None:
        if not self._runs:
            return
        record, decision = self.record, self.decision
        code, text = ("", "") if error is None else error_text(error)
        running = result is Result.RUNNING
        self._put_run(
            batch,
            self._number,
            records.RunRecord(
                result=result,
                action=record.action,
                scheduled_at_ms=self.tick_ms,
                fired_at_ms=self.began_ms,
                finished_at_ms=0 if running else self._clock.now_ms(),
                attempts=self.attempt,
                skipped=decision.missed,
                error_code=code,
                error=text,
                running_epoch=self.epoch if running else 0,
            ),
        )
        moved = self._moved
        if moved is not None and moved.skipped:
            entry = _skipped(record, moved.first_skipped_ms, moved.skipped)
            self._put_run(batch, self._number + 1, entry)

    def _put_run(self, batch: Batch, number: int, run: records.RunRecord) -> None:
        most = self.record.history_max
        if not most:
            return
        own = self.record.number
        batch.put(keys.schedule_run_key(self.actor_id, own, number), run.SerializeToString())
        if number > most:
            batch.delete(keys.schedule_run_key(self.actor_id, own, number - most))

    def _dead_key(self) -> bytes:
        return keys.schedule_dead_key(self.actor_id, self.record.number)


def _skipped(record: records.ScheduleRecord, first_ms: int, count: int) -> records.RunRecord:
    return records.RunRecord(
        result=Result.SKIPPED, action=record.action, scheduled_at_ms=first_ms, skipped=count
    )


def error_text(error: HoldfastError) -> tuple[str, str]:
    """Group and code, and the message, of what is kept of a failure."""
    return f"{error.group}.{error.code}", error.message[:1000]
