"""CBOR as JavaScript's clients write it, to values.

JavaScript has one kind of number, and writes integers of more than 32 bits as floats. So a
float that could be one of these is read as an integer.

Invariants: whatever `_to_javascript` writes is read; without `marked` there are no types
but those of the table of payloads; what is refused is named by path.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import msgspec

from holdfast import _cbor
from holdfast._encoding import NUMBER_MAX, Refused
from holdfast._walk import step
from holdfast.bigint import BigInt

DEPTH_MAX: Final = 400
"""How deep values may be nested, where the caller sets no other limit."""

# Integers outside of these are written as floats.
INT32_MIN: Final = -(2**31)
UINT32_MAX: Final = 2**32 - 1

TAG_TEXT_DATE: Final = 0
TAG_DATE: Final = 1
TAG_BIGNUM: Final = 2
TAG_NEGATIVE_BIGNUM: Final = 3
TAG_OBJECT: Final = 27
TAG_BYTES: Final = 64
TAG_SET: Final = 258
TAG_MAP: Final = 259

# In JSON JavaScript writes numbers up to here with all their digits, and so as integers too.
_DIGITS_MAX: Final = 10**21 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BIGNUM_BYTES_MAX: Final = 1024
_KEY_BYTES_MAX: Final = 8
_KEPT: Final = frozenset({str, int, bool, bytes, type(None)})
# Typed arrays by their tags (RFC 8746): little-endian, as the machines with a browser are.
_ARRAYS: Final[Mapping[int, str]] = {
    68: "B", 69: "H", 70: "I", 71: "Q", 72: "b", 77: "h", 78: "i", 79: "q", 85: "f", 86: "d",
}  # fmt: skip
# Tags of which cbor2 makes values of its own; here all arrive as tags.
_KNOWN_TAGS: Final = (
    0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000,
    55799,
)  # fmt: skip


class SetItems(list[Any]):
    """The items of a JavaScript `Set`, which need not be hashable in Python."""

    __slots__ = ()


class MapItems(dict[Any, Any]):
    """The entries of a JavaScript `Map`."""

    __slots__ = ()


class Undefined:
    """JavaScript's `undefined`: absent in an object, None anywhere else."""

    __slots__ = ()


UNDEFINED: Final = Undefined()


def loads(data: bytes, *, marked: bool = False, depth_max: int = DEPTH_MAX) -> Any:
    """The tree of one value.

    `marked` keeps which integers are a `bigint` (as BigInt, in range of a `number` only)
    and what is a Set or a Map. Raises Refused for what is no part of a payload, and
    whatever cbor2 raises for bytes that are no CBOR.
    """
    return settle(_Reading(marked).value(decode(data, depth_max)))


def read(item: Any) -> Any:
    """The tree of something in what `decode` gave; UNDEFINED for `undefined` itself.

    The items of a Set are SetItems here, so that they can be told from an array.
    """
    return _Reading(False, sets=True).value(item)


def decode(data: bytes, depth_max: int) -> Any:
    """The items of CBOR as they stand, tags as tags; raises what cbor2 raises, ValueError."""
    source = io.BytesIO(data)
    tree = _decoder(source, depth_max).decode()
    if source.tell() != len(data):
        raise ValueError(f"trailing bytes after the value (byte {source.tell()})")
    return tree


def _decoder(source: io.BytesIO, depth_max: int) -> Any:
    global _decoders
    module = _cbor.module()
    if _decoders is None:
        _decoders = {number: partial(_as_tag, module.CBORTag, number) for number in _KNOWN_TAGS}
    return module.CBORDecoder(source, semantic_decoders=_decoders, max_depth=depth_max)


_decoders: Mapping[int, Callable[[Any, bool], Any]] | None = None


def _as_tag(tag: Callable[[int, Any], Any], number: int, value: Any, _: bool) -> Any:
    return tag(number, value)


def settle(value: Any) -> Any:
    """The value where it stands alone or in an array."""
    return None if value is UNDEFINED else value


class _Reading:
    """Turns CBOR's items into values."""

    __slots__ = ("_integer_max", "_marked", "_sets")

    def __init__(self, marked: bool, *, sets: bool = False) -> None:
        self._marked = marked
        self._sets = sets or marked
        self._integer_max = NUMBER_MAX if marked else _DIGITS_MAX

    def value(self, item: Any) -> Any:
        kind = type(item)
        if kind in _KEPT:
            return item
        if kind is list or kind is tuple:
            return self.array(item)
        if kind is dict:
            return self.entries(item)
        if kind is float:
            return _number(item, self._integer_max)
        return self._other(item)

    # A hostile megabyte may hold a million items, all of them looked at on the loop: so
    # leaves cost no call here, and the way to an item is only told when it is refused.

    def array(self, items: Any) -> list[Any]:
        result: list[Any] = []
        append, value = result.append, self.value
        try:
            for item in items:
                append(item if type(item) in _KEPT else settle(value(item)))
        except Refused as refused:
            refused.pieces.append(f"[{len(result)}]")
            raise
        return result

    def entries(self, items: Mapping[Any, Any]) -> dict[Any, Any]:
        result = {}
        for key, item in items.items():
            name = key if type(key) is str else self._key(key)
            if type(item) in _KEPT:
                result[name] = item
                continue
            try:
                value = self.value(item)
            except Refused as refused:
                refused.pieces.append(step(name))
                raise
            if value is not UNDEFINED:
                result[name] = value
        return result

    def _key(self, item: Any) -> Any:
        module = _cbor.module()
        if isinstance(item, module.CBORTag) and item.tag in (TAG_BIGNUM, TAG_NEGATIVE_BIGNUM):
            # Larger ones could be made to share a hash, and a dict of them would take for ever.
            if type(item.value) is bytes and len(item.value) <= _KEY_BYTES_MAX:
                return _bignum(item.tag, item.value)
            raise Refused("a bigint of more than 64 bits cannot be a key")
        key = _number(item, self._integer_max) if type(item) is float else item
        if type(key) is float and key - key != 0.0:
            raise Refused(f"a non-finite number ({key}) cannot be a key")
        if type(key) not in (int, bool, float, bytes):
            raise Refused("a key is text, a number, a boolean or bytes")
        return key

    def _other(self, item: Any) -> Any:
        module = _cbor.module()
        if isinstance(item, module.CBORTag):
            return self._tagged(item.tag, item.value)
        if item is module.undefined:
            return UNDEFINED
        if isinstance(item, Mapping):
            return self.entries(item)
        raise Refused(f"a CBOR value of type {type(item).__qualname__} is no part of a payload")

    def _tagged(self, tag: int, item: Any) -> Any:
        if tag == TAG_BYTES:
            return _bytes(item, "a Uint8Array")
        if tag in (TAG_DATE, TAG_TEXT_DATE):
            return _date(item) if tag == TAG_DATE else _text_date(item)
        if tag in (TAG_BIGNUM, TAG_NEGATIVE_BIGNUM):
            number = _bignum(tag, _bytes(item, "a bigint"))
            return BigInt(number) if self._marked and abs(number) <= NUMBER_MAX else number
        if tag == TAG_SET and isinstance(item, (list, tuple)):
            items = self.array(item)
            return SetItems(items) if self._sets else items
        if tag == TAG_MAP and isinstance(item, Mapping):
            entries = self.entries(item)
            return MapItems(entries) if self._marked else entries
        if tag in _ARRAYS:
            return _typed_array(_ARRAYS[tag], _bytes(item, "a typed array"))
        if tag == TAG_OBJECT:
            name = item[0] if isinstance(item, (list, tuple)) and item else "object"
            raise Refused(f"a JavaScript {str(name)[:32]} is no part of a payload")
        raise Refused(f"CBOR tag {tag} is no part of a payload")


def _number(value: float, limit: int) -> int | float:
    if INT32_MIN <= value <= UINT32_MAX or not -limit <= value <= limit:
        return value
    return int(value) if value.is_integer() else value


def _bytes(item: Any, what: str) -> bytes:
    if type(item) is not bytes:
        raise Refused(f"{what} holds bytes, not {type(item).__qualname__}")
    return item


def _bignum(tag: int, data: bytes) -> int:
    if len(data) > _BIGNUM_BYTES_MAX:
        raise Refused(f"a bigint of {len(data)} bytes; at most {_BIGNUM_BYTES_MAX}")
    number = int.from_bytes(data, "big")
    return number if tag == TAG_BIGNUM else -1 - number


def _date(item: Any) -> datetime | None:
    if type(item) not in (int, float):
        raise Refused("a Date is a number of seconds")
    if item != item:
        return None  # an invalid Date, which JavaScript writes as null in JSON
    try:
        return _EPOCH + timedelta(microseconds=round(item * 1_000_000))
    except OverflowError:
        raise Refused("a Date outside of the years 1 to 9999") from None


def _text_date(item: Any) -> datetime:
    try:
        value = msgspec.convert(item, datetime)
    except msgspec.ValidationError as error:
        raise Refused(f"a Date is RFC 3339 text: {error}") from None
    if value.tzinfo is None:
        raise Refused("a datetime without a zone is refused")
    return value


def _typed_array(code: str, data: bytes) -> list[int] | list[float]:
    size = struct.calcsize(f"<{code}")
    if len(data) % size:
        raise Refused(f"a typed array of {size}-byte items has {len(data)} bytes")
    return list(struct.unpack(f"<{len(data) // size}{code}", data))


__all__ = [
    "DEPTH_MAX",
    "INT32_MIN",
    "TAG_BIGNUM",
    "TAG_BYTES",
    "TAG_DATE",
    "TAG_MAP",
    "TAG_NEGATIVE_BIGNUM",
    "TAG_SET",
    "TAG_TEXT_DATE",
    "UINT32_MAX",
    "UNDEFINED",
    "MapItems",
    "SetItems",
    "decode",
    "loads",
    "read",
    "settle",
]
