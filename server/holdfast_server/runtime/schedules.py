"""Schedules from outside their actor: looked at, changed, run at once, given up.

Looking reads the store and wakes nobody. A change waits in the actor's mailbox like any
turn, so that it comes before or after the fire that it races, and is a turn without a
handler: the actor stays asleep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from holdfast_server.core import errors
from holdfast_server.core.call import Answer, Call, CallKey, Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.mailbox import Mode
from holdfast_server.core.schedule import Kind, Result, Waiting
from holdfast_server.core.trace import NO_TRACE, TraceContext
from holdfast_server.core.values import Encoding, Value
from holdfast_server.runtime.agenda import (
    ActorRows,
    Agenda,
    Rows,
    await_tick,
    cadence_of,
    format_schedule_id,
    parse_schedule_id,
)
from holdfast_server.runtime.execution import check_target
from holdfast_server.runtime.turn import ReplyWriter, Turn
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.decode import decode
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.node import Node

# What the turn of a change is called.
CHANGE = "$schedule"
# Rows that one page looks at, whatever namespace they are of.
_LOOK_MAX = 1000


class Named(NamedTuple):
    """Which schedule: the one of a number, or of a name."""

    target: Target
    number: int = 0
    name: str = ""


class Owned(NamedTuple):
    """A schedule or dead letter and the actor that it is of."""

    actor_id: bytes
    actor: records.ActorRecord
    record: records.ScheduleRecord


def by_id(namespace: str, schedule_id: str) -> Named:
    """The schedule of an id."""
    actor_id, number = parse_schedule_id(schedule_id)
    return Named(Target(actor_id=actor_id, namespace=namespace), number)


def pause(agenda: Agenda, record: records.ScheduleRecord, now_ms: int) -> None:
    """It is not due until it is resumed."""
    record.paused, record.due_ms = True, 0
    agenda.put(record)


def resume(agenda: Agenda, record: records.ScheduleRecord, now_ms: int) -> None:
    """A one-shot is due at its time again; any other at its next, not at those missed."""
    if not record.paused:
        return
    record.paused = False
    if record.kind == Kind.AT:
        record.due_ms = record.tick_ms
    else:
        tick_ms = cadence_of(record).next_after(now_ms)
        await_tick(record, Waiting(record.tick_ms if tick_ms is None else tick_ms))
    agenda.put(record)


def cancel(agenda: Agenda, record: records.ScheduleRecord, now_ms: int) -> None:
    """It goes, with its history."""
    agenda.delete(record)


def run_now(agenda: Agenda, record: records.ScheduleRecord, now_ms: int) -> None:
    """It is due at once; a recurring one then goes on with its next time."""
    record.due_ms = now_ms
    if record.kind != Kind.AT:
        await_tick(record, Waiting(now_ms, decided=True))
    agenda.put(record)


def runs_of(
    rows: Rows, actor_id: bytes, number: int, before: int, limit: int
) -> list[tuple[int, records.RunRecord]]:
    """The last runs of a schedule by the number of their fire, the latest first;
    `before` is 0, or the number that a page before ended with."""
    start = keys.schedule_run_prefix(actor_id, number)
    end = keys.schedule_run_key(actor_id, number, before) if before else keys.prefix_end(start)
    found = rows.scan(start, end, limit=limit, reverse=True)
    return [
        (keys.parse_schedule_run_key(key)[2], decode(records.RunRecord, key, row))
        for key, row in found
    ]


def told(node: Node, actor_id: bytes, run: records.RunRecord) -> records.RunRecord:
    """A run as it is told: one that its process did not live to end is interrupted."""
    if run.result == Result.RUNNING and not _runs_still(node, actor_id, run.running_epoch):
        reason = errors.SCHEDULE_INTERRUPTED
        run.result = Result.INTERRUPTED
        run.error_code, run.error = f"{reason.group}.{reason.code}", reason.message
    return run


def _runs_still(node: Node, actor_id: bytes, epoch: int) -> bool:
    return epoch == node.committer.epoch and node.timers.fires_now(actor_id)


class ScheduleDesk:
    """What ScheduleService asks for."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.rows = ActorRows(node.read, node.scan)

    # Looking

    async def list_of(self, target: Target) -> list[Owned]:
        """All schedules of an actor, in the order in which they are due."""
        actor_id, actor = await self._node.lookup.get(target)
        found = Agenda(self.rows, self._node.limits, actor_id).list()
        await self._node.committer.barrier()
        return [Owned(actor_id, actor, record) for record in found]

    async def list_all(self, namespace: str, after: bytes, limit: int) -> tuple[list[Owned], bytes]:
        """One page of a namespace's schedules in the order in which they are due, and
        where the next begins."""
        start, end = keys.kind_range(keys.Kind.TIMER)

        def owned(key: bytes, rest: bytes) -> Owned | None:
            _, actor_id, number = keys.parse_timer_key(key)
            schedule_key = keys.schedule_key(actor_id, rest)
            record = self._node.decode(records.ScheduleRecord, schedule_key) if number else None
            return None if record is None else self._owned(namespace, actor_id, record)

        return await self._page(start, end, after, limit, owned)

    async def get(self, which: Named) -> Owned:
        """One schedule; SCHEDULE_NOT_FOUND."""
        actor_id, actor = await self._actor(which)
        record = _find(Agenda(self.rows, self._node.limits, actor_id), which)
        await self._node.committer.barrier()
        return Owned(actor_id, actor, record)

    async def history(
        self, which: Named, before: int, limit: int
    ) -> tuple[list[records.RunRecord], int]:
        """One page of a schedule's runs, the latest first, and where the next begins."""
        actor_id, _ = await self._actor(which)
        record = _find(Agenda(self.rows, self._node.limits, actor_id), which)
        runs = runs_of(self.rows, actor_id, record.number, before, limit + 1)
        await self._node.committer.barrier()
        following = runs[limit - 1][0] if len(runs) > limit else 0
        return [told(self._node, actor_id, run) for _, run in runs[:limit]], following

    # Changing

    async def change(
        self,
        which: Named,
        change: Callable[[Agenda, records.ScheduleRecord, int], None],
        *,
        key: CallKey | None = None,
        deadline: float | None = None,
        trace: TraceContext = NO_TRACE,
    ) -> str:
        """Change one schedule; the id of its next fire."""
        said = f"{change.__name__} {which.number} {which.name}"
        call = Call(
            target=which.target,
            action=CHANGE,
            args=Value(Encoding.JSON, said.encode()),
            key=key,
            deadline=deadline,
            trace=trace,
        )

        async def run(activation: Activation, reply: ReplyWriter | None) -> Answer:
            return await _run_change(activation, call, which, change, reply)

        try:
            answer = await self._node.hold(call, run)
        except HoldfastError as error:
            raise _unknown(which, error) from None
        return answer.value.data.decode()

    # Dead letters

    async def list_dead(
        self, namespace: str, after: bytes, limit: int
    ) -> tuple[list[Owned], bytes]:
        """One page of one-shots that were given up, those of one actor together."""
        start, end = keys.kind_range(keys.Kind.SCHEDULE_DEAD)

        def owned(key: bytes, row: bytes) -> Owned | None:
            record = self._node.decode_row(records.ScheduleRecord, key, row)
            actor_id, _ = keys.parse_schedule_dead_key(key)
            if record.running_epoch:
                if _runs_still(self._node, actor_id, record.running_epoch):
                    return None
                reason = errors.SCHEDULE_INTERRUPTED
                record.last_error_code = f"{reason.group}.{reason.code}"
                record.last_error = reason.message
            return self._owned(namespace, actor_id, record)

        return await self._page(start, end, after, limit, owned)

    async def rerun_dead(self, namespace: str, schedule_id: str) -> None:
        """Make it due at once, with all its tries before it."""
        now_ms = self._node.environment.clock.now_ms()

        def put_back(batch: Batch, agenda: Agenda, record: records.ScheduleRecord) -> None:
            record.attempts = record.running_epoch = record.dead_at_ms = record.expires_ms = 0
            record.paused, record.due_ms = False, now_ms
            agenda.add(record)

        await self._settle_dead(namespace, schedule_id, put_back)

    async def discard_dead(self, namespace: str, schedule_id: str) -> None:
        """Delete it."""
        await self._settle_dead(namespace, schedule_id, lambda batch, agenda, record: None)

    async def _settle_dead(
        self,
        namespace: str,
        schedule_id: str,
        then: Callable[[Batch, Agenda, records.ScheduleRecord], None],
    ) -> None:
        node = self._node
        await node.ready()
        try:
            actor_id, number = parse_schedule_id(schedule_id, "dead_letter_id")
        except HoldfastError:
            raise HoldfastError(errors.DEAD_LETTER_NOT_FOUND) from None
        key = keys.schedule_dead_key(actor_id, number)
        record = node.decode(records.ScheduleRecord, key)
        if (
            record is None
            or self._owned(namespace, actor_id, record) is None
            or (record.running_epoch and _runs_still(node, actor_id, record.running_epoch))
        ):
            raise HoldfastError(errors.DEAD_LETTER_NOT_FOUND)
        # Nothing waits from here to the commit, so that no turn can come between.
        batch, agenda = Batch(), Agenda(self.rows, node.limits, actor_id)
        batch.delete(key)
        then(batch, agenda, record)
        agenda.take(batch)
        node.timers.submit(batch, agenda)
        await node.committer.barrier()

    # Helpers

    async def _actor(self, which: Named) -> tuple[bytes, records.ActorRecord]:
        try:
            return await self._node.lookup.get(which.target)
        except HoldfastError as error:
            raise _unknown(which, error) from None

    def _owned(
        self, namespace: str, actor_id: bytes, record: records.ScheduleRecord
    ) -> Owned | None:
        actor = self._node.decode(records.ActorRecord, keys.actor_key(actor_id))
        if actor is None or actor.namespace != namespace:
            return None
        return Owned(actor_id, actor, record)

    async def _page(
        self,
        start: bytes,
        end: bytes,
        after: bytes,
        limit: int,
        owned: Callable[[bytes, bytes], Owned | None],
    ) -> tuple[list[Owned], bytes]:
        node = self._node
        await node.ready()
        found: list[Owned] = []
        size = 0
        rows = node.scan_some(start + after, end, limit=_LOOK_MAX, reverse=False)
        following = rows[-1][0] + b"\x00" if rows else b""
        for key, row in rows:
            one = owned(key, row)
            if one is None:
                continue
            size += one.record.ByteSize()
            if len(found) == limit or (found and size > node.limits.kv_read_bytes_max):
                following = key
                break
            found.append(one)
        if not node.scan(following or end, end, limit=1, reverse=False):
            following = b""
        await node.committer.barrier()
        return found, following[2:]


def _find(agenda: Agenda, which: Named) -> records.ScheduleRecord:
    if which.name:
        record = agenda.find(keys.named_rest(which.name))
    else:
        record = agenda.find_number(which.number)
    if record is None:
        raise HoldfastError(errors.SCHEDULE_NOT_FOUND)
    return record


def _unknown(which: Named, error: HoldfastError) -> HoldfastError:
    """An id of a schedule also names its actor, of which its caller said nothing."""
    if which.number and error.reason is errors.ACTOR_NOT_FOUND:
        return HoldfastError(errors.SCHEDULE_NOT_FOUND)
    return error


async def _run_change(
    activation: Activation,
    call: Call,
    which: Named,
    change: Callable[[Agenda, records.ScheduleRecord, int], None],
    reply: ReplyWriter | None,
) -> Answer:
    turn = Turn(activation, Mode.EXCLUSIVE, call.deadline, CHANGE, call.trace)
    async with activation.holding(turn, None):
        check_target(activation, call)
        if not activation.exists:
            raise HoldfastError(errors.ACTOR_NOT_FOUND)
        turn.actor_id = activation.actor_id
        agenda = turn.changing_agenda()
        record = _find(agenda, which)
        fire_id = f"{format_schedule_id(turn.actor_id, record.number)}-{record.fires + 1}"
        change(agenda, record, activation.node.environment.clock.now_ms())
        batch = Batch()
        turn.take(batch)
        value = Value(Encoding.JSON, fire_id.encode())
        if reply is not None:
            reply.put_result(batch, value, turn.actor_id)
        durable = activation.commit(batch, turn)
    return Answer(value, await durable, turn.actor_id)
