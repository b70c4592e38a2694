"""A deadline in the loop's time, as the catalogued error that it ends in.

A timer costs more than a short handler: one is set only for what really waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import TracebackType, coroutine
from typing import Any, TypeVar

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError

R = TypeVar("R")


class Expiring:
    """`async with Expiring(deadline)`: cancels the block then, which so ends with
    DEADLINE_EXCEEDED; never, when `deadline` is None."""

    __slots__ = ("_active", "_timer")

    def __init__(self, deadline: float | None) -> None:
        self._timer = asyncio.timeout_at(deadline)
        self._active = False

    def move(self, deadline: float | None) -> None:
        """Another deadline; nothing outside the block, or once it has passed."""
        if self._active and not self._timer.expired():
            self._timer.reschedule(deadline)

    async def __aenter__(self) -> None:
        await self._timer.__aenter__()
        self._active = True

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._active = False
        try:
            await self._timer.__aexit__(exc_type, exc, traceback)
        except TimeoutError:
            raise HoldfastError(errors.DEADLINE_EXCEEDED) from None


async def run_until(run: Coroutine[Any, Any, R], deadline: float | None) -> R:
    """The result of `run`, which is cancelled at `deadline`."""
    try:
        waits_for = run.send(None)
    except StopIteration as stop:
        result: R = stop.value
        return result
    async with Expiring(deadline):
        return await _go_on(run, waits_for)


@coroutine
def _go_on(run: Coroutine[Any, Any, R], waits_for: Any) -> Generator[Any, Any, R]:
    """Await a coroutine that was begun, and gave `waits_for` to wait for."""
    while True:
        try:
            yield waits_for
        except BaseException as error:
            try:
                waits_for = run.throw(error)
            except StopIteration as stop:
                result: R = stop.value
                return result
        else:
            return (yield from run.__await__())
