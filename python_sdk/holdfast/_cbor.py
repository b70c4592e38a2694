"""CBOR, without what is no part of a payload: foreign tags, shared parts, trailing bytes."""

from __future__ import annotations

import io
from datetime import datetime
from decimal import Decimal
from types import ModuleType
from typing import Any

from holdfast._encoding import Refused
from holdfast._walk import children
from holdfast.errors import HoldfastError


def module() -> ModuleType:
    """cbor2, which not every client has; HoldfastError without it."""
    try:
        import cbor2
    except ImportError as error:
        raise HoldfastError(
            "cbor payloads need the cbor2 package: pip install 'holdfast[server]'"
        ) from error
    return cbor2


def dumps(value: Any) -> bytes:
    """Encodes a value of plain types."""
    data: bytes = module().dumps(value)
    return data


def loads(data: bytes) -> Any:
    """The untyped tree of one CBOR item.

    Raises Refused for what is no part of a payload, and whatever cbor2 raises for bytes
    that are no CBOR.
    """
    source = io.BytesIO(data)
    tree = module().CBORDecoder(source).decode()
    if source.tell() != len(data):
        raise ValueError(f"trailing bytes after the value (byte {source.tell()})")
    _check(tree, set())
    return tree


def _check(value: Any, seen: set[int]) -> None:
    """Refuses tags outside the table, and shared parts, which could grow without bound."""
    if isinstance(value, (str, bytes, int, float, datetime, Decimal)) or value is None:
        return
    if type(value) not in (dict, list):
        raise Refused(f"a CBOR value of type {type(value).__qualname__} is no part of a payload")
    if id(value) in seen:
        raise Refused("shared references are no part of a payload")
    seen.add(id(value))
    if isinstance(value, dict):
        for key in value:
            if type(key) not in (str, int, bytes, bool, float):
                raise Refused(f"a key of type {type(key).__qualname__} is no part of a payload")
    for piece, item in children(value):
        try:
            _check(item, seen)
        except Refused as refused:
            refused.pieces.append(piece)
            raise


__all__ = ["dumps", "loads", "module"]
