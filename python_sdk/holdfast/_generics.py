"""Type parameters of generic actor classes, and what a subclass put in their place.

    class Shelf(Actor[State], Generic[T]):
        @action
        async def put(self, c: Context, item: T) -> int: ...

    class BookShelf(Shelf[Book]): ...       # here `item` is a Book

A parameter belongs to the class that declares it: two bases may use one TypeVar for
different types, so each class of the hierarchy has its own environment.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import typing_extensions

Environment = Mapping[Any, Any]
"""Type variables with what stands for them."""

NONE: Environment = {}


def substitute(kind: Any, environment: Environment) -> Any:
    """The type with its variables replaced; those that are open stay."""
    if not environment:
        return kind
    if _is_variable(kind):
        return environment.get(kind, kind)
    parameters = getattr(kind, "__parameters__", ())
    if not parameters or typing.get_origin(kind) is None:
        return kind
    return kind[tuple(environment.get(parameter, parameter) for parameter in parameters)]


@lru_cache(maxsize=1024)
def environments(cls: type) -> Mapping[type, Environment]:
    """The environment of each class that `cls` derives from, itself included."""
    found: dict[type, Environment] = {}
    _walk(cls, NONE, found)
    return found


def environment_of(cls: type, attribute: str) -> Environment:
    """The environment of the class that defines an attribute of `cls`."""
    for base in cls.__mro__:
        if attribute in vars(base):
            return environments(cls).get(base, NONE)
    return NONE


def _walk(cls: type, environment: Environment, found: dict[type, Environment]) -> None:
    # A class reached twice keeps what says more.
    if cls in found and not environment:
        return
    found[cls] = environment
    generic = vars(cls).get("__orig_bases__", ())
    for base in generic:
        origin = typing.get_origin(base)
        if not isinstance(origin, type) or origin in (typing.Generic, typing.Protocol):
            continue
        variables = getattr(origin, "__parameters__", ())
        values = [substitute(value, environment) for value in typing.get_args(base)]
        values += [_default(variable) for variable in variables[len(values) :]]
        _walk(origin, dict(zip(variables, values, strict=False)), found)
    for base in cls.__bases__:
        if base not in found and base is not object:
            variables = getattr(base, "__parameters__", ())
            _walk(base, {variable: _default(variable) for variable in variables}, found)


def _is_variable(kind: Any) -> bool:
    return isinstance(kind, typing.TypeVar)


def _default(variable: Any) -> Any:
    default = getattr(variable, "__default__", typing_extensions.NoDefault)
    if default is typing_extensions.NoDefault or default is None:
        return getattr(variable, "__bound__", None) or Any
    return default


__all__ = ["NONE", "Environment", "environment_of", "environments", "substitute"]
