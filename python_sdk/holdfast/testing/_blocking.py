"""The harness for tests without an event loop: the same surface, blocking.

Its loop runs on the test's own thread, and only while a call, `advance` or the like is
waited for: between two of them nothing moves. Breakpoints in actors stop the test too.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

from holdfast import blocking
from holdfast._background import Runner
from holdfast.events import DeliveredEvent
from holdfast.registry import Registry
from holdfast.testing._harness import IO_WAIT_S, START, Harness
from holdfast.testing.errors import HarnessError
from holdfast.testing.faults import Faults

R = TypeVar("R")

_END: Final = object()


class _OwnLoop:
    """Runs coroutines on a loop of the calling thread; a `Runner` for blocking handles."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._thread = threading.get_ident()
        self.closed: bool = False

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        refusal = self._refusal()
        if refusal:
            coroutine.close()
            raise HarnessError(refusal)
        return self._runner.run(coroutine)

    def iterate(self, items: AsyncIterator[R]) -> Iterator[R]:
        async def following() -> Any:
            return await anext(items, _END)

        async def stop() -> None:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

        try:
            while (item := self.run(following())) is not _END:
                yield cast(R, item)
        finally:
            if not self.closed:
                self.run(stop())

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        last.close()

    def end(self) -> None:
        self.closed = True
        self._runner.close()

    def _refusal(self) -> str:
        if self.closed:
            return "the harness has ended: use it inside its `with` block"
        if threading.get_ident() != self._thread:
            return "a harness belongs to the thread on which it was made"
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return ""
        return "a blocking harness cannot wait in a coroutine: use `async with harness(...)`"


class HarnessClient(blocking.Client):
    """`h.client` of a blocking harness: as `holdfast.blocking.Client`."""

    def __init__(self, harness: Harness, loop: _OwnLoop) -> None:
        # Not the base's, which would open a channel and start a thread.
        self._client = harness.client
        self._runner = cast(Runner, loop)


class BlockingHarness:
    """A server under test for plain functions; see `blocking_harness` and `Harness`."""

    def __init__(self, registry: Registry, **options: Any) -> None:
        self._harness = Harness(registry, **options)
        self._own = _OwnLoop()
        self.client: HarnessClient = HarnessClient(self._harness, self._own)
        """A blocking client of the server under test."""
        self.registry: Registry = registry
        self.seed: int = self._harness.seed
        self.faults: Faults = self._harness.faults
        """Faults to arm; see `holdfast.testing.faults`."""
        self.random: random.Random = self._harness.random
        """Random numbers for the test itself, by the harness's seed."""
        self.logs: list[logging.LogRecord] = self._harness.logs
        """What the server and the actors have logged, in order."""

    @property
    def crashes(self) -> int:
        """How often the server has died, by `crash` or by a fault."""
        return self._harness.crashes

    @property
    def address(self) -> str:
        """ "host:port" of the server; only with grpc=True, once it has started."""
        return self._harness.address

    def now(self) -> datetime:
        """The wall clock of server and actors, in UTC."""
        return self._harness.now()

    def advance(self, delta: timedelta | float | None = None, **units: float) -> None:
        """Move the clock forward, and run everything that is due on the way, in order."""
        self._own.run(self._harness.advance(delta, **units))

    def advance_to(self, moment: datetime) -> None:
        """`advance` until the wall clock shows `moment`, an aware datetime."""
        self._own.run(self._harness.advance_to(moment))

    def settle(self) -> None:
        """Wait until all is at rest; the clock stands still."""
        self._own.run(self._harness.settle())

    def step_wall(self, delta: timedelta | float | None = None, **units: float) -> None:
        """Set the wall clock forward or back by this, as an operator or NTP would."""
        self._own.run(self._harness.step_wall(delta, **units))

    def events(
        self, actor: Any, *names: str, from_sequence: int | None = None
    ) -> list[DeliveredEvent]:
        """The events of an actor, in a list that grows as they come."""
        return self._own.run(self._harness.events(actor, *names, from_sequence=from_sequence))

    def crash(self) -> None:
        """Kill the server as a power cut would, and start it again on the same store."""
        self._own.run(self._harness.crash())

    def restart(self) -> None:
        """Drain and stop the server, then start it again on the same store."""
        self._own.run(self._harness.restart())

    def evict(self, actor: Any) -> None:
        """Put an actor out of memory: its next call wakes it."""
        self._own.run(self._harness.evict(actor))

    def close(self, *, check: bool = True) -> None:
        """Stop the server and give everything back."""
        if self._own.closed:
            return
        try:
            self._own.run(self._harness.close(check=check))
        finally:
            self._own.end()

    def end_from_outside(self, *, check: bool = True) -> None:
        """`close`, as the other harness names it."""
        self.close(check=check)

    def __enter__(self) -> Self:
        self._own.run(self._harness.__aenter__())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(check=exc_type is None)


def blocking_harness(
    registry: Registry,
    *,
    store: str = "memory",
    seed: int = 0,
    start: datetime = START,
    grpc: bool = False,
    auto_advance: bool = True,
    io_wait_s: float = IO_WAIT_S,
    **config: Any,
) -> BlockingHarness:
    """`harness` for tests that are plain functions:

    with blocking_harness(registry) as h:
        h.client.get_or_create(Cart, ["ada"]).add("book")
        h.advance(days=30)
    """
    return BlockingHarness(
        registry,
        store=store,
        seed=seed,
        start=start,
        grpc=grpc,
        auto_advance=auto_advance,
        io_wait_s=io_wait_s,
        **config,
    )


__all__ = ["BlockingHarness", "blocking_harness"]
