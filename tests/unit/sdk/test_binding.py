"""Arguments: bound by position and name in every encoding; errors name the argument."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from holdfast.actor import Actor, action
from holdfast.errors import DecodeError
from holdfast.payload import Encoding, encode
from holdfast.registry import ActionSpec, ActorType

TEXTUAL = [Encoding.JSON, Encoding.MSGPACK, Encoding.CBOR]


@dataclass
class Point:
    x: int
    y: int = 0


class Sample(Actor):
    @action
    async def send(self, c: Any, text: str, times: int = 1, at: Point | None = None) -> None: ...

    @action
    async def named(self, c: Any, first: int, *, only: str, maybe: int = 2) -> None: ...

    @action
    async def many(self, c: Any, /, first: int, *rest: int, **other: str) -> None: ...

    @action
    async def when(self, c: Any, at: datetime, ratio: float = 0.5) -> None: ...

    @action
    async def blob(self, c: Any, data: bytes, untyped=None) -> None: ...  # type: ignore[no-untyped-def]

    @action
    async def message(self, c: Any, value: StringValue) -> None: ...


SPECS = ActorType("sample", Sample).actions


def bind(name: str, encoding: int, *args: Any, **kwargs: Any) -> Any:
    spec: ActionSpec = SPECS[name]
    named = (encoding, encode(kwargs, encoding)) if kwargs else None
    values, keywords = spec.bind((encoding, encode(list(args), encoding)), named)
    return values, keywords


def call(name: str, encoding: int, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The arguments as the function would see them."""
    import inspect

    values, keywords = bind(name, encoding, *args, **kwargs)
    bound = inspect.signature(SPECS[name].function).bind(None, None, *values, **keywords)
    bound.apply_defaults()
    return {k: v for k, v in bound.arguments.items() if k not in ("self", "c")}


@pytest.mark.parametrize("encoding", TEXTUAL)
def test_positions_defaults_and_names(encoding: Encoding) -> None:
    assert call("send", encoding, "a") == {"text": "a", "times": 1, "at": None}
    assert call("send", encoding, "a", 2**70, Point(1)) == {
        "text": "a",
        "times": 2**70,
        "at": Point(1),
    }
    assert call("send", encoding, "a", at={"x": 3}) == {
        "text": "a",
        "times": 1,
        "at": Point(3),
    }
    assert call("named", encoding, 1, only="x") == {"first": 1, "only": "x", "maybe": 2}
    assert call("named", encoding, first=1, only="x", maybe=3)["maybe"] == 3
    assert call("many", encoding, 1, 2, 3, z="q") == {
        "first": 1,
        "rest": (2, 3),
        "other": {"z": "q"},
    }
    assert call("blob", encoding, b"\xff", [1])["data"] == b"\xff"


@pytest.mark.parametrize("encoding", TEXTUAL)
@pytest.mark.parametrize(
    ("name", "args", "kwargs", "argument", "message"),
    [
        ("send", (1,), {}, "text", "Expected `str`, got `int`"),
        ("send", ("a", "b"), {}, "times", "Expected `int`, got `str`"),
        ("send", ("a",), {"times": 1.5}, "times", "Expected `int`"),
        ("send", ("a", True), {}, "times", "Expected `int`, got `bool`"),
        ("send", ("a", 1, {"x": "y"}), {}, "at", "Expected `int`, got `str`"),
        ("send", ("a", 1, {}), {}, "at", "missing required field `x`"),
        ("send", (), {}, "text", "missing"),
        ("send", (), {"times": 1}, "text", "missing"),
        ("send", ("a",), {"text": "b"}, "text", "given twice"),
        ("send", ("a",), {"nope": 1}, "nope", "no such argument"),
        ("send", ("a",), {"c": 1}, "c", "no such argument"),
        ("send", ("a", 1, None, 4), {}, None, "takes 3 positional arguments, got 4"),
        ("named", (1,), {}, "only", "missing"),
        ("named", (1, "x"), {}, None, "too many"),
        ("many", (1, "x"), {}, "rest[0]", "Expected `int`, got `str`"),
        ("many", (1,), {"z": 1}, "z", "Expected `str`, got `int`"),
        ("when", ("2026-01-01T00:00:00",), {}, "at", "without a zone"),
    ],
)
def test_errors_name_the_argument(
    encoding: Encoding,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    argument: str | None,
    message: str,
) -> None:
    with pytest.raises(DecodeError, match=message) as caught:
        bind(name, encoding, *args, **kwargs)
    assert caught.value.argument == argument


def test_the_path_inside_an_argument() -> None:
    with pytest.raises(DecodeError) as caught:
        bind("send", Encoding.JSON, "a", 1, {"x": "y"})
    assert caught.value.path == "at.x"
    assert str(caught.value) == "argument 'at' at at.x: Expected `int`, got `str`"


def test_no_payload_is_no_arguments() -> None:
    assert SPECS["many"].bind((Encoding.JSON, b"[1]"), None) == ((1,), {})
    with pytest.raises(DecodeError, match="missing"):
        SPECS["send"].bind(None, None)
    named = (int(Encoding.JSON), b'{"text":"a"}')
    assert SPECS["send"].bind(None, named) == ((), {"text": "a"})
    assert SPECS["send"].bind((0, b""), named) == ((), {"text": "a"})


@pytest.mark.parametrize("encoding", [*TEXTUAL, 0, 9])
def test_malformed_arguments(encoding: int) -> None:
    for data in (b"\xff", b"{}", b"\x80", b"\xa0", b"5", b"[1"):
        with pytest.raises(DecodeError):
            SPECS["send"].bind((encoding, data), None)


def test_protobuf_is_exactly_one_message() -> None:
    message = StringValue(value="hi")
    data = message.SerializeToString()
    assert SPECS["message"].bind((Encoding.PROTOBUF, data), None) == ((message,), {})
    assert SPECS["message"].bind((Encoding.PROTOBUF, b""), None) == ((StringValue(),), {})
    for name, raw in (("message", b"\xff"), ("send", data), ("named", data)):
        with pytest.raises(DecodeError):
            SPECS[name].bind((Encoding.PROTOBUF, raw), None)
    with pytest.raises(DecodeError):
        bind("message", Encoding.JSON, "hi")
