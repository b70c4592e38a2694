"""Between a client's values and the core's: arguments in, results out.

What comes in as bytes that the runtime reads by itself goes on as it is; anything that has
tags in it is decoded and written as MessagePack. What goes out is in RESULT_ENCODING as a
rule, and then goes as it is into the frames of clients that read CBOR.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from holdfast import errors as sdk
from holdfast import payload
from holdfast._cbor import dumps as dump_cbor
from holdfast._encoding import Refused
from holdfast._from_javascript import UNDEFINED, decode, loads, read, settle
from holdfast_server.core.values import Encoding, Value
from holdfast_server.gateway.wire.errors import WireError
from holdfast_server.gateway.wire.limits import WireLimits
from holdfast_server.gateway.wire.tags import escape_all, looks_like_tag, revive, tag

NO_ARGUMENTS: Final = Value(Encoding.JSON, b"[]")
NULL: Final = Value(Encoding.JSON, b"null")

# An array of two items of which the first is text that begins with a dollar sign: what a
# tag looks like in CBOR. It may be found where there is none, inside of bytes.
_CBOR_TAG: Final = re.compile(rb"\x82(?:[\x61-\x77]|\x78.|\x79..|\x7a.{4}|\x7b.{8})\$", re.DOTALL)
_CBOR_UNDEFINED: Final = b"\xf7"
_JSON_TAG: Final = b'"$'
_BYTE: Final = re.compile(r" \((?:byte|position) (\d+)\)$")


# Arguments and inputs


def arguments_in_json(data: bytes, field: str, limits: WireLimits) -> Value:
    """Arguments as JSON wrote them."""
    if data[:1] == b"[" and _JSON_TAG not in data:
        return Value(Encoding.JSON, data)
    tree, depth = parse_json(data, field), limits.depth_max
    return _packed_each(tree, field, lambda item: revive(item, depth))


def arguments_in_cbor(data: bytes, field: str, tagged: bool, limits: WireLimits) -> Value:
    """Arguments as CBOR wrote them."""
    plain = data[:1] and data[0] >> 5 == 4 and not data.endswith(_CBOR_UNDEFINED)
    if plain and not (tagged and _CBOR_TAG.search(data)):
        return Value(Encoding.JAVASCRIPT, data)
    items = parse_cbor(data, field, limits)
    return arguments_of_items(items, field, limits, tagged=tagged)


def arguments_of_items(
    items: Any, field: str, limits: WireLimits, *, tagged: bool = False
) -> Value:
    """Arguments that were part of a frame of CBOR, as `parse_cbor` gave them."""
    depth = limits.depth_max
    return _packed_each(items, field, (lambda item: revive(read(item), depth)) if tagged else read)


def _packed_each(items: Any, field: str, take: Callable[[Any], Any]) -> Value:
    # An array of arguments that looks like a tag was escaped as one.
    if type(items) is not list or looks_like_tag(items):
        return packed(_arguments(_taken(items, field, take)))
    listed = []
    for index, item in enumerate(items):
        try:
            listed.append(take(item))
        except Refused as refused:
            raise _refusal(refused, f"{field}[{index}]") from None
    return packed(_arguments(listed))


def _taken(item: Any, field: str, take: Callable[[Any], Any]) -> Any:
    try:
        return take(item)
    except Refused as refused:
        raise _refusal(refused, field) from None


def _refusal(refused: Refused, field: str) -> WireError:
    return WireError(str(refused), field=refused.path(field))


def _arguments(tree: Any) -> list[Any]:
    """What is no array stands for one argument, nothing for none.

    JavaScript passes `undefined` for what is left out, so a parameter's default holds.
    """
    if tree is None or tree is UNDEFINED:
        return []
    if type(tree) is not list:
        return [tree]
    while tree and tree[-1] is UNDEFINED:
        tree.pop()
    return [settle(item) for item in tree]


def value_in_json(data: bytes, field: str, limits: WireLimits) -> Value:
    """One value as JSON wrote it."""
    if _JSON_TAG not in data:
        return Value(Encoding.JSON, data)
    tree, depth = parse_json(data, field), limits.depth_max
    return packed(settle(_taken(tree, field, lambda item: revive(item, depth))))


def value_in_cbor(data: bytes, field: str, tagged: bool, limits: WireLimits) -> Value:
    """One value as CBOR wrote it."""
    if not tagged or not _CBOR_TAG.search(data):
        return Value(Encoding.JAVASCRIPT, data)
    items = parse_cbor(data, field, limits)
    return packed(settle(item_value(items, field, limits, tagged=tagged)))


def input_in_cbor(data: bytes, field: str, limits: WireLimits) -> Value:
    """An input as CBOR wrote it.

    Whether its client tags values is not known here, so what is no tag is an array.
    """
    items = parse_cbor(data, field, limits)
    if not _CBOR_TAG.search(data):
        return Value(Encoding.JAVASCRIPT, data)
    depth = limits.depth_max
    return packed(
        settle(_taken(items, field, lambda item: revive(read(item), depth, strict=False)))
    )


def item_value(item: Any, field: str, limits: WireLimits, *, tagged: bool = False) -> Any:
    """The tree of one part of a frame of CBOR; UNDEFINED for `undefined` itself."""
    depth = limits.depth_max
    return _taken(item, field, (lambda part: revive(read(part), depth)) if tagged else read)


def packed(tree: Any) -> Value:
    """A tree as the runtime takes it."""
    try:
        return Value(Encoding.MSGPACK, msgspec.msgpack.encode(tree))
    except OverflowError:  # an integer of more than 64 bits
        return Value(Encoding.CBOR, dump_cbor(tree))
    except (TypeError, ValueError) as error:
        raise WireError(str(error)) from None


def or_refused(take: Callable[[], Value]) -> tuple[Value, WireError | None]:
    """What a client's value is as a Value, or why it cannot be one."""
    try:
        return take(), None
    except WireError as error:
        return NO_ARGUMENTS, error


# Results and events


def value_as_cbor(value: Value, tagged: bool) -> bytes:
    """The CBOR that a client of this kind reads the value from."""
    data = value.data
    if value.encoding != Encoding.JAVASCRIPT:
        data = payload.encode(_untyped(value), Encoding.JAVASCRIPT)
    if tagged and _CBOR_TAG.search(data):
        data = payload.encode(escape_all(loads(data, marked=True)), Encoding.JAVASCRIPT)
    return data


def value_as_json(value: Value, tagged: bool) -> msgspec.Raw:
    """The JSON that a client of this kind reads the value from."""
    if value.encoding == Encoding.JAVASCRIPT:
        tree = loads(value.data, marked=True)
    elif value.encoding == Encoding.JSON and _JSON_TAG not in value.data:
        return msgspec.Raw(value.data)
    else:
        tree = _untyped(value)
    return msgspec.Raw(msgspec.json.encode(tag(tree, sets=tagged)))


def _untyped(value: Value) -> Any:
    try:
        return payload.untyped(value.data, value.encoding)
    except sdk.DecodeError as error:
        raise WireError(str(error)) from None


# Bytes


def parse_json(data: bytes, field: str) -> Any:
    """The tree of JSON; raises WireError."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise malformed("JSON", error, field) from None


def parse_cbor(data: bytes, field: str, limits: WireLimits) -> Any:
    """The items of CBOR, as `item_value` takes them; raises WireError."""
    try:
        return decode(data, limits.depth_max)
    except sdk.HoldfastError:
        raise
    except Exception as error:  # cbor2 has errors of its own, and lets others through
        raise malformed("CBOR", error, field) from None


def malformed(what: str, error: Exception, field: str) -> WireError:
    """The error for bytes that are no JSON or CBOR, with the place where it is told."""
    if isinstance(error, RecursionError):
        return WireError(f"malformed {what}: nested too deeply", field=field)
    text = str(error)
    place = _BYTE.search(text)
    offset = int(place[1]) if place else None
    return WireError(f"malformed {what}: {_BYTE.sub('', text)}", field=field, offset=offset)


__all__ = [
    "NO_ARGUMENTS",
    "NULL",
    "arguments_in_cbor",
    "arguments_in_json",
    "arguments_of_items",
    "input_in_cbor",
    "item_value",
    "malformed",
    "or_refused",
    "packed",
    "parse_cbor",
    "parse_json",
    "value_as_cbor",
    "value_as_json",
    "value_in_cbor",
    "value_in_json",
]
