"""`c.schedule`, `c.cron` and `c.fire` in this process: the SDK's ScheduleHost over a turn.

What makes a schedule reads no store, so that it also works in a threaded action; the
limits that need a look at what is there are checked at once where that can be done, and
else at the end of the turn.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from holdfast import payload
from holdfast.actor import Action, BoundAction
from holdfast.schedule import CronOptions, Fire, Kind, Options, Run, Schedule
from holdfast_server.core import errors, schedule
from holdfast_server.core.call import Call, Target
from holdfast_server.core.cron import check_cron
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.values import Value
from holdfast_server.runtime import schedules
from holdfast_server.runtime.agenda import (
    Agenda,
    cadence_of,
    format_schedule_id,
    parse_schedule_id,
)
from holdfast_server.runtime.runners.local.arguments import bind
from holdfast_server.runtime.runners.local.current import passed_on
from holdfast_server.runtime.runners.local.failure import in_loop
from holdfast_server.runtime.runners.local.surface import surfaced, surfaced_async
from holdfast_server.store import keys
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.core.limits import Limits
    from holdfast_server.runtime.runners.local.host import LocalHost
    from holdfast_server.runtime.runners.local.instance import LocalInstance

_ENCODING = payload.Encoding.MSGPACK


class LocalSchedules:
    """Schedules of the actor of one host."""

    __slots__ = ("_host", "_instance")

    def __init__(self, host: LocalHost, instance: LocalInstance) -> None:
        self._host = host
        self._instance = instance

    @property
    def fire(self) -> Fire | None:
        turn = self._host.live_turn
        fire = None if turn is None else turn.fire
        if fire is None:
            return None
        shown = fire.shown
        if not isinstance(shown, Fire):
            record = fire.record
            shown = fire.shown = Fire(
                fire.fire_id,
                format_schedule_id(fire.actor_id, record.number),
                record.name or None,
                _kind(record),
                _time(fire.tick_ms),
                _time(fire.began_ms),
                fire.attempt,
                fire.decision.missed,
            )
        return shown

    # Making

    @surfaced
    def after(self, delay: Any, action: Any, args: Any, kwargs: Any, options: Options) -> str:
        return self._once(schedule.due_after(delay, self._now_ms()), action, args, kwargs, options)

    @surfaced
    def at(self, time: Any, action: Any, args: Any, kwargs: Any, options: Options) -> str:
        return self._once(schedule.due_at(time), action, args, kwargs, options)

    def _once(self, due_ms: int, action: Any, args: Any, kwargs: Any, options: Options) -> str:
        agenda = self._changing()
        record = self._record(schedule.Kind.AT, action, args, kwargs, options)
        record.tick_ms = record.due_ms = due_ms
        agenda.add(record, checked=in_loop())
        return format_schedule_id(agenda.actor_id, record.number)

    @surfaced
    def set_cron(
        self, name: str, expression: str, action: Any, args: Any, kwargs: Any, options: CronOptions
    ) -> None:
        cron = check_cron(expression, cast(str, options.timezone))
        record = self._recurring(schedule.Kind.CRON, name, action, args, kwargs, options)
        record.expression, record.timezone = cron
        self._set(record)

    @surfaced
    def set_every(
        self, name: str, interval: Any, action: Any, args: Any, kwargs: Any, options: CronOptions
    ) -> None:
        interval_ms = schedule.check_interval(interval, self._limits)
        record = self._recurring(schedule.Kind.EVERY, name, action, args, kwargs, options)
        record.interval_ms = interval_ms
        self._set(record)

    def _recurring(
        self,
        kind: schedule.Kind,
        name: str,
        action: Any,
        args: Any,
        kwargs: Any,
        options: CronOptions,
    ) -> records.ScheduleRecord:
        schedule.check_schedule_name(name)
        policy = schedule.check_policy(
            options.missed, options.overlap, options.missed_max, self._limits
        )
        history_max = schedule.check_history_max(options.history_max, self._limits)
        record = self._record(kind, action, args, kwargs, options.retry)
        record.name, record.history_max = name, history_max
        record.missed, record.overlap, record.missed_max = policy
        return record

    def _set(self, record: records.ScheduleRecord) -> None:
        agenda = self._changing()
        tick_ms = cadence_of(record).next_after(record.created_at_ms)
        if tick_ms is None:
            raise HoldfastError(errors.SCHEDULE_INVALID_TIME, "the next time is too far away")
        record.tick_ms = record.due_ms = tick_ms
        agenda.set(record, checked=in_loop())

    def _record(
        self, kind: schedule.Kind, action: Any, args: Any, kwargs: Any, options: Options
    ) -> records.ScheduleRecord:
        """A schedule without its times; refuses what could never run."""
        node, limits = self._instance.activation.node, self._limits
        name = action.name if isinstance(action, Action | BoundAction) else action
        if not isinstance(name, str):
            raise invalid("action", f"the name of an action, or an action, not {name!r}")
        info = self._instance.runner.info(self._instance.activation.info.name)
        found = info.action(name)
        if found.streaming:
            raise HoldfastError(errors.ACTION_WRONG_KIND, "a streaming action cannot be scheduled")
        encoded = payload.encode(list(args), _ENCODING) if args else b""
        named = payload.encode(dict(kwargs), _ENCODING) if kwargs else b""
        size, limit = len(encoded) + len(named), limits.schedule_args_bytes_max
        if size > limit:
            raise HoldfastError(
                errors.MESSAGE_INCOMING_TOO_LONG,
                f"arguments of a schedule of {size} bytes; at most {limit}",
                metadata={"limit": str(limit), "size": str(size)},
            )
        # Arguments that do not fit are an error of whoever schedules, not of the fire.
        bind(
            found.spec,
            Call(
                target=Target(),
                action=name,
                args=Value(_ENCODING, encoded) if encoded else None,
                kwargs=Value(_ENCODING, named) if named else None,
            ),
        )
        retry = schedule.check_retry(options.attempts_max, options.backoff, limits)
        trace = passed_on(self._host.live_turn)
        return records.ScheduleRecord(
            number=node.timers.next_number(),
            kind=kind,
            action=name,
            encoding=_ENCODING,
            args=encoded,
            kwargs=named,
            created_at_ms=self._now_ms(),
            attempts_max=retry.attempts_max,
            backoff_ms=retry.backoff_ms,
            backoff_max_ms=retry.backoff_max_ms,
            timeout_ms=_span("timeout", options.timeout),
            expires_ms=_span("expires", options.expires),
            traceparent=trace.parent,
            tracestate=trace.state,
        )

    # Looking and changing

    @surfaced_async
    async def find(self, schedule_id: str) -> Schedule | None:
        record = self._one_shot(self._reading(), schedule_id)
        return None if record is None else self._shown(record)

    @surfaced_async
    async def find_named(self, name: str) -> Schedule | None:
        record = self._named(self._reading(), name)
        return None if record is None else self._shown(record)

    @surfaced_async
    async def cancel(self, schedule_id: str) -> bool:
        agenda = self._changing()
        record = self._one_shot(agenda, schedule_id)
        if record is not None:
            agenda.delete(record)
        return record is not None

    @surfaced_async
    async def delete(self, name: str) -> bool:
        agenda = self._changing()
        record = self._named(agenda, name)
        if record is not None:
            agenda.delete(record)
        return record is not None

    @surfaced_async
    async def pause(self, name: str) -> bool:
        agenda = self._changing()
        record = self._named(agenda, name)
        if record is not None:
            schedules.pause(agenda, record, self._now_ms())
        return record is not None

    @surfaced_async
    async def resume(self, name: str) -> bool:
        agenda = self._changing()
        record = self._named(agenda, name)
        if record is not None:
            schedules.resume(agenda, record, self._now_ms())
        return record is not None

    @surfaced_async
    async def history(self, name: str, limit: int) -> list[Run]:
        most = self._limits.schedule_history_max
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= most:
            raise invalid("limit", f"1 to {most}, not {limit!r}", limit=most)
        record = self._named(self._reading(), name)
        if record is None:
            return []
        activation = self._instance.activation
        runs = schedules.runs_of(activation, activation.actor_id, record.number, 0, limit)
        node = activation.node
        return [_run(schedules.told(node, activation.actor_id, run)) for _, run in runs]

    @surfaced_async
    async def list(self, named: bool) -> list[Schedule]:
        return [self._shown(each) for each in self._reading().list() if bool(each.name) is named]

    # Helpers

    @property
    def _limits(self) -> Limits:
        return self._instance.activation.node.limits

    def _now_ms(self) -> int:
        return self._instance.activation.node.environment.clock.now_ms()

    def _changing(self) -> Agenda:
        return self._host.turn_in_progress().changing_agenda()

    def _reading(self) -> Agenda:
        return self._host.turn_in_progress().agenda

    @staticmethod
    def _one_shot(agenda: Agenda, schedule_id: str) -> records.ScheduleRecord | None:
        try:
            actor_id, number = parse_schedule_id(schedule_id)
        except (HoldfastError, AttributeError, TypeError):
            return None
        if actor_id != agenda.actor_id:
            return None
        return agenda.find(keys.one_shot_rest(number))

    @staticmethod
    def _named(agenda: Agenda, name: str) -> records.ScheduleRecord | None:
        schedule.check_schedule_name(name)
        return agenda.find(keys.named_rest(name))

    def _shown(self, record: records.ScheduleRecord) -> Schedule:
        encoding = record.encoding
        args = payload.decode(record.args, encoding) if record.args else []
        kwargs = payload.decode(record.kwargs, encoding) if record.kwargs else {}
        recurring = record.kind != schedule.Kind.AT
        return Schedule(
            id=format_schedule_id(self._instance.actor_id, record.number),
            name=record.name or None,
            kind=_kind(record),
            action=record.action,
            args=tuple(args),
            kwargs=kwargs,
            next_at=_time(record.due_ms) if record.due_ms else None,
            scheduled_at=_time(record.tick_ms),
            created_at=_time(record.created_at_ms),
            paused=record.paused,
            attempts=record.attempts,
            last_error=record.last_error or None,
            expression=record.expression or None,
            timezone=record.timezone or None,
            interval=timedelta(milliseconds=record.interval_ms) if record.interval_ms else None,
            history_max=record.history_max,
            **_policies(record) if recurring else {},
        )


def _policies(record: records.ScheduleRecord) -> dict[str, Any]:
    return {
        "missed": schedule.Missed(record.missed).name.lower(),
        "missed_max": record.missed_max,
        "overlap": schedule.Overlap(record.overlap).name.lower(),
    }


def _kind(record: records.ScheduleRecord) -> Kind:
    return cast(Kind, schedule.Kind(record.kind).name.lower())


def _time(at_ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)


def _span(field: str, value: Any) -> int:
    return 0 if value is None else schedule.span_ms(field, value)


def _run(run: records.RunRecord) -> Run:
    return Run(
        action=run.action,
        result=cast(Any, schedule.Result(run.result).name.lower()),
        scheduled_at=_time(run.scheduled_at_ms),
        fired_at=_time(run.fired_at_ms) if run.fired_at_ms else None,
        finished_at=_time(run.finished_at_ms) if run.finished_at_ms else None,
        attempts=run.attempts,
        skipped=run.skipped,
        error_code=run.error_code or None,
        error=run.error or None,
    )
