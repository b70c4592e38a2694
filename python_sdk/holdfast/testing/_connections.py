"""Connections and subscriptions of a harness's client, by the test clock.

They are the SDK's own. What the test does with them is done in the client's domain, in
which they live; and where the test waits for one, the clock moves as far as that needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from holdfast._connection_core import ConnectionCore

R = TypeVar("R")


class Clocked(Protocol):
    """The transport of a harness's client."""

    @property
    def inner(self) -> Any:
        """The transport within; None before the harness has started."""
        ...

    def inside(self, run: Callable[..., R], *args: Any) -> R:
        """Run a plain function in the client's domain."""
        ...

    async def started(self) -> Any:
        """Start the harness when it has not started."""
        ...

    async def wait(self, run: Callable[[], Coroutine[Any, Any, R]], what: str) -> R:
        """The result of a coroutine of the client; the clock moves as it needs."""
        ...


class ClockedCore(ConnectionCore):
    """A connection whose test may wait for it."""

    async def ready(self, timeout: float | None) -> None:
        ready = super().ready
        await self._wait(lambda: ready(timeout), "opening a connection")

    async def settled(self) -> None:
        await self._wait(super().settled, "opening a connection")

    async def usable(self, timeout: float | None) -> Any:
        stream: Any = await super().usable(timeout)
        return stream.made()

    async def close(self) -> None:
        if self.status != "closed":
            await self._wait(super().close, "closing a connection")

    async def _wait(self, run: Callable[[], Coroutine[Any, Any, None]], what: str) -> None:
        transport: Any = self._transport
        await transport.wait(run, what)


class _Late:
    """Something of the transport within. What is done with it before the harness has
    started is done, in order, when it has."""

    def __init__(self, transport: Clocked, make: Callable[[Any], Any]) -> None:
        self._transport = transport
        self._make = make
        self._made: Any = None
        self._undone: list[tuple[str, tuple[Any, ...]]] = []
        self._starting: asyncio.Task[None] | None = None

    def made(self) -> Any:
        """The thing itself; the harness has started."""
        if self._made is None:
            self._made = self._transport.inside(self._make, self._transport.inner)
        return self._made

    @property
    def begun(self) -> bool:
        """Whether something has been done with it."""
        return self._made is not None or bool(self._undone)

    def _do(self, name: str, *args: Any) -> None:
        if self._transport.inner is not None and not self._undone:
            self._transport.inside(getattr(self.made(), name), *args)
            return
        self._undone.append((name, args))
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())

    async def _start(self) -> None:
        await self._transport.started()
        undone, self._undone = self._undone, []
        for name, args in undone:
            self._do(name, *args)

    def _undo(self) -> bool:
        """Do nothing more; whether nothing was done at all."""
        self._undone.clear()
        if self._starting is not None:
            self._starting.cancel()
        return self._made is None

    def pause(self) -> float:
        """Seconds until the next try of what failed for a while."""
        delay: float = 0.0 if self._made is None else self._made.pause()
        return delay


class ClockedCarrier(_Late):
    """Carries a feed."""

    def open(self) -> None:
        """Subscribe, from where the feed stands."""
        self._do("open")

    def close(self) -> None:
        """Unsubscribe."""
        if not self._undo():
            self._transport.inside(self._made.close)

    def grant(self, count: int) -> None:
        """This many bytes were taken."""
        self._do("grant", count)


class ClockedStream(_Late):
    """A connection as its core sees it."""

    def open(self, params: Any) -> None:
        """Open a new connection."""
        self._do("open", params)

    def handled(self, number: int, size: int) -> None:
        """A message was handled."""
        self._do("handled", number, size)

    async def close(self) -> None:
        """Disconnect, and wait until the server has."""
        if not self._undo():
            await self._made.close()
