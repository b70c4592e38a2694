"""Whatever is encoded comes back; whatever is no payload is refused in one way."""

from __future__ import annotations

import contextlib
import enum
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.actor import Actor, action
from holdfast.errors import DecodeError, EncodeError
from holdfast.payload import Encoding, decode, encode
from holdfast.registry import ActorType

TEXTUAL = [Encoding.JSON, Encoding.MSGPACK, Encoding.CBOR, Encoding.JAVASCRIPT]
encodings = st.sampled_from(TEXTUAL)
# How long an example takes says nothing about the code on a busy machine.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
# Kept a day from the ends of the calendar, which other zones would cross.
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=zones)
decimals = st.decimals(allow_nan=False, allow_infinity=False)
floats = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers() | st.integers(-(2**200), 2**200)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2**60


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2**40


class Kind(enum.StrEnum):
    A = "a"


@dataclass
class Point:
    x: int
    at: datetime
    tags: list[str]


class Shape(msgspec.Struct, tag=True):
    points: dict[str, Point]
    cost: Decimal | None = None


class Other(msgspec.Struct, tag=True):
    blob: bytes


class Pair(NamedTuple):
    left: int
    right: bytes


class Options(TypedDict):
    depth: int
    name: str | None


class Model(pydantic.BaseModel):
    blob: bytes
    numbers: list[int]
    at: pydantic.AwareDatetime
    pairs: dict[str, bytes] = {}


points = st.builds(Point, integers, moments, st.lists(texts, max_size=3))
shapes = st.builds(Shape, st.dictionaries(texts, points, max_size=2), st.none() | decimals)
models = st.builds(
    Model,
    blob=st.binary(max_size=8),
    numbers=st.lists(integers, max_size=3),
    at=moments,
    pairs=st.dictionaries(texts, st.binary(max_size=4), max_size=2),
)

# Types that parameters and results have, each with values of it.
TYPED: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (type(None), st.none()),
    (bool, st.booleans()),
    (int, integers),
    (float, floats),
    (str, texts),
    (bytes, st.binary(max_size=16)),
    (datetime, moments),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas(timedelta(days=-(10**6)), timedelta(days=10**6))),
    (UUID, st.uuids()),
    (Decimal, decimals),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Kind, st.sampled_from(Kind)),
    (Literal["a", 1, None], st.sampled_from(["a", 1, None])),
    (int | None, st.none() | integers),
    (int | str, integers.filter(lambda n: abs(n) < 2**53) | texts),
    (list[bytes], st.lists(st.binary(max_size=4), max_size=4)),
    (tuple[int, str, bytes], st.tuples(integers, texts, st.binary(max_size=4))),
    (tuple[int, ...], st.lists(integers, max_size=4).map(tuple)),
    (set[int], st.sets(integers, max_size=4)),
    (frozenset[str], st.frozensets(texts, max_size=4)),
    (dict[str, datetime], st.dictionaries(texts, moments, max_size=3)),
    (dict[int, str], st.dictionaries(integers, texts, max_size=3)),
    (dict[UUID, int], st.dictionaries(st.uuids(), integers, max_size=3)),
    (dict[bytes, int], st.dictionaries(st.binary(max_size=4), integers, max_size=3)),
    (dict[date, float], st.dictionaries(st.dates(), floats, max_size=3)),
    (dict[Colour, bool], st.dictionaries(st.sampled_from(Colour), st.booleans(), max_size=2)),
    (Point, points),
    (Shape, shapes),
    (Shape | Other, shapes | st.builds(Other, st.binary(max_size=4))),
    (list[Shape | None], st.lists(st.none() | shapes, max_size=2)),
    (Pair, st.builds(Pair, integers, st.binary(max_size=4))),
    (Options, st.fixed_dictionaries({"depth": integers, "name": st.none() | texts})),
    (Model, models),
    (list[Model], st.lists(models, max_size=2)),
    (dict[str, Model | None], st.dictionaries(texts, st.none() | models, max_size=2)),
]


@pytest.mark.parametrize(("kind", "values"), TYPED, ids=[str(kind) for kind, _ in TYPED])
@relaxed
@given(data=st.data(), encoding=encodings)
def test_a_typed_value_comes_back_equal(
    kind: Any, values: st.SearchStrategy[Any], data: st.DataObject, encoding: Encoding
) -> None:
    value = data.draw(values)
    again = decode(encode(value, encoding), encoding, kind)
    assert again == value
    assert type(again) is type(value)


plain = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | floats | texts
trees = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)


@relaxed
@given(value=trees, encoding=encodings)
def test_what_json_can_spell_comes_back_untyped(value: Any, encoding: Encoding) -> None:
    assert decode(encode(value, encoding), encoding) == value


@relaxed
@given(
    value=st.recursive(
        plain | st.binary(max_size=8) | moments | st.integers(-(2**63), 2**64 - 1),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    ),
    encoding=st.sampled_from([Encoding.MSGPACK, Encoding.CBOR]),
)
def test_bytes_and_moments_come_back_untyped(value: Any, encoding: Encoding) -> None:
    assert decode(encode(value, encoding), encoding) == value


anything = st.recursive(
    plain
    | st.integers()
    | st.binary(max_size=4)
    | st.floats()
    | st.datetimes()
    | st.decimals()
    | st.text(max_size=4)
    | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=2) | st.integers() | st.floats(), inner, max_size=3)
    ),
)


@relaxed
@given(value=anything, encoding=encodings)
def test_a_value_is_encoded_so_that_it_decodes_or_refused_by_name(
    value: Any, encoding: Encoding
) -> None:
    data, refused = None, None
    try:
        data = encode(value, encoding)
    except EncodeError as error:
        refused = error
    if data is not None:
        decode(data, encoding)
    else:
        assert refused is not None
        assert refused.path.startswith("$")
        assert refused.message


class Wide(Actor):
    @action
    async def call(
        self, c: Any, first: int, second: Shape | None = None, third: Any = None
    ) -> None: ...


SPEC = ActorType("wide", Wide).actions["call"]


@relaxed
@given(data=st.binary(max_size=40), encoding=encodings)
def test_bytes_that_are_no_payload_are_refused_by_name(data: bytes, encoding: Encoding) -> None:
    for kind in (Any, int, list[Shape], Model, dict[str, bytes]):
        with contextlib.suppress(DecodeError):
            decode(data, encoding, kind)


@relaxed
@given(value=trees | st.lists(anything, max_size=4), encoding=encodings)
def test_arguments_are_bound_or_refused_by_name(value: Any, encoding: Encoding) -> None:
    try:
        data = encode(value, encoding)
    except EncodeError:
        return
    try:
        (first, *rest), _ = SPEC.bind((int(encoding), data), None)
    except DecodeError:
        return
    assert type(first) is int
    assert not rest or rest[0] is None or isinstance(rest[0], Shape)
