"""Values as JavaScript reads them, and the mark that makes an integer a bigint there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import cbor2
import msgspec
import pydantic
import pytest

from holdfast import Actor, BigInt, Context, DecodeError, EncodeError, action, payload, setup
from holdfast.payload import Encoding, decode, encode, encode_event

EVERY = [*list(Encoding)[:3], Encoding.JAVASCRIPT]


def test_it_is_an_integer_that_shows_what_it_is() -> None:
    assert BigInt(5) == 5
    assert isinstance(BigInt("7"), int)
    assert repr([BigInt(-5)]) == "[BigInt(-5)]"
    assert str(BigInt(5)) == f"{BigInt(5)}" == "5"
    assert type(BigInt(5) + 1) is int
    assert {5: "five"}[BigInt(5)] == "five"


@pytest.mark.parametrize("number", [0, 5, -5, 2**53, 2**64, -(2**64) - 1, 2**200])
def test_to_everybody_else_it_is_the_integer(number: int) -> None:
    for encoding in (Encoding.JSON, Encoding.MSGPACK, Encoding.CBOR):
        assert encode({"n": [BigInt(number)]}, encoding) == encode({"n": [number]}, encoding)


@dataclass
class Account:
    balance: BigInt
    history: list[BigInt]
    limit: BigInt | None = None


class Entry(msgspec.Struct, tag="entry", rename="camel"):
    paid_in: BigInt


@pytest.mark.parametrize("encoding", EVERY)
def test_a_field_of_its_type_comes_back_as_one(encoding: Encoding) -> None:
    account = Account(BigInt(5), [BigInt(2**80), BigInt(-1)])
    found = decode(encode(account, encoding), encoding, Account)
    assert found == account
    assert [type(n) for n in (found.balance, *found.history)] == [BigInt] * 3
    entry = decode(encode(Entry(BigInt(2**70)), encoding), encoding, Entry)
    assert (entry, type(entry.paid_in)) == (Entry(BigInt(2**70)), BigInt)


@pytest.mark.parametrize("encoding", EVERY)
@pytest.mark.parametrize("wrong", [True, 1.5, "x", None, [1]])
def test_what_is_no_integer_does_not_decode_to_it(encoding: Encoding, wrong: Any) -> None:
    with pytest.raises(DecodeError):
        decode(encode([wrong], encoding), encoding, list[BigInt])


class Bank(Actor):
    @action
    async def add(self, c: Context, amount: BigInt, to: Account | None = None) -> BigInt:
        return BigInt(amount + 1)


def test_it_can_be_a_parameter_and_is_described_as_an_integer() -> None:
    bank = setup(use={"bank": Bank}).types["bank"]
    spec = bank.actions["add"]
    args, _ = spec.bind((Encoding.JSON, b'["1208925819614629174706176"]'), None)
    assert args[0] == 2**80
    assert type(args[0]) is BigInt
    described = spec.describe()
    assert described["result_schema"] == {"type": "integer"}
    assert described["arguments_schema"]["properties"]["amount"] == {"type": "integer"}


# As JavaScript reads it


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (2**31, "1a80000000"),
        (2**32 - 1, "1affffffff"),
        (2**32, "fb41f0000000000000"),
        (-(2**31), "3a7fffffff"),
        (-(2**31) - 1, "fbc1e0000000200000"),
        (2**53 - 1, "fb433fffffffffffff"),
        (2**53, "1b0020000000000000"),
        (2**64, "c249010000000000000000"),
        (BigInt(0), "c24100"),
        (BigInt(5), "c24105"),
        (BigInt(-5), "c34104"),
        (b"a", "d8404161"),
        ({1}, "d901028101"),
        ({1: 2}, "d90103a10102"),
        ({"a": 2}, "a1616102"),
        (datetime(2026, 11, 24, 10, tzinfo=UTC), "c11a6b056020"),
    ],
)
def test_how_values_are_written(value: Any, written: str) -> None:
    assert encode(value, Encoding.JAVASCRIPT).hex() == written


def test_sets_stay_sets_wherever_they_are() -> None:
    class Model(pydantic.BaseModel):
        tags: set[str]

    @dataclass
    class Plain:
        tags: frozenset[str]

    for value in (Model(tags={"a"}), Plain(frozenset("a")), {"tags": {"a"}}):
        assert encode(value, Encoding.JAVASCRIPT) == bytes.fromhex("a16474616773d90102816161")
    assert encode([({"a"},)], Encoding.JAVASCRIPT) == bytes.fromhex("8181d90102816161")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("nan"), "a non-finite number"),
        (object(), "object"),
        ("\ud800", "surrogates"),
        (datetime(2026, 1, 1), "without a zone"),
        ({(1,): 2}, "a key of type tuple"),
        ({1: "a", "1": "b"}, None),
    ],
)
def test_what_cannot_be_written_is_named(value: Any, problem: str | None) -> None:
    if problem is None:
        assert decode(encode(value, Encoding.JAVASCRIPT), Encoding.JAVASCRIPT) == value
        return
    with pytest.raises(EncodeError, match=problem) as caught:
        encode({"k": [0, value]}, Encoding.JAVASCRIPT)
    assert caught.value.path == "$.k[1]"


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(EncodeError, match="nested too deeply"):
        encode(loop, Encoding.JAVASCRIPT)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (cbor2.dumps([cbor2.CBORTag(99, 1)]), r"\$\[0\]: CBOR tag 99"),
        (cbor2.dumps({"a": cbor2.CBORTag(27, ["Error", "x"])}), r"\$\.a: a JavaScript Error"),
        (cbor2.dumps(cbor2.CBORTag(1, "x")), "a Date is a number of seconds"),
        (cbor2.dumps(cbor2.CBORTag(1, 1e18)), "outside of the years 1 to 9999"),
        (cbor2.dumps(cbor2.CBORTag(0, "yesterday")), "a Date is RFC 3339 text"),
        (cbor2.dumps(cbor2.CBORTag(0, "2026-01-01T00:00:00")), "without a zone"),
        (cbor2.dumps(cbor2.CBORTag(2, 5)), "a bigint holds bytes"),
        (cbor2.dumps(cbor2.CBORTag(2, b"\xff" * 2000)), "a bigint of 2000 bytes"),
        (cbor2.dumps(cbor2.CBORTag(70, b"abc")), "4-byte items has 3 bytes"),
        (cbor2.dumps(cbor2.CBORTag(258, {})), "CBOR tag 258"),
        (bytes.fromhex("d90103a1c249010000000000000000f6"), "more than 64 bits cannot be a key"),
        (bytes.fromhex("a18101f6"), "a key is text"),
        (bytes.fromhex("f0"), "is no part of a payload"),
        (bytes.fromhex("0102"), "trailing bytes"),
        (b"", "malformed javascript"),
        (bytes.fromhex("d81c81d81d00"), "CBOR tag 28"),
    ],
)
def test_what_is_no_payload_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(DecodeError, match=problem):
        decode(data, Encoding.JAVASCRIPT)


def test_undefined_is_nothing() -> None:
    undefined = cbor2.undefined
    value = {"a": undefined, "b": [1, undefined], "c": {"d": undefined}}
    assert decode(cbor2.dumps(value), Encoding.JAVASCRIPT) == {"b": [1, None], "c": {}}
    assert decode(cbor2.dumps(undefined), Encoding.JAVASCRIPT) is None


# Events


@pytest.mark.parametrize(
    "args",
    [[BigInt(1)], [{"a": [{1}]}], [Account(BigInt(1), [])], [2**64], [frozenset()], [(BigInt(1),)]],
)
def test_an_event_is_kept_as_javascript_reads_it_where_that_says_more(args: list[Any]) -> None:
    encoding, data = encode_event(args)
    assert encoding == Encoding.JAVASCRIPT
    assert payload.untyped(data, encoding) == payload.untyped(
        encode(args, Encoding.CBOR), Encoding.CBOR
    )


@pytest.mark.parametrize(
    "args", [[], [1, "a", None, 2.5, b"x"], [{"a": [1]}], [{1: 2}], [datetime.now(UTC)], [2**63]]
)
def test_any_other_event_is_kept_in_messagepack(args: list[Any]) -> None:
    assert encode_event(args) == (Encoding.MSGPACK, encode(args, Encoding.MSGPACK))


def test_an_event_that_cannot_be_encoded_is_refused_either_way() -> None:
    for args in ([object()], [BigInt(1), object()]):
        with pytest.raises(EncodeError):
            encode_event(args)
