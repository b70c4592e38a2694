"""Names of actors: addresses, keys and ids, and the limits of their spelling.

An address (namespace, name, key) is what a user says; an id is what the server
makes: two bytes of shard, so that everything stored under an id is grouped by
shard, then 112 random bits, so that it cannot be guessed. Keys are lists of
strings and are never joined by hand: `encode_parts` is order-preserving and
prefix-free.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from holdfast_server.core.errors import invalid
from holdfast_server.core.limits import Limits

SHARD_COUNT: Final = 1024
ID_BYTES: Final = 16
ID_CHARS: Final = 26

_NAME_CHARS_MAX: Final = 64
_NAME = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,62}[0-9A-Za-z_])?\Z")
# Ten bits as two digits of base 32: the standard library takes three times as long.
_DIGITS: Final = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS: Final = tuple(high + low for high in _DIGITS for low in _DIGITS)
_HALVES: Final = struct.Struct(">QQ")
# No character takes more bytes in UTF-8.
_CHAR_BYTES_MAX: Final = 4


class Address(NamedTuple):
    """Who an actor is: its namespace, the registered name of its class, its key."""

    namespace: str
    name: str
    key: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}/{list(self.key)!r}"


class Addressed(Protocol):
    """A record that names an actor."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def key(self) -> Iterable[str]: ...


def address_of(record: Addressed) -> Address:
    """The address of the actor that a record names."""
    return Address(record.namespace, record.name, tuple(record.key))


def scope_of(address: Address) -> bytes:
    """16 bytes that stand for an address in stored keys: its shard, then a digest.

    Unlike an actor id it is the same before destroy and after the next create.
    """
    digest = hashlib.blake2b(
        encode_parts((address.namespace, address.name, *address.key)), digest_size=16
    ).digest()
    shard = int.from_bytes(digest[:2]) % SHARD_COUNT
    return shard.to_bytes(2) + digest[2:]


def make_actor_id(scope: bytes, random_bytes: bytes) -> bytes:
    """A new id in the shard of `scope`, from 14 random bytes."""
    assert len(random_bytes) == ID_BYTES - 2
    return scope[:2] + random_bytes


@lru_cache(maxsize=2048)
def format_actor_id(actor_id: bytes) -> str:
    """The 26 lower-case letters and digits that users see."""
    high, low = _HALVES.unpack(actor_id)
    pairs = _PAIRS
    return (
        f"{pairs[high >> 54]}{pairs[high >> 44 & 1023]}{pairs[high >> 34 & 1023]}"
        f"{pairs[high >> 24 & 1023]}{pairs[high >> 14 & 1023]}{pairs[high >> 4 & 1023]}"
        f"{pairs[(high & 15) << 6 | low >> 58]}{pairs[low >> 48 & 1023]}{pairs[low >> 38 & 1023]}"
        f"{pairs[low >> 28 & 1023]}{pairs[low >> 18 & 1023]}{pairs[low >> 8 & 1023]}"
        f"{pairs[low << 2 & 1023]}"
    )


def parse_actor_id(text: str, field: str = "actor_id") -> bytes:
    """The id behind `text`; REQUEST_INVALID when it is not one."""
    if len(text) == ID_CHARS:
        try:
            raw = base64.b32decode(text.upper() + "======")
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) == ID_BYTES and format_actor_id(raw) == text:
            return raw
    raise invalid(field, f"not an actor id: {text[:64]!r}")


def encode_parts(parts: Iterable[str]) -> bytes:
    """Concatenate strings so that byte order is list order and no list is a
    prefix of another list's part: NUL becomes 00 FF, each part ends in 00 01."""
    return b"".join(
        part.encode("utf-8").replace(b"\x00", b"\x00\xff") + b"\x00\x01" for part in parts
    )


def decode_parts(data: bytes) -> tuple[str, ...]:
    """The inverse of `encode_parts`; ValueError when `data` is not its output."""
    if not data:
        return ()
    if not data.endswith(b"\x00\x01"):
        raise ValueError("unterminated key parts")
    parts: list[str] = []
    start = 0
    while start < len(data):
        end = data.index(b"\x00\x01", start)
        parts.append(data[start:end].replace(b"\x00\xff", b"\x00").decode("utf-8"))
        start = end + 2
    return tuple(parts)


@lru_cache(maxsize=256)
def _is_name(name: str) -> bool:
    return _NAME.match(name) is not None


def check_name(name: str, field: str) -> None:
    """Refuse a name of a class or namespace that is not 1 to 64 of [0-9A-Za-z_-]."""
    if len(name) > _NAME_CHARS_MAX or not _is_name(name):
        raise invalid(
            field,
            f"must be 1 to 64 of [0-9A-Za-z_-], not starting or ending with '-': {name[:80]!r}",
            limit=_NAME_CHARS_MAX,
        )


def check_key(key: tuple[str, ...], field: str, limits: Limits) -> None:
    """Refuse a key over the limits: parts, bytes of a part, bytes in all."""
    if len(key) > limits.key_parts_max:
        raise invalid(field, f"has {len(key)} parts", limit=limits.key_parts_max)
    most = _CHAR_BYTES_MAX * len("".join(key))
    if most <= limits.key_part_bytes_max and most <= limits.key_bytes_max:
        return
    total = 0
    for index, part in enumerate(key):
        size = len(part.encode("utf-8", "surrogatepass"))
        if size > limits.key_part_bytes_max:
            raise invalid(f"{field}[{index}]", f"has {size} bytes", limit=limits.key_part_bytes_max)
        total += size
    if total > limits.key_bytes_max:
        raise invalid(field, f"has {total} bytes", limit=limits.key_bytes_max)
