"""The encodings of a payload, and what refusing a value deep inside one looks like."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

NUMBER_MAX: Final = 2**53 - 1
"""The largest integer that every reader of JSON takes as a number."""


class Encoding(IntEnum):
    """Encodings of a payload; the numbers are those of the proto enum.

    JAVASCRIPT is in no proto: it is CBOR as JavaScript's clients read it, and what the
    gateway asks results and events in.
    """

    JSON = 1
    MSGPACK = 2
    CBOR = 3
    PROTOBUF = 4
    JAVASCRIPT = 64


# As plain numbers, for what is on the way of every call: to find a member through its
# class is a call of its own in Python 3.11.
JSON: Final = int(Encoding.JSON)
MSGPACK: Final = int(Encoding.MSGPACK)
CBOR: Final = int(Encoding.CBOR)
PROTOBUF: Final = int(Encoding.PROTOBUF)
JAVASCRIPT: Final = int(Encoding.JAVASCRIPT)


class Refused(Exception):
    """Raised deep in a value; the containers on the way out add their piece of the path."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.pieces: list[str] = []

    def path(self, root: str) -> str:
        """Where the refused part is, from `root` on."""
        return root + "".join(reversed(self.pieces))


__all__ = [
    "CBOR", "JAVASCRIPT", "JSON", "MSGPACK", "NUMBER_MAX", "PROTOBUF", "Encoding", "Refused",
]  # fmt: skip
