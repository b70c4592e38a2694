"""The actors that tests of the Connect protocol call."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

from holdfast import Actor, Context, UserError, action, setup
from tests.server.stage import stage


class Desk(Actor[int]):
    """Counts, waits, streams and fails."""

    state = 0
    interleave = True

    @action
    async def add(self, c: Context[int], by: int = 1) -> int:
        c.state += by
        c.broadcast("sum", c.state)
        return c.state

    @action(read_only=True)
    def total(self, c: Context[int]) -> int:
        return c.state

    @action
    async def echo(self, c: Context[int], value: Any) -> Any:
        return value

    @action
    async def fail(self, c: Context[int]) -> None:
        raise UserError("not today", code="closed", metadata={"until": [1, None]})

    @action
    async def crash(self, c: Context[int]) -> None:
        raise RuntimeError("a secret")

    @action
    async def wait(self, c: Context[int], name: str) -> str:
        """Waits to be let on, and says when it is cancelled."""
        try:
            await stage.pause(name)
        except asyncio.CancelledError:
            stage.mark(f"{name} cancelled")
            raise
        return name

    @action
    async def reached(self, c: Context[int], name: str) -> None:
        """Returns when somebody is at a point."""
        await stage.reached(name)

    @action
    async def count(self, c: Context[int], end: int, then: str = "") -> AsyncIterator[int]:
        """Yields numbers, and then waits or fails."""
        try:
            for number in range(end):
                c.state += 1
                yield number
            if then == "fail":
                raise UserError("enough", code="enough")
            if then:
                await stage.pause(then)
        finally:
            stage.mark("count ended")

    @action
    async def pour(self, c: Context[int], size: int) -> AsyncIterator[str]:
        """Never ends by itself."""
        try:
            for number in itertools.count():
                stage.kept["poured"] = number
                yield "x" * size
        finally:
            stage.mark("pour ended")


registry = setup(use={"desk": Desk})
