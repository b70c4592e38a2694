"""What a class must be to be registered: options, hooks, actions and members.

A mistake that Python lets pass, such as a misspelt option or hook, is found here and not
by a user of the actor.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final

from holdfast._annotations import annotation
from holdfast.actor import CLIENT_MEMBERS, HOOKS, OPTIONS, Action, Actor
from holdfast.context import Context
from holdfast.errors import RegistrationError

_ACTION_NAME: Final = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z_.-]{0,126}[0-9A-Za-z_])?\Z")
_UNITS: Final = ("_s", "_ms", "_max", "_min", "_bytes", "_timeout")
_KNOWN: Final = OPTIONS | {"conn_state", "emits", "state", "vars"}
_METHODS: Final = (types.FunctionType, classmethod, staticmethod, property, Action)
# Plain functions, since they only look at what is there; every other hook is `async`.
_PLAIN_HOOKS: Final = frozenset({"on_state_change", "migrate_state"})


def refusal(cls: type, attribute: str, message: str) -> RegistrationError:
    """The error of one attribute of a class."""
    return RegistrationError(f"{cls.__name__}.{attribute}: {message}")


def check_class(cls: type[Actor[Any, Any]]) -> None:
    """Raises RegistrationError for a class that could not run."""
    _check_members(cls)
    if getattr(cls, "state", None) is not None and cls.create_state is not Actor.create_state:
        raise refusal(cls, "state", "both state and create_state are defined; keep one")
    if getattr(cls, "vars", None) is not None and cls.create_vars is not Actor.create_vars:
        raise refusal(cls, "vars", "both vars and create_vars are defined; keep one")
    created = cls.create_conn_state is not Actor.create_conn_state
    if getattr(cls, "conn_state", None) is not None and created:
        raise refusal(
            cls, "conn_state", "both conn_state and create_conn_state are defined; keep one"
        )
    for option, (check, wanted) in _CHECKS.items():
        if not check(getattr(cls, option)):
            raise refusal(cls, option, f"must be {wanted}, not {getattr(cls, option)!r}")
    for hook in sorted(HOOKS):
        _check_hook(cls, hook)
    _check_init(cls)


def _check_members(cls: type[Actor[Any, Any]]) -> None:
    for base in cls.__mro__:
        if base is Actor or not issubclass(base, Actor):
            continue
        for attribute, value in vars(base).items():
            if attribute == "events" and isinstance(value, Mapping):
                raise refusal(cls, attribute, "is what clients call; declare events as `emits`")
            if attribute in CLIENT_MEMBERS:
                raise refusal(cls, attribute, "is reserved for clients; give it another name")
            if attribute.startswith("_") or attribute in _KNOWN or attribute in HOOKS:
                continue
            if isinstance(value, _METHODS):
                _check_method(cls, attribute, value)
                continue
            near = difflib.get_close_matches(attribute, sorted(_KNOWN), 1, 0.8)
            if near or attribute.endswith(_UNITS):
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise refusal(cls, attribute, f"unknown option{hint}")


def _check_method(cls: type, attribute: str, value: object) -> None:
    inner = getattr(value, "__func__", None) or getattr(value, "fget", None)
    if isinstance(inner, Action):
        raise refusal(cls, attribute, "an action is a method: @action goes on a plain function")
    if isinstance(value, Action):
        return
    near = difflib.get_close_matches(attribute, sorted(HOOKS), 1, 0.88)
    if near:
        raise refusal(cls, attribute, f"is no hook; did you mean {near[0]!r}?")


def _check_hook(cls: type[Actor[Any, Any]], hook: str) -> None:
    found = inspect.getattr_static(cls, hook)
    declared = inspect.getattr_static(Actor, hook)
    if found is declared:
        return
    if isinstance(found, Action):
        raise refusal(cls, hook, f"{hook!r} is reserved and cannot name an action")
    if not isinstance(found, types.FunctionType):
        raise refusal(cls, hook, "a hook is a method")
    if hook in _PLAIN_HOOKS and inspect.iscoroutinefunction(found):
        raise refusal(cls, hook, "this hook is a plain function, not `async def`")
    if hook not in _PLAIN_HOOKS and not inspect.iscoroutinefunction(found):
        raise refusal(cls, hook, "this hook is `async def`")
    wanted = list(inspect.signature(declared).parameters)
    try:
        inspect.signature(found).bind(*wanted)
    except TypeError:
        listed = ", ".join(f"`{name}`" for name in wanted)
        raise refusal(cls, hook, f"needs the parameters {listed}") from None


def _check_init(cls: type[Actor[Any, Any]]) -> None:
    """The runtime makes instances without arguments."""
    try:
        inspect.signature(cls).bind()
    except TypeError:
        raise refusal(
            cls, "__init__", "takes no arguments: what an actor knows is its state, vars and input"
        ) from None
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        raise refusal(cls, "__init__", f"the class is abstract: {missing}")


def check_action(cls: type[Actor[Any, Any]], attribute: str, found: Action[..., Any]) -> None:
    """Raises RegistrationError for an action that could not be called."""
    if not isinstance(found.name, str) or not _ACTION_NAME.match(found.name):
        raise refusal(
            cls,
            attribute,
            f"invalid action name {found.name!r}: 1 to 128 letters, digits, '_', '-' and '.'",
        )
    for name in (attribute, found.name):
        if name in CLIENT_MEMBERS or name in HOOKS or name in _KNOWN or name.startswith("_"):
            raise refusal(cls, attribute, f"{name!r} is reserved and cannot name an action")
    if not callable(found.function) or isinstance(found.function, (classmethod, staticmethod)):
        raise refusal(cls, attribute, "an action is a method: @action goes on a plain function")
    for flag in ("read_only", "interleave", "thread"):
        if not isinstance(getattr(found, flag), bool):
            raise refusal(cls, attribute, f"{flag} must be True or False")
    if found.durability not in (None, "synced", "buffered"):
        raise refusal(cls, attribute, "durability must be 'synced' or 'buffered'")
    if found.timeout_s is not None and not is_positive(found.timeout_s):
        raise refusal(cls, attribute, "timeout_s must be a positive number of seconds")
    function = inspect.unwrap(found.function)
    if found.thread and (
        inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    ):
        raise refusal(cls, attribute, "thread=True needs a plain function")
    if inspect.isgeneratorfunction(function):
        raise refusal(cls, attribute, "a streaming action is `async def` with `yield`")


def check_context(function: Callable[..., Any]) -> None:
    """Raises ValueError where the parameter after `self` is plainly not the context."""
    names = list(inspect.signature(function).parameters)
    if len(names) < 2:
        raise ValueError("needs the parameters `self` and `c`")
    try:
        kind = annotation(function, names[1])
    except NameError:
        return  # a name that exists only for the type checker
    kind = typing.get_origin(kind) or kind
    if kind in (Any, object) or not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return
    if not issubclass(kind, Context):
        raise ValueError(
            f"the parameter after `self` is the context, not {names[1]!r}: {kind.__name__}"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def is_positive(value: Any) -> bool:
    """Whether this is a number above 0."""
    return _is_number(value) and value > 0


def _is_lifetime(value: Any) -> bool:
    return _is_number(value) and 1 <= value <= 1e10


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


_CHECKS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "sleep_timeout_s": (lambda v: _is_number(v) and 0 <= v <= math.inf, "a number of seconds"),
    "no_sleep": (lambda v: isinstance(v, bool), "True or False"),
    "action_timeout_s": (is_positive, "a positive number of seconds"),
    "state_schema_version": (_is_count, "an integer from 1"),
    "interleave": (lambda v: isinstance(v, bool), "True or False"),
    "reentrant": (lambda v: isinstance(v, bool), "True or False"),
    "durability": (lambda v: v in ("synced", "buffered"), "'synced' or 'buffered'"),
    "state_ttl_s": (lambda v: v is None or _is_lifetime(v), "1 to 1e10 seconds, or None"),
    "mailbox_max": (lambda v: v is None or _is_count(v), "an integer from 1, or None"),
    "hibernate_connections": (lambda v: isinstance(v, bool), "True or False"),
    "hibernate_websockets": (lambda v: isinstance(v, bool), "True or False"),
}

__all__ = ["check_action", "check_class", "check_context", "is_positive", "refusal"]
