"""Where a test meets the actors it calls: both run on one loop.

An actor that says `await stage.pause("x")` stops there until the test says
`stage.let("x")`; the test says `await stage.reached("x")` to go on when the actor
is there. What happened is written to `log`, in order. No test sleeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager


class Stage:
    """Named points; one stage for all tests, cleared before each."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget every point and the log."""
        self.log: list[str] = []
        self.kept: dict[str, object] = {}
        self._reached: dict[str, asyncio.Event] = {}
        self._let: dict[str, asyncio.Event] = {}

    # The actor's side

    def mark(self, name: str) -> None:
        """The actor is at this point, and goes on."""
        self._event(self._reached, name).set()

    async def pause(self, name: str) -> None:
        """The actor is at this point, and waits to be let on."""
        self.mark(name)
        await self._event(self._let, name).wait()

    # The test's side

    async def reached(self, name: str) -> None:
        """Wait until the actor is at this point."""
        await self._event(self._reached, name).wait()

    def is_reached(self, name: str) -> bool:
        """Whether the actor has been at this point."""
        return self._event(self._reached, name).is_set()

    def let(self, *names: str) -> None:
        """Whoever waits, or will wait, at these points may go on."""
        for name in names:
            self._event(self._let, name).set()

    @staticmethod
    def _event(events: dict[str, asyncio.Event], name: str) -> asyncio.Event:
        return events.setdefault(name, asyncio.Event())


stage = Stage()


@asynccontextmanager
async def tasks(*running: asyncio.Future[object]) -> AsyncIterator[None]:
    """Tasks that are over, one way or another, at the end of the block."""
    try:
        yield
    finally:
        await ended(running)


async def ended(running: Iterable[asyncio.Future[object]]) -> None:
    """Cancel these and wait until they are over."""
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
