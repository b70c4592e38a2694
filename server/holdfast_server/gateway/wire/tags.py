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
from datetime import datetime
from typing import Any, Final

import msgspec

from holdfast._encoding import NUMBER_MAX
from holdfast._from_javascript import UNDEFINED, MapItems, SetItems, settle
from holdfast._walk import step
from holdfast.bigint import BigInt
from holdfast_server.gateway.wire.errors import WireError

BIGINT: Final = "$BigInt"
BYTES: Final = "$Uint8Array"
BUFFER: Final = "$ArrayBuffer"
SET: Final = "$Set"
UNDEFINED_TAG: Final = "$Undefined"

# As many digits as a bigint in CBOR may have.
_INTEGER: Final = re.compile(r"-?[0-9]{1,2466}")


def revive(value: Any, field: str, depth: int) -> Any:
    """The value that a tree with tags stands for; UNDEFINED for `undefined` itself.

    `field` is where the tree stands, `depth` how deep it may be nested; raises WireError.
    """
    kind = type(value)
    if kind is list:
        _check_depth(depth, field)
        if len(value) == 2 and type(value[0]) is str and value[0][:1] == "$":
            return _revive_tag(value[0], value[1], field, depth)
        return [
            settle(revive(item, f"{field}[{index}]", depth - 1)) for index, item in enumerate(value)
        ]
    if kind is dict:
        _check_depth(depth, field)
        result = {}
        for key, item in value.items():
            revived = revive(item, field + step(key), depth - 1)
            if revived is not UNDEFINED:
                result[key] = revived
        return result
    return value


def _check_depth(depth: int, field: str) -> None:
    if depth <= 0:
        raise WireError("nested too deeply", field=field[:100])


def _revive_tag(tag: str, value: Any, field: str, depth: int) -> Any:
    if tag == BIGINT:
        return _integer(value, field)
    if tag in (BYTES, BUFFER):
        return _bytes(value, tag, field)
    if tag == UNDEFINED_TAG:
        return UNDEFINED
    if tag == SET:
        if type(value) is not list:
            raise WireError(f"{SET} holds an array", field=field)
        return [
            settle(revive(item, f"{field}[{index}]", depth - 1)) for index, item in enumerate(value)
        ]
    if tag.startswith("$$"):
        return [tag[1:], settle(revive(value, f"{field}[1]", depth - 1))]
    raise WireError(f"unknown tag {tag[:32]!r}", field=field)


def _integer(value: Any, field: str) -> int:
    if type(value) is int:
        return value
    if type(value) is str and _INTEGER.fullmatch(value):
        return int(value)
    raise WireError(f"{BIGINT} holds a decimal number as text", field=field)


def _bytes(value: Any, tag: str, field: str) -> bytes:
    if type(value) is str:
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            pass
    raise WireError(f"{tag} holds base64", field=field)


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
    if len(items) == 2 and type(items[0]) is str and items[0][:1] == "$":
        return ["$" + items[0], items[1]]
    return items


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


__all__ = ["BIGINT", "escape", "escape_all", "revive", "tag"]
