"""The actor classes of one application, checked once, when they are registered.

Invariant: what is registered can run: names can be spelled on the wire, options have
values, types can be decoded. Anything else is a RegistrationError that names the class
and the attribute.
"""

from __future__ import annotations

import copy
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Final, Literal

from holdfast import payload
from holdfast._annotations import annotation
from holdfast._binding import Binder, Encoded, parameters_of
from holdfast._checks import check_action, check_class, check_context, refusal
from holdfast._events import EventSpec, collect_events
from holdfast._generics import environment_of, environments
from holdfast._schema import arguments_schema, schema_of
from holdfast._suspension import may_wait
from holdfast.actor import HOOKS, Action, Actor, Durability
from holdfast.asgi import ServerApp
from holdfast.errors import DecodeError, HoldfastError, RegistrationError
from holdfast.state import StateCodec

_ACTOR_NAME: Final = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,62}[0-9A-Za-z_])?\Z")


class ActionSpec:
    """One action as the runtime runs it."""

    def __init__(self, owner: type, action: Action[..., Any]) -> None:
        self.name: str = action.name
        self.function: Callable[..., Any] = action.function
        self.kind: Literal["plain", "async", "stream"] = "plain"
        if inspect.isasyncgenfunction(action.function):
            self.kind = "stream"
        elif inspect.iscoroutinefunction(action.function):
            self.kind = "async"
        # Whether its code may have to be awaited: not plain code, nor a coroutine without await.
        self.waits: bool = action.thread or self.kind == "stream" or may_wait(action.function)
        self.read_only: bool = action.read_only
        self.interleave: bool = action.interleave
        self.thread: bool = action.thread
        self.durability: Durability | None = action.durability
        self.timeout_s: float | None = action.timeout_s
        self._environment = environment_of(owner, action.attribute)
        try:
            check_context(action.function)
            self._binder = Binder(parameters_of(action.function, self._environment))
        except (ValueError, TypeError) as error:
            raise refusal(owner, action.attribute, str(error)) from error
        self.parameters: tuple[str, ...] = tuple(p.name for p in self._binder.parameters)
        self.bind: Callable[[Encoded | None, Encoded | None], tuple[Any, dict[str, Any]]] = (
            self._binder.bind
        )
        self.encode_result: Callable[[Any, int], bytes] = payload.encode

    def describe(self) -> dict[str, Any]:
        """Its part of DescribeActors."""
        plain: list[tuple[str, Any, bool, Any]] = []
        extra: Any = None
        for p in self._binder.parameters:
            if p.kind is inspect.Parameter.VAR_KEYWORD:
                extra = p.type
            elif p.kind is inspect.Parameter.VAR_POSITIONAL:
                plain.append((p.name, list[p.type], False, []))  # type: ignore[name-defined]
            else:
                plain.append((p.name, p.type, p.required, p.default))
        return {
            "name": self.name,
            "description": first_paragraph(self.function.__doc__),
            "arguments_schema": arguments_schema(plain, extra),
            "result_schema": self._result_schema(),
            "read_only": self.read_only,
            "streaming": self.kind == "stream",
            "parameters": list(self.parameters),
        }

    def _result_schema(self) -> dict[str, Any]:
        try:
            kind = annotation(self.function, "return", self._environment)
            if self.kind == "stream":
                items = typing.get_args(kind)
                kind = items[0] if items else Any
            return schema_of(kind)
        except (NameError, TypeError):
            return {}  # the annotation is for checkers only; results are not bound by it


class ActorType:
    """One registered class as the runtime uses it."""

    def __init__(self, name: str, cls: type[Actor[Any, Any]]) -> None:
        if not (isinstance(cls, type) and issubclass(cls, Actor)) or cls is Actor:
            raise RegistrationError(f"{name!r}: {cls!r} is no class derived from Actor")
        if not isinstance(name, str) or not _ACTOR_NAME.match(name):
            raise RegistrationError(
                f"{cls.__name__}: invalid actor name {name!r}: 1 to 64 letters, digits, "
                "'_' and '-', with no '-' at the ends"
            )
        self.name = name
        self.cls = cls
        check_class(cls)
        self.sleep_timeout_s: float = cls.sleep_timeout_s
        self.action_timeout_s: float = cls.action_timeout_s
        self.state_schema_version: int = cls.state_schema_version
        self.interleave: bool = cls.interleave
        self.reentrant: bool = cls.reentrant
        self.durability: Durability = cls.durability
        self.mailbox_max: int | None = cls.mailbox_max
        self.events: Mapping[str, EventSpec] = types.MappingProxyType(collect_events(cls))
        self.state_ttl_s: float | None = cls.state_ttl_s
        self.actions: Mapping[str, ActionSpec] = types.MappingProxyType(collect_actions(cls))
        self._hooks = frozenset(
            hook for hook in HOOKS if getattr(cls, hook) is not getattr(Actor, hook)
        )
        self._static: Any = getattr(cls, "state", None)
        self._static_conn: Any = getattr(cls, "conn_state", None)
        self.has_vars: bool = getattr(cls, "vars", None) is not None
        self.state_codec: StateCodec | None = self._make_codec()
        self.conn_codec: StateCodec | None = self._make_conn_codec()
        if self.state_ttl_s is not None and self.state_codec is None:
            raise refusal(cls, "state_ttl_s", "the class defines no state that could expire")
        self._input: Any = self._input_type()
        try:
            self._input_decoder = payload.decoder(self._input)
        except TypeError as error:
            raise refusal(cls, "create_state", f"input: {error}") from error

    def has_hook(self, name: str) -> bool:
        """Whether the class overrides a hook."""
        return name in self._hooks

    def make_state(self) -> Any:
        """A new state of a class with static state."""
        if isinstance(self._static, type):
            return self._static()
        return copy.deepcopy(self._static)

    @property
    def has_static_conn_state(self) -> bool:
        """Whether every connection begins with the same state."""
        return self._static_conn is not None

    def make_conn_state(self) -> Any:
        """The state of a new connection of a class with static connection state."""
        static = self._static_conn
        return static() if isinstance(static, type) else copy.deepcopy(static)

    def make_vars(self) -> Any:
        """New vars of a class with static vars."""
        static = self.cls.vars
        return static() if isinstance(static, type) else copy.deepcopy(static)

    def decode_input(self, encoding: int, data: bytes) -> Any:
        """The input of a create; raises DecodeError with argument "input"."""
        if not data and encoding != payload.Encoding.PROTOBUF:
            return None
        try:
            return self._input_decoder.decode(data, encoding)
        except DecodeError as error:
            path = "input" + error.path.removeprefix("$")
            raise DecodeError(error.message, path, "input") from error

    def describe(self) -> dict[str, Any]:
        """What DescribeActors says of this class."""
        takes_input = self.has_hook("create_state") or self.has_hook("on_create")
        return {
            "name": self.name,
            "description": first_paragraph(self.cls.__doc__),
            "input_schema": schema_of(self._input) if takes_input else None,
            "actions": [self.actions[name].describe() for name in sorted(self.actions)],
            "events": [self.events[name].describe() for name in sorted(self.events)],
        }

    def _make_codec(self) -> StateCodec | None:
        return self._codec_of("state", "create_state", 0, self._static, self.make_state)

    def _make_conn_codec(self) -> StateCodec | None:
        return self._codec_of(
            "conn_state", "create_conn_state", 1, self._static_conn, self.make_conn_state
        )

    def _codec_of(
        self, attribute: str, hook: str, parameter: int, static: Any, make: Callable[[], Any]
    ) -> StateCodec | None:
        """The codec of a state that is given by an attribute, or made by a hook; its type
        is a type parameter of Actor, or else what those say. None when there is none."""
        kind = _declared_type(self.cls, parameter)
        if static is not None:
            if kind is None:
                kind = static if isinstance(static, type) else type(static)
        elif self.has_hook(hook):
            kind = self._hook_type(hook, "return") if kind is None else kind
        elif kind is not None:
            noun = "state" if parameter == 0 else "connection-state"
            raise refusal(
                self.cls,
                attribute,
                f"a {noun} type is declared, but neither {attribute} nor {hook}",
            )
        else:
            return None
        try:
            codec = StateCodec(kind, attribute)
            if static is not None:
                codec.encode(make())
        except (TypeError, HoldfastError) as error:
            raise refusal(self.cls, attribute, str(error)) from error
        return codec

    def _input_type(self) -> Any:
        for hook in ("create_state", "on_create"):
            if self.has_hook(hook):
                listed = list(inspect.signature(getattr(self.cls, hook)).parameters)
                if len(listed) != 3:
                    raise refusal(self.cls, hook, "needs the parameters `self`, `c` and `input`")
                kind = self._hook_type(hook, listed[2])
                if kind is not Any:
                    return kind
        return Any

    def _hook_type(self, hook: str, name: str) -> Any:
        try:
            return annotation(getattr(self.cls, hook), name)
        except (NameError, TypeError) as error:
            raise refusal(self.cls, hook, f"{name}: {error}") from error


class Registry:
    """The actor classes of one application by their registered names."""

    def __init__(self, types_by_name: dict[str, ActorType], config: dict[str, Any]) -> None:
        self.types: Mapping[str, ActorType] = types.MappingProxyType(types_by_name)
        self.config: Mapping[str, Any] = types.MappingProxyType(config)

    def serve(self, **config: Any) -> None:
        """Runs the server with these actors until it is told to stop.

        `config` are settings of the server by name; they win over those of `setup`,
        and HOLDFAST_ variables win over both.
        """
        server_entry("default")(self, **{**self.config, **config})

    def asgi(self, **config: Any) -> ServerApp:
        """The gateway as an ASGI application, for uvicorn or inside FastAPI and Starlette.

        The server starts and is drained with the application's lifespan. One that is mounted
        in another gets no lifespan events; give that one `lifespan=app.lifespan`, or enter
        `app.running()` in its own. Outside of it requests get 503.

        `config` are settings, as of `serve`. `http` opens no port here: it says where the ASGI
        server listens, if other machines reach it. gRPC has its port
        as ever, or none with `grpc="off"`.
        """
        app: ServerApp = server_entry("asgi")(self, **{**self.config, **config})
        return app


def server_entry(name: str) -> Any:
    """A function of the server, found by its entry point: the SDK never imports it."""
    found = list(entry_points(group="holdfast.server", name=name))
    if not found:
        raise HoldfastError("no server is installed: pip install 'holdfast[server]'")
    try:
        return found[0].load()
    except ModuleNotFoundError as error:
        raise HoldfastError(
            f"the server is not installed ({error.name} is missing): pip install 'holdfast[server]'"
        ) from error


def setup(*, use: Mapping[str, type[Actor[Any, Any]]], **config: Any) -> Registry:
    """Registers actor classes by their names; `config` are settings of the server.

    A name has 1 to 64 letters, digits, "_" and "-". Raises RegistrationError, which names
    the class and the attribute, for a class that could not run.
    """
    if not isinstance(use, Mapping):
        raise RegistrationError('use is a mapping of names to classes: {"chat-room": ChatRoom}')
    registered = {name: ActorType(name, cls) for name, cls in use.items()}
    names: dict[type, str] = {}
    for name, cls in use.items():
        if cls in names:
            raise RegistrationError(
                f"{cls.__name__}: registered as {names[cls]!r} and as {name!r}; a class has one "
                "name: derive a class for the other"
            )
        names[cls] = name
    for name, cls in use.items():
        # Clients find the wire name of a class by this.
        cls.__holdfast_name__ = name
    return Registry(registered, config)


def first_paragraph(text: str | None) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())


def collect_actions(cls: type[Actor[Any, Any]]) -> dict[str, ActionSpec]:
    """The actions of a class by wire name."""
    result: dict[str, ActionSpec] = {}
    for attribute in dir(cls):
        found = inspect.getattr_static(cls, attribute)
        if not isinstance(found, Action):
            continue
        check_action(cls, attribute, found)
        if found.name in result:
            raise refusal(cls, attribute, f"a second action named {found.name!r}")
        result[found.name] = ActionSpec(cls, found)
    return result


def _declared_type(cls: type, index: int) -> Any:
    """A type parameter of Actor[S, C] as the bases of a class fill it in; None where it is
    left open."""
    parameter = Actor.__parameters__[index]  # type: ignore[attr-defined]
    kind = environments(cls).get(Actor, {}).get(parameter, Any)
    return None if kind is Any or isinstance(kind, typing.TypeVar) else kind
