"""Between the client's own types and the messages of holdfast.v1."""

from __future__ import annotations

from datetime import UTC

from holdfast._transport import ActorInfo, Encoded, Target
from holdfast.v1 import actor_pb2, payload_pb2


def payload(value: Encoded | None) -> payload_pb2.Payload | None:
    """The message of an encoded value; None for none."""
    if value is None:
        return None
    return payload_pb2.Payload(encoding=encoding(value.encoding), data=value.data)


def put(message: payload_pb2.Payload, value: Encoded | None) -> None:
    """Fill the message of an encoded value that is part of another; not for none."""
    if value is not None:
        message.encoding = encoding(value.encoding)
        message.data = value.data


def milliseconds(timeout: float) -> int:
    """A timeout in seconds as a session's commands have it, where 0 is none."""
    return max(1, min(round(timeout * 1000), 0xFFFFFFFF))


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
    if target.actor_id is not None:
        return actor_pb2.ActorTarget(actor_id=target.actor_id)
    if target.create:
        return actor_pb2.ActorTarget(get_or_create=actor_key(target), input=payload(target.input))
    return actor_pb2.ActorTarget(get=actor_key(target))


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
    "milliseconds",
    "payload",
    "put",
]
