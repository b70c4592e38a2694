"""Registration: what is accepted, what is refused and how it is worded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar, cast

import pydantic
import pytest

from holdfast.actor import Action, Actor, action
from holdfast.errors import DecodeError, HoldfastError, RegistrationError
from holdfast.payload import Encoding, decode, encode
from holdfast.registry import ActorType, setup


@dataclass
class Room:
    messages: list[str] = field(default_factory=list)


class Topic(pydantic.BaseModel):
    name: str


class ChatRoom(Actor[Room]):
    """A room
    to chat in.

    More.
    """

    sleep_timeout_s = 5

    async def create_state(self, c: Any, input: Topic | None) -> Room:
        return Room()

    @action
    async def send(self, c: Any, text: str, times: int = 1) -> int:
        """Says it."""
        return times

    @action(name="room.history", read_only=True)
    def history(self, c: Any, limit: int = 50) -> list[str]:
        return ["x"] * limit

    @action
    async def tell(self, c: Any, prompt: str) -> AsyncIterator[str]:
        yield prompt

    @action
    async def twice(self, c: Any, text: str) -> int:
        return 2 * await self.send.inline(c, text)

    @action
    async def wrong(self, c: Any) -> int:
        return await self.send("x")


def test_the_parts_of_a_registered_class() -> None:
    kind = setup(use={"chat-room": ChatRoom}).types["chat-room"]
    assert set(kind.actions) == {"send", "room.history", "tell", "twice", "wrong"}
    assert [kind.actions[n].kind for n in ("send", "room.history", "tell")] == [
        "async",
        "plain",
        "stream",
    ]
    assert kind.actions["room.history"].read_only
    assert (kind.sleep_timeout_s, kind.action_timeout_s) == (5, 60)
    assert kind.has_hook("create_state")
    assert not kind.has_hook("on_wake")
    assert kind.state_codec is not None
    assert kind.state_codec.type is Room


def test_description() -> None:
    described = ActorType("chat-room", ChatRoom).describe()
    assert described["description"] == "A room to chat in."
    assert "Topic" in str(described["input_schema"])
    send = next(a for a in described["actions"] if a["name"] == "send")
    assert send == {
        "name": "send",
        "description": "Says it.",
        "arguments_schema": {
            "type": "object",
            "properties": {"text": {"type": "string"}, "times": {"type": "integer", "default": 1}},
            "required": ["text"],
            "additionalProperties": False,
        },
        "result_schema": {"type": "integer"},
        "read_only": False,
        "streaming": False,
        "parameters": ["text", "times"],
    }
    tell = next(a for a in described["actions"] if a["name"] == "tell")
    assert tell["streaming"]
    assert tell["result_schema"] == {"type": "string"}


def test_input() -> None:
    kind = ActorType("chat-room", ChatRoom)
    assert kind.decode_input(Encoding.JSON, b'{"name":"rust"}') == Topic(name="rust")
    assert kind.decode_input(Encoding.JSON, b"") is None
    with pytest.raises(DecodeError) as caught:
        kind.decode_input(Encoding.JSON, b'{"name":1}')
    assert caught.value.argument == "input"


def test_static_state_is_new_for_each_actor() -> None:
    class ByType(Actor):
        state = Room

    class ByValue(Actor):
        state: ClassVar[Any] = {"n": [1]}

    for cls in (ByType, ByValue):
        kind = ActorType("x", cls)
        assert kind.make_state() == kind.make_state()
        assert kind.make_state() is not kind.make_state()
        assert kind.state_codec is not None
    assert ActorType("x", ByValue).make_state()["n"] is not ByValue.state["n"]

    class Stateless(Actor):
        pass

    assert ActorType("x", Stateless).state_codec is None


async def test_calling_inside_a_turn() -> None:
    actor = ChatRoom()
    assert isinstance(ChatRoom.send, Action)
    assert ChatRoom.history.name == "room.history"
    assert await ActorType("x", ChatRoom).actions["twice"].function(actor, None, "x") == 2
    assert await actor.history.inline(None, 2) == ["x", "x"]  # type: ignore[arg-type]
    assert [x async for x in actor.tell.inline(None, "p")] == ["p"]  # type: ignore[arg-type]
    with pytest.raises(HoldfastError, match=r"await self\.send\.inline\(c, \.\.\.\)"):
        await ChatRoom.wrong.inline(actor, None)  # type: ignore[arg-type]
    with pytest.raises(HoldfastError, match=r"c\.client"):
        await actor.resolve()


async def _fine(self: Any, c: Any) -> None: ...


async def _stream(self: Any, c: Any) -> AsyncIterator[int]:
    yield 1


async def _unknown(self: Any, c: Any, what: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


async def _callable(self: Any, c: Any, what: list[Room] | list[Topic]) -> None: ...


async def _no_context(self: Any) -> None: ...


@pytest.mark.parametrize(
    ("body", "attribute"),
    [
        (lambda: {"sleep_timout_s": 3}, "sleep_timout_s"),
        (lambda: {"idle_s": 3}, "idle_s"),
        (lambda: {"queue_max": 3}, "queue_max"),
        (lambda: {"sleep_timeout_s": "3"}, "sleep_timeout_s"),
        (lambda: {"sleep_timeout_s": float("nan")}, "sleep_timeout_s"),
        (lambda: {"action_timeout_s": 0}, "action_timeout_s"),
        (lambda: {"durability": "eventual"}, "durability"),
        (lambda: {"mailbox_max": 0}, "mailbox_max"),
        (lambda: {"state_schema_version": True}, "state_schema_version"),
        (lambda: {"state": Room, "create_state": ChatRoom.create_state}, "state"),
        (lambda: {"state": {"a": {1}}}, "state"),
        (lambda: {"connect": action(_fine)}, "connect"),
        (lambda: {"connect": _fine}, "connect"),
        (lambda: {"_hidden": action(_fine)}, "_hidden"),
        (lambda: {"go": action(name="events")(_fine)}, "go"),
        (lambda: {"go": action(name="a b")(_fine)}, "go"),
        (lambda: {"go": action(name="")(_fine)}, "go"),
        (lambda: {"go": action(name="x")(_fine), "x": action(_fine)}, "x"),
        (lambda: {"go": action(thread=True)(_stream)}, "go"),
        (lambda: {"go": action(timeout_s=-1)(_fine)}, "go"),
        (lambda: {"go": action(_unknown)}, "go"),
        (lambda: {"go": action(_callable)}, "go"),
        (lambda: {"go": action(cast(Any, _no_context))}, "go"),
    ],
)
def test_refused_classes(body: Callable[[], dict[str, Any]], attribute: str) -> None:
    cls = type("Bad", (Actor,), body())
    with pytest.raises(RegistrationError, match=rf"^Bad\.{attribute}: ") as caught:
        setup(use={"bad": cls})
    assert isinstance(caught.value, ValueError)


def test_declared_state_without_a_source() -> None:
    class Bare(Actor[Room]):
        pass

    with pytest.raises(RegistrationError, match="neither state nor create_state"):
        setup(use={"bare": Bare})


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "x" * 65, "a\n"])
def test_refused_names(name: str) -> None:
    with pytest.raises(RegistrationError, match="invalid actor name"):
        setup(use={name: ChatRoom})


def test_what_is_no_actor() -> None:
    with pytest.raises(RegistrationError, match="no class derived from Actor"):
        setup(use={"x": Room})  # type: ignore[dict-item]


def test_results() -> None:
    spec = ActorType("chat-room", ChatRoom).actions["send"]
    assert spec.encode_result(3, Encoding.JSON) == b"3"
    assert decode(encode(3, Encoding.CBOR), Encoding.CBOR, int) == 3


T = TypeVar("T")
S = TypeVar("S")


class Keeper(Actor[S], Generic[T, S]):
    """A base whose state is its second parameter."""


class RoomKeeper(Keeper[int, Room]):
    state = Room


class Open(Keeper[int, S]):
    state = dict


def test_the_state_type_is_found_through_generic_bases() -> None:
    codec = ActorType("keeper", RoomKeeper).state_codec
    assert codec is not None
    assert codec.type is Room
    other = ActorType("open", Open).state_codec
    assert other is not None
    assert other.type is dict
