"""The actor classes of one application, checked once, when they are registered.

Invariant: what is registered can run: names can be spelled on the wire, options have
values, types can be decoded. Anything else is a RegistrationError that names the class
and the attribute.
"""

from __future__ import annotations

import copy
import difflib
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Final, Literal

from holdfast import payload
from holdfast._annotations import annotation
from holdfast._binding import Binder, Encoded, parameters_of
from holdfast._generics import environment_of
from holdfast._schema import arguments_schema, schema_of
from holdfast.actor import CLIENT_MEMBERS, HOOKS, OPTIONS, Action, Actor
from holdfast.errors import DecodeError, HoldfastError, RegistrationError
from holdfast.state import StateCodec

_ACTOR_NAME: Final = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,62}[0-9A-Za-z_])?\Z")
_ACTION_NAME: Final = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z_.-]{0,126}[0-9A-Za-z_])?\Z")
_UNITS: Final = ("_s", "_ms", "_max", "_min", "_bytes", "_timeout")
_KNOWN: Final = OPTIONS | {"state", "vars"}
_METHODS: Final = (types.FunctionType, classmethod, staticmethod, property, Action)


class ActionSpec:
    """One action as the runtime runs it."""

    def __init__(self, owner: type, action: Action[..., Any]) -> None:
        self.name = action.name
        self.function: Callable[..., Any] = action.function
        self.kind: Literal["plain", "async", "stream"] = "plain"
        if inspect.isasyncgenfunction(action.function):
            self.kind = "stream"
        elif inspect.iscoroutinefunction(action.function):
            self.kind = "async"
        self.read_only = action.read_only
        self.interleave = action.interleave
        self.thread = action.thread
        self.durability = action.durability
        self.timeout_s = action.timeout_s
        self._environment = environment_of(owner, action.attribute)
        try:
            self._binder = Binder(parameters_of(action.function, self._environment))
        except (ValueError, TypeError) as error:
            raise _error(owner, action.attribute, str(error)) from error
        self.parameters = tuple(p.name for p in self._binder.parameters)
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
        if not (isinstance(cls, type) and issubclass(cls, Actor)):
            raise RegistrationError(f"{name!r}: {cls!r} is no class derived from Actor")
        if not isinstance(name, str) or not _ACTOR_NAME.match(name):
            raise RegistrationError(
                f"{cls.__name__}: invalid actor name {name!r}: 1 to 64 letters, digits, "
                "'_' and '-', with no '-' at the ends"
            )
        self.name = name
        self.cls = cls
        check_attributes(cls)
        self.sleep_timeout_s: float = cls.sleep_timeout_s
        self.action_timeout_s: float = cls.action_timeout_s
        self.state_schema_version: int = cls.state_schema_version
        self.interleave: bool = cls.interleave
        self.reentrant: bool = cls.reentrant
        self.durability: Literal["synced", "buffered"] = cls.durability
        self.mailbox_max: int | None = cls.mailbox_max
        self.actions: Mapping[str, ActionSpec] = types.MappingProxyType(collect_actions(cls))
        self._hooks = frozenset(
            hook for hook in HOOKS if getattr(cls, hook) is not getattr(Actor, hook)
        )
        self._static: Any = getattr(cls, "state", None)
        self.has_vars = getattr(cls, "vars", None) is not None
        self.state_codec = self._make_codec()
        self._input: Any = self._input_type()
        try:
            self._input_decoder = payload.decoder(self._input)
        except TypeError as error:
            raise _error(cls, "create_state", f"input: {error}") from error

    def has_hook(self, name: str) -> bool:
        """Whether the class overrides a hook."""
        return name in self._hooks

    def make_state(self) -> Any:
        """A new state of a class with static state."""
        if isinstance(self._static, type):
            return self._static()
        return copy.deepcopy(self._static)

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
            "events": [],
        }

    def _make_codec(self) -> StateCodec | None:
        kind = _declared_state(self.cls)
        if self._static is not None:
            if kind is None:
                static = self._static
                kind = static if isinstance(static, type) else type(static)
        elif self.has_hook("create_state"):
            kind = self._hook_type("create_state", "return") if kind is None else kind
        elif kind is not None:
            raise _error(
                self.cls, "state", "a state type is declared, but neither state nor create_state"
            )
        else:
            return None
        try:
            codec = StateCodec(kind)
            if self._static is not None:
                codec.encode(self.make_state())
        except (TypeError, HoldfastError) as error:
            raise _error(self.cls, "state", str(error)) from error
        return codec

    def _input_type(self) -> Any:
        for hook in ("create_state", "on_create"):
            if self.has_hook(hook):
                listed = list(inspect.signature(getattr(self.cls, hook)).parameters)
                if len(listed) != 3:
                    raise _error(self.cls, hook, "needs the parameters `self`, `c` and `input`")
                kind = self._hook_type(hook, listed[2])
                if kind is not Any:
                    return kind
        return Any

    def _hook_type(self, hook: str, name: str) -> Any:
        try:
            return annotation(getattr(self.cls, hook), name)
        except (NameError, TypeError) as error:
            raise _error(self.cls, hook, f"{name}: {error}") from error


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


def server_entry(name: str) -> Any:
    """A function of the server, found by its entry point: the SDK never imports it."""
    found = list(entry_points(group="holdfast.server", name=name))
    if not found:
        raise HoldfastError("no server is installed: pip install 'holdfast[server]'")
    return found[0].load()


def setup(*, use: Mapping[str, type[Actor[Any, Any]]], **config: Any) -> Registry:
    """Registers actor classes; `config` are settings of the server."""
    registered = {name: ActorType(name, cls) for name, cls in use.items()}
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
        for name in (attribute, found.name):
            if name in CLIENT_MEMBERS or name in HOOKS or name in _KNOWN or name.startswith("_"):
                raise _error(cls, attribute, f"{name!r} is reserved and cannot name an action")
        if not _ACTION_NAME.match(found.name):
            raise _error(cls, attribute, f"invalid action name {found.name!r}")
        if found.name in result:
            raise _error(cls, attribute, f"a second action named {found.name!r}")
        if found.durability not in (None, "synced", "buffered"):
            raise _error(cls, attribute, "durability must be 'synced' or 'buffered'")
        if found.timeout_s is not None and not _is_positive(found.timeout_s):
            raise _error(cls, attribute, "timeout_s must be a positive number")
        spec = ActionSpec(cls, found)
        if spec.thread and spec.kind != "plain":
            raise _error(cls, attribute, "thread=True needs a plain function")
        result[found.name] = spec
    return result


def check_attributes(cls: type[Actor[Any, Any]]) -> None:
    """Checks options, misspelt options and members that hide those of a handle."""
    for base in cls.__mro__:
        if base is Actor or not issubclass(base, Actor):
            continue
        for attribute, value in vars(base).items():
            if attribute in CLIENT_MEMBERS:
                raise _error(cls, attribute, "is reserved for clients; give it another name")
            if attribute.startswith("_") or attribute in _KNOWN or isinstance(value, _METHODS):
                continue
            near = difflib.get_close_matches(attribute, sorted(_KNOWN), 1, 0.8)
            if near or attribute.endswith(_UNITS):
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise _error(cls, attribute, f"unknown option{hint}")
    if getattr(cls, "state", None) is not None and cls.create_state is not Actor.create_state:
        raise _error(cls, "state", "both state and create_state are defined; keep one")
    if getattr(cls, "vars", None) is not None and cls.create_vars is not Actor.create_vars:
        raise _error(cls, "vars", "both vars and create_vars are defined; keep one")
    for option, (check, wanted) in _CHECKS.items():
        if not check(getattr(cls, option)):
            raise _error(cls, option, f"must be {wanted}, not {getattr(cls, option)!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


_CHECKS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "sleep_timeout_s": (lambda v: _is_number(v) and 0 <= v <= math.inf, "a number of seconds"),
    "action_timeout_s": (_is_positive, "a positive number of seconds"),
    "state_schema_version": (_is_count, "an integer from 1"),
    "interleave": (lambda v: isinstance(v, bool), "True or False"),
    "reentrant": (lambda v: isinstance(v, bool), "True or False"),
    "durability": (lambda v: v in ("synced", "buffered"), "'synced' or 'buffered'"),
    "mailbox_max": (lambda v: v is None or _is_count(v), "an integer from 1, or None"),
}


def _declared_state(cls: type) -> Any:
    """The S of Actor[S, C] in the bases of a class; None where it is left open."""
    for base in cls.__mro__:
        for origin in getattr(base, "__orig_bases__", ()):
            source = typing.get_origin(origin)
            if isinstance(source, type) and issubclass(source, Actor):
                kind = typing.get_args(origin)[0]
                if not isinstance(kind, typing.TypeVar) and kind is not Any:
                    return kind
    return None


def _error(cls: type, attribute: str, message: str) -> RegistrationError:
    return RegistrationError(f"{cls.__name__}.{attribute}: {message}")
