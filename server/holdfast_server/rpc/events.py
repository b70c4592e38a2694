"""Events between protos and the core, for every service that tells them."""

from __future__ import annotations

from typing import Any, Protocol

from holdfast.v1 import event_pb2
from holdfast_server.core.errors import invalid
from holdfast_server.core.events import Cursor, Delivery, SlowReader
from holdfast_server.core.ids import format_actor_id, parse_actor_id
from holdfast_server.rpc.convert import fill_payload


class Subscribing(Protocol):
    """A request that says where to start, and how a slow reader is treated."""

    @property
    def from_sequence(self) -> int: ...
    @property
    def after(self) -> event_pb2.EventCursor: ...
    @property
    def slow_reader(self) -> Any: ...
    def WhichOneof(self, oneof_group: Any) -> Any: ...


def start_of(request: Subscribing) -> int | Cursor | None:
    """From now on, the first sequence wanted, or a cursor to go on after."""
    which = request.WhichOneof("start")
    if which is None:
        return None
    if which == "from_sequence":
        return request.from_sequence
    after = request.after
    actor_id = parse_actor_id(after.actor_id, "after.actor_id")
    return Cursor(actor_id, after.incarnation, after.sequence)


def slow_reader_of(request: Subscribing) -> SlowReader:
    """What happens when the reader is slow; REQUEST_INVALID for what is no policy."""
    if request.slow_reader not in event_pb2.SlowReader.values():
        raise invalid("slow_reader", f"{request.slow_reader} is no way to treat a slow reader")
    return SlowReader(request.slow_reader or SlowReader.END)


def cursor_of(cursor: Cursor) -> event_pb2.EventCursor:
    return event_pb2.EventCursor(
        actor_id=format_actor_id(cursor.actor_id),
        incarnation=cursor.incarnation,
        sequence=cursor.sequence,
    )


def event_of(delivery: Delivery) -> event_pb2.Event:
    """One delivery as it goes over the wire."""
    message = event_pb2.Event()
    fill_event(message, delivery)
    return message


def fill_event(message: event_pb2.Event, delivery: Delivery) -> None:
    """The same, into a message that is already part of a frame."""
    event = delivery.event
    message.name = event.name
    message.sequence = event.sequence
    message.previous_sequence = delivery.previous
    if delivery.conflated:
        message.conflated = delivery.conflated
    fill_payload(message.args, event.args)
