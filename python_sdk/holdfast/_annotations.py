"""The types that functions are annotated with, one at a time.

Each annotation is resolved alone: a name that exists only for the type checker, such as
that of the context, spoils no other.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from holdfast._generics import NONE, Environment, substitute


def annotation(
    function: Callable[..., Any], name: str, environment: Environment | None = None
) -> Any:
    """The type a parameter (or "return") is annotated with; Any without an annotation.

    Type variables are replaced by `environment`. Raises NameError for an unknown name.
    """
    # A decorator of the user's own copies annotations, but they are read where they stand.
    inner = inspect.unwrap(function)
    found = getattr(inner, "__annotations__", {})
    if name not in found:
        return Any
    holder: Any = SimpleNamespace(__annotations__={name: found[name]})
    hints = typing.get_type_hints(
        holder, globalns=getattr(inner, "__globals__", {}), include_extras=True
    )
    return substitute(hints[name], NONE if environment is None else environment)


__all__ = ["annotation"]
