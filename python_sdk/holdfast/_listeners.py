"""Functions that hear of events: called in order, never allowed to break anything.

A plain function runs where the event arrives. A coroutine function is awaited before the
next event of the same listener; meanwhile its events wait, and give no credit. A `Queued`
one is called at once each time, since it keeps the order by itself, that of all listeners.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

log = logging.getLogger("holdfast")

Function = Callable[..., Any]


class Queued:
    """A function that runs elsewhere, one call after the other. `run` is given what says
    whether the call is wanted no more, and the arguments; it gives an awaitable."""

    __slots__ = ("run",)

    def __init__(self, run: Function) -> None:
        self.run: Function = run


class _Place:
    # Whether a listener is there; apart from it, so that nothing refers to itself.
    __slots__ = ("gone", "once")

    def __init__(self, once: bool) -> None:
        self.once = once
        self.gone = False

    def is_lost(self) -> bool:
        return self.gone and not self.once


class Listener:
    """One registration of one function."""

    __slots__ = (
        "_errors",
        "_function",
        "_once",
        "_place",
        "_queued",
        "_waiting",
        "remove",
        "tasks",
    )

    def __init__(
        self,
        function: Function | Queued,
        errors: Callable[[Exception], None],
        *,
        once: bool = False,
    ) -> None:
        self._place = _Place(once)
        self._queued = isinstance(function, Queued)
        if isinstance(function, Queued):
            function = partial(function.run, self._place.is_lost)
        if not callable(function):
            raise TypeError(f"a listener is a function, not {type(function).__name__}")
        self._function = function
        self._errors = errors
        self._once = once
        self._waiting: deque[tuple[tuple[Any, ...], Callable[[], None]]] = deque()
        # Calls that are not over; more than one only of a queued function.
        self.tasks: set[asyncio.Task[None]] = set()
        self.remove: Callable[[], None] = lambda: None

    def offer(self, args: tuple[Any, ...], done: Callable[[], None]) -> None:
        """Call the function, now or after what it is still doing; `done` when handled."""
        if self.gone:
            done()
            return
        if self._once:
            self.remove()
        if self.tasks and not self._queued:
            self._waiting.append((args, done))
            return
        outcome = self._call(args)
        if outcome is None:
            done()
        else:
            task = asyncio.get_running_loop().create_task(self._finish(outcome, done))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def _call(self, args: tuple[Any, ...]) -> Any:
        try:
            outcome = self._function(*args)
        except Exception as error:
            self._errors(error)
            return None
        return outcome if inspect.isawaitable(outcome) else None

    async def _finish(self, outcome: Any, done: Callable[[], None]) -> None:
        try:
            while True:
                try:
                    if outcome is not None:
                        await outcome
                except Exception as error:
                    self._errors(error)
                done()
                if not self._waiting:
                    return
                args, done = self._waiting.popleft()
                outcome = None if self._place.is_lost() else self._call(args)
        finally:
            task = asyncio.current_task()
            assert task is not None
            self.tasks.discard(task)

    @property
    def gone(self) -> bool:
        """Whether it was removed."""
        return self._place.gone

    def leave(self) -> None:
        """It was removed."""
        self._place.gone = True


class Listeners:
    """The functions for one thing that happens: `add` gives the function that removes."""

    __slots__ = ("_errors", "_found")

    def __init__(self, errors: Callable[[Exception], None]) -> None:
        self._errors = errors
        self._found: dict[Listener, None] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(
        self,
        function: Function | Queued,
        *,
        once: bool = False,
        emptied: Callable[[], None] | None = None,
    ) -> Callable[[], None]:
        """Register a function; `emptied` is called when the last one goes."""
        listener = Listener(function, self._errors, once=once)

        def remove() -> None:
            if self._found.pop(listener, self) is self:
                return
            listener.leave()
            if emptied is not None and not self._found:
                emptied()

        listener.remove = remove
        self._found[listener] = None
        return remove

    async def settled(self) -> None:
        """Wait until those that are called now have come to their end."""
        while busy := [task for each in self._found for task in each.tasks]:
            await asyncio.wait(busy)

    def call(self, *args: Any, done: Callable[[], None] = lambda: None) -> None:
        """Call them all; `done` when the last has handled it."""
        found = list(self._found)
        if not found:
            done()
            return
        if len(found) == 1:
            found[0].offer(args, done)
            return
        one_done = last_of(len(found), done)
        for listener in found:
            listener.offer(args, one_done)


def last_of(count: int, done: Callable[[], None]) -> Callable[[], None]:
    """What calls `done` when it is called for the last of so many times."""
    left = count

    def one_done() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done()

    return one_done


def log_error(what: str) -> Callable[[Exception], None]:
    """What becomes of an error that nobody listens for."""

    def report(error: Exception) -> None:
        log.error("%s failed", what, exc_info=error)

    return report


__all__ = ["Function", "Listener", "Listeners", "Queued", "last_of", "log_error"]
