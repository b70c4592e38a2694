"""Small values that cross every layer: payloads, calls and their answers."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple


class Encoding(IntEnum):
    """Encodings of a payload; the numbers are those of the proto enum.

    JAVASCRIPT is in no proto: it is CBOR as JavaScript's clients read it, and what the
    gateway asks results and events in. Stored replies and events may be in it.
    """

    JSON = 1
    MSGPACK = 2
    CBOR = 3
    PROTOBUF = 4
    JAVASCRIPT = 64


ENCODINGS: Final = frozenset(int(e) for e in Encoding if e is not Encoding.JAVASCRIPT)
"""What callers may name."""


class Value(NamedTuple):
    """One encoded value: the number of its encoding and its bytes."""

    encoding: int
    data: bytes


class Durability(IntEnum):
    """How safely effects were stored when a call was answered (proto numbers)."""

    NONE = 1
    BUFFERED = 2
    SYNCED = 3
