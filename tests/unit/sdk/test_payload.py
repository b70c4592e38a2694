"""The payload table: every value in every encoding, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import cbor2
import msgspec
import pydantic
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from holdfast.errors import DecodeError, EncodeError
from holdfast.payload import Encoding, decode, encode

TEXTUAL = [Encoding.JSON, Encoding.MSGPACK, Encoding.CBOR]
WHEN = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


@dataclass
class Inner:
    blob: bytes
    at: datetime
    numbers: list[int] = field(default_factory=list)


class Shape(msgspec.Struct):
    inner: Inner
    cost: Decimal
    big: int | None = None


class Model(pydantic.BaseModel):
    name: str
    blob: bytes = b""
    parts: list[int] = []


VALUES: list[tuple[Any, Any]] = [
    ("text é\u0000", str),
    (None, None),
    (True, bool),
    (1.5, float),
    (b"\x00\xff", bytes),
    (WHEN, datetime),
    (2**53 - 1, int),
    (2**53, int),
    (-(2**53), int),
    (2**63, int),
    (2**64, int),
    (-(2**80), int),
    ([2**90, 1], list[int]),
    ({"a": 2**70}, dict[str, int]),
    ((2**70, "x"), tuple[int, str]),
    (2**70, int | None),
    (Decimal("1.50"), Decimal),
    (timedelta(seconds=90), timedelta),
    (UUID(int=7), UUID),
    ({1: "a"}, dict[int, str]),
    ({1, 2}, set[int]),
    (Inner(b"\x80", WHEN, [2**60]), Inner),
    (Shape(Inner(b"", WHEN), Decimal("-0.1"), 2**66), Shape),
    (Model(name="n", blob=b"\x01\xfe", parts=[1]), Model),
    ([Model(name="n")], list[Model]),
]


@pytest.mark.parametrize("encoding", TEXTUAL)
@pytest.mark.parametrize(("value", "kind"), VALUES)
def test_round_trip(value: Any, kind: Any, encoding: Encoding) -> None:
    again = decode(encode(value, encoding), encoding, kind)
    assert again == value
    assert type(again) is type(value)


def test_spelling_in_json() -> None:
    value = {"b": b"\x00\xff", "t": WHEN, "n": 2**53 - 1, "i": 2**53, "d": Decimal("1.50")}
    assert decode(encode(value, Encoding.JSON), Encoding.JSON) == {
        "b": "AP8=",
        "t": "2026-01-02T03:04:05.678000Z",
        "n": 9007199254740991,
        "i": "9007199254740992",
        "d": "1.50",
    }


def test_spelling_in_msgpack() -> None:
    value = {"b": b"\x00", "t": WHEN, "i": 2**64 - 1, "j": 2**64, "d": Decimal("1.50")}
    assert decode(encode(value, Encoding.MSGPACK), Encoding.MSGPACK) == {
        "b": b"\x00",
        "t": WHEN,
        "i": 2**64 - 1,
        "j": "18446744073709551616",
        "d": "1.50",
    }


def test_spelling_in_cbor() -> None:
    assert encode(WHEN, Encoding.CBOR)[0] == 0xC0
    assert encode(2**64, Encoding.CBOR)[0] == 0xC2
    assert decode(cbor2.dumps(Decimal("1.5")), Encoding.CBOR, Decimal) == Decimal("1.5")


def test_other_zones_keep_the_instant() -> None:
    local = WHEN.astimezone(timezone(timedelta(hours=5)))
    for encoding in TEXTUAL:
        assert decode(encode(local, encoding), encoding, datetime) == WHEN


def test_big_integers_are_read_as_numbers_too() -> None:
    assert decode(b"18446744073709551616", Encoding.JSON, int) == 2**64


@pytest.mark.parametrize("encoding", TEXTUAL)
def test_a_number_in_a_string_is_no_number(encoding: Encoding) -> None:
    for text in ("5", "007", "9007199254740991", "x"):
        with pytest.raises(DecodeError, match="Expected `int`"):
            decode(encode(text, encoding), encoding, int)
    assert decode(encode("9007199254740992", encoding), encoding, int | str) == "9007199254740992"


@pytest.mark.parametrize("encoding", TEXTUAL)
@pytest.mark.parametrize(
    "bad",
    [float("nan"), float("inf"), datetime(2026, 1, 1), Decimal("NaN"), object()],
)
def test_refusal_names_the_path(bad: Any, encoding: Encoding) -> None:
    with pytest.raises(EncodeError) as caught:
        encode({"a": {"b c": [1, bad]}}, encoding)
    assert caught.value.path == '$.a["b c"][1]'


def test_refusal_inside_a_dataclass() -> None:
    with pytest.raises(EncodeError) as caught:
        encode([Inner(b"", WHEN.replace(tzinfo=None))], Encoding.JSON)
    assert caught.value.path == "$[0].at"


@pytest.mark.parametrize("encoding", TEXTUAL)
def test_a_value_that_contains_itself(encoding: Encoding) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(EncodeError, match="deep"):
        encode(loop, encoding)


def test_decoding_refuses_naive_datetimes_and_non_finite_numbers() -> None:
    with pytest.raises(DecodeError, match="zone"):
        decode(b'{"blob":"","at":"2026-01-01T00:00:00"}', Encoding.JSON, Inner)
    nan = msgspec.msgpack.encode({"a": [float("nan")]})
    with pytest.raises(DecodeError) as caught:
        decode(nan, Encoding.MSGPACK)
    assert caught.value.path == "$.a[0]"
    with pytest.raises(DecodeError, match="non-finite"):
        decode(cbor2.dumps(float("inf")), Encoding.CBOR, float)


@pytest.mark.parametrize("encoding", TEXTUAL)
@pytest.mark.parametrize("data", [b"", b"\xff\xff", b"[1", b"\x92\x01", b"\x82\x01"])
def test_malformed(data: bytes, encoding: Encoding) -> None:
    with pytest.raises(DecodeError):
        decode(data, encoding, list[int])


def test_cbor_tags_outside_the_table() -> None:
    for tagged in (cbor2.CBORTag(4000, 1), cbor2.CBORTag(258, [1])):
        with pytest.raises(DecodeError):
            decode(cbor2.dumps(tagged), Encoding.CBOR)
    shared = bytes.fromhex("82d81c80d81d00")
    with pytest.raises(DecodeError, match="shared"):
        decode(shared, Encoding.CBOR)


def test_unknown_encoding() -> None:
    with pytest.raises(EncodeError, match="unknown encoding 9"):
        encode(1, 9)
    with pytest.raises(DecodeError, match="unknown encoding 0"):
        decode(b"1", 0)


def test_protobuf() -> None:
    message = StringValue(value="hi")
    data = encode(message, Encoding.PROTOBUF)
    assert decode(data, Encoding.PROTOBUF, StringValue) == message
    assert encode(None, Encoding.PROTOBUF) == b""
    with pytest.raises(EncodeError, match="one protobuf message, not int"):
        encode(1, Encoding.PROTOBUF)
    with pytest.raises(DecodeError):
        decode(b"\xff", Encoding.PROTOBUF, StringValue)
    with pytest.raises(DecodeError):
        decode(data, Encoding.PROTOBUF, int)
