"""BARE: the types of which its schemas are made, each with how it is read and written.

Invariants: no byte beyond the end is read, and none is left; an integer has one spelling,
the shortest; what a type has read it writes as the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from holdfast_server.gateway.wire.errors import WireError

_UINT_BYTES_MAX = 10
_UINT_MAX = 2**64 - 1


class Reader:
    """Bytes, and how far they have been read."""

    __slots__ = ("_data", "_end", "offset")

    def __init__(self, data: bytes, offset: int = 0) -> None:
        self._data = data
        self._end = len(data)
        self.offset = offset

    def take(self, size: int, field: str) -> bytes:
        """The next bytes; refused without a look at them when there are fewer."""
        start = self.offset
        if size > self._end - start:
            missing = size - (self._end - start)
            raise WireError(
                f"ends {missing} bytes too early", field=field, offset=start, limit=self._end
            )
        self.offset = start + size
        return self._data[start : start + size]

    def byte(self, field: str) -> int:
        """The next byte."""
        start = self.offset
        if start >= self._end:
            raise WireError("ends 1 byte too early", field=field, offset=start, limit=self._end)
        self.offset = start + 1
        return self._data[start]

    def uint(self, field: str) -> int:
        """An integer of seven bits a byte, in as few bytes as it needs and 64 bits at most."""
        first = self.byte(field)
        if first < 0x80:
            return first
        start = self.offset - 1
        value, shift = first & 0x7F, 7
        while True:
            byte = self.byte(field)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift >= 7 * _UINT_BYTES_MAX:
                raise WireError("an integer of more than 10 bytes", field=field, offset=start)
        if byte == 0 or value > _UINT_MAX:
            problem = "an integer in more bytes than it needs" if byte == 0 else "over 64 bits"
            raise WireError(problem, field=field, offset=start, limit=_UINT_MAX)
        return value

    def finish(self) -> None:
        """Refuses what is left."""
        left = self._end - self.offset
        if left:
            raise WireError(f"{left} bytes are left over", offset=self.offset)


class Type(Protocol):
    """One type of a schema."""

    def read(self, reader: Reader, field: str) -> Any:
        """The next value; raises WireError with field and offset."""

    def write(self, out: bytearray, value: Any, field: str) -> None:
        """Appends a value; raises WireError with the field for one not of the type."""


class Uint:
    """An integer from 0 to 2^64 - 1, short ones in few bytes."""

    def read(self, reader: Reader, field: str) -> int:
        return reader.uint(field)

    def write(self, out: bytearray, value: Any, field: str) -> None:
        if type(value) is not int or not 0 <= value <= _UINT_MAX:
            raise WireError(f"not an integer of 64 bits: {value!r:.64}", field=field)
        while value >= 0x80:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        out.append(value)


class Fixed64:
    """An integer from 0 to 2^64 - 1 in eight bytes."""

    def read(self, reader: Reader, field: str) -> int:
        return int.from_bytes(reader.take(8, field), "little")

    def write(self, out: bytearray, value: Any, field: str) -> None:
        if type(value) is not int or not 0 <= value <= _UINT_MAX:
            raise WireError(f"not an integer of 64 bits: {value!r:.64}", field=field)
        out += value.to_bytes(8, "little")


class Bool:
    """One byte, 0 or 1."""

    def read(self, reader: Reader, field: str) -> bool:
        byte = reader.byte(field)
        if byte > 1:
            raise WireError(f"not a boolean: {byte}", field=field, offset=reader.offset - 1)
        return byte == 1

    def write(self, out: bytearray, value: Any, field: str) -> None:
        if type(value) is not bool:
            raise WireError(f"not a boolean: {value!r:.64}", field=field)
        out.append(value)


class Data:
    """Bytes after their number."""

    def read(self, reader: Reader, field: str) -> bytes:
        return reader.take(reader.uint(field), field)

    def write(self, out: bytearray, value: Any, field: str) -> None:
        if not isinstance(value, bytes):
            raise WireError(f"not bytes: {value!r:.64}", field=field)
        UINT.write(out, len(value), field)
        out += value


class Str:
    """Text in UTF-8 after the number of its bytes."""

    def read(self, reader: Reader, field: str) -> str:
        data = reader.take(reader.uint(field), field)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            start = reader.offset - len(data)
            raise WireError("not UTF-8", field=field, offset=start + error.start) from None

    def write(self, out: bytearray, value: Any, field: str) -> None:
        if not isinstance(value, str):
            raise WireError(f"not text: {value!r:.64}", field=field)
        try:
            data = value.encode()
        except UnicodeEncodeError:
            raise WireError("not valid text", field=field) from None
        DATA.write(out, data, field)


class Optional:
    """A value, or None."""

    def __init__(self, inner: Type) -> None:
        self._inner = inner

    def read(self, reader: Reader, field: str) -> Any:
        return self._inner.read(reader, field) if BOOL.read(reader, field) else None

    def write(self, out: bytearray, value: Any, field: str) -> None:
        out.append(value is not None)
        if value is not None:
            self._inner.write(out, value, field)


class Struct:
    """Named values in their order; a dict here. A field that is not given is None."""

    def __init__(self, **fields: Type) -> None:
        self._fields = tuple(fields.items())

    def read(self, reader: Reader, field: str) -> dict[str, Any]:
        prefix = f"{field}." if field else ""
        return {name: kind.read(reader, prefix + name) for name, kind in self._fields}

    def write(self, out: bytearray, value: Any, field: str) -> None:
        prefix = f"{field}." if field else ""
        for name, kind in self._fields:
            kind.write(out, value.get(name), prefix + name)


class Union:
    """One of several named types, told by a byte; (name, value) here."""

    def __init__(self, *members: tuple[str, Type]) -> None:
        self._members = members
        self._numbers: Mapping[str, int] = {name: i for i, (name, _) in enumerate(members)}

    def read(self, reader: Reader, field: str) -> tuple[str, Any]:
        number = reader.byte(f"{field}.tag")
        if number >= len(self._members):
            offset = reader.offset - 1
            raise WireError(f"unknown message {number}", field=f"{field}.tag", offset=offset)
        name, kind = self._members[number]
        return name, kind.read(reader, f"{field}.val")

    def write(self, out: bytearray, value: Any, field: str) -> None:
        name, inner = value
        number = self._numbers[name]
        out.append(number)
        self._members[number][1].write(out, inner, f"{field}.val")


UINT = Uint()
U64 = Fixed64()
BOOL = Bool()
DATA = Data()
STR = Str()

__all__ = [
    "BOOL",
    "DATA",
    "STR",
    "U64",
    "UINT",
    "Optional",
    "Reader",
    "Struct",
    "Type",
    "Union",
]
