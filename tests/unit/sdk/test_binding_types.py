"""Parameters of every type: right values bind, wrong ones name the argument."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pytest

from holdfast import Context
from holdfast.actor import Actor, action
from holdfast.errors import DecodeError
from holdfast.payload import Encoding, encode
from holdfast.registry import ActorType

TEXTUAL = [Encoding.JSON, Encoding.MSGPACK, Encoding.CBOR]
WHEN = datetime(2026, 1, 2, tzinfo=UTC)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: int = 0


class Line(msgspec.Struct, forbid_unknown_fields=True):
    ends: list[Point]
    width: Annotated[float, msgspec.Meta(gt=0)] = 1.0


class Person(pydantic.BaseModel):
    name: str
    age: Annotated[int, pydantic.Field(ge=0)] = 0


class Options(TypedDict, total=False):
    depth: int


class Pair(NamedTuple):
    left: int
    right: str


def bind(kind: Any, value: Any, encoding: int) -> Any:
    async def run(self: Any, c: Any, it: Any, after: int = 7) -> None: ...

    run.__annotations__["it"] = kind
    spec = ActorType("x", type("Sample", (Actor,), {"go": action(run)})).actions["go"]
    positional, _ = spec.bind((encoding, encode([value], encoding)), None)
    _, named = spec.bind(None, (encoding, encode({"it": value, "after": 1}, encoding)))
    assert named["after"] == 1
    assert positional[0] == named["it"]
    return positional[0]


@pytest.mark.parametrize("encoding", TEXTUAL)
@pytest.mark.parametrize(
    ("kind", "given", "bound"),
    [
        (int, 3, 3),
        (float, 3, 3.0),
        (bool, True, True),
        (str, "", ""),
        (bytes, b"\x00", b"\x00"),
        (datetime, WHEN, WHEN),
        (Decimal, Decimal("1.50"), Decimal("1.50")),
        (UUID, UUID(int=1), UUID(int=1)),
        (int | None, None, None),
        (int | str, "x", "x"),
        (list[int] | None, [2**70], [2**70]),
        (Literal["a", "b"], "b", "b"),
        (Annotated[int, msgspec.Meta(ge=1)], 1, 1),
        (Colour, "red", Colour.RED),
        (Point, {"x": 1}, Point(1)),
        (Line, {"ends": [{"x": 1}], "width": 2}, Line([Point(1)], 2.0)),
        (Person, {"name": "ada", "age": 3}, Person(name="ada", age=3)),
        (list[Person], [{"name": "ada"}], [Person(name="ada")]),
        (Options, {"depth": 1}, {"depth": 1}),
        (Pair, [1, "x"], Pair(1, "x")),
        (tuple[int, str], [1, "x"], (1, "x")),
        (set[str], ["x"], {"x"}),
        (dict[str, list[Point]], {"a": [{"x": 1}]}, {"a": [Point(1)]}),
        (Any, {"a": [1, None]}, {"a": [1, None]}),
        (object, [1], [1]),
    ],
)
def test_right_values(kind: Any, given: Any, bound: Any, encoding: Encoding) -> None:
    found = bind(kind, given, encoding)
    assert found == bound
    assert type(found) is type(bound)


@pytest.mark.parametrize("encoding", TEXTUAL)
@pytest.mark.parametrize(
    ("kind", "given", "path", "message"),
    [
        (int, "3", "it", "Expected `int`, got `str`"),
        (int, 3.5, "it", "Expected `int`, got `float`"),
        (int, True, "it", "Expected `int`, got `bool`"),
        (int, None, "it", "Expected `int`, got `null`"),
        (float, "3", "it", "Expected `float`, got `str`"),
        (bool, 1, "it", "Expected `bool`, got `int`"),
        (str, 1, "it", "Expected `str`, got `int`"),
        (bytes, 1, "it", "Expected `bytes`, got `int`"),
        (datetime, "yesterday", "it", "Invalid RFC3339"),
        (datetime, "2026-01-01T00:00:00", "it", "without a zone"),
        (Decimal, "x", "it", "Invalid decimal"),
        (UUID, "x", "it", "Invalid UUID"),
        (int | None, "x", "it", r"Expected `int \| null`, got `str`"),
        (list[int], [1, "x"], "it[1]", "Expected `int`, got `str`"),
        (Literal["a", "b"], "c", "it", "Invalid enum value 'c'"),
        (Annotated[int, msgspec.Meta(ge=1)], 0, "it", "Expected `int` >= 1"),
        (Annotated[str, msgspec.Meta(max_length=2)], "abc", "it", "length <= 2"),
        (Colour, "green", "it", "Invalid enum value 'green'"),
        (Point, {"y": 1}, "it", "missing required field `x`"),
        (Point, {"x": 1, "y": "z"}, "it.y", "Expected `int`, got `str`"),
        (Point, [1], "it", "Expected `object`, got `array`"),
        (Line, {"ends": [{"x": None}]}, "it.ends[0].x", "got `null`"),
        (Line, {"ends": [], "width": 0}, "it.width", "> 0"),
        (Line, {"ends": [], "height": 0}, "it", "unknown field `height`"),
        (Person, {"name": "ada", "age": -1}, "it", "age: Input should be greater than or equal"),
        (Person, "ada", "it", "Input should be a valid dictionary"),
        (list[Person], [{"name": "ada"}, {}], "it[1]", "name: Field required"),
        (Options, {"depth": "x"}, "it.depth", "Expected `int`"),
        (Pair, [1], "it", "length 2"),
        (tuple[int, str], [1, 2], "it[1]", "Expected `str`, got `int`"),
        (dict[str, int], {"a": "x"}, "it[...]", "Expected `int`, got `str`"),
    ],
)
def test_wrong_values(kind: Any, given: Any, path: str, message: str, encoding: Encoding) -> None:
    with pytest.raises(DecodeError, match=message) as caught:
        bind(kind, given, encoding)
    assert (caught.value.argument, caught.value.path) == ("it", path)


@pytest.mark.parametrize("kind", [Any, float, list[float], dict[str, Any], object])
def test_a_number_that_is_not_finite_names_the_argument(kind: Any) -> None:
    wrapped = {list[float]: [float("nan")], dict[str, Any]: {"a": float("nan")}}
    data = msgspec.msgpack.encode([wrapped.get(kind, float("nan"))])

    async def run(self: Any, c: Any, it: Any) -> None: ...

    run.__annotations__["it"] = kind
    spec = ActorType("x", type("Sample", (Actor,), {"go": action(run)})).actions["go"]
    with pytest.raises(DecodeError, match="non-finite") as caught:
        spec.bind((Encoding.MSGPACK, data), None)
    assert caught.value.argument == "it"


def test_foreign_extensions_are_refused() -> None:
    data = msgspec.msgpack.encode([msgspec.msgpack.Ext(5, b"x")])
    for kind in (Any, int):
        with pytest.raises(DecodeError):
            bind_raw(kind, data)


def bind_raw(kind: Any, data: bytes) -> Any:
    async def run(self: Any, c: Any, it: Any) -> None: ...

    run.__annotations__["it"] = kind
    spec = ActorType("x", type("Sample", (Actor,), {"go": action(run)})).actions["go"]
    return spec.bind((Encoding.MSGPACK, data), None)


@pytest.mark.parametrize("encoding", TEXTUAL)
def test_arguments_come_in_an_array_and_names_in_a_map(encoding: Encoding) -> None:
    async def run(self: Any, c: Any, it: int) -> None: ...

    spec = ActorType("x", type("Sample", (Actor,), {"go": action(run)})).actions["go"]
    wrong: Any
    for wrong in ({"it": 1}, 1, "x", None):
        with pytest.raises(DecodeError, match="an array of arguments"):
            spec.bind((encoding, encode(wrong, encoding)), None)
    for wrong in ([1], 1, "x", None):
        with pytest.raises(DecodeError, match="a map of named arguments"):
            spec.bind(None, (encoding, encode(wrong, encoding)))


T = TypeVar("T")
N = TypeVar("N", bound=int)


class Shelf(Actor[Any], Generic[T, N]):
    state = dict

    @action
    async def put(self, c: Context, item: T, count: N, more: list[T] | None = None) -> list[T]:
        return [item]


class PointShelf(Shelf[Point, bool]):
    pass


class Deep(PointShelf):
    @action
    async def other(self, c: Context, item: Point) -> None: ...


@pytest.mark.parametrize("cls", [PointShelf, Deep])
def test_a_subclass_fills_in_the_type_parameters(cls: Any) -> None:
    spec = ActorType("shelf", cls).actions["put"]
    data = encode([{"x": 1}, True, [{"x": 2}]], Encoding.JSON)
    assert spec.bind((Encoding.JSON, data), None)[0] == (Point(1), True, [Point(2)])
    with pytest.raises(DecodeError, match="argument 'count': Expected `bool`, got `int`"):
        spec.bind((Encoding.JSON, b'[{"x":1},2]'), None)
    assert "Point" in str(spec.describe()["result_schema"])


def test_an_open_type_parameter_is_what_its_bound_says() -> None:
    spec = ActorType("shelf", Shelf).actions["put"]
    assert spec.bind((Encoding.JSON, b'[{"x":1},2]'), None)[0][:2] == ({"x": 1}, 2)
    with pytest.raises(DecodeError, match="argument 'count': Expected `int`"):
        spec.bind((Encoding.JSON, b'[1,"x"]'), None)


@pytest.mark.parametrize("encoding", TEXTUAL)
def test_defaults_of_an_argument_are_its_own(encoding: Encoding) -> None:
    assert vars(bind(Point, {"x": 1}, encoding)) == {"x": 1, "y": 0}
    (point,) = bind(Line, {"ends": [{"x": 1}]}, encoding).ends
    assert vars(point) == {"x": 1, "y": 0}
