"""Whether a function may wait is told from its code."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdfast._suspension import may_wait


def plain() -> int:
    return 1


async def without_await() -> int:
    return sum(number for number in range(3))


async def with_await() -> None:
    await asyncio.sleep(0)


async def in_one_branch(waits: bool) -> None:
    if waits:
        await asyncio.sleep(0)


async def items() -> AsyncIterator[int]:
    yield 1


async def with_async_for() -> None:
    async for _ in items():
        pass


async def with_a_comprehension() -> list[int]:
    return [item async for item in items()]


@asynccontextmanager
async def entered() -> AsyncIterator[None]:
    yield


async def with_async_with() -> None:
    async with entered():
        pass


async def that_defines_one_that_waits() -> Callable[[], Awaitable[None]]:
    return with_await


@functools.wraps(without_await)
async def wrapped(*args: Any) -> int:
    return await without_await(*args)


@pytest.mark.parametrize("function", [plain, without_await, that_defines_one_that_waits])
def test_code_without_await_never_waits(function: Callable[..., Any]) -> None:
    assert not may_wait(function)


@pytest.mark.parametrize(
    "function",
    [
        with_await,
        in_one_branch,
        with_async_for,
        with_a_comprehension,
        with_async_with,
        wrapped,
        functools.partial(with_await),
    ],
)
def test_code_with_any_await_may_wait(function: Callable[..., Any]) -> None:
    assert may_wait(function)
