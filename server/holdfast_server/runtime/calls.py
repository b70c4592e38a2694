"""The calls in progress of one process, and their end when it drains.

A drain refuses new ones, then lets those in progress finish; streams are ended
between two items once their time is up; what is left at last is cut: its turn
is cancelled and rolled back, and the caller hears that the outcome is unknown.
So every caller gets an error of ours, whatever transport it came by.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Protocol
from weakref import WeakKeyDictionary

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.tally import CallTally

log = logging.getLogger("holdfast.calls")

_CUT_S = 2.0


def told(error: BaseException) -> HoldfastError:
    """What a caller hears of a failure: no more than that, unless it is catalogued."""
    if isinstance(error, HoldfastError):
        return error
    log.exception("a handler failed", exc_info=error)
    return HoldfastError(errors.INTERNAL_ERROR)


def ends_here() -> HoldfastError:
    """What a stream answers that a drain ends between two items: nothing is in doubt."""
    return HoldfastError(
        errors.SERVER_DRAINING, "the server is draining; the stream ends after this item"
    )


def _cut_off() -> HoldfastError:
    return HoldfastError(
        errors.COMMIT_UNKNOWN,
        "the server stopped before the call ended; retry with the same idempotency key",
    )


class Cuttable(Protocol):
    """A call in progress that has no task."""

    def cut(self, error: HoldfastError) -> None:
        """Answer with this, and nothing later."""
        ...


class Calls:
    """Tasks of the RPCs and requests in progress."""

    __slots__ = (
        "_cut",
        "_ended",
        "_loop",
        "_streams_end",
        "_tasks",
        "_without_task",
        "draining",
        "rpcs",
        "stopwatch",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, stopwatch: Callable[[], float]) -> None:
        self._loop = loop
        self.stopwatch = stopwatch
        # Of RPCs, by Service/Method; each of its errors by the name of its status.
        self.rpcs: defaultdict[str, CallTally] = defaultdict(CallTally)
        self.draining = False
        self._streams_end = False
        self._tasks: set[asyncio.Task[object]] = set()
        self._cut: set[asyncio.Task[object]] = set()
        # Those that were ended one by one, and why.
        self._ended: WeakKeyDictionary[asyncio.Task[object], HoldfastError] = WeakKeyDictionary()
        self._without_task: set[Cuttable] = set()

    def enter(self) -> asyncio.Task[object]:
        """Count the call of this task; SERVER_DRAINING when no more are taken."""
        if self.draining:
            raise HoldfastError(errors.SERVER_DRAINING)
        # To look for the running loop would cost a system call.
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._tasks.add(task)
        return task

    def enter_without_task(self, call: Cuttable) -> None:
        """Count a call that is run in another's task, until it leaves."""
        self._without_task.add(call)

    def leave_without_task(self, call: Cuttable) -> None:
        self._without_task.discard(call)

    def __len__(self) -> int:
        return len(self._tasks) + len(self._without_task)

    def leave(self, task: asyncio.Task[object] | None) -> None:
        """The call of this task is over; nothing where it did not come so far as to count."""
        if task is not None:
            self._tasks.discard(task)

    def check_stream(self) -> None:
        """Between two items of a stream: SERVER_DRAINING when it has to end here."""
        if self._streams_end:
            raise ends_here()

    def end_streams(self) -> None:
        """Streams go on to their next item and end there."""
        self._streams_end = True

    def was_cut(self, task: asyncio.Task[object] | None) -> HoldfastError | None:
        """What a cancelled call answers if it was cancelled here: by a drain, or by `end`."""
        if task is None:
            return None
        ended = self._ended.pop(task, None)
        if ended is not None:
            task.uncancel()
            return ended
        if task not in self._cut:
            return None
        task.uncancel()
        return _cut_off()

    def failure_of(self, error: BaseException, task: asyncio.Task[object] | None) -> HoldfastError:
        """What a client hears of what ended a call that counts as `task`, if it came that far."""
        if not isinstance(error, asyncio.CancelledError):
            return told(error)
        cut = self.was_cut(task)
        return HoldfastError(errors.CANCELLED) if cut is None else cut

    def end(self, task: asyncio.Task[object], error: HoldfastError) -> None:
        """Cancel the call of this task, which then answers `error`."""
        self._ended[task] = error
        task.cancel()

    async def cut(self) -> None:
        """Cancel what is in progress and give it a moment to answer."""
        for call in list(self._without_task):
            call.cut(_cut_off())
        self._cut = set(self._tasks)
        for task in self._cut:
            task.cancel()
        if self._cut:
            await asyncio.wait(self._cut, timeout=_CUT_S)
