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
import pydantic.dataclasses
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from holdfast.errors import DecodeError, EncodeError
from holdfast.payload import Encoding, decode, encode

TEXTUAL = [Encoding.JSON, Encoding.MSGPACK, Encoding.CBOR, Encoding.JAVASCRIPT]
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


@pytest.mark.parametrize("encoding", [Encoding.MSGPACK, Encoding.CBOR])
@pytest.mark.parametrize("kind", [bytes, bytes | None, list[bytes], Model])
def test_text_is_no_bytes_where_bytes_have_their_own_form(kind: Any, encoding: Encoding) -> None:
    wrong: dict[Any, Any] = {list[bytes]: ["abcd"], Model: {"name": "x", "blob": "abcd"}}
    with pytest.raises(DecodeError, match="got `str`"):
        decode(encode(wrong.get(kind, "abcd"), encoding), encoding, kind)


@pytest.mark.parametrize("encoding", TEXTUAL)
def test_nothing_may_follow_the_value(encoding: Encoding) -> None:
    with pytest.raises(DecodeError, match="trailing"):
        decode(encode([1], encoding) + encode(2, encoding), encoding)


@pytest.mark.parametrize("encoding", TEXTUAL)
def test_text_that_utf8_cannot_carry_is_named(encoding: Encoding) -> None:
    with pytest.raises(EncodeError, match="surrogates not allowed") as caught:
        encode({"a": [Inner(b"", WHEN), {"b": "\ud800"}]}, encoding)
    assert caught.value.path == "$.a[1].b"


def test_keys_of_a_map_in_json_are_text() -> None:
    value = {1: "a", 2**60: "b", 1.5: "c", b"\xff": "d", WHEN: "e", UUID(int=1): "f"}
    assert list(decode(encode(value, Encoding.JSON), Encoding.JSON)) == [
        "1",
        str(2**60),
        "1.5",
        "/w==",
        "2026-01-02T03:04:05.678000Z",
        "00000000-0000-0000-0000-000000000001",
    ]
    for lossy in ({1: "a", "1": "b"}, {"x": {2.0: 1, "2.0": 2}}):
        with pytest.raises(EncodeError, match="two keys are written as"):
            encode(lossy, Encoding.JSON)
    for key in (True, None, (1,)):
        with pytest.raises(EncodeError, match="a key of type"):
            encode({key: 1}, Encoding.JSON)


@pytest.mark.parametrize("encoding", TEXTUAL)
def test_a_key_that_is_not_finite_is_refused(encoding: Encoding) -> None:
    with pytest.raises(EncodeError, match="non-finite"):
        encode({float("nan"): 1}, encoding)
    if encoding != Encoding.JSON:
        raw = msgspec.msgpack.encode if encoding == Encoding.MSGPACK else cbor2.dumps
        with pytest.raises(DecodeError, match="non-finite"):
            decode(raw({float("inf"): 1}), encoding)


@pytest.mark.parametrize("encoding", TEXTUAL)
def test_subclasses_of_plain_types_are_written_as_those(encoding: Encoding) -> None:
    for base in (str, int, float, bytes, list, dict, set):
        kind = type("Mine", (base,), {})
        value = kind([1]) if base in (list, set) else kind()
        again = decode(encode(value, encoding), encoding, base)
        assert again == value
        assert type(again) is base


class Node(pydantic.BaseModel):
    name: str
    children: list[Node] = []


class Left(pydantic.BaseModel):
    x: int


class Right(pydantic.BaseModel):
    y: int


class Odd(pydantic.BaseModel):
    either: Left | Right
    where: pydantic.HttpUrl = pydantic.HttpUrl("http://example.com/")
    blob: bytes = pydantic.Field(b"", validation_alias=pydantic.AliasChoices("blob", "BLOB"))


@pydantic.dataclasses.dataclass
class Checked:
    count: int = 0


@pytest.mark.parametrize("encoding", TEXTUAL)
def test_pydantic_models_of_all_kinds(encoding: Encoding) -> None:
    for value in (
        Node(name="a", children=[Node(name="b")]),
        Odd.model_validate({"either": {"y": 1}}),
        Checked(3),
        pydantic.RootModel[list[int]]([1]),
    ):
        assert decode(encode(value, encoding), encoding, type(value)) == value
    named = encode({"either": {"x": 1}, "BLOB": b"ab"}, encoding)
    assert decode(named, encoding, Odd).blob == b"ab"
    with pytest.raises(EncodeError, match="SecretStr would leave masked") as caught:
        encode([pydantic.SecretStr("x")], encoding)
    assert caught.value.path == "$[0]"
    with pytest.raises(DecodeError, match=r"children\.0\.name"):
        decode(encode({"name": "a", "children": [{"name": 1}]}, encoding), encoding, Node)


@pytest.mark.parametrize("encoding", TEXTUAL)
@pytest.mark.parametrize("depth", [300, 5000, 100_000])
def test_depth_is_no_way_to_crash(depth: int, encoding: Encoding) -> None:
    opening = {Encoding.JSON: b"[", Encoding.MSGPACK: b"\x91"}.get(encoding, b"\x81")
    closing = b"]" * depth if encoding == Encoding.JSON else b""
    inner = b"1" if encoding == Encoding.JSON else b"\x01"
    data = opening * depth + inner + closing
    if depth == 300:
        assert str(decode(data, encoding)).count("[") == depth
        return
    with pytest.raises(DecodeError, match=r"deep|depth"):
        decode(data, encoding)


def test_cbor_that_promises_more_than_it_has() -> None:
    for head in (0x9B, 0xBB, 0x5B, 0x7B):
        with pytest.raises(DecodeError, match="malformed cbor"):
            decode(bytes([head]) + b"\x00\x00\x7f\xff\xff\xff\xff\xff\x01", Encoding.CBOR)


@dataclass
class Settings:
    name: str
    depth: int = 1
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Nested:
    inner: Settings = field(default_factory=lambda: Settings("x"))
    width: int = 2


@pytest.mark.parametrize("encoding", TEXTUAL)
def test_defaults_of_a_dataclass_are_there_like_what_was_given(encoding: Encoding) -> None:
    value = decode(encode([{"inner": {"name": "a"}}], encoding), encoding, list[Nested])[0]
    assert vars(value) == {"inner": Settings("a"), "width": 2}
    assert vars(value.inner) == {"name": "a", "depth": 1, "tags": []}
    # One that msgspec made by itself is written whole all the same.
    raw = msgspec.convert({"inner": {"name": "a"}}, Nested)
    assert decode(encode({"it": [raw]}, encoding), encoding) == {
        "it": [{"inner": {"name": "a", "depth": 1, "tags": []}, "width": 2}]
    }
