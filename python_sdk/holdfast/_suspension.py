"""Whether a function can ever wait, told from its code."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable
from typing import Any, Final

# What `await`, `async for` and `async with` compile to.
_WAITING: Final = frozenset({"GET_AWAITABLE", "SEND", "YIELD_VALUE", "YIELD_FROM"})


def may_wait(function: Callable[..., Any]) -> bool:
    """Whether a call of `function` may give something that has to be waited for.

    False for a plain function, and for an `async def` without any `await`, whose coroutine
    ends in its first step. What cannot be looked into counts as waiting.
    """
    if not inspect.iscoroutinefunction(function):
        return False
    code = getattr(function, "__code__", None)
    if code is None or not code.co_flags & inspect.CO_COROUTINE:
        return True
    return any(each.opname in _WAITING for each in dis.get_instructions(code))


__all__ = ["may_wait"]
