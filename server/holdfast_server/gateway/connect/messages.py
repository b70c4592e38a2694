"""Messages of the Connect protocol as bytes: encodings, compression, envelopes.

What is malformed is REQUEST_INVALID, what is too large MESSAGE_INCOMING_TOO_LONG, also once it
is decompressed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message

from holdfast_server.core import errors
from holdfast_server.core.checks import check_size
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.gateway.connect import jsons

M = TypeVar("M", bound=Message)

JSON: Final = "json"
PROTO: Final = "proto"
ENCODINGS: Final = (JSON, PROTO)
IDENTITY: Final = "identity"
GZIP: Final = "gzip"

_COMPRESSED: Final = 1
_END: Final = 2
_HEAD: Final = 5
# With fewer bytes it would seldom be worth it.
_COMPRESS_BYTES_MIN: Final = 1024
# What is fast on the loop, and saves most of what there is to save.
_LEVEL: Final = 1
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


def decode(encoding: str, data: bytes, kind: type[M]) -> M:
    """The message in a body."""
    if encoding == JSON:
        return jsons.parse(data, kind)
    try:
        return kind.FromString(data)
    except DecodeError:
        raise invalid("body", f"is no {kind.DESCRIPTOR.name}") from None


def encode(encoding: str, message: Message) -> bytes:
    """The body of a message."""
    return jsons.text(message) if encoding == JSON else message.SerializeToString()


def bytes_max(encoding: str, limit: int) -> int:
    """How large a message of `limit` bytes, mostly of payloads, can be in an encoding."""
    return limit if encoding == PROTO else limit * 4 // 3 + (64 << 10)


class Coding(NamedTuple):
    """The compression of a request, and of its response."""

    request: str
    response: str

    def packs(self, size: int) -> bool:
        """Whether a response of so many bytes is compressed."""
        if self.response == IDENTITY or size == 0:
            return False
        # Who compresses gets the same back; who only could take it gets it where it pays.
        return self.request != IDENTITY or size >= _COMPRESS_BYTES_MIN


def coding_of(named: str | None, accepted: Iterable[str], field: str) -> Coding:
    """The coding of a request that says `named`, and whose client accepts others."""
    request = (named or IDENTITY).strip().lower()
    if request not in (IDENTITY, GZIP):
        raise HoldfastError(
            errors.RPC_UNIMPLEMENTED,
            f"{field}: {request[:32]} is not supported; {GZIP} and {IDENTITY} are",
            metadata={"field": field},
        )
    if request == GZIP:
        return Coding(GZIP, GZIP)
    offered = {_offer(each) for line in accepted for each in line.split(",")}
    return Coding(IDENTITY, GZIP if GZIP in offered else IDENTITY)


def _offer(text: str) -> str:
    """A coding in a list of accepted ones; nothing for one that is refused there."""
    name, _, quality = text.partition(";")
    refused = quality.strip().lower().replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return "" if refused else name.strip().lower()


def unpack(data: bytes, coding: str, limit: int) -> bytes:
    """What was compressed, of `limit` bytes at most."""
    if coding == IDENTITY or not data:
        check_size("body", len(data), limit)
        return data
    stream = zlib.decompressobj(_GZIP_WINDOW)
    try:
        plain = stream.decompress(data, limit + 1)
    except zlib.error:
        raise invalid("body", f"is no {GZIP}") from None
    check_size("body", len(plain), limit)
    if not stream.eof or stream.unused_data:
        raise invalid("body", f"is no {GZIP}: it is cut off, or something is behind it")
    return plain


def pack(data: bytes) -> bytes:
    """Compressed bytes."""
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return stream.compress(data) + stream.flush()


def envelope(data: bytes, coding: Coding, *, end: bool = False) -> bytes:
    """A message of a stream, or its end."""
    flags = _END if end else 0
    if coding.packs(len(data)):
        flags, data = flags | _COMPRESSED, pack(data)
    return bytes((flags,)) + len(data).to_bytes(4) + data


def enveloped_max(limit: int) -> int:
    """How large the body with the one message of `limit` bytes may be."""
    return limit + _HEAD


def only_message(body: bytes, coding: Coding, limit: int) -> bytes:
    """The message in the body of a request that has exactly one."""
    if len(body) < _HEAD:
        raise invalid("body", "has no message: it ends before the envelope does")
    flags, size = body[0], int.from_bytes(body[1:_HEAD])
    if flags & ~_COMPRESSED:
        raise invalid("body", f"has an envelope with the flags {flags:#04x}")
    check_size("body", size, limit)
    if len(body) != _HEAD + size:
        has = len(body) - _HEAD
        raise invalid("body", f"has {has} bytes behind an envelope of {size}; one message is sent")
    if not flags & _COMPRESSED:
        return unpack(body[_HEAD:], IDENTITY, limit)
    if coding.request == IDENTITY:
        raise invalid("body", "is compressed, and connect-content-encoding does not say how")
    return unpack(body[_HEAD:], coding.request, limit)
