"""A deadline in the loop's time, as the catalogued error that it ends in."""

from __future__ import annotations

import asyncio
from types import TracebackType

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError


class Expiring:
    """`async with Expiring(deadline)`: cancels the block then, which so ends with
    DEADLINE_EXCEEDED; never, when `deadline` is None."""

    __slots__ = ("_timer",)

    def __init__(self, deadline: float | None) -> None:
        self._timer = asyncio.timeout_at(deadline)

    async def __aenter__(self) -> None:
        await self._timer.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._timer.__aexit__(exc_type, exc, traceback)
        except TimeoutError:
            raise HoldfastError(errors.DEADLINE_EXCEEDED) from None
