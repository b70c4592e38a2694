"""What the runtime refuses, raised as actor code knows it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from holdfast_server.core.errors import HoldfastError
from holdfast_server.runtime.runners.local.failure import actor_error

P = ParamSpec("P")
R = TypeVar("R")


def surfaced(method: Callable[P, R]) -> Callable[P, R]:
    """A method of a host that raises ActorError."""

    @functools.wraps(method)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except HoldfastError as error:
            raise actor_error(error) from None

    return wrapped


def surfaced_async(
    method: Callable[P, Coroutine[Any, Any, R]],
) -> Callable[P, Coroutine[Any, Any, R]]:
    """A coroutine of a host that raises ActorError."""

    @functools.wraps(method)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(*args, **kwargs)
        except HoldfastError as error:
            raise actor_error(error) from None

    return wrapped
