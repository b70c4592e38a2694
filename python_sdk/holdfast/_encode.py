"""Values to bytes, as the table in proto/holdfast/v1/payload.proto says.

What is made of the interpreter's own types is written as it stands. Anything else, and
what the table spells in its own way, is first lowered to such types.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec

from holdfast import _cbor, _to_javascript
from holdfast._encoding import CBOR, JAVASCRIPT, JSON, MSGPACK, NUMBER_MAX, PROTOBUF, Refused
from holdfast._walk import complete, is_pydantic, locate, step
from holdfast.errors import EncodeError

_BINARY: Final = (bytes, bytearray, memoryview)
_TEXT: Final = (datetime, date, time, timedelta, UUID, Decimal)
_KEPT: Final = (*_BINARY, *_TEXT)
_PLAIN_DEPTH_MAX: Final = 32


def encode(value: Any, encoding: int) -> bytes:
    """Encodes a value; raises EncodeError with the path of what cannot be encoded."""
    if encoding == MSGPACK and (
        value is None or (type(value) is int and -NUMBER_MAX <= value <= NUMBER_MAX)
    ):
        # What many an action returns, and MessagePack writes as it stands.
        return msgspec.msgpack.encode(value)
    if encoding == PROTOBUF:
        return _encode_protobuf(value)
    if encoding == JAVASCRIPT:
        return _encode_javascript(value)
    if encoding not in (MSGPACK, JSON, CBOR):
        raise EncodeError(f"unknown encoding {encoding}", "$")
    if not _is_plain(value, encoding, 0):
        value = _lowered(value, encoding)
    try:
        return _written(value, encoding)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _located(value, error, lambda part: _written(part, encoding)) from error


def encode_event(args: list[Any]) -> tuple[int, bytes]:
    """Encodes the arguments of an event or message as they are stored.

    In MessagePack, or as JavaScript reads them where that says more. Raises EncodeError.
    """
    data = encode(args, MSGPACK)
    if _to_javascript.says_more(args):
        return JAVASCRIPT, encode(args, JAVASCRIPT)
    return MSGPACK, data


def enc_hook(value: Any) -> Any:
    """What msgspec cannot encode by itself: pydantic models, and subclasses of plain types."""
    kind = type(value)
    if is_pydantic(kind):
        return value.model_dump(mode="python", by_alias=True)
    for plain in (str, bytes, int, float):
        if issubclass(kind, plain):
            return plain(value)
    if kind.__module__.startswith("pydantic"):
        if hasattr(value, "get_secret_value"):
            raise TypeError(f"a {kind.__qualname__} would leave masked; give its secret value")
        # A field's type of pydantic's own, such as HttpUrl.
        from pydantic_core import to_jsonable_python

        return to_jsonable_python(value)
    raise TypeError(f"a value of type {kind.__qualname__} cannot be encoded")


def _written(value: Any, encoding: int) -> bytes:
    if encoding == MSGPACK:
        return msgspec.msgpack.encode(value)
    if encoding == JSON:
        return msgspec.json.encode(value)
    return _cbor.dumps(value)


def _encode_protobuf(value: Any) -> bytes:
    if value is None:
        return b""
    serialize = getattr(value, "SerializeToString", None)
    if serialize is None:
        name = type(value).__qualname__
        raise EncodeError(f"encoding protobuf carries one protobuf message, not {name}", "$")
    data: bytes = serialize()
    return data


def _encode_javascript(value: Any) -> bytes:
    def attempt(part: Any) -> bytes:
        return _to_javascript.dumps(part, enc_hook)

    try:
        return attempt(value)
    except Refused as refused:
        raise EncodeError(str(refused), refused.path("$")) from None
    except Exception as error:  # an encoder's own, or what a value raises when it is looked at
        raise _located(value, error, attempt) from error


def _is_plain(value: Any, encoding: int, depth: int) -> bool:
    """Whether the encoder writes a value as the table says without any help."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-NUMBER_MAX <= value <= NUMBER_MAX)
    if kind is float:
        return bool(value - value == 0.0)  # not for infinities, nor for NaN
    if kind is bytes:
        return True
    if depth >= _PLAIN_DEPTH_MAX:
        return False
    if kind is list:
        return all(_is_plain(item, encoding, depth + 1) for item in value)
    if kind is dict:
        return all(
            type(key) is str and _is_plain(item, encoding, depth + 1) for key, item in value.items()
        )
    return False


def _located(value: Any, error: Exception, attempt: Callable[[Any], object]) -> EncodeError:
    """The error of the innermost part that fails as the whole does."""

    def fails(part: Any) -> bool:
        try:
            attempt(part)
        except Exception:  # whatever it is, it is the failure that is looked for
            return True
        return False

    path, part = locate(value, "$", fails)
    try:
        attempt(part)
    except RecursionError:
        return EncodeError("nested too deeply", path)
    except Exception as cause:
        return EncodeError(str(cause), path)
    return EncodeError(str(error), path)


def _builtins(value: Any) -> Any:
    return msgspec.to_builtins(value, builtin_types=_KEPT, enc_hook=enc_hook)


def _lowered(value: Any, encoding: int) -> Any:
    """The value in types the encoder of this encoding writes as the table says."""
    try:
        complete(value)
        plain = _builtins(value)
    except Exception as error:
        raise _located(value, error, _builtins) from error
    try:
        return _lower(plain, encoding)
    except Refused as refused:
        raise EncodeError(str(refused), refused.path("$")) from None
    except RecursionError as error:
        raise EncodeError("nested too deeply", "$") from error


def _lower(value: Any, encoding: int) -> Any:
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        return _lower_int(value, encoding)
    if kind is dict:
        return _lower_dict(value, encoding)
    if kind is list or kind is tuple:
        items = []
        for index, item in enumerate(value):
            try:
                items.append(_lower(item, encoding))
            except Refused as refused:
                refused.pieces.append(f"[{index}]")
                raise
        return items
    return _lower_leaf(value, encoding)


def _lower_int(value: int, encoding: int) -> int | str:
    if encoding == JSON:
        return value if -NUMBER_MAX <= value <= NUMBER_MAX else _digits(value)
    if encoding == MSGPACK:
        return value if -(2**63) <= value < 2**64 else _digits(value)
    return value


def _digits(value: int) -> str:
    try:
        return str(value)
    except ValueError as error:  # the interpreter's limit on digits
        raise Refused(str(error)) from None


def _lower_dict(value: dict[Any, Any], encoding: int) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for key, item in value.items():
        try:
            if type(key) is not str:
                key = _lower_key(key, encoding)
            if key in result:
                raise Refused(f"two keys are written as {key!r}")
            result[key] = _lower(item, encoding)
        except Refused as refused:
            refused.pieces.append(step(key))
            raise
    return result


def _lower_key(key: Any, encoding: int) -> Any:
    if not isinstance(key, (int, float, *_KEPT)):
        raise Refused(f"a key of type {type(key).__qualname__} cannot be encoded")
    lowered = _lower(key, encoding)
    if encoding != JSON:
        return lowered
    if isinstance(lowered, bool):
        raise Refused("a key of type bool cannot be encoded")
    if isinstance(lowered, str):
        return lowered
    # In JSON a key is text: the text that the value would have.
    return msgspec.json.encode(lowered).decode().strip('"')


def _lower_leaf(value: Any, encoding: int) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Refused(f"a non-finite number ({value}) cannot be encoded")
        return value
    if isinstance(value, datetime):
        if value.tzinfo is None or value.utcoffset() is None:
            raise Refused("a datetime without a zone cannot be encoded")
        return value
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise Refused(f"a non-finite number ({value}) cannot be encoded")
        return str(value)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if encoding == CBOR and isinstance(value, (date, time, timedelta, UUID)):
        return msgspec.to_builtins(value)
    return value


__all__ = ["enc_hook", "encode", "encode_event"]
