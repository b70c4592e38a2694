"""Actors of the fake session server: a log with its readers, connections with messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from holdfast import payload
from holdfast.v1 import event_pb2, payload_pb2
from holdfast.v1 import session_service_pb2 as pb

if TYPE_CHECKING:
    from tests.unit.sdk.fake_session import Run

MSGPACK = int(payload.Encoding.MSGPACK)
# A reader is told that it was moved past this many events of other names.
MOVED = 3
CODES = {
    "NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "OUT_OF_RANGE": grpc.StatusCode.OUT_OF_RANGE,
    "UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    "UNKNOWN": grpc.StatusCode.UNKNOWN,
    "RESOURCE_EXHAUSTED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "PERMISSION_DENIED": grpc.StatusCode.PERMISSION_DENIED,
}


@dataclass
class Refusal(Exception):
    """What a stream ends with."""

    status: str
    reason: str
    metadata: dict[str, str] = field(default_factory=dict)
    cursor: event_pb2.EventCursor | None = None

    def end(self) -> pb.SessionEnd:
        code = CODES[self.status].value[0]
        status = status_pb2.Status(code=code, message="told to fail")
        packed = AnyMessage()
        info = error_details_pb2.ErrorInfo(
            domain="holdfast.dev", reason=self.reason, metadata=self.metadata
        )
        packed.Pack(info)
        status.details.append(packed)
        return pb.SessionEnd(
            code=code,
            message="told to fail",
            details=status.SerializeToString(),
            cursor=self.cursor,
        )


def encode(value: Any) -> payload_pb2.Payload:
    return payload_pb2.Payload(
        encoding=payload_pb2.PayloadEncoding.ValueType(MSGPACK), data=payload.encode(value, MSGPACK)
    )


def decode(value: payload_pb2.Payload) -> Any:
    return payload.decode(value.data, value.encoding) if value.encoding else None


@dataclass
class Actor:
    """The events of one actor and who hears them."""

    actor_id: str
    log: list[tuple[int, str, payload_pb2.Payload]] = field(default_factory=list)
    last: int = 0
    incarnation: int = 1
    readers: list[Reader] = field(default_factory=list)

    @property
    def first(self) -> int:
        return self.log[0][0] if self.log else self.last + 1

    def emit(self, name: str, *args: Any) -> None:
        self.last += 1
        self.log.append((self.last, name, encode(list(args))))
        for reader in list(self.readers):
            reader.advance()

    def trim(self, keep: int) -> None:
        del self.log[: max(len(self.log) - keep, 0)]


@dataclass(eq=False)
class Reader:
    """One subscription."""

    run: Run
    stream: int
    actor: Actor
    names: frozenset[str]
    at: int
    credit: int
    connection: int = 0
    # Where the client knows itself to be: what it was told, or the last event it got.
    told: int = -1

    def cursor(self) -> event_pb2.EventCursor:
        return event_pb2.EventCursor(
            actor_id=self.actor.actor_id, incarnation=self.actor.incarnation, sequence=self.at
        )

    def advance(self) -> None:
        if self.at + 1 < self.actor.first and self.at < self.actor.last:
            self.run.refuse(
                self.stream,
                Refusal(
                    "OUT_OF_RANGE", "EVENTS_TRIMMED", {"oldest_sequence": str(self.actor.first)}
                ),
            )
            return
        for sequence, name, args in self.actor.log:
            if sequence <= self.at:
                continue
            if self.credit <= 0:
                return
            if not self.names or name in self.names:
                event = event_pb2.Event(
                    name=name, args=args, sequence=sequence, previous_sequence=self.told
                )
                self.told = sequence
                self.run.send(event=pb.SessionEvent(streams=[self.stream], event=event))
                self.credit -= len(name) + len(args.data)
            self.at = sequence
            if self.at - self.told >= MOVED:
                self.told = self.at
                self.run.send(self.stream, subscribed=pb.SessionSubscribed(cursor=self.cursor()))


@dataclass(eq=False)
class Connection:
    """One connection; it outlives its session, as long as the server remembers it."""

    connection_id: str
    actor: Actor
    params: Any
    run: Run | None = None
    stream: int = 0
    last: int = 0
    kept: list[pb.SessionMessage] = field(default_factory=list)

    def send(self, name: str, *args: Any) -> None:
        message = pb.SessionMessage(
            name=name, args=encode(list(args)), number=self.last + 1, previous_number=self.last
        )
        self.last += 1
        self.kept.append(message)
        if self.run is not None:
            self.run.send(self.stream, message=message)
