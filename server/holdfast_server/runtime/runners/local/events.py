"""What `c.broadcast` and `conn.send` are told, as the turn emits it: encoded once, and
checked."""

from __future__ import annotations

from typing import Any

from holdfast import errors as sdk
from holdfast import payload
from holdfast._events import EventSpec
from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.events import Emission
from holdfast_server.core.values import Value


def emission_of(
    spec: EventSpec | None, name: str, args: tuple[Any, ...], ephemeral: bool
) -> Emission:
    """The event with its arguments as they are now; `spec` is None for an undeclared one."""
    if not isinstance(name, str) or not name:
        raise invalid("name", f"the name of an event is text, not {name!r}")
    value = encoded_arguments(spec, args)
    if spec is None:
        return Emission(name, value, ephemeral)
    return Emission(name, value, ephemeral or spec.ephemeral, spec.retention_ms)


def encoded_arguments(spec: EventSpec | None, args: tuple[Any, ...]) -> Value:
    """The arguments as they are stored, of the types that are declared if any are."""
    value = Value(*payload.encode_event(list(args)))
    if spec is not None:
        try:
            spec.check(value.encoding, value.data)
        except sdk.DecodeError as error:
            raise _misfit(spec.name, error) from None
    return value


def _misfit(name: str, error: sdk.DecodeError) -> HoldfastError:
    if error.argument is None:
        return HoldfastError(
            errors.EVENT_INVALID_ARGUMENT,
            f"event {name!r} {error.message}",
            metadata={"event": name},
        )
    place = error.path.removeprefix("$")
    where = f"argument {error.argument}" + (f" at {place}" if place else "")
    return HoldfastError(
        errors.EVENT_INVALID_ARGUMENT,
        f"event {name!r}: {where}: {error.message}",
        metadata={"event": name, "argument": error.argument},
    )
