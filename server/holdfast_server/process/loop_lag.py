"""Measures how late the event loop is: each tick is a timer, and what it comes too late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from holdfast_server.core.tally import Histogram
from holdfast_server.runtime.environment import housekeeping

_PERIOD_S: Final = 0.25


class LoopLag:
    """The lag of the loop it is started on. Timers of a loop may be a millisecond late by
    themselves."""

    def __init__(self, stopwatch: Callable[[], float], period_s: float = _PERIOD_S) -> None:
        self.lags = Histogram()
        self._now = stopwatch
        self._period_s = period_s
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> None:
        """Measure the running loop until `stop`."""
        self._loop = asyncio.get_running_loop()
        self._arm()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        self._due = self._now() + self._period_s
        self._timer = self._loop.call_later(self._period_s, self._tick)

    @housekeeping
    def _tick(self) -> None:
        self.lags.take(max(0.0, self._now() - self._due))
        self._arm()
