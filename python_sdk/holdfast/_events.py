"""The declared events of a class, checked at registration, as the runtime uses them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from holdfast import payload
from holdfast._checks import is_positive, refusal
from holdfast._schema import items_schema
from holdfast._walk import undecodable
from holdfast.errors import DecodeError
from holdfast.event import Event


class EventSpec:
    """One declared event."""

    __slots__ = ("_decoder", "can_subscribe", "ephemeral", "name", "retention_ms", "types")

    def __init__(self, name: str, event: Event) -> None:
        self.name = name
        self.types = event.types
        self.ephemeral = event.ephemeral
        # 0 for as long as the server's setting says.
        self.retention_ms = int(event.retention_s * 1000) if event.retention_s else 0
        self.can_subscribe: Callable[[Any, Any], Any] | None = event.can_subscribe
        fields = [(f"argument_{index}", kind) for index, kind in enumerate(event.types)]
        struct = msgspec.defstruct("Arguments", fields, array_like=True, forbid_unknown_fields=True)
        _, self._decoder = payload.compiled(struct)

    def check(self, encoding: int, data: bytes) -> None:
        """Raises DecodeError, which names the argument, where the arguments of a broadcast, as
        `payload.encode_event` encoded them, are not of the declared types."""
        if encoding == payload.Encoding.MSGPACK:
            try:
                self._decoder.decode(data)
                return
            except msgspec.ValidationError:
                pass  # it is named below
        self._explain(encoding, data)

    def _explain(self, encoding: int, data: bytes) -> None:
        values = payload.untyped(data, encoding)
        if len(values) != len(self.types):
            raise DecodeError(f"takes {len(self.types)} arguments, got {len(values)}", "$")
        for index, (value, kind) in enumerate(zip(values, self.types, strict=True)):
            try:
                payload.decoder(kind).convert(value, encoding)
            except DecodeError as error:
                raise DecodeError(error.message, error.path, str(index)) from error

    def describe(self) -> dict[str, Any]:
        """Its part of DescribeActors."""
        return {
            "name": self.name,
            "arguments_schema": items_schema(self.types),
            "ephemeral": self.ephemeral,
        }


def collect_events(cls: type) -> dict[str, EventSpec]:
    """The declared events of a class by name; raises RegistrationError."""
    declared = getattr(cls, "emits", None)
    if declared is None:
        return {}
    if not isinstance(declared, Mapping):
        raise refusal(cls, "emits", 'is a mapping of names to events: {"message": Event(str)}')
    return {name: _spec(cls, name, event) for name, event in declared.items()}


def _spec(cls: type, name: Any, event: Any) -> EventSpec:
    if not isinstance(name, str) or not name:
        raise refusal(cls, "emits", f"the name of an event is text, not {name!r}")
    where = f"emits[{name!r}]"
    if not isinstance(event, Event):
        raise refusal(cls, where, f"must be an Event, such as Event(str), not {event!r}")
    if not isinstance(event.ephemeral, bool):
        raise refusal(cls, where, "ephemeral must be True or False")
    if event.retention_s is not None and not is_positive(event.retention_s):
        raise refusal(cls, where, "retention_s must be a positive number of seconds")
    if event.ephemeral and event.retention_s is not None:
        raise refusal(cls, where, "an ephemeral event is not kept: leave retention_s out")
    if event.can_subscribe is not None:
        _check_guard(cls, where, event.can_subscribe)
    for index, kind in enumerate(event.types):
        _check_type(cls, where, index, kind)
    return EventSpec(name, event)


def _check_type(cls: type, where: str, index: int, kind: Any) -> None:
    try:
        payload.decoder(kind)
        foreign = undecodable(kind)
    except Exception as error:
        raise refusal(cls, where, f"argument {index}: {error}") from error
    if foreign is not None:
        raise refusal(
            cls,
            where,
            f"argument {index}: nothing decodes to {foreign.__qualname__}: use a dataclass, a "
            "msgspec Struct, a pydantic model or a plain type",
        )


def _check_guard(cls: type, where: str, guard: Any) -> None:
    try:
        inspect.signature(guard).bind("actor", "c")
    except (TypeError, ValueError):
        raise refusal(
            cls, where, "can_subscribe is a function of the actor and the context"
        ) from None


__all__ = ["EventSpec", "collect_events"]
