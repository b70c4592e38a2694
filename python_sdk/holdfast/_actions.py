"""Actions as far as a caller cares: their wire names and the types of their results."""

from __future__ import annotations

import inspect
import logging
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from holdfast._annotations import annotation
from holdfast._encoding import PROTOBUF
from holdfast._generics import environment_of
from holdfast._transport import Encoded
from holdfast._walk import undecodable
from holdfast.actor import Action
from holdfast.errors import DecodeError, EncodeError
from holdfast.payload import TypedDecoder, decoder, encode

log = logging.getLogger("holdfast")


class KnownAction(NamedTuple):
    """One action: its wire name, whether it streams, and the decoder of what it gives."""

    name: str
    streaming: bool
    result: TypedDecoder

    def decode(self, value: Encoded | None) -> Any:
        """The Python value of a result; None when there is none."""
        if value is None or value.encoding == 0:
            return None
        try:
            return self.result.decode(value.data, value.encoding)
        except DecodeError as error:
            raise DecodeError(f"result of {self.name!r}: {error.message}", error.path) from error


UNTYPED = decoder(Any)


def untyped(name: str, *, streaming: bool = False) -> KnownAction:
    """An action of which nothing but the wire name is known."""
    return KnownAction(name, streaming, UNTYPED)


def known_action(action: Action[..., Any], owner: type | None = None) -> KnownAction:
    """What a class declares of one of its actions."""
    function = action.function
    streaming = inspect.isasyncgenfunction(function)
    environment = environment_of(owner, action.attribute) if owner is not None else None
    try:
        kind = annotation(function, "return", environment)
        if streaming:
            items = typing.get_args(kind)
            kind = items[0] if items else Any
        if undecodable(kind) is None:
            return KnownAction(action.name, streaming, decoder(kind))
    except Exception:
        # A name that exists only for the type checker, or a type that msgspec refuses.
        log.debug("the result of %s stays untyped", action.name, exc_info=True)
    # Results are not bound by annotations: one that no bytes decode to stays untyped.
    return untyped(action.name, streaming=streaming)


@lru_cache(maxsize=1024)
def known_actions(cls: type) -> Mapping[str, KnownAction]:
    """The actions of an actor class by their Python names."""
    found: dict[str, KnownAction] = {}
    for attribute in dir(cls):
        member = inspect.getattr_static(cls, attribute)
        if isinstance(member, Action):
            found[attribute] = known_action(member, cls)
    return found


@lru_cache(maxsize=1024)
def by_wire_name(cls: type) -> Mapping[str, KnownAction]:
    """The actions of an actor class by their wire names."""
    return {action.name: action for action in known_actions(cls).values()}


def encode_value(value: Any, encoding: int) -> Encoded | None:
    """The payload of an input or of connection parameters; None for none."""
    return None if value is None else Encoded(encoding, encode(value, encoding))


def encode_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any], encoding: int
) -> tuple[Encoded | None, Encoded | None]:
    """The two payloads of a call's arguments; None for no arguments."""
    if encoding == PROTOBUF:
        if len(args) > 1 or kwargs:
            raise EncodeError("the encoding protobuf carries exactly one positional message", "$")
        return (Encoded(encoding, encode(args[0], encoding)) if args else None), None
    return (
        Encoded(encoding, encode(list(args), encoding)) if args else None,
        Encoded(encoding, encode(kwargs, encoding)) if kwargs else None,
    )


__all__ = [
    "KnownAction",
    "by_wire_name",
    "encode_arguments",
    "encode_value",
    "known_action",
    "known_actions",
    "untyped",
]
