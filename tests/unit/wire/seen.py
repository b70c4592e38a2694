"""What an actor sees of the arguments in tests/gateway/node/cases.mjs, by the case's name.

In JSON some of it is less; a Refused is an argument that no actor gets.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final


@dataclass(frozen=True)
class Refused:
    """Part of the text with which the arguments are refused."""

    text: str


def when(*args: int) -> datetime:
    return datetime(*args, tzinfo=UTC)


SEEN: Final[dict[str, Any]] = {
    "none": [],
    "null": [None],
    "booleans": [True, False],
    "zero": [0],
    "small": [23, 24, 255, 256, 65535, 65536],
    "negative": [-1, -24, -25, -256, -257, -65537],
    "int32": [2**31 - 1, 2**31, 2**32 - 1, -(2**31)],
    "beyondInt32": [2**32, -(2**31) - 1, 1764000000123],
    "safe": [2**53 - 1, -(2**53) + 1],
    "unsafe": [2**53, 1e300],
    "fractions": [0.5, -2.25, 1e-7],
    "negativeZero": [0],
    "bigints": [0, 5, -5, 2**53],
    "bigints64": [2**64 - 1, -(2**63)],
    "bigintsBeyond": [2**64, -(2**64) - 1, 2**200],
    "texts": ["", "ascii", "zoë", "\0", "💥"],
    "longText": ["x" * 300],
    "bytes": [b"", b"\x01\x02\xff"],
    "longBytes": [b"\x07" * 300],
    "arrayBuffer": [b"\x01\x02"],
    "typedArrays": [[0.5, -1.5], [1, 65535], [-1, 2]],
    "date": [when(2026, 11, 24, 10)],
    "dateMs": [when(2026, 11, 24, 10, 0, 0, 123000)],
    "dateEarly": [when(1960, 1, 1, 0, 0, 0, 500000)],
    "dateInvalid": [None],
    "set": [[1, "a", None]],
    "setNested": [{"tags": ["x", "y"]}],
    "mapText": [{"a": 1, "b": [2]}],
    "mapNumbers": [{1: "one", 2.5: "more"}],
    "objects": [{}, {"a": 1, "b c": {"d": [1, {"e": None}]}}],
    "manyMembers": [{f"k{i}": i for i in range(30)}],
    "nested": [[[[[[[["deep"]]]]]]]],
    "looksLikeTag": [["$x", 1], ["$BigInt", "5"], ["$$x", 1], ["$Set", [1]]],
    "argumentsLikeTag": ["$x", 1],
    "argumentsLikeBigint": ["$BigInt", "5"],
    "tagWithBigint": [["$x", 5]],
    "undefinedMember": [{"b": 1}],
    "undefinedItem": [[1, None, 2]],
    # What is left out at the end is no argument, so that a parameter's default holds.
    "undefinedLast": [1],
    "undefinedFirst": [None, 1],
    "nan": Refused("a non-finite number is refused"),
    "infinity": Refused("a non-finite number is refused"),
    "error": Refused("a JavaScript Error is no part of a payload"),
    "regexp": Refused("a JavaScript RegExp is no part of a payload"),
}

IN_JSON: Final[dict[str, Any]] = {
    **SEEN,
    "typedArrays": [{"0": 0.5, "1": -1.5}, {"0": 1, "1": 65535}, {"0": -1, "1": 2}],
    "date": ["2026-11-24T10:00:00.000Z"],
    "dateMs": ["2026-11-24T10:00:00.123Z"],
    "dateEarly": ["1960-01-01T00:00:00.500Z"],
    "set": [{}],
    "setNested": [{"tags": {}}],
    "mapText": [{}],
    "mapNumbers": [{}],
    "undefinedLast": [1, None],
    "nan": [None],
    "infinity": [None],
    "error": [{}],
    "regexp": [{}],
}

# What is made of the inputs there.
INPUTS: Final[dict[str, Any]] = {
    "object": {"topic": "rust", "limit": 2**40},
    "bigint": 5,
    "bytes": b"\x01\x02",
    "set": [1, 2],
    "looksLikeTag": ["$x", 1],
    "list": [1, "two", None],
}

KEYS: Final[dict[str, tuple[str, ...]]] = {
    "empty": (),
    "one": ("a",),
    "emptyPart": ("",),
    "emptyParts": ("", "", ""),
    "slash": ("a/b", "/", "c/"),
    "backslash": ("a\\", "\\0", "\\/"),
    "mixed": ("a/b", "", "c"),
    "unicode": ("zoë", "💥"),
    "odd": ("a b", "+&=?#%", "a,b"),
}
