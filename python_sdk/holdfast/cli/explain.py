"""`holdfast explain`: what an actor does and why, as the admin port tells it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import typer

from holdfast.cli.protos import when, word
from holdfast.cli.session import AdminOption, Session
from holdfast.cli.values import KeyArg, NameArg, parse_key
from holdfast.client import Client
from holdfast.v1 import actor_pb2
from holdfast.v1 import admin_service_pb2 as pb

_WORDS: Final = {
    "calls": "calls under way",
    "background": "background work",
    "connections": "connections that do not hibernate",
    "no_sleep": "its class never sleeps",
    "idle": "not idle for long enough yet",
}


def explain(
    ctx: typer.Context,
    name: NameArg,
    key: KeyArg,
    admin: AdminOption = "",
) -> None:
    """Say where an actor is, why it is awake, who waits, what failed last, who listens."""
    base: Session = ctx.obj
    session = base.of_admin(admin)
    target = actor_pb2.ActorTarget(get=actor_pb2.ActorKey(name=name, key=parse_key(key)))

    async def body(client: Client) -> None:
        request = pb.ExplainRequest(namespace=session.namespace, target=target)
        answer = await client.transport.admin("Explain", request, session.deadline)
        if session.json:
            session.show(_fields(answer))
        else:
            for line in _lines(answer):
                typer.echo(line)

    session.run(body)


def _fields(found: pb.ExplainResponse) -> dict[str, Any]:
    """The answer for machines."""
    actor = found.actor
    return {
        "actor_id": actor.actor_id or None,
        "name": actor.name,
        "key": list(actor.key),
        "namespace": actor.namespace,
        "created_at": when(actor.created_at) if actor.HasField("created_at") else None,
        "phase": word(pb.ActorPhase, found.phase),
        "epoch": found.epoch,
        "awake": [
            {"reason": word(pb.AwakeReason, each.reason), "count": each.count}
            for each in found.awake
        ],
        "sleeps_at": _time(found, "sleeps_at"),
        "calls": found.calls,
        "running": [_turn(turn) for turn in found.running],
        "waiting": [_turn(turn) for turn in found.waiting],
        "waiting_count": found.waiting_count,
        "waiting_max": found.waiting_max,
        "work": {each.work: each.count for each in found.work},
        "schedules": found.schedules,
        "next_timer_at": _time(found, "next_timer_at"),
        "last_failure": _failure(found),
        "last_commit_at": _time(found, "last_commit_at"),
        "last_commit_synced": found.last_commit_synced,
        "last_sequence": found.last_sequence,
        "subscribers": [
            {
                "names": list(each.names),
                "sequence": each.sequence,
                "lag": each.lag,
                "phase": each.phase,
                "credit_bytes": each.credit_bytes,
            }
            for each in found.subscribers
        ],
        "subscriber_count": found.subscriber_count,
        "connections": {
            "attached": found.connections_attached,
            "waiting": found.connections_waiting,
        },
        "bytes": {
            "state": found.state_bytes,
            "kv": found.kv_bytes,
            "events": found.event_bytes,
        },
        "undelivered_sends": found.undelivered_sends,
    }


def _time(found: pb.ExplainResponse, field: Any) -> str | None:
    return when(getattr(found, field)) if found.HasField(field) else None


def _turn(turn: pb.TurnState) -> dict[str, Any]:
    shown: dict[str, Any] = {"action": turn.action, "mode": turn.mode, "cause": turn.cause}
    if turn.waits_for:
        shown["waits_for"] = [{"name": each.name, "key": list(each.key)} for each in turn.waits_for]
    return shown


def _failure(found: pb.ExplainResponse) -> dict[str, Any] | None:
    if not found.HasField("last_failure"):
        return None
    failed = found.last_failure
    return {
        "at": when(failed.at),
        "action": failed.action,
        "code": failed.code,
        "message": failed.message,
    }


def _lines(found: pb.ExplainResponse) -> Iterator[str]:
    """The answer for people: a line for each thing that there is to say."""
    actor = found.actor
    yield f"{_named(actor)} is {word(pb.ActorPhase, found.phase)}"
    for each in found.awake:
        what = _WORDS[word(pb.AwakeReason, each.reason)]
        yield f"  awake:        {f'{each.count} ' if each.count else ''}{what}"
    if found.HasField("sleeps_at"):
        yield f"  sleeps at:    {when(found.sleeps_at)}"
    for turn in found.running:
        yield f"  runs:         {_told(turn)}"
    if found.waiting_count:
        first = ", ".join(turn.action for turn in found.waiting[:5])
        yield f"  waiting:      {found.waiting_count} of at most {found.waiting_max}: {first}"
    for work in found.work:
        yield f"  work:         {work.work} ({work.count})"
    if found.HasField("next_timer_at"):
        yield f"  next timer:   {when(found.next_timer_at)}, of {found.schedules} schedules"
    if found.HasField("last_commit_at"):
        synced = "synced" if found.last_commit_synced else "not synced yet"
        yield f"  last commit:  {when(found.last_commit_at)}, {synced}"
    if found.HasField("last_failure"):
        failed = found.last_failure
        said = f"{failed.code}: {failed.message}"
        yield f"  last failure: {when(failed.at)} {failed.action}: {said}"
    if found.subscriber_count:
        lag = max(each.lag for each in found.subscribers)
        yield f"  subscribers:  {found.subscriber_count}, at most {lag} events behind"
    attached, waiting = found.connections_attached, found.connections_waiting
    if attached or waiting:
        yield f"  connections:  {attached} attached, {waiting} wait for their client"
    if found.undelivered_sends:
        yield f"  sends:        {found.undelivered_sends} undelivered"
    sizes = f"{found.state_bytes} state, {found.kv_bytes} KV, {found.event_bytes} events"
    yield f"  bytes:        {sizes}"
    yield f"  id:           {actor.actor_id or 'none yet'}, store epoch {found.epoch}"


def _told(turn: pb.TurnState) -> str:
    told = f"{turn.action} ({turn.mode}, by a {turn.cause})"
    if turn.waits_for:
        told += f", waits for {', '.join(map(_named, turn.waits_for))}"
    return told


def _named(actor: actor_pb2.ActorKey | actor_pb2.Actor) -> str:
    return f"{actor.name} {json.dumps(list(actor.key), ensure_ascii=False)}"


__all__ = ["explain"]
