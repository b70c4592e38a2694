"""Between the client's own types and the messages of holdfast.v1."""

from __future__ import annotations

from datetime import UTC
from typing import Final

from holdfast._transport import ActorInfo, Encoded, Target
from holdfast.v1 import actor_pb2, payload_pb2

_MILLISECONDS_MAX: Final = 0xFFFFFFFF


def payload(value: Encoded | None) -> payload_pb2.Payload | None:
    """The message of an encoded value; None for none."""
    if value is None:
        return None
    return payload_pb2.Payload(encoding=encoding(value.encoding), data=value.data)


def put(message: payload_pb2.Payload, value: Encoded | None) -> None:
    """Fill the message of an encoded value that is part of another; not for none."""
    if value is not None:
        message.encoding, message.data = value  # type: ignore[assignment]


def milliseconds(timeout: float) -> int:
    """A timeout in seconds as a session's commands have it, where 0 is none."""
    rounded = round(timeout * 1000)
    return rounded if 1 <= rounded <= _MILLISECONDS_MAX else max(1, min(rounded, _MILLISECONDS_MAX))


def encoding(number: int) -> payload_pb2.PayloadEncoding.ValueType:
    """The number of an encoding as the type checker wants it."""
    return payload_pb2.PayloadEncoding.ValueType(number)


def encoded(payload: payload_pb2.Payload) -> Encoded | None:
    """The encoded value of a message; None when it holds none."""
    return Encoded(payload.encoding, payload.data) if payload.encoding else None


def actor_key(target: Target) -> actor_pb2.ActorKey:
    """Name and key of a target."""
    return actor_pb2.ActorKey(name=target.name, key=target.key)


def actor_target(target: Target) -> actor_pb2.ActorTarget:
    """Which actor a call is for."""
    message = actor_pb2.ActorTarget()
    fill_target(message, target)
    return message


def fill_target(message: actor_pb2.ActorTarget, target: Target) -> None:
    """The same in a message that is part of another."""
    wire = target.wire
    if wire is None:
        made = actor_pb2.ActorTarget()
        _fill(made, target)
        wire = target.wire = made.SerializeToString()
    message.MergeFromString(wire)


def _fill(message: actor_pb2.ActorTarget, target: Target) -> None:
    if target.actor_id is not None:
        message.actor_id = target.actor_id
        return
    if target.create:
        key = message.get_or_create
        put(message.input, target.input)
    else:
        key = message.get
    # Also where name and key are empty, which the server refuses.
    key.SetInParent()
    key.name = target.name
    key.key.extend(target.key)


def actor_info(actor: actor_pb2.Actor) -> ActorInfo:
    """One actor as the server knows it."""
    created = actor.created_at.ToDatetime(UTC) if actor.HasField("created_at") else None
    return ActorInfo(actor.actor_id, actor.name, tuple(actor.key), actor.namespace, created)


__all__ = [
    "actor_info",
    "actor_key",
    "actor_target",
    "encoded",
    "encoding",
    "fill_target",
    "milliseconds",
    "payload",
    "put",
]
