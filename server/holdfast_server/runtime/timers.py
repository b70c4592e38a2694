"""Fires what is due: one index of timers for all actors, in the order of time.

The rows of the index wait on disk, however many they are. Memory holds the lanes: an
actor with due timers, which fire one after another, in order. There are at most
`timers_in_flight_max`; a slow or failing actor holds up its own lane and no other, and
what came due during an outage is worked off at that pace. `_cursor` is how far the
index has been handed to lanes: what lies before it is in one, or is not there.

A due time is wall clock and a loop timer is not: `_arm` is the one place where the one
becomes the other. Beside it the clock is looked at every `timer_clock_check_s`, so that
one that is put forward is noticed. Put back, it delays what is due by as much.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.call import Call, Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.schedule import (
    Decision,
    Kind,
    Overlap,
    Retry,
    Waiting,
    decide,
    last_tick,
)
from holdfast_server.core.trace import TraceContext
from holdfast_server.core.values import Value
from holdfast_server.runtime import expiry
from holdfast_server.runtime.agenda import ActorRows, Agenda, cadence_of
from holdfast_server.runtime.environment import housekeeping
from holdfast_server.runtime.fire import Fire, error_text, policy_of
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.runtime.node import Node

log = logging.getLogger("holdfast.timers")

# The schedule has gone meanwhile, with its actor or alone: nothing is left to do.
_GONE = frozenset((errors.ACTOR_NOT_FOUND.reason, errors.SCHEDULE_CANCELLED.reason))
_PAUSE_S = 0.2
# No loop is asked to wait longer at once.
_AHEAD_MAX_S = 86_400.0
# Between two tries at what nobody expects, such as a corrupt record.
_TROUBLE_S = 5.0
_PAGE = 64
# Due rows of one actor that are known in memory; the rest is found again.
_LANE_MAX = 64
_COUNTER_BITS = 36


class _Lane:
    """The due timers of one actor, by their keys in the index."""

    __slots__ = ("actor_id", "ended", "keys", "left", "rows", "task")

    def __init__(self, actor_id: bytes) -> None:
        self.actor_id = actor_id
        self.rows: deque[tuple[bytes, bytes]] = deque()
        self.keys: set[bytes] = set()
        # The first row that found no room here.
        self.left: bytes | None = None
        # When the last fire of a schedule ended, by its number.
        self.ended: dict[int, int] = {}
        self.task: asyncio.Task[None] | None = None


class Timers:
    """The due timers of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._rows = ActorRows(node.read, node.scan)
        self._lanes: dict[bytes, _Lane] = {}
        self._start, self._end = keys.kind_range(keys.Kind.TIMER)
        self._cursor = self._start
        self._timer: asyncio.TimerHandle | None = None
        # The next look at the clock, where the timer is further away.
        self._clock_check: asyncio.TimerHandle | None = None
        # The due time that the loop's timer stands for; None while none is set.
        self._armed_ms: int | None = None
        self._looking = False
        self._stopped = True
        self._counter = 0
        # Number of the batch that the newest timers are in.
        self._newest = 0

    def start(self) -> None:
        """Take up what is on disk."""
        self._stopped = False
        self._cursor = self._start
        self._soon()

    def stop(self) -> None:
        """Begin nothing more; what fires now goes on."""
        self._stopped = True
        self._disarm()

    def cut(self) -> None:
        """End what still fires."""
        for lane in self._lanes.values():
            if lane.task is not None:
                lane.task.cancel()
        self._lanes.clear()

    def restart(self) -> None:
        """The store was reopened: what memory knew may not have been committed."""
        self.cut()
        if not self._stopped:
            self.start()

    def next_number(self) -> int:
        """The number of a new schedule; grows, and is never given again."""
        self._counter += 1
        return (self._node.committer.epoch << _COUNTER_BITS) | self._counter

    def wrote(self) -> None:
        """The batch that is submitted next has timers in it."""
        self._newest = self._node.committer.submitted + 1

    def wake(self, due_ms: int) -> None:
        """A timer for `due_ms` is durable."""
        key = keys.timer_key(due_ms)
        self._cursor = min(self._cursor, key)
        # Where there is no room, the end of a lane looks anyway.
        if self._has_room() and (self._armed_ms is None or due_ms < self._armed_ms):
            self._soon()

    def _has_room(self) -> bool:
        return len(self._lanes) < self._node.limits.timers_in_flight_max

    @property
    def in_flight(self) -> int:
        """Actors whose timers fire now."""
        return len(self._lanes)

    @property
    def due(self) -> int:
        """Due timers that memory knows of: those that fire, and those behind them."""
        return sum(len(lane.rows) for lane in self._lanes.values())

    def overdue_s(self) -> float:
        """How long the oldest timer has been due that has not taken effect."""
        now_ms = self._node.environment.clock.now_ms()
        firsts = [lane.rows[0][0] for lane in self._lanes.values() if lane.rows]
        if not self._has_room():
            end = keys.timer_key(now_ms)
            rows = self._node.scan_written(self._cursor, end, limit=1, reverse=False)
            firsts += [key for key, _ in rows]
        oldest_ms = min((keys.parse_timer_key(key)[0] for key in firsts), default=now_ms)
        return max(0, now_ms - oldest_ms) / 1000

    def fires_now(self, actor_id: bytes) -> bool:
        """Whether a timer of this actor fires now."""
        return actor_id in self._lanes

    # Looking

    def _soon(self) -> None:
        if not self._looking and not self._stopped:
            self._looking = True
            self._node.loop.call_soon(self._look)

    def _look(self) -> None:
        """Hand due rows to lanes while there is room, and come back for the next."""
        self._looking = False
        self._disarm()
        node = self._node
        if self._stopped or node.closed or node.committer.failed:
            return
        end = keys.timer_key(node.environment.clock.now_ms() + 1)
        try:
            while rows := node.scan(self._cursor, end, limit=_PAGE, reverse=False):
                for key, rest in rows:
                    if not self._hand_over(key, rest):
                        self._cursor = key
                        return
                self._cursor = rows[-1][0] + b"\x00"
            following = node.scan(self._cursor, self._end, limit=1, reverse=False)
        except HoldfastError as error:
            log.warning("timers wait until the store can be read: %s", error)
            if not node.committer.failed:
                self._timer = node.loop.call_later(_TROUBLE_S, self._look)
            return
        if following:
            self._arm(keys.parse_timer_key(following[0][0])[0])

    def _hand_over(self, key: bytes, rest: bytes) -> bool:
        """Give a row to the lane of its actor; False where there is no room for one."""
        actor_id = keys.parse_timer_key(key)[1]
        lane = self._lanes.get(actor_id)
        if lane is None:
            if not self._has_room():
                return False
            lane = self._lanes[actor_id] = _Lane(actor_id)
            # Whoever wakes the timers, a fire is nobody's.
            run, own = self._run(lane), self._node.environment.context()
            lane.task = self._node.loop.create_task(run, context=own)
        if key in lane.keys:
            return True
        if len(lane.rows) < _LANE_MAX:
            lane.rows.append((key, rest))
            lane.keys.add(key)
        elif lane.left is None or key < lane.left:
            lane.left = key
        return True

    def _arm(self, due_ms: int) -> None:
        node = self._node
        left_s = max((due_ms - node.environment.clock.now_ms()) / 1000, 0.0)
        self._armed_ms = due_ms
        self._timer = node.loop.call_later(min(left_s, _AHEAD_MAX_S), self._look)
        check_s = node.limits.timer_clock_check_s
        if left_s > check_s:
            self._clock_check = node.loop.call_later(check_s, self._look_at_clock)

    @housekeeping
    def _look_at_clock(self) -> None:
        """A clock that was put forward has made due what the loop's timer still waits for."""
        self._look()

    def _disarm(self) -> None:
        for timer in (self._timer, self._clock_check):
            if timer is not None:
                timer.cancel()
        self._timer = self._clock_check = self._armed_ms = None

    # Firing

    async def _run(self, lane: _Lane) -> None:
        try:
            while lane.rows and not self._stopped:
                key, rest = lane.rows[0]
                await self._durable()
                pause_s = await self._handle(lane, key, rest)
                if pause_s is None and self._node.read_written(key) is not None:
                    # It is due again at the same millisecond, or could not be settled.
                    pause_s = _PAUSE_S
                if pause_s is not None:
                    await asyncio.sleep(pause_s)
                    continue
                lane.rows.popleft()
                lane.keys.discard(key)
        except HoldfastError as error:
            if self._node.committer.failed:
                log.warning("timers stopped until the store is open: %s", error)
            else:
                log.error("timers of an actor wait: %s", error)
                await asyncio.sleep(_TROUBLE_S)
        except Exception:
            log.exception("timers of an actor wait")
            await asyncio.sleep(_TROUBLE_S)
        finally:
            if self._lanes.get(lane.actor_id) is lane:
                del self._lanes[lane.actor_id]
                waiting = [key for key, _ in lane.rows]
                if lane.left is not None:
                    waiting.append(lane.left)
                self._cursor = min([self._cursor, *waiting])
                self._soon()

    async def _durable(self) -> None:
        """Wait until no row that was read can be lost."""
        committer = self._node.committer
        newest = min(self._newest, committer.submitted)
        if newest > committer.synced:
            await committer.until_synced(newest, committer.epoch)

    async def _handle(self, lane: _Lane, key: bytes, rest: bytes) -> float | None:
        """Deal with one due row; seconds to wait before it is looked at again."""
        due_ms, actor_id, number = keys.parse_timer_key(key)
        if not number:
            return await self._sweep(actor_id, due_ms)
        schedule_key = keys.schedule_key(actor_id, rest)
        record = self._node.decode(records.ScheduleRecord, schedule_key)
        actor = self._node.decode(records.ActorRecord, keys.actor_key(actor_id))
        if actor is None or record is None or (record.number, record.due_ms) != (number, due_ms):
            self._drop(key)
            return None
        fire = self._begin(lane, actor_id, record)
        if fire.decision.tick_ms is None:
            self._move_on(fire, None)
            return None
        try:
            self._check(fire, actor)
        except HoldfastError as error:
            self._give_up(fire, error)
            return None
        pause_s = await self._fire(fire, actor)
        if fire.started:
            lane.ended[number] = fire.ended_ms
        return pause_s

    async def _sweep(self, actor_id: bytes, due_ms: int) -> float | None:
        """Delete what of an actor has expired, or all of it."""
        node = self._node
        actor = node.decode(records.ActorRecord, keys.actor_key(actor_id))
        try:
            if actor is not None and expiry.lapsed(node, actor_id, actor.name):
                await node.expire(actor_id, actor.namespace)
                return None
        except HoldfastError as error:
            if error.reason.reason in errors.PASSING:
                return error.reason.retry_after_s or _PAUSE_S
            if error.reason not in (errors.ACTOR_NAME_NOT_FOUND, errors.ACTOR_NOT_FOUND):
                log.error("an actor that expired could not be destroyed: %s", error)
                return _TROUBLE_S
        # Others want the loop between two batches.
        return 0.0 if expiry.sweep(node, actor_id, due_ms) else None

    def _drop(self, key: bytes) -> None:
        """A row that stands for nothing."""
        log.warning("a timer that stands for nothing is dropped: %s", key.hex())
        batch = Batch()
        batch.delete(key)
        self.submit(batch, None)

    def _begin(self, lane: _Lane, actor_id: bytes, record: records.ScheduleRecord) -> Fire:
        node = self._node
        clock, limits = node.environment.clock, node.limits
        decision, now_ms = Decision(record.tick_ms), clock.now_ms()
        if record.kind != Kind.AT and not record.attempts:
            waiting = Waiting(record.tick_ms, record.decided, record.catch_up)
            cadence, policy = cadence_of(record), policy_of(record)
            ended_ms = lane.ended.get(record.number, -1)
            if waiting == Waiting(record.tick_ms) and record.tick_ms <= ended_ms:
                # It came due while the fire before it ran, which had moved on already.
                last, count = last_tick(cadence, record.tick_ms, ended_ms)
                queued = policy.overlap is Overlap.QUEUE
                missed = count - queued
                first_ms = record.tick_ms if missed else 0
                decision = Decision(last if queued else None, missed, first_ms)
            else:
                late_ms = int(limits.schedule_late_s * 1000)
                decision = decide(cadence, policy, waiting, now_ms, late_ms)
        elif record.kind != Kind.AT:
            # The same fire again.
            decision = Decision(record.tick_ms, record.missed_before, catch_up=record.catch_up)
        return Fire(actor_id, record, decision, now_ms, clock, node.committer.epoch)

    def _check(self, fire: Fire, actor: records.ActorRecord) -> None:
        """Refuse what no try can do: the action has gone, or the time for it is over."""
        record = fire.record
        info = self._node.runner.info(actor.name)
        if info.action(record.action).streaming:
            raise HoldfastError(errors.ACTION_WRONG_KIND, "a streaming action cannot be scheduled")
        if record.expires_ms and fire.began_ms > fire.tick_ms + record.expires_ms:
            raise HoldfastError(errors.DEADLINE_EXCEEDED, "it could not begin in time")

    async def _fire(self, fire: Fire, actor: records.ActorRecord) -> float | None:
        """Try one fire; the seconds to wait where nothing was decided."""
        node, record = self._node, fire.record
        deadline = None
        if record.timeout_ms:
            deadline = node.loop.time() + record.timeout_ms / 1000
        call = Call(
            target=Target(actor_id=fire.actor_id, namespace=actor.namespace),
            action=record.action,
            args=Value(record.encoding, record.args) if record.args else None,
            kwargs=Value(record.encoding, record.kwargs) if record.kwargs else None,
            deadline=deadline,
            trace=TraceContext(record.traceparent, record.tracestate),
            fire=fire,
        )
        node.tally.timer_delays.take(max(0, fire.began_ms - record.due_ms) / 1000)
        try:
            await node.invoke(call)
        except HoldfastError as error:
            if node.committer.failed or node.committer.epoch != fire.epoch:
                raise
            if error.reason.reason in errors.PASSING and not fire.started:
                return error.reason.retry_after_s or _PAUSE_S
            if error.reason.reason not in _GONE or self._stored(fire) is not None:
                self._failed(fire, error)
        except Exception as error:
            log.exception("firing %s of %s/%s", record.action, actor.name, list(actor.key))
            self._failed(fire, HoldfastError(errors.INTERNAL_ERROR, type(error).__name__))
        return None

    # What becomes of a fire that did not succeed

    def _failed(self, fire: Fire, error: HoldfastError) -> None:
        record = fire.record
        self._node.tally.timers_failed += 1
        if fire.started:
            # Its first commit has consumed the schedule.
            batch = Batch()
            fire.put_ended(batch, error)
            self.submit(batch, None)
            return
        retry = Retry(record.attempts_max, record.backoff_ms, record.backoff_max_ms)
        pause_ms = retry.pause_ms(record.attempts + 1)
        now_ms = self._node.environment.clock.now_ms()
        if pause_ms is not None and record.kind != Kind.AT:
            following = cadence_of(record).next_after(max(now_ms, fire.tick_ms))
            if following is not None and following <= now_ms + pause_ms:
                # The next tick comes before the next try.
                pause_ms = None
        if pause_ms is None:
            self._give_up(fire, error)
            return
        agenda = self._agenda(fire)
        stored = self._stored(fire)
        if stored is None:
            return
        stored.attempts += 1
        stored.tick_ms, stored.decided = fire.tick_ms, True
        stored.catch_up, stored.missed_before = fire.decision.catch_up, fire.decision.missed
        stored.due_ms = now_ms + pause_ms
        stored.last_error_code, stored.last_error = error_text(error)
        agenda.put(stored)
        batch = Batch()
        agenda.take(batch)
        self.submit(batch, agenda)

    def _give_up(self, fire: Fire, error: HoldfastError) -> None:
        """No further try: a one-shot becomes a dead letter, any other goes on."""
        log.error("%s gave up: %s", fire.fire_id, error)
        self._node.tally.timers_given_up += 1
        self._move_on(fire, error)

    def _move_on(self, fire: Fire, error: HoldfastError | None) -> None:
        """Consume what fired in vain, or did not fire."""
        if self._stored(fire) is None:
            return
        agenda, batch = self._agenda(fire), Batch()
        agenda.fire = fire
        agenda.take(batch)
        if error is not None:
            fire.put_ended(batch, error)
            if fire.record.kind == Kind.AT:
                self._drop_oldest_dead(fire.actor_id, batch)
        else:
            fire.put_skipped(batch)
        self.submit(batch, agenda)

    def _stored(self, fire: Fire) -> records.ScheduleRecord | None:
        """The schedule of a fire, if it is still what was due."""
        key = keys.schedule_key(fire.actor_id, fire.rest)
        stored = self._node.decode(records.ScheduleRecord, key)
        return stored if stored is not None and stored == fire.record else None

    def _agenda(self, fire: Fire) -> Agenda:
        return Agenda(self._rows, self._node.limits, fire.actor_id)

    def _drop_oldest_dead(self, actor_id: bytes, batch: Batch) -> None:
        prefix, limit = keys.schedule_dead_prefix(actor_id), self._node.limits.schedule_dead_max
        rows = self._node.scan(prefix, keys.prefix_end(prefix), limit=limit, reverse=False)
        if len(rows) >= limit:
            log.error("dead letters of an actor's schedules are full; the first is dropped")
            batch.delete(rows[0][0])

    def submit(self, batch: Batch, agenda: Agenda | None) -> None:
        """Commit what no turn does; visible to the next read at once."""
        committer, due_ms = self._node.committer, None
        if agenda is not None:
            agenda.clear()
            due_ms = agenda.earliest_ms
        if due_ms is None:
            committer.submit(batch, committer.epoch, None)
        else:
            self.wrote()
            committer.submit(batch, committer.epoch, lambda error: self._released(error, due_ms))
        committer.apply()

    def _released(self, error: HoldfastError | None, due_ms: int) -> None:
        if error is None:
            self.wake(due_ms)
