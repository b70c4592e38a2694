"""Values to bytes and back, as the table in proto/holdfast/v1/payload.proto says.

Invariants: what is encoded here decodes to an equal value when the type is known;
a datetime without a zone and a non-finite number are refused in both directions;
every refusal names the path of the part that was refused.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import inspect as mi

from holdfast import _cbor, _from_javascript
from holdfast._encode import enc_hook, encode, encode_event
from holdfast._encoding import (
    CBOR,
    JAVASCRIPT,
    JSON,
    MSGPACK,
    NUMBER_MAX,
    PROTOBUF,
    Encoding,
    Refused,
)
from holdfast._walk import children, complete, contains, is_pydantic, leaves_defaults
from holdfast.bigint import BigInt
from holdfast.errors import DecodeError, HoldfastError

_BINARY: Final = (bytes, bytearray, memoryview)
_BIG_NUMBER: Final = re.compile(r"-?[1-9][0-9]{15,}")
_AT: Final = re.compile(r"^(?P<message>.*) - at `(?P<path>[^`]*)`$", re.DOTALL)


def dec_hook(kind: type, value: Any) -> Any:
    """What msgspec cannot decode by itself: pydantic models. For text, where bytes are base64."""
    return _decode_custom(kind, value, None)


def _dec_hook_binary(kind: type, value: Any) -> Any:
    return _decode_custom(kind, value, _BINARY)


def _decode_custom(kind: type, value: Any, binary: Any) -> Any:
    if not is_pydantic(kind):
        if isinstance(value, kind):
            return value
        if issubclass(kind, BigInt):
            return kind(msgspec.convert(value, int))
        raise TypeError(f"Expected `{kind.__qualname__}`, which only encoding protobuf carries")
    if isinstance(value, dict):
        # Pydantic would read base64 text as the bytes themselves.
        hook = dec_hook if binary is None else _dec_hook_binary
        for key, annotation in _fields_of_bytes(kind):
            if key in value:
                read = msgspec.convert(value[key], annotation, builtin_types=binary, dec_hook=hook)
                value = {**value, key: read}
    return _validate(kind, value)


@lru_cache(maxsize=1024)
def _fields_of_bytes(kind: Any) -> tuple[tuple[str, Any], ...]:
    """The fields of a pydantic model that hold bytes: each of their names, and the type."""
    found = []
    for name, field in kind.model_fields.items():
        try:
            holds = contains(field.annotation, mi.BytesType)
        except TypeError:  # only pydantic knows this type
            continue
        if holds:
            alias = field.validation_alias
            given = (name, field.alias, alias, *getattr(alias, "choices", ()))
            names = {key for key in given if isinstance(key, str)}
            found += [(key, field.annotation) for key in names]
    return tuple(found)


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


def compiled(kind: Any) -> tuple[msgspec.json.Decoder[Any], msgspec.msgpack.Decoder[Any]]:
    """The decoders of a type, without the checks of `check_decoded`; TypeError for no type."""
    return (
        msgspec.json.Decoder(kind, dec_hook=dec_hook),
        msgspec.msgpack.Decoder(kind, dec_hook=_dec_hook_binary, ext_hook=_ext_hook),
    )


class TypedDecoder:
    """Decodes to one type, compiled once; raises TypeError when the type is no such thing."""

    __slots__ = (
        "_any", "_check", "_info", "_json", "_msgpack", "checks_json", "leaves_defaults", "type",
    )  # fmt: skip

    def __init__(self, kind: Any = Any) -> None:
        self.type: Any = kind
        self._json = msgspec.json.Decoder(kind, dec_hook=dec_hook)
        self._msgpack = msgspec.msgpack.Decoder(kind, dec_hook=_dec_hook_binary, ext_hook=_ext_hook)
        self._info = mi.type_info(kind)
        self._any = kind is Any
        self.leaves_defaults: bool = leaves_defaults(kind)
        # JSON itself has no non-finite numbers, so only typed datetimes need a look.
        self.checks_json: bool = contains(kind, mi.DateTimeType, mi.DecimalType, mi.CustomType)
        self._check = self.checks_json or contains(kind, mi.AnyType, mi.FloatType)

    def checks(self, encoding: int) -> bool:
        """Whether decoded values need to be looked through."""
        return self.checks_json if encoding == JSON else self._check

    def decode(self, data: bytes, encoding: int) -> Any:
        """Decodes bytes; raises DecodeError."""
        try:
            if encoding == MSGPACK:
                value = self._msgpack.decode(data)
            elif encoding == JSON:
                value = self._json.decode(data)
            elif encoding == PROTOBUF:
                return _decode_protobuf(data, self.type)
            else:
                return self.convert(untyped(data, encoding), encoding)
        except msgspec.ValidationError:
            # Wrong in type: an integer written as a string, or an error to be named.
            return self.convert(untyped(data, encoding), encoding)
        except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
            raise _malformed(error, encoding) from error
        return self._checked(value, encoding)

    def convert(self, tree: Any, encoding: int) -> Any:
        """Gives an untyped decoded tree its type; raises DecodeError."""
        try:
            value = tree if self._any else self._convert(tree, encoding == JSON)
        except (ValueError, TypeError, RecursionError) as error:
            raise _mismatch(error) from error
        return self._checked(value, encoding)

    def _convert(self, tree: Any, text: bool) -> Any:
        hook, binary = (dec_hook, None) if text else (_dec_hook_binary, _BINARY)
        try:
            return msgspec.convert(
                tree, self.type, builtin_types=binary, str_keys=text, dec_hook=hook
            )
        except msgspec.ValidationError:
            widened = _widen(self._info, tree)
            return msgspec.convert(
                widened, self.type, builtin_types=binary, str_keys=text, dec_hook=hook
            )

    def _checked(self, value: Any, encoding: int) -> Any:
        if self.checks(encoding):
            try:
                check_decoded(value)
            except RecursionError as error:
                raise DecodeError("nested too deeply", "$") from error
        if self.leaves_defaults:
            complete(value)
        return value


def _widen(info: Any, value: Any) -> Any:
    """The tree with decimal strings turned to integers where the type asks for an integer."""
    if isinstance(value, str):
        kinds = info.types if isinstance(info, mi.UnionType) else (info,)
        takes_int = any(_takes_int(kind) for kind in kinds)
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
        if parts is None and (
            isinstance(info, mi.NamedTupleType)
            or (isinstance(info, mi.StructType) and info.array_like)
        ):
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


def _takes_int(info: Any) -> bool:
    if isinstance(info, mi.EnumType):
        return all(isinstance(member.value, int) for member in info.cls)
    if isinstance(info, mi.LiteralType):
        return any(isinstance(value, int) for value in info.values)
    if isinstance(info, mi.CustomType):
        return issubclass(info.cls, BigInt)
    return isinstance(info, mi.IntType)


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
        if isinstance(value, dict):
            for key in value:
                if type(key) is not str:
                    check_decoded(key, path)
        for piece, item in children(value):
            check_decoded(item, path + piece)


def untyped(data: bytes, encoding: int) -> Any:
    """The untyped tree of a payload, unchecked; raises DecodeError."""
    try:
        if encoding == JSON:
            return msgspec.json.decode(data)
        if encoding == MSGPACK:
            return msgspec.msgpack.decode(data, ext_hook=_ext_hook)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _malformed(error, encoding) from error
    if encoding not in (CBOR, JAVASCRIPT):
        raise DecodeError(f"unknown encoding {encoding}", "$")
    try:
        return _cbor.loads(data) if encoding == CBOR else _from_javascript.loads(data)
    except Refused as refused:
        raise DecodeError(str(refused), refused.path("$")) from None
    except HoldfastError:
        raise
    except Exception as error:  # cbor2 lets errors of its tag readers through
        raise _malformed(error, encoding) from error


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


__all__ = [
    "NUMBER_MAX",
    "Encoding",
    "TypedDecoder",
    "check_decoded",
    "compiled",
    "dec_hook",
    "decode",
    "decoder",
    "enc_hook",
    "encode",
    "encode_event",
    "untyped",
]
