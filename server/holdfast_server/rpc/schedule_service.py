"""holdfast.v1.ScheduleService: durable timers, looked at and changed from outside."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.v1 import (
    actor_pb2,
    payload_pb2,
    schedule_service_pb2,
    schedule_service_pb2_grpc,
)
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.ids import format_actor_id
from holdfast_server.core.limits import Limits
from holdfast_server.core.schedule import Kind, check_schedule_name
from holdfast_server.core.values import Value
from holdfast_server.rpc.actor_service import foreign_token, page_size, page_token
from holdfast_server.rpc.convert import Converter, payload_of
from holdfast_server.rpc.guard import Context, unary
from holdfast_server.rpc.trace import trace_of
from holdfast_server.runtime import schedules
from holdfast_server.runtime.agenda import Agenda, format_schedule_id
from holdfast_server.runtime.calls import Calls
from holdfast_server.runtime.node import Node
from holdfast_server.runtime.schedules import Named, Owned
from holdfast_server.store.v1 import records_pb2 as records

pb = schedule_service_pb2

Show = Callable[[Value], payload_pb2.Payload]
Change = Callable[[Agenda, records.ScheduleRecord, int], None]


class ScheduleService(schedule_service_pb2_grpc.ScheduleServiceServicer):
    """Lists schedules and what became of them, and changes them."""

    def __init__(self, node: Node, converter: Converter, limits: Limits, calls: Calls) -> None:
        self.calls = calls
        self._desk = node.schedules
        self._node = node
        self._convert = converter
        self._limits = limits

    @unary
    async def ListSchedules(
        self, request: pb.ListSchedulesRequest, context: Context
    ) -> pb.ListSchedulesResponse:
        namespace = self._convert.namespace(request.namespace)
        size, token = page_size(request.page_size, self._limits), page_token(request.page_token)
        show, following = self._shows(request.accept_encoding), b""
        if request.HasField("actor"):
            if token:
                raise foreign_token()
            target = self._convert.target(namespace, request.actor, create=False)
            found = await self._desk.list_of(target)
        else:
            found, following = await self._desk.list_all(namespace, token, size)
        return pb.ListSchedulesResponse(
            schedules=[_schedule(each, show) for each in found], next_page_token=following.hex()
        )

    @unary
    async def GetSchedule(
        self, request: pb.GetScheduleRequest, context: Context
    ) -> pb.GetScheduleResponse:
        show = self._shows(request.accept_encoding)
        found = await self._desk.get(self._which(request.namespace, request.schedule))
        return pb.GetScheduleResponse(schedule=_schedule(found, show))

    @unary
    async def CancelSchedule(
        self, request: pb.CancelScheduleRequest, context: Context
    ) -> pb.CancelScheduleResponse:
        await self._change(request, context, schedules.cancel)
        return pb.CancelScheduleResponse()

    @unary
    async def RunScheduleNow(
        self, request: pb.RunScheduleNowRequest, context: Context
    ) -> pb.RunScheduleNowResponse:
        fire_id = await self._desk.change(
            self._which(request.namespace, request.schedule),
            schedules.run_now,
            key=self._convert.idempotency(request, context),
            deadline=self._convert.deadline(context),
            trace=trace_of(context),
        )
        return pb.RunScheduleNowResponse(fire_id=fire_id)

    @unary
    async def PauseSchedule(
        self, request: pb.PauseScheduleRequest, context: Context
    ) -> pb.PauseScheduleResponse:
        await self._change(request, context, schedules.pause)
        return pb.PauseScheduleResponse()

    @unary
    async def ResumeSchedule(
        self, request: pb.ResumeScheduleRequest, context: Context
    ) -> pb.ResumeScheduleResponse:
        await self._change(request, context, schedules.resume)
        return pb.ResumeScheduleResponse()

    @unary
    async def GetScheduleHistory(
        self, request: pb.GetScheduleHistoryRequest, context: Context
    ) -> pb.GetScheduleHistoryResponse:
        size, token = page_size(request.page_size, self._limits), page_token(request.page_token)
        if len(token) not in (0, 8):
            raise foreign_token()
        which = self._which(request.namespace, request.schedule)
        runs, following = await self._desk.history(which, int.from_bytes(token), size)
        return pb.GetScheduleHistoryResponse(
            runs=[_run(run) for run in runs],
            next_page_token=following.to_bytes(8).hex() if following else "",
        )

    @unary
    async def ListDeadSchedules(
        self, request: pb.ListDeadSchedulesRequest, context: Context
    ) -> pb.ListDeadSchedulesResponse:
        namespace = self._convert.namespace(request.namespace)
        size = page_size(request.page_size, self._limits)
        show = self._shows(request.accept_encoding)
        found, following = await self._desk.list_dead(
            namespace, page_token(request.page_token), size
        )
        return pb.ListDeadSchedulesResponse(
            dead_schedules=[_dead(each, show) for each in found], next_page_token=following.hex()
        )

    @unary
    async def RerunDeadSchedule(
        self, request: pb.RerunDeadScheduleRequest, context: Context
    ) -> pb.RerunDeadScheduleResponse:
        namespace = self._convert.namespace(request.namespace)
        await self._desk.rerun_dead(namespace, _required(request.schedule_id))
        return pb.RerunDeadScheduleResponse()

    @unary
    async def DiscardDeadSchedule(
        self, request: pb.DiscardDeadScheduleRequest, context: Context
    ) -> pb.DiscardDeadScheduleResponse:
        namespace = self._convert.namespace(request.namespace)
        await self._desk.discard_dead(namespace, _required(request.schedule_id))
        return pb.DiscardDeadScheduleResponse()

    def _shows(self, encoding: int) -> Show:
        """How arguments are told to a caller that accepts this encoding."""
        accepted, transcode = self._convert.accept(encoding), self._node.runner.transcode

        def show(value: Value) -> payload_pb2.Payload:
            try:
                told = transcode(value, accepted) if accepted else value
            except HoldfastError:
                # One schedule that cannot be told so must not hide all the others.
                told = value
            return payload_of(told)

        return show

    def _which(self, namespace: str, target: pb.ScheduleTarget) -> Named:
        namespace = self._convert.namespace(namespace)
        by_name = target.HasField("actor") or bool(target.name)
        if bool(target.schedule_id) == by_name:
            raise invalid("schedule", "either schedule_id, or actor and name")
        if target.schedule_id:
            return schedules.by_id(namespace, target.schedule_id)
        try:
            check_schedule_name(target.name)
        except HoldfastError as error:
            raise invalid("schedule.name", error.message) from None
        return Named(self._convert.target(namespace, target.actor, create=False), name=target.name)

    async def _change(
        self,
        request: pb.CancelScheduleRequest | pb.PauseScheduleRequest | pb.ResumeScheduleRequest,
        context: Context,
        change: Change,
    ) -> None:
        await self._desk.change(
            self._which(request.namespace, request.schedule),
            change,
            deadline=self._convert.deadline(context),
            trace=trace_of(context),
        )


def _required(schedule_id: str) -> str:
    if not schedule_id:
        raise invalid("schedule_id", "is required")
    return schedule_id


def _schedule(owned: Owned, show: Show) -> pb.Schedule:
    actor_id, actor, record = owned
    shown = pb.Schedule(
        schedule_id=format_schedule_id(actor_id, record.number),
        actor=actor_pb2.ActorKey(name=actor.name, key=actor.key),
        actor_id=format_actor_id(actor_id),
        kind=record.kind,  # type: ignore[arg-type]
        name=record.name,
        action=record.action,
        paused=record.paused,
        attempts=record.attempts,
        attempts_max=record.attempts_max,
        last_error_code=record.last_error_code,
        last_error=record.last_error,
        expression=record.expression,
        timezone=record.timezone,
        missed=record.missed,  # type: ignore[arg-type]
        missed_max=record.missed_max,
        overlap=record.overlap,  # type: ignore[arg-type]
        history_max=record.history_max,
    )
    if record.args:
        shown.args.CopyFrom(show(Value(record.encoding, record.args)))
    if record.kwargs:
        shown.kwargs.CopyFrom(show(Value(record.encoding, record.kwargs)))
    if record.due_ms:
        shown.next_at.FromMilliseconds(record.due_ms)
    shown.scheduled_at.FromMilliseconds(record.tick_ms)
    shown.created_at.FromMilliseconds(record.created_at_ms)
    if record.kind == Kind.EVERY:
        shown.interval.FromMilliseconds(record.interval_ms)
    return shown


def _run(run: records.RunRecord) -> pb.ScheduleRun:
    shown = pb.ScheduleRun(
        action=run.action,
        result=run.result,  # type: ignore[arg-type]
        attempts=run.attempts,
        skipped=run.skipped,
        error_code=run.error_code,
        error=run.error,
    )
    shown.scheduled_at.FromMilliseconds(run.scheduled_at_ms)
    if run.fired_at_ms:
        shown.fired_at.FromMilliseconds(run.fired_at_ms)
    if run.finished_at_ms:
        shown.finished_at.FromMilliseconds(run.finished_at_ms)
    return shown


def _dead(owned: Owned, show: Show) -> pb.DeadSchedule:
    shown = pb.DeadSchedule(schedule=_schedule(owned, show))
    shown.dead_at.FromMilliseconds(owned.record.dead_at_ms)
    return shown
