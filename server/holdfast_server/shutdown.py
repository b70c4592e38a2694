"""Signals of the process: the first asks for a drain, the second ends it at once.

The handlers are Python's own rather than the loop's, so that the second signal
works while an actor holds the loop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


class Shutdown:
    """Whether the process was asked to stop; made on the loop's thread."""

    def __init__(self, reload: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked = asyncio.Event()
        self._signals = 0
        self._reload = reload
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Shutdown:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._on_signal)
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_hangup)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ask(self) -> None:
        """Ask for a drain, from any thread; asking again changes nothing."""
        self._loop.call_soon_threadsafe(self._asked.set)

    async def wait(self) -> None:
        """Wait until a drain is asked for."""
        await self._asked.wait()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            os.write(sys.stderr.fileno(), b"a second signal: exiting at once\n")
            os._exit(128 + number)
        self.ask()

    def _on_hangup(self, _: int, __: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._reload)
