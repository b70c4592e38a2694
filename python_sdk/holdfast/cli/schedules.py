"""`holdfast schedules`: durable timers of actors, one-shot and recurring.

A schedule is named by its id, or a recurring one by the actor's name and key and its own.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from holdfast.cli.protos import plain, seconds, when, word
from holdfast.cli.session import Session, paged
from holdfast.cli.values import parse_key
from holdfast.client import Client
from holdfast.v1 import actor_pb2
from holdfast.v1 import schedule_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Look after the schedules of actors.")

WhichArg = Annotated[
    list[str],
    typer.Argument(help="The id of a schedule; or an actor's NAME and KEY, and the JOB's name."),
]
LimitOption = Annotated[int, typer.Option(min=1, help="How many at most.")]


def _which(words: list[str]) -> pb.ScheduleTarget:
    if len(words) == 1:
        return pb.ScheduleTarget(schedule_id=words[0])
    if len(words) == 3:
        actor = actor_pb2.ActorKey(name=words[0], key=parse_key(words[1]))
        return pb.ScheduleTarget(actor=actor_pb2.ActorTarget(get=actor), name=words[2])
    raise typer.BadParameter("give the id of a schedule, or NAME KEY JOB")


def _fields(schedule: pb.Schedule) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "schedule_id": schedule.schedule_id,
        "actor": {"name": schedule.actor.name, "key": list(schedule.actor.key)},
        "actor_id": schedule.actor_id,
        "kind": word(pb.ScheduleKind, schedule.kind),
        "action": schedule.action,
        "args": plain(schedule.args) if schedule.HasField("args") else [],
        "kwargs": plain(schedule.kwargs) if schedule.HasField("kwargs") else {},
        "next_at": when(schedule.next_at) if schedule.HasField("next_at") else None,
        "scheduled_at": when(schedule.scheduled_at),
        "created_at": when(schedule.created_at),
        "paused": schedule.paused,
        "attempts": schedule.attempts,
        "attempts_max": schedule.attempts_max,
    }
    if schedule.last_error_code:
        shown["last_error"] = f"{schedule.last_error_code}: {schedule.last_error}"
    if schedule.name:
        shown |= {
            "name": schedule.name,
            "missed": word(pb.MissedPolicy, schedule.missed),
            "missed_max": schedule.missed_max,
            "overlap": word(pb.OverlapPolicy, schedule.overlap),
            "history_max": schedule.history_max,
        }
    if schedule.expression:
        shown |= {"expression": schedule.expression, "timezone": schedule.timezone}
    if schedule.HasField("interval"):
        shown["interval_s"] = seconds(schedule.interval)
    return shown


def _line(schedule: pb.Schedule) -> str:
    due = when(schedule.next_at) if schedule.HasField("next_at") else "paused"
    what = schedule.name or schedule.action
    return f"{due}  {schedule.schedule_id}  {schedule.actor.name} {list(schedule.actor.key)} {what}"


def _run(run: pb.ScheduleRun) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "result": word(pb.ScheduleResult, run.result),
        "action": run.action,
        "scheduled_at": when(run.scheduled_at),
        "fired_at": when(run.fired_at) if run.HasField("fired_at") else None,
        "finished_at": when(run.finished_at) if run.HasField("finished_at") else None,
        "attempts": run.attempts,
        "skipped": run.skipped,
    }
    if run.error_code:
        shown["error"] = f"{run.error_code}: {run.error}"
    return shown


@app.command("list")
def list_schedules(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Registered name of an actor's class.")] = None,
    key: Annotated[str | None, typer.Argument(help="The actor's key.")] = None,
    limit: LimitOption = 100,
) -> None:
    """List the schedules of one actor, or of the namespace, in the order they are due."""
    session: Session = ctx.obj
    actor = None
    if name is not None:
        if key is None:
            raise typer.BadParameter("give NAME and KEY of an actor, or neither")
        named = actor_pb2.ActorKey(name=name, key=parse_key(key))
        actor = actor_pb2.ActorTarget(get=named)

    async def body(client: Client) -> None:
        async def ask(size: int, token: str) -> tuple[Any, str]:
            request = pb.ListSchedulesRequest(
                namespace=session.namespace, actor=actor, page_size=size, page_token=token
            )
            answer = await client.transport.schedules("ListSchedules", request, session.deadline)
            return answer.schedules, answer.next_page_token

        async for schedule in paged(limit, ask):
            if session.json:
                session.show(_fields(schedule))
            else:
                typer.echo(_line(schedule))

    session.run(body)


@app.command("get")
def get_schedule(ctx: typer.Context, which: WhichArg) -> None:
    """Show one schedule."""
    session: Session = ctx.obj
    target = _which(which)

    async def body(client: Client) -> None:
        request = pb.GetScheduleRequest(namespace=session.namespace, schedule=target)
        answer = await client.transport.schedules("GetSchedule", request, session.deadline)
        session.show(_fields(answer.schedule))

    session.run(body)


@app.command("cancel")
def cancel_schedule(ctx: typer.Context, which: WhichArg) -> None:
    """Delete one schedule; a recurring one with its history."""
    _change(ctx.obj, "CancelSchedule", pb.CancelScheduleRequest, which)


@app.command("pause")
def pause_schedule(ctx: typer.Context, which: WhichArg) -> None:
    """Keep one schedule from firing until it is resumed."""
    _change(ctx.obj, "PauseSchedule", pb.PauseScheduleRequest, which)


@app.command("resume")
def resume_schedule(ctx: typer.Context, which: WhichArg) -> None:
    """Let a paused schedule go on with its next time."""
    _change(ctx.obj, "ResumeSchedule", pb.ResumeScheduleRequest, which)


def _change(session: Session, method: str, kind: Any, which: list[str]) -> None:
    target = _which(which)

    async def body(client: Client) -> None:
        request = kind(namespace=session.namespace, schedule=target)
        await client.transport.schedules(method, request, session.deadline)

    session.run(body)


@app.command("run")
def run_schedule(ctx: typer.Context, which: WhichArg) -> None:
    """Make one schedule due at once, and print the id of that fire."""
    session: Session = ctx.obj
    target = _which(which)

    async def body(client: Client) -> None:
        request = pb.RunScheduleNowRequest(namespace=session.namespace, schedule=target)
        answer = await client.transport.schedules("RunScheduleNow", request, session.deadline)
        session.show({"fire_id": answer.fire_id})

    session.run(body)


@app.command("history")
def history(ctx: typer.Context, which: WhichArg, limit: LimitOption = 20) -> None:
    """Print the runs of a recurring schedule, the latest first, one a line."""
    session: Session = ctx.obj
    target = _which(which)

    async def body(client: Client) -> None:
        async def ask(size: int, token: str) -> tuple[Any, str]:
            request = pb.GetScheduleHistoryRequest(
                namespace=session.namespace, schedule=target, page_size=size, page_token=token
            )
            answer = await client.transport.schedules(
                "GetScheduleHistory", request, session.deadline
            )
            return answer.runs, answer.next_page_token

        async for run in paged(limit, ask):
            session.line(_run(run))

    session.run(body)


@app.command("dead")
def list_dead(ctx: typer.Context, limit: LimitOption = 100) -> None:
    """Print the one-shot schedules that were given up, one a line."""
    session: Session = ctx.obj

    async def body(client: Client) -> None:
        async def ask(size: int, token: str) -> tuple[Any, str]:
            request = pb.ListDeadSchedulesRequest(
                namespace=session.namespace, page_size=size, page_token=token
            )
            answer = await client.transport.schedules(
                "ListDeadSchedules", request, session.deadline
            )
            return answer.dead_schedules, answer.next_page_token

        async for dead in paged(limit, ask):
            session.line({**_fields(dead.schedule), "dead_at": when(dead.dead_at)})

    session.run(body)


IdArg = Annotated[str, typer.Argument(help="Id of a schedule that was given up.")]


@app.command("rerun")
def rerun_dead(ctx: typer.Context, schedule_id: IdArg) -> None:
    """Make a given-up schedule due at once, with all its tries before it."""
    session: Session = ctx.obj

    async def body(client: Client) -> None:
        request = pb.RerunDeadScheduleRequest(namespace=session.namespace, schedule_id=schedule_id)
        await client.transport.schedules("RerunDeadSchedule", request, session.deadline)

    session.run(body)


@app.command("discard")
def discard_dead(ctx: typer.Context, schedule_id: IdArg) -> None:
    """Delete a given-up schedule."""
    session: Session = ctx.obj

    async def body(client: Client) -> None:
        request = pb.DiscardDeadScheduleRequest(
            namespace=session.namespace, schedule_id=schedule_id
        )
        await client.transport.schedules("DiscardDeadSchedule", request, session.deadline)

    session.run(body)


__all__ = ["app"]
