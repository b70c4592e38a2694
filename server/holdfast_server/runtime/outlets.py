"""What committed turns have for one client that reads at its own pace: bounded, in order.

A turn's items come together once its commit is durable. Whoever makes more waits until
there is `room`; a turn waits for no reader: when it finds more than the limit left of
earlier ones, and the reader does not take that at once, the client counts as too slow.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Outlet(Generic[T]):
    """Items on their way to one client."""

    __slots__ = (
        "_final",
        "_items",
        "_judging",
        "_leaving",
        "_limit",
        "_loop",
        "_overflow",
        "_pending",
        "_waiting",
        "_wake",
        "over",
        "size",
        "submitted",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limit: int,
        *,
        wake: Callable[[], None],
        overflow: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._limit = limit
        # The reader: there is something to read; the client was too slow.
        self._wake = wake
        self._overflow = overflow
        self._items: deque[tuple[T, int]] = deque()
        self._waiting: list[asyncio.Future[None]] = []
        # Bytes that wait for the client, those of the item that is leaving included.
        self.size = self._leaving = 0
        self._judging = False
        # Turns that have ended and are not durable yet, and their bytes here.
        self._pending = self.submitted = 0
        # What comes behind theirs, and is the last.
        self._final: tuple[T] | None = None
        # Nothing is taken any more; what is there still leaves.
        self.over = False

    @property
    def empty(self) -> bool:
        return not self._items

    def put(self, items: list[tuple[T, int]]) -> None:
        """Add the items of one turn."""
        if self.over:
            return
        before = self.size
        self._items.extend(items)
        self.size += sum(size for _, size in items)
        self._wake()
        if before > self._limit and not self._judging:
            # Many turns may come in one tick, and the reader has had no chance yet.
            self._judging = True
            self._loop.call_soon(self._judge)

    def _judge(self) -> None:
        self._judging = False
        if not self.over and self.size > self._limit:
            self._overflow()

    def last(self, item: T) -> None:
        """Add what nothing comes after, behind what turns that have ended will add."""
        if self.over or self._final is not None:
            return
        self._final = (item,)
        self._finish()

    def _finish(self) -> None:
        if self._final is not None and not self._pending and not self.over:
            self.over = True
            self._items.append((self._final[0], 0))
            self._wake()
            self._settle()

    def end(self, *, drop: bool = False) -> None:
        """Take nothing any more; with `drop`, forget what is there."""
        self.over, self._final = True, None
        if drop:
            self._items.clear()
            self.size = self._leaving
        self._wake()
        self._settle()

    def take(self) -> T:
        """The item in front, which counts until it has `left`."""
        item, self._leaving = self._items.popleft()
        return item

    def left(self) -> None:
        """The item that was taken is with the client, or given up."""
        self.size -= self._leaving
        self._leaving = 0
        self._settle()

    async def room(self) -> None:
        """Wait until no more than the limit waits, or nothing is taken any more."""
        while not self.over and self.submitted + self.size > self._limit:
            await self._change()

    async def drained(self) -> None:
        """Wait until everything has left."""
        while self._items or self._leaving or (self._pending and not self.over):
            await self._change()

    def lose(self) -> None:
        """The turns that were not durable are lost."""
        self._pending = self.submitted = 0
        self._finish()
        self._settle()

    async def _change(self) -> None:
        waiting = self._loop.create_future()
        self._waiting.append(waiting)
        await waiting

    def _settle(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def submit(self, items: list[tuple[T, int]]) -> None:
        """A turn has ended that has these."""
        self._pending += 1
        self.submitted += sum(size for _, size in items)

    def released(self, items: list[tuple[T, int]]) -> None:
        """The items of a turn that was submitted are durable."""
        self._pending = max(0, self._pending - 1)
        self.submitted = max(0, self.submitted - sum(size for _, size in items))
        self.put(items)
        self._finish()
        self._settle()


class Outputs:
    """The items of a turn that has not committed, by their outlets."""

    __slots__ = ("_by_outlet", "size")

    def __init__(self) -> None:
        self.size = 0
        self._by_outlet: dict[int, tuple[Outlet[Any], list[tuple[Any, int]]]] = {}

    def add(self, outlet: Outlet[Any], item: object, size: int) -> None:
        self.size += size
        self._by_outlet.setdefault(id(outlet), (outlet, []))[1].append((item, size))

    def submit(self) -> Callable[[], None]:
        """The turn has ended: its items are counted; what to do once they are durable."""
        everything = list(self._by_outlet.values())
        for outlet, items in everything:
            outlet.submit(items)

        def release() -> None:
            for outlet, items in everything:
                outlet.released(items)

        return release
