"""The tags by which JSON carries what it has no spelling for: `["$BigInt", "5"]`.

Clients from 2.3 on use the same tags inside CBOR. An array that a user made and that looks
like a tag is escaped by another `$`.

Invariants: `revive(tag(value))` is the value again, but for what the table of payloads
does not tell apart; no tag is passed on as an array.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from holdfast._encoding import NUMBER_MAX, Refused
from holdfast._from_javascript import UNDEFINED, MapItems, SetItems, settle
from holdfast._walk import step
from holdfast.bigint import BigInt

BIGINT: Final = "$BigInt"
BYTES: Final = "$Uint8Array"
BUFFER: Final = "$ArrayBuffer"
SET: Final = "$Set"
UNDEFINED_TAG: Final = "$Undefined"

_HOLDERS: Final = frozenset({list, dict, SetItems})
# As many digits as a bigint in CBOR may have.
_INTEGER: Final = re.compile(r"-?[0-9]{1,2466}")


def looks_like_tag(items: list[Any]) -> bool:
    """Whether an array is a tag or has to be escaped."""
    return len(items) == 2 and type(items[0]) is str and items[0][:1] == "$"


def revive(value: Any, depth: int, *, strict: bool = True) -> Any:
    """The value that a tree with tags stands for; UNDEFINED for `undefined` itself.

    `depth` is how deep it may be nested. Raises Refused, where `strict` also for a tag that
    is none: else it is an array.
    """
    kind = type(value)
    if kind is list:
        if depth <= 0:
            raise Refused("nested too deeply")
        if looks_like_tag(value):
            held = _revive_tag(value, depth, strict)
            if held is not None:
                return held[0]
        return _revive_items(value, depth, strict)
    if kind is dict or kind is SetItems:
        if depth <= 0:
            raise Refused("nested too deeply")
        return (_revive_members if kind is dict else _revive_items)(value, depth, strict)
    return value


def _revive_items(items: list[Any], depth: int, strict: bool) -> list[Any]:
    result: list[Any] = []
    try:
        for item in items:
            held = type(item) in _HOLDERS
            result.append(settle(revive(item, depth - 1, strict=strict)) if held else item)
    except Refused as refused:
        refused.pieces.append(f"[{len(result)}]")
        raise
    return result


def _revive_members(members: dict[Any, Any], depth: int, strict: bool) -> dict[Any, Any]:
    result = {}
    for key, item in members.items():
        try:
            revived = revive(item, depth - 1, strict=strict)
        except Refused as refused:
            refused.pieces.append(step(key))
            raise
        if revived is not UNDEFINED:
            result[key] = revived
    return result


def _revive_tag(items: list[Any], depth: int, strict: bool) -> tuple[Any] | None:
    """The value of a tag; None where it is none and need not be one."""
    name, held = items
    if name == SET and type(held) is list:
        return (_revive_items(held, depth, strict),)
    if name.startswith("$$"):
        return ([name[1:], settle(revive(held, depth - 1, strict=strict))],)
    if name in _LEAVES:
        return (_LEAVES[name](held),)
    if strict:
        raise Refused(f"unknown tag {name[:32]!r}")
    return None


def _integer(value: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is str and _INTEGER.fullmatch(value):
        return int(value)
    raise Refused(f"{BIGINT} holds a decimal number as text")


def _bytes(value: Any) -> bytes:
    if type(value) is str:
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            pass
    raise Refused("a tag of bytes holds base64")


def _undefined(_: Any) -> Any:
    return UNDEFINED


_LEAVES: Final[Mapping[str, Callable[[Any], Any]]] = {
    BIGINT: _integer,
    BYTES: _bytes,
    BUFFER: _bytes,
    UNDEFINED_TAG: _undefined,
}


def tag(value: Any, *, sets: bool) -> Any:
    """The tree in JSON's types that stands for a value with marks.

    `sets` is for clients that know the tag of sets; others get an array.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None or kind is float:
        return value
    if kind is int:
        return value if -NUMBER_MAX <= value <= NUMBER_MAX else [BIGINT, str(value)]
    if kind is list:
        return escape([tag(item, sets=sets) for item in value])
    if kind is dict or kind is MapItems:
        return {_name(key): tag(item, sets=sets) for key, item in value.items()}
    if kind is BigInt:
        return [BIGINT, str(int(value))]
    if kind is bytes:
        return [BYTES, base64.b64encode(value).decode()]
    if kind is SetItems:
        items = [tag(item, sets=sets) for item in value]
        return [SET, items] if sets else escape(items)
    return value  # a datetime, which JSON's encoder writes as text


def escape(items: list[Any]) -> list[Any]:
    """An array that looks like a tag, as it is told from one."""
    return ["$" + items[0], items[1]] if looks_like_tag(items) else items


def escape_all(value: Any) -> Any:
    """A value with marks, its arrays escaped: for CBOR that is read with tags."""
    kind = type(value)
    if kind is list:
        return escape([escape_all(item) for item in value])
    if kind is SetItems:
        return SetItems(escape_all(item) for item in value)
    if kind is dict or kind is MapItems:
        return kind((key, escape_all(item)) for key, item in value.items())
    return value


def _name(key: Any) -> str:
    """The text that stands for a key, which JSON allows no other."""
    if type(key) is str:
        return key
    if type(key) is bytes:
        return base64.b64encode(key).decode()
    if isinstance(key, (bool, float, datetime)):
        return msgspec.json.encode(key).decode().strip('"')
    return str(int(key))


__all__ = ["BIGINT", "escape", "escape_all", "looks_like_tag", "revive", "tag"]
