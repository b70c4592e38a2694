"""Every bad class is refused by an error that names the class and the attribute."""

from __future__ import annotations

import abc
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from holdfast.actor import Actor, action
from holdfast.context import Context
from holdfast.errors import RegistrationError
from holdfast.registry import ActorType, setup
from tests.unit.sdk.fake_server import Geometry


async def fine(self: Any, c: Any) -> None: ...


async def takes_input(self: Any, c: Any, input: Any) -> None: ...


def plain(self: Any, c: Any) -> None: ...


async def alone(self: Any) -> None: ...


async def wrong_context(self: Any, text: str) -> None: ...


async def unknown_type(self: Any, c: Any, what: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


async def no_value(self: Any, c: Any, what: Callable[[], int]) -> None: ...


def generator(self: Any, c: Any) -> Iterator[int]:
    yield 1


async def stream(self: Any, c: Any) -> AsyncIterator[int]:
    yield 1


def with_init(self: Any, size: int) -> None: ...


@pytest.mark.parametrize(
    ("body", "attribute", "message"),
    [
        # Options.
        ({"sleep_timout_s": 3}, "sleep_timout_s", "did you mean 'sleep_timeout_s'"),
        ({"interleaved": True}, "interleaved", "did you mean 'interleave'"),
        ({"timeout_ms": 3}, "timeout_ms", "unknown option"),
        ({"action_timeout_s": -1}, "action_timeout_s", "must be a positive number of seconds"),
        ({"action_timeout_s": True}, "action_timeout_s", "must be a positive number"),
        ({"interleave": "yes"}, "interleave", "must be True or False"),
        ({"reentrant": 1}, "reentrant", "must be True or False"),
        ({"durability": None}, "durability", "must be 'synced' or 'buffered'"),
        ({"mailbox_max": 1.5}, "mailbox_max", "must be an integer from 1, or None"),
        ({"state_schema_version": 0}, "state_schema_version", "must be an integer from 1"),
        ({"vars": dict, "create_vars": fine}, "vars", "both vars and create_vars"),
        ({"hibernate_connections": 1}, "hibernate_connections", "must be True or False"),
        (
            {"conn_state": dict, "create_conn_state": takes_input},
            "conn_state",
            "both conn_state and create_conn_state",
        ),
        ({"conn_state": object}, "conn_state", "object"),
        ({"conn_state": action(fine)}, "conn_state", "reserved"),
        # Hooks.
        ({"on_wake": plain}, "on_wake", "this hook is `async def`"),
        ({"on_create": plain}, "on_create", "this hook is `async def`"),
        ({"on_state_change": takes_input}, "on_state_change", "a plain function"),
        ({"on_wake": alone}, "on_wake", "needs the parameters `self`, `c`"),
        ({"on_create": fine}, "on_create", "needs the parameters `self`, `c`, `input`"),
        ({"on_wake": takes_input}, "on_wake", "needs the parameters `self`, `c`"),
        ({"on_destroy": 3}, "on_destroy", "a hook is a method"),
        ({"on_wake": staticmethod(fine)}, "on_wake", "a hook is a method"),
        ({"on_wake": action(fine)}, "on_wake", "reserved"),
        ({"on_connect": fine}, "on_connect", "needs the parameters `self`, `c`, `conn`"),
        ({"on_disconnect": plain}, "on_disconnect", "this hook is `async def`"),
        ({"on_before_connect": fine}, "on_before_connect", "`self`, `c`, `params`"),
        ({"onconnect": fine}, "onconnect", "did you mean 'on_connect'"),
        ({"on_wakes": fine}, "on_wakes", "did you mean 'on_wake'"),
        ({"oncreate": takes_input}, "oncreate", "did you mean 'on_create'"),
        ({"on_state_changed": plain}, "on_state_changed", "did you mean 'on_state_change'"),
        ({"on_request": fine}, "on_request", "`self`, `c`, `request`"),
        ({"on_websocket": fine}, "on_websocket", "`self`, `c`, `websocket`"),
        ({"on_websocket": plain}, "on_websocket", "this hook is `async def`"),
        ({"onrequest": fine}, "onrequest", "did you mean 'on_request'"),
        ({"on_web_socket": fine}, "on_web_socket", "did you mean 'on_websocket'"),
        ({"hibernate_websockets": 1}, "hibernate_websockets", "must be True or False"),
        # Actions.
        ({"go": action(name="a b")(fine)}, "go", "invalid action name 'a b'"),
        ({"go": action(name=3)(fine)}, "go", "invalid action name 3"),  # type: ignore[call-overload]
        ({"go": action(name="x" * 129)(fine)}, "go", "1 to 128"),
        ({"resolve": action(fine)}, "resolve", "reserved"),
        ({"state": action(fine)}, "state", "reserved"),
        ({"go": action(name="sleep_timeout_s")(fine)}, "go", "reserved"),
        ({"go": action(read_only=1)(fine)}, "go", "read_only must be True or False"),  # type: ignore[call-overload]
        ({"go": action(durability="no")(fine)}, "go", "durability must be"),  # type: ignore[call-overload]
        ({"go": action(timeout_s="1")(fine)}, "go", "timeout_s must be"),  # type: ignore[call-overload]
        ({"go": action(thread=True)(fine)}, "go", "thread=True needs a plain function"),
        ({"go": action(thread=True)(stream)}, "go", "thread=True needs a plain function"),
        ({"go": action(generator)}, "go", "`async def` with `yield`"),
        ({"go": action(alone)}, "go", "needs the parameters `self` and `c`"),  # type: ignore[arg-type]
        ({"go": action(wrong_context)}, "go", "is the context, not 'text': str"),  # type: ignore[type-var]
        ({"go": action(unknown_type)}, "go", "parameter 'what': name 'Nowhere'"),
        ({"go": action(no_value)}, "go", "parameter 'what': nothing decodes to Callable"),
        ({"go": staticmethod(action(fine))}, "go", "@action goes on a plain function"),  # type: ignore[arg-type]
        ({"go": property(action(fine))}, "go", "@action goes on a plain function"),  # type: ignore[arg-type]
        ({"go": action(classmethod(fine))}, "go", "@action goes on a plain function"),  # type: ignore[call-overload]
        # Members.
        ({"fetch": fine}, "fetch", "reserved for clients"),
        ({"__init__": with_init}, "__init__", "takes no arguments"),
    ],
)
def test_refused_classes(body: dict[str, Any], attribute: str, message: str) -> None:
    cls = type("Bad", (Actor,), body)
    with pytest.raises(RegistrationError) as caught:
        setup(use={"bad": cls})
    assert str(caught.value).startswith(f"Bad.{attribute}: ")
    assert message in str(caught.value)


def test_a_connection_state_that_is_declared_is_made_somewhere() -> None:
    class Bad(Actor[Any, Size]):
        pass

    with pytest.raises(RegistrationError, match="neither conn_state nor create_conn_state"):
        setup(use={"bad": Bad})


def test_a_mistake_of_a_base_names_the_class_that_is_registered() -> None:
    base = type("Base", (Actor,), {"on_wake": plain})
    with pytest.raises(RegistrationError, match=r"^Leaf\.on_wake: "):
        setup(use={"leaf": type("Leaf", (base,), {})})


def test_an_abstract_class_is_refused() -> None:
    class Abstract(Actor, abc.ABC):
        @abc.abstractmethod
        def size(self) -> int: ...

    with pytest.raises(RegistrationError, match=r"^Abstract\.__init__: .*abstract: size"):
        setup(use={"abstract": Abstract})


def test_a_class_has_one_name() -> None:
    class Twin(Actor):
        pass

    with pytest.raises(RegistrationError, match="Twin: registered as 'a' and as 'b'"):
        setup(use={"a": Twin, "b": Twin})


@pytest.mark.parametrize("wrong", [None, [Geometry], "app:registry"])
def test_use_is_a_mapping(wrong: Any) -> None:
    with pytest.raises(RegistrationError, match="use is a mapping"):
        setup(use=wrong)


@pytest.mark.parametrize("wrong", [Actor, int, 3, None, Geometry()])
def test_what_is_no_actor_class(wrong: Any) -> None:
    with pytest.raises(RegistrationError, match=r"'x': .* is no class derived from Actor"):
        setup(use={"x": wrong})


def test_nothing_is_named_when_one_class_is_refused() -> None:
    class Fine(Actor):
        pass

    bad = type("Bad", (Actor,), {"on_wake": plain})
    with pytest.raises(RegistrationError):
        setup(use={"fine": Fine, "bad": bad})
    assert "__holdfast_name__" not in vars(Fine)


def test_options_of_an_action_are_checked_where_they_stand() -> None:
    with pytest.raises(TypeError, match="no option 'readonly'; did you mean 'read_only'"):
        action(readonly=True)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"@action\(name='go'\)"):
        action("go")  # type: ignore[call-overload]


class HasKey(Protocol):
    @property
    def key(self) -> list[str]: ...


def twice(function: Any) -> Any:
    """A decorator of a user's own."""

    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        await function(*args, **kwargs)
        return await function(*args, **kwargs)

    return run


@dataclass
class Size:
    width: int


class Unusual(Actor):
    """What is unusual, and right."""

    LIMIT = 3
    helper_s: int

    def __init__(self) -> None:
        self.cache: dict[str, int] = {}

    @staticmethod
    def ratio(size: Size) -> float:
        return size.width / 2

    def on_the_way(self) -> None:
        """No hook, and not close to one."""

    @action  # type: ignore[type-var]
    async def protocol(self, c: HasKey) -> list[str]:
        return c.key

    @action
    async def any_name(self, context: Context, size: Size) -> None: ...

    @action
    async def untyped(self, c, size=Size(1)):  # type: ignore[no-untyped-def]  # noqa: B008
        return size

    @action
    @twice
    async def decorated(self, c: Context, size: Size) -> Size:
        return size


def test_unusual_classes_are_accepted() -> None:
    kind = ActorType("unusual", Unusual)
    assert set(kind.actions) == {"protocol", "any_name", "untyped", "decorated"}
    assert kind.actions["decorated"].bind((1, b'[{"width":1}]'), None) == ((Size(1),), {})
    assert kind.actions["untyped"].bind((1, b"[]"), None) == ((Size(1),), {})
    assert kind.describe()["actions"]
