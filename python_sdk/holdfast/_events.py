"""The declared events of a class: checked at registration and at each broadcast, and decoded
by clients that know the class."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from holdfast import payload
from holdfast._binding import Binder, Parameter
from holdfast._checks import is_positive, refusal
from holdfast._schema import items_schema
from holdfast._transport import Encoded
from holdfast._walk import undecodable
from holdfast.errors import DecodeError
from holdfast.event import Event

Decode: TypeAlias = Callable[[str, Encoded], tuple[Any, ...]]
"""What makes the arguments of an event of a name; raises DecodeError."""


class EventSpec:
    """One declared event."""

    __slots__ = (
        "_binder", "_decoder", "_shown", "can_subscribe", "ephemeral", "name", "retention_ms",
        "types",
    )  # fmt: skip

    def __init__(self, name: str, event: Event) -> None:
        self.name = name
        self._shown = repr(event)
        self._binder: Binder | None = None
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

    def decode(self, value: Encoded) -> tuple[Any, ...]:
        """The arguments of a delivered event in their types; raises DecodeError, which names
        the event, where they do not fit."""
        binder = self._binder
        if binder is None:
            binder = self._binder = Binder(
                [
                    Parameter(
                        f"argument_{index}",
                        inspect.Parameter.POSITIONAL_ONLY,
                        kind,
                        True,
                        None,
                        payload.decoder(kind),
                    )
                    for index, kind in enumerate(self.types)
                ]
            )
        try:
            return binder.bind(value, None)[0]
        except DecodeError as error:
            text = f"event {self.name!r} does not fit {self._shown}: {error.message}"
            raise DecodeError(text, error.path, error.argument) from error

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


def untyped_arguments(name: str, value: Encoded) -> tuple[Any, ...]:
    """The arguments of an event, or of a message, of which nothing is known."""
    if not value.encoding:
        return ()
    found = payload.decode(value.data, value.encoding)
    return tuple(found) if isinstance(found, list) else (found,)


@lru_cache(maxsize=1024)
def arguments_of(cls: type | None) -> Decode:
    """What decodes the events of a class: declared ones to their types, and others as plain
    data. Raises RegistrationError for a declaration that is wrong."""
    declared = collect_events(cls) if cls is not None else {}
    if not declared:
        return untyped_arguments

    def decode(name: str, value: Encoded) -> tuple[Any, ...]:
        spec = declared.get(name)
        return untyped_arguments(name, value) if spec is None else spec.decode(value)

    return decode


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


__all__ = ["Decode", "EventSpec", "arguments_of", "collect_events", "untyped_arguments"]
