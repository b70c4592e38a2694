"""Stored state: equal after a round trip, or refused with the path."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum
from typing import Any

import msgspec
import pydantic
import pytest

from holdfast.errors import DecodeError, EncodeError
from holdfast.state import StateCodec


class Colour(IntEnum):
    RED = 1


@dataclass
class Room:
    names: set[str] = field(default_factory=set)
    pair: tuple[int, str] = (1, "x")
    cost: Decimal = Decimal("1.0")
    at: datetime | None = None
    colour: Colour = Colour.RED


@dataclass
class Loose:
    extra: dict[str, Any] = field(default_factory=dict)


class Struct(msgspec.Struct):
    blob: bytes = b""
    rooms: list[Room] = []


class Model(pydantic.BaseModel):
    names: set[str] = set()
    extra: dict[str, Any] = {}


@pytest.mark.parametrize(
    "state",
    [
        Room({"a"}, (2, "y"), Decimal("2.50"), datetime(2026, 1, 1, tzinfo=UTC)),
        Struct(b"\xff", [Room()]),
        Model(names={"a"}, extra={"k": [1, {"z": None}]}),
        {"a": [1, 2.5, "x", b"b", None, True, {"n": {}}], 1: float("nan")},
        Loose({"a": {"b": [1]}}),
    ],
)
def test_round_trip(state: Any) -> None:
    codec = StateCodec(type(state))
    data = codec.encode(state)
    assert codec.encode(codec.decode(data)) == data


@pytest.mark.parametrize(
    "bad",
    [{1}, (1,), Decimal(1), Colour.RED, Room(), datetime(2026, 1, 1)],
)
def test_untyped_positions_refuse_what_would_change(bad: Any) -> None:
    with pytest.raises(EncodeError) as caught:
        StateCodec(dict).encode({"a": {"b": [1, bad]}})
    assert caught.value.path == "state.a.b[1]"
    with pytest.raises(EncodeError) as caught:
        StateCodec(Loose).encode(Loose({"b": bad}))
    assert caught.value.path == "state.extra.b"
    with pytest.raises(EncodeError) as caught:
        StateCodec(Model).encode(Model(extra={"b": bad}))
    assert caught.value.path == "state.extra.b"


@pytest.mark.parametrize("bad", [object(), 2**64, len])
def test_unencodable_names_the_path(bad: Any) -> None:
    with pytest.raises(EncodeError) as caught:
        StateCodec(Loose).encode(Loose({"a": {"b": [bad]}}))
    assert caught.value.path == "state.extra.a.b[0]"


def test_a_state_that_contains_itself() -> None:
    state: dict[str, Any] = {}
    state["me"] = state
    with pytest.raises(EncodeError, match="contains itself"):
        StateCodec(dict).encode(state)


def test_bytes_that_are_no_such_state() -> None:
    for data in (b"", b"\xc1", msgspec.msgpack.encode({"names": 3})):
        with pytest.raises(DecodeError):
            StateCodec(Room).decode(data)


def test_types_that_cannot_be_states() -> None:
    with pytest.raises(TypeError):
        StateCodec(int | Room | Struct | dict[str, int])
