"""Values to CBOR as JavaScript's clients read it: the encoding of the gateway's results.

It carries what the table of payloads does not tell apart: which integers are a `bigint`,
and what is a `Set` or a `Map`. No client of gRPC sees it.

JavaScript takes CBOR's integers up to 32 bits for a `number` and longer ones for a
`bigint`. So an integer that needs more is written as a float as long as a float holds it
exactly.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import msgspec

from holdfast import _cbor
from holdfast._encoding import NUMBER_MAX, Refused
from holdfast._from_javascript import (
    INT32_MIN,
    TAG_BIGNUM,
    TAG_BYTES,
    TAG_DATE,
    TAG_MAP,
    TAG_NEGATIVE_BIGNUM,
    TAG_SET,
    TAG_TEXT_DATE,
    UINT32_MAX,
    MapItems,
    SetItems,
)
from holdfast._walk import children, complete, is_pydantic, step
from holdfast.bigint import BigInt

_PLAIN_DEPTH_MAX: Final = 32
# Well below what readers take, who count tags too.
_DEPTH_MAX: Final = 150
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_MICROSECOND: Final = timedelta(microseconds=1)
_TEXT: Final = (date, time, timedelta, UUID)
_BINARY: Final = (bytes, bytearray, memoryview)
_KEPT: Final = (*_BINARY, datetime, Decimal)


def dumps(value: Any, enc_hook: Callable[[Any], Any]) -> bytes:
    """Encodes a value; raises Refused with the path of what cannot be encoded.

    `enc_hook` turns what is of no plain type into something that is, or raises TypeError.
    """
    if not _is_plain(value, 0):
        complete(value)
        value = _Writing(enc_hook).value(value, 0)
    return _cbor.dumps(value)


def _is_plain(value: Any, depth: int) -> bool:
    """Whether CBOR as it is written by default says the same to JavaScript."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(INT32_MIN <= value <= UINT32_MAX)
    if kind is float:
        return bool(value - value == 0.0)  # not for infinities, nor for NaN
    if depth >= _PLAIN_DEPTH_MAX:
        return False
    if kind is list:
        return all(_is_plain(item, depth + 1) for item in value)
    if kind is dict:
        return all(type(key) is str and _is_plain(item, depth + 1) for key, item in value.items())
    return False


def says_more(value: Any) -> bool:
    """Whether MessagePack would tell JavaScript less: of bigints, and of sets."""
    kind = type(value)
    if kind is str or kind is float or kind is bool or kind is bytes or value is None:
        return False
    if kind is int:
        return not -(2**63) <= value < 2**64
    if kind is list:
        return any(map(says_more, value))
    if kind is dict:
        return any(map(says_more, value.values()))
    if isinstance(value, (BigInt, set, frozenset)):
        return True
    return any(says_more(part) for _, part in children(value))


class _Writing:
    """Turns values into what cbor2 writes as JavaScript expects it."""

    __slots__ = ("_hook", "_tag")

    def __init__(self, enc_hook: Callable[[Any], Any]) -> None:
        self._hook = enc_hook
        self._tag: Callable[[int, Any], Any] = _cbor.module().CBORTag

    def value(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str or kind is bool or value is None:
            return value
        if kind is int:
            return self._integer(value)
        if kind is float:
            if not math.isfinite(value):
                raise Refused(f"a non-finite number ({value}) cannot be encoded")
            return value
        if depth >= _DEPTH_MAX:
            raise Refused("nested too deeply")
        if isinstance(value, (SetItems, set, frozenset)):
            return self._tag(TAG_SET, self._array(value, depth))
        if isinstance(value, (list, tuple)):
            return self._array(value, depth)
        if isinstance(value, dict):
            return self._entries(value, depth)
        return self._leaf(value, depth)

    def _integer(self, value: int) -> int | float:
        if INT32_MIN <= value <= UINT32_MAX or not -NUMBER_MAX <= value <= NUMBER_MAX:
            return value
        return float(value)

    def _array(self, items: Any, depth: int) -> list[Any]:
        result = []
        for index, item in enumerate(items):
            try:
                result.append(self.value(item, depth + 1))
            except Refused as refused:
                refused.pieces.append(f"[{index}]")
                raise
        return result

    def _entries(self, entries: dict[Any, Any], depth: int) -> Any:
        if all(type(key) is str for key in entries):
            mapped = self._map(entries, depth)
            return self._tag(TAG_MAP, mapped) if isinstance(entries, MapItems) else mapped
        names = [self._key(key) for key in entries]
        mapped = self._map(dict(zip(names, entries.values(), strict=True)), depth)
        if len(mapped) < len(entries):
            raise Refused("two keys are written alike")
        return mapped if all(type(name) is str for name in names) else self._tag(TAG_MAP, mapped)

    def _map(self, entries: dict[Any, Any], depth: int) -> dict[Any, Any]:
        result = {}
        for key, item in entries.items():
            try:
                result[key] = self.value(item, depth + 1)
            except Refused as refused:
                refused.pieces.append(step(key))
                raise
        return result

    def _key(self, key: Any) -> Any:
        if isinstance(key, Enum):
            key = key.value
        kind = type(key)
        if kind is str or kind is bool or kind is bytes:
            return key
        if isinstance(key, int):
            # Readers take no key of more than 64 bits, so it is text as in other encodings.
            small = -(2**63) <= key < 2**64
            return self._integer(int(key)) if small else str(int(key))
        if isinstance(key, float):
            if not math.isfinite(key):
                raise Refused(f"a non-finite number ({key}) cannot be encoded")
            return float(key)
        if isinstance(key, (str, datetime, Decimal, *_TEXT)):
            return msgspec.to_builtins(key) if kind is not str else key
        raise Refused(f"a key of type {kind.__qualname__} cannot be encoded")

    def _leaf(self, value: Any, depth: int) -> Any:
        if isinstance(value, BigInt):
            tag = TAG_BIGNUM if value >= 0 else TAG_NEGATIVE_BIGNUM
            number = int(value) if value >= 0 else -1 - int(value)
            return self._tag(tag, number.to_bytes((number.bit_length() + 7) // 8 or 1, "big"))
        if isinstance(value, _BINARY):
            return self._tag(TAG_BYTES, bytes(value))
        if isinstance(value, datetime):
            return self._date(value)
        if isinstance(value, Decimal):
            if not value.is_finite():
                raise Refused(f"a non-finite number ({value}) cannot be encoded")
            return str(value)
        if isinstance(value, Enum):
            return self.value(value.value, depth)
        if isinstance(value, _TEXT):
            return msgspec.to_builtins(value)
        return self.value(self._parts(value), depth)

    def _date(self, value: datetime) -> Any:
        if value.utcoffset() is None:
            raise Refused("a datetime without a zone cannot be encoded")
        since = value - _EPOCH
        whole, rest = divmod(since, _SECOND)
        if not rest and 0 <= whole <= UINT32_MAX:
            return self._tag(TAG_DATE, whole)
        seconds = since / _SECOND
        if round(seconds * 1_000_000) == since // _MICROSECOND:
            return self._tag(TAG_DATE, seconds)
        # Centuries away a float has no room for microseconds.
        return self._tag(TAG_TEXT_DATE, msgspec.to_builtins(value))

    def _parts(self, value: Any) -> Any:
        """What a value of a class of its own consists of."""
        if isinstance(value, msgspec.Struct):
            config = value.__struct_config__
            if config.array_like or config.omit_defaults:
                return self._builtins(value)
            fields = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
            parts = {name: getattr(value, field) for name, field in fields}
            tagged = config.tag is not None and config.tag_field is not None
            return {config.tag_field: config.tag, **parts} if tagged else parts
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        try:
            return self._hook(value) if is_pydantic(type(value)) else self._builtins(value)
        except (TypeError, ValueError) as error:
            raise Refused(str(error)) from None

    def _builtins(self, value: Any) -> Any:
        return msgspec.to_builtins(value, builtin_types=_KEPT, enc_hook=self._hook)


__all__ = ["dumps", "says_more"]
