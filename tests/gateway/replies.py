"""What the gateway sends, by name, and what a client should understand of it.

`python` is a result of an actor. `understood` is what it is in JavaScript, as
tests/gateway/node/stand.mjs describes values; `in_json` and `in_old_json` where that
encoding carries less, to clients from 2.3 on and before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

from holdfast import BigInt, payload
from holdfast_server.core.values import Value
from holdfast_server.gateway.wire import (
    RESULT_ENCODING,
    ActionResponse,
    Error,
    Event,
    HttpActionResponse,
    HttpResponseError,
    Init,
    codec_for,
)

SAME: Final = object()


@dataclass(frozen=True)
class Reply:
    python: Any
    understood: Any
    in_json: Any = SAME
    in_old_json: Any = SAME

    def expected(self, encoding: str, *, tagged: bool) -> Any:
        """What a client should understand."""
        if encoding != "json" or self.in_json is SAME:
            return self.understood
        return self.in_json if tagged or self.in_old_json is SAME else self.in_old_json


def number(value: Any) -> dict[str, str]:
    return {"number": str(value)}


def bigint(value: int) -> dict[str, str]:
    return {"bigint": str(value)}


def numbers(*values: Any) -> list[Any]:
    return [number(value) for value in values]


def members(**entries: Any) -> dict[str, Any]:
    return {"object": [[key, value] for key, value in entries.items()]}


@dataclass
class Point:
    x: int
    tags: set[str]


INTEGERS: Final = (
    0, 23, 24, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**53 - 1,
    -1, -24, -25, -256, -257, -65536, -65537, -(2**31), -(2**31) - 1, -(2**53) + 1,
)  # fmt: skip
BIG: Final = (2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**200, -(2**53), -(2**64), -(2**64) - 1)
MARKED: Final = (0, 1, 255, 2**32, 2**53, 2**70, -1, -256, -(2**70))
WHEN: Final = datetime(2026, 11, 24, 10, 0, 0, 123000, tzinfo=UTC)
EARLY: Final = datetime(1960, 1, 1, 0, 0, 0, 500000, tzinfo=UTC)

REPLIES: Final[dict[str, Reply]] = {
    "nothing": Reply(None, None),
    "booleans": Reply([True, False], [True, False]),
    "integers": Reply(list(INTEGERS), numbers(*INTEGERS)),
    "bigIntegers": Reply(list(BIG), [bigint(value) for value in BIG]),
    "marked": Reply([BigInt(value) for value in MARKED], [bigint(value) for value in MARKED]),
    "floats": Reply([0.5, -2.25, 1.0, 1e300], numbers("0.5", "-2.25", "1", "1e+300")),
    "texts": Reply(["", "zoë", "\0", "💥", "x" * 300], ["", "zoë", "\0", "💥", "x" * 300]),
    "bytes": Reply([b"", b"\x01\x02\xff"], [{"bytes": ""}, {"bytes": "0102ff"}]),
    "longBytes": Reply(b"\x07" * 300, {"bytes": "07" * 300}),
    "dates": Reply(
        [WHEN, WHEN.replace(microsecond=0), EARLY],
        [
            {"date": "2026-11-24T10:00:00.123Z"},
            {"date": "2026-11-24T10:00:00.000Z"},
            {"date": "1960-01-01T00:00:00.500Z"},
        ],
        ["2026-11-24T10:00:00.123000Z", "2026-11-24T10:00:00Z", "1960-01-01T00:00:00.500000Z"],
    ),
    "day": Reply(date(2026, 11, 24), "2026-11-24"),
    "decimal": Reply(Decimal("1.10"), "1.10"),
    "set": Reply({7}, {"set": numbers(7)}, {"set": numbers(7)}, numbers(7)),
    "setOfTwo": Reply(
        {"$x"} | {"$x"},
        {"set": ["$x"]},
        {"set": ["$x"]},
        ["$x"],
    ),
    "map": Reply(
        {1: "one", 2**40: "far"},
        {"map": [[number(1), "one"], [number(2**40), "far"]]},
        {"object": [["1", "one"], [str(2**40), "far"]]},
    ),
    "object": Reply(
        {"a": 1, "b c": {"d": [None]}},
        {"object": [["a", number(1)], ["b c", members(d=[None])]]},
    ),
    "dataclass": Reply(
        Point(3, {"near"}),
        members(x=number(3), tags={"set": ["near"]}),
        members(x=number(3), tags={"set": ["near"]}),
        members(x=number(3), tags=["near"]),
    ),
    "empty": Reply([[], {}], [[], {"object": []}]),
    "tuple": Reply((1, "two"), [number(1), "two"]),
    "looksLikeTag": Reply(
        [["$x", 1], ["$BigInt", "5"], ["$$x", 1], ["$Undefined", 0]],
        [["$x", number(1)], ["$BigInt", "5"], ["$$x", number(1)], ["$Undefined", number(0)]],
    ),
    "tagWithBigint": Reply(["$x", BigInt(5)], ["$x", bigint(5)]),
    "bytesLikeTag": Reply(b"\x82\x62$x\x01", {"bytes": "8262247801"}),
    "nested": Reply([[[[[[{"a": [{"b": 2**40}]}]]]]]], None),
    "manyMembers": Reply(
        {f"k{i}": i for i in range(30)},
        {"object": [[f"k{i}", number(i)] for i in range(30)]},
    ),
}
REPLIES["nested"] = Reply(
    REPLIES["nested"].python, [[[[[[members(a=[members(b=number(2**40))])]]]]]]
)

METADATA: Final = Value(1, b'{"left":3,"why":["$x",1],"big":"9007199254740993"}')
METADATA_UNDERSTOOD: Final = members(left=number(3), why=["$x", number(1)], big="9007199254740993")
INIT: Final = Init("actor-1", "connection-1")


def encoded(value: Any) -> Value:
    return Value(RESULT_ENCODING, payload.encode(value, RESULT_ENCODING))


def _hex(data: bytes | str) -> str:
    return (data.encode() if isinstance(data, str) else data).hex()


def sent_to_client(encoding: str, *, tagged: bool) -> dict[str, Any]:
    """Bodies and frames as the codecs write them, for vectors.mjs; ids count from 0."""
    codec = codec_for(encoding, tagged=tagged)
    bodies: dict[str, Any] = {}
    frames: dict[str, Any] = {}

    def frame(name: str, *messages: Any) -> None:
        frames[name] = [_hex(codec.encode_to_client(message)) for message in messages]

    for name, reply in REPLIES.items():
        value = encoded(reply.python)
        body = codec.encode_action_response(HttpActionResponse(value))
        bodies[name] = {"status": 200, "hex": _hex(body)}
        frame(name, ActionResponse(len(frames), value))
    arguments = [reply.python for reply in REPLIES.values()]
    frame("event", Event("event", encoded(arguments)), ActionResponse(len(frames), encoded(None)))
    frame("noArguments", Event("event", encoded([])), ActionResponse(len(frames), encoded(None)))
    for name, metadata in (("failure", None), ("failureWithMetadata", METADATA)):
        error = HttpResponseError("user", "my_code", "user boom: zoë", metadata)
        bodies[name] = {"status": 400, "hex": _hex(codec.encode_error(error))}
        frame(name, Error("user", "my_code", "user boom: zoë", metadata, len(frames)))
    return {"init": _hex(codec.encode_to_client(INIT)), "bodies": bodies, "frames": frames}
