"""Values to bytes and back, as the table in proto/holdfast/v1/payload.proto says.

Invariants: what is encoded here decodes to an equal value when the type is known;
a datetime without a zone and a non-finite number are refused in both directions;
every refusal names the path of the part that was refused.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import IntEnum
from functools import lru_cache
from types import ModuleType
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import inspect as mi

from holdfast._walk import children, contains, is_pydantic, locate, step
from holdfast.errors import DecodeError, EncodeError, HoldfastError

NUMBER_MAX: Final = 2**53 - 1
_KEPT: Final = (bytes, bytearray, memoryview, datetime, date, time, timedelta, UUID, Decimal)
_BIG_NUMBER: Final = re.compile(r"-?[1-9][0-9]{15,}")
_AT: Final = re.compile(r"^(?P<message>.*) - at `(?P<path>[^`]*)`$", re.DOTALL)


class Encoding(IntEnum):
    """Encodings of a payload; the numbers are those of the proto enum."""

    JSON = 1
    MSGPACK = 2
    CBOR = 3
    PROTOBUF = 4


class _Refused(Exception):
    """Raised deep in a value; the containers on the way out add their piece of the path."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.pieces: list[str] = []

    def path(self, root: str) -> str:
        return root + "".join(reversed(self.pieces))


def _cbor() -> ModuleType:
    try:
        import cbor2
    except ImportError as error:
        raise HoldfastError(
            "cbor payloads need the cbor2 package: pip install 'holdfast[server]'"
        ) from error
    return cbor2


def enc_hook(value: Any) -> Any:
    """What msgspec cannot encode by itself: pydantic models."""
    if is_pydantic(type(value)):
        return value.model_dump(mode="python", by_alias=True)
    raise TypeError(f"a value of type {type(value).__qualname__} cannot be encoded")


def dec_hook(kind: type, value: Any) -> Any:
    """What msgspec cannot decode by itself: pydantic models."""
    if not is_pydantic(kind):
        if isinstance(value, kind):
            return value
        raise TypeError(f"Expected `{kind.__qualname__}`, which only encoding protobuf carries")
    if isinstance(value, dict):
        value = dict(value)
        fields: Any = kind.model_fields  # type: ignore[attr-defined]
        for name, field in fields.items():
            key = field.alias or name
            # Pydantic would read base64 text as the bytes themselves.
            if key in value and contains(field.annotation, mi.BytesType):
                value[key] = msgspec.convert(value[key], field.annotation, dec_hook=dec_hook)
    return _validate(kind, value)


def _validate(kind: Any, value: Any) -> Any:
    from pydantic import ValidationError

    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"{where}: {first['msg']}" if where else first["msg"]
        raise ValueError(message) from error


def _ext_hook(code: int, _: memoryview) -> Any:
    raise ValueError(f"MessagePack extension {code} is not part of a payload")


def encode(value: Any, encoding: int) -> bytes:
    """Encodes a value; raises EncodeError with the path of what cannot be encoded."""
    kind = type(value)
    if encoding == Encoding.PROTOBUF:
        return _encode_protobuf(value)
    if encoding not in (Encoding.JSON, Encoding.MSGPACK, Encoding.CBOR):
        raise EncodeError(f"unknown encoding {encoding}", "$")
    if not (
        kind is str
        or kind is bool
        or value is None
        or (kind is int and -NUMBER_MAX <= value <= NUMBER_MAX)
    ):
        value = _lowered(value, encoding)
    try:
        if encoding == Encoding.MSGPACK:
            return msgspec.msgpack.encode(value)
        if encoding == Encoding.JSON:
            return msgspec.json.encode(value)
        data: bytes = _cbor().dumps(value)
        return data
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EncodeError(str(error), "$") from error


def _encode_protobuf(value: Any) -> bytes:
    if value is None:
        return b""
    serialize = getattr(value, "SerializeToString", None)
    if serialize is None:
        name = type(value).__qualname__
        raise EncodeError(f"encoding protobuf carries one protobuf message, not {name}", "$")
    data: bytes = serialize()
    return data


def _builtins(value: Any, encoding: int) -> Any:
    return msgspec.to_builtins(
        value, builtin_types=_KEPT, str_keys=encoding == Encoding.JSON, enc_hook=enc_hook
    )


def _lowered(value: Any, encoding: int) -> Any:
    """The value in types the encoder of this encoding writes as the table says."""

    def fails(part: Any) -> bool:
        try:
            _builtins(part, encoding)
        except Exception:  # whatever it is, it is the failure that is looked for
            return True
        return False

    try:
        plain = _builtins(value, encoding)
    except Exception as error:
        path, part = locate(value, "$", fails)
        try:
            _builtins(part, encoding)
        except Exception as cause:
            message = str(cause) if not isinstance(cause, RecursionError) else "nested too deeply"
            raise EncodeError(message, path) from error
        raise EncodeError(str(error), path) from error
    try:
        return _lower(plain, encoding)
    except _Refused as refused:
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
            except _Refused as refused:
                refused.pieces.append(f"[{index}]")
                raise
        return items
    return _lower_leaf(value, encoding)


def _lower_int(value: int, encoding: int) -> int | str:
    if encoding == Encoding.JSON:
        return value if -NUMBER_MAX <= value <= NUMBER_MAX else _digits(value)
    if encoding == Encoding.MSGPACK:
        return value if -(2**63) <= value < 2**64 else _digits(value)
    return value


def _digits(value: int) -> str:
    try:
        return str(value)
    except ValueError as error:  # the interpreter's limit on digits
        raise _Refused(str(error)) from None


def _lower_dict(value: dict[Any, Any], encoding: int) -> dict[Any, Any]:
    result = {}
    for key, item in value.items():
        try:
            if type(key) is not str:
                if not isinstance(key, (str, int, float, bytes, *_KEPT)) and key is not None:
                    raise _Refused(f"a key of type {type(key).__qualname__} cannot be encoded")
                key = _lower(key, encoding)
            result[key] = _lower(item, encoding)
        except _Refused as refused:
            refused.pieces.append(step(key))
            raise
    return result


def _lower_leaf(value: Any, encoding: int) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _Refused(f"a non-finite number ({value}) cannot be encoded")
        return value
    if isinstance(value, datetime):
        if value.tzinfo is None or value.utcoffset() is None:
            raise _Refused("a datetime without a zone cannot be encoded")
        return value
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise _Refused(f"a non-finite number ({value}) cannot be encoded")
        return str(value)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if encoding == Encoding.CBOR and isinstance(value, (date, time, timedelta, UUID)):
        return msgspec.to_builtins(value)
    return value


class TypedDecoder:
    """Decodes to one type, compiled once; raises TypeError when the type is no such thing."""

    __slots__ = ("_any", "_check", "_info", "_json", "_msgpack", "checks_json", "type")

    def __init__(self, kind: Any = Any) -> None:
        self.type = kind
        self._json = msgspec.json.Decoder(kind, dec_hook=dec_hook)
        self._msgpack = msgspec.msgpack.Decoder(kind, dec_hook=dec_hook, ext_hook=_ext_hook)
        self._info = mi.type_info(kind)
        self._any = kind is Any
        # JSON itself has no non-finite numbers, so only typed datetimes need a look.
        self.checks_json = contains(kind, mi.DateTimeType, mi.DecimalType, mi.CustomType)
        self._check = self.checks_json or contains(kind, mi.AnyType, mi.FloatType)

    def checks(self, encoding: int) -> bool:
        """Whether decoded values need to be looked through."""
        return self.checks_json if encoding == Encoding.JSON else self._check

    def decode(self, data: bytes, encoding: int) -> Any:
        """Decodes bytes; raises DecodeError."""
        try:
            if encoding == Encoding.MSGPACK:
                value = self._msgpack.decode(data)
            elif encoding == Encoding.JSON:
                value = self._json.decode(data)
            elif encoding == Encoding.PROTOBUF:
                return _decode_protobuf(data, self.type)
            else:
                return self.convert(_load(data, encoding), encoding)
        except msgspec.ValidationError:
            # Wrong in type: an integer written as a string, or an error to be named.
            return self.convert(_load(data, encoding), encoding)
        except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
            raise _malformed(error, encoding) from error
        if self.checks(encoding):
            check_decoded(value)
        return value

    def convert(self, tree: Any, encoding: int) -> Any:
        """Gives an untyped decoded tree its type; raises DecodeError."""
        text = encoding == Encoding.JSON
        try:
            value = tree if self._any else self._convert(tree, text)
        except (ValueError, TypeError, RecursionError) as error:
            raise _mismatch(error) from error
        if self.checks(encoding):
            check_decoded(value)
        return value

    def _convert(self, tree: Any, text: bool) -> Any:
        try:
            return msgspec.convert(tree, self.type, str_keys=text, dec_hook=dec_hook)
        except msgspec.ValidationError:
            widened = _widen(self._info, tree)
            return msgspec.convert(widened, self.type, str_keys=text, dec_hook=dec_hook)


def _widen(info: Any, value: Any) -> Any:
    """The tree with decimal strings turned to integers where the type asks for an integer."""
    if isinstance(value, str):
        kinds = info.types if isinstance(info, mi.UnionType) else (info,)
        takes_int = any(isinstance(kind, mi.IntType) for kind in kinds)
        if any(isinstance(kind, mi.StrType) for kind in kinds) or not takes_int:
            return value
        big = _BIG_NUMBER.fullmatch(value) is not None and abs(int(value)) > NUMBER_MAX
        return int(value) if big else value
    if isinstance(info, mi.Metadata):
        return _widen(info.type, value)
    if isinstance(info, mi.UnionType):
        for kind in info.types:
            value = _widen(kind, value)
        return value
    if isinstance(value, list):
        parts: Any = getattr(info, "item_types", None)
        if parts is None and isinstance(info, mi.StructType) and info.array_like:
            parts = [field.type for field in info.fields]
        if parts is not None:
            known = [_widen(part, item) for part, item in zip(parts, value, strict=False)]
            return known + value[len(known) :]
        item_type = getattr(info, "item_type", None)
        return value if item_type is None else [_widen(item_type, item) for item in value]
    if isinstance(value, dict):
        if isinstance(info, mi.DictType):
            return {_widen(info.key_type, k): _widen(info.value_type, v) for k, v in value.items()}
        types = {field.encode_name: field.type for field in getattr(info, "fields", ())}
        return {k: _widen(types[k], v) if k in types else v for k, v in value.items()}
    return value


def check_decoded(value: Any, path: str = "$") -> None:
    """Refuses datetimes without a zone and non-finite numbers anywhere in a value."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise DecodeError("a non-finite number is refused", path)
    elif isinstance(value, datetime):
        if value.utcoffset() is None:
            raise DecodeError("a datetime without a zone is refused", path)
    elif isinstance(value, Decimal):
        if not value.is_finite():
            raise DecodeError("a non-finite number is refused", path)
    else:
        for piece, item in children(value):
            check_decoded(item, path + piece)


def _load(data: bytes, encoding: int) -> Any:
    """The untyped tree of a payload."""
    try:
        if encoding == Encoding.JSON:
            return msgspec.json.decode(data)
        if encoding == Encoding.MSGPACK:
            return msgspec.msgpack.decode(data, ext_hook=_ext_hook)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _malformed(error, encoding) from error
    if encoding != Encoding.CBOR:
        raise DecodeError(f"unknown encoding {encoding}", "$")
    cbor = _cbor()
    try:
        tree = cbor.loads(data)
        _plain_cbor(tree, set())
    except _Refused as refused:
        raise DecodeError(str(refused), refused.path("$")) from None
    except Exception as error:  # cbor2 lets errors of its tag readers through
        raise _malformed(error, encoding) from error
    return tree


def _plain_cbor(value: Any, seen: set[int]) -> None:
    """Refuses tags outside the table, and shared parts, which could grow without bound."""
    if isinstance(value, (str, bytes, int, float, datetime, Decimal)) or value is None:
        return
    if type(value) not in (dict, list):
        raise _Refused(f"a CBOR value of type {type(value).__qualname__} is no part of a payload")
    if id(value) in seen:
        raise _Refused("shared references are no part of a payload")
    seen.add(id(value))
    if isinstance(value, dict):
        for key in value:
            if type(key) not in (str, int, bytes, bool, float):
                raise _Refused(f"a key of type {type(key).__qualname__} is no part of a payload")
    for piece, item in children(value):
        try:
            _plain_cbor(item, seen)
        except _Refused as refused:
            refused.pieces.append(piece)
            raise


def _decode_protobuf(data: bytes, kind: Any) -> Any:
    if kind is None or kind is type(None):
        return None
    read = getattr(kind, "FromString", None)
    if read is None:
        raise DecodeError("encoding protobuf needs a type that is a protobuf message", "$")
    try:
        return read(data)
    except Exception as error:
        raise DecodeError(f"not a valid {kind.__name__} message", "$") from error


def _malformed(error: Exception, encoding: int) -> DecodeError:
    name = Encoding(encoding).name.lower()
    detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    return DecodeError(f"malformed {name}: {detail}", "$")


def _mismatch(error: Exception) -> DecodeError:
    found = _AT.match(str(error))
    if found is None:
        return DecodeError(str(error) or type(error).__name__, "$")
    return DecodeError(found["message"], found["path"])


@lru_cache(maxsize=1024)
def _decoder(kind: Any) -> TypedDecoder:
    return TypedDecoder(kind)


def decoder(kind: Any) -> TypedDecoder:
    """The decoder of a type, compiled once where the type can be remembered."""
    try:
        return _decoder(kind)
    except TypeError:  # not hashable, or no type at all, which raises again here
        return TypedDecoder(kind)


def decode(data: bytes, encoding: int, type: Any = Any) -> Any:
    """Decodes bytes to a type; raises DecodeError with the path of what is wrong."""
    return decoder(type).decode(data, encoding)
