"""Signals of the process: the first asks for a drain, the second ends it at once.

An actor may hold the loop, and with it the thread that runs Python's signal
handlers, so that a thread of its own reads the numbers that Python writes to
the wakeup descriptor. Whatever else takes that descriptor over leaves the
handlers, which then do the same: a signal counts once, by whichever sees it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

_ENDING: Final = (signal.SIGTERM, signal.SIGINT)
_SIGNALS: Final = (*_ENDING, signal.SIGHUP)


class Shutdown:
    """Whether the process was asked to stop; made on the loop's thread.

    `active` while the process's signals come here, and raise nothing anywhere.
    """

    active = False

    def __init__(self, reload: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked = asyncio.Event()
        self._reload = reload
        # A handler may interrupt another one.
        self._lock = threading.RLock()
        # Signals as the handlers, and as the thread, have counted them.
        self._by_handler: Counter[int] = Counter()
        self._by_thread: Counter[int] = Counter()
        self._handlers_before: dict[int, Any] = {}

    def __enter__(self) -> Shutdown:
        reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        thread = threading.Thread(target=self._read, args=(reading,), daemon=True)
        thread.start()
        for number in _SIGNALS:
            self._handlers_before[number] = signal.signal(number, self._on_signal)
        self._wakeup_before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        Shutdown.active = True
        return self

    def __exit__(self, *_: object) -> None:
        Shutdown.active = False
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        os.close(self._writing)

    def ask(self) -> None:
        """Ask for a drain, from any thread; asking again changes nothing."""
        self._loop.call_soon_threadsafe(self._asked.set)

    async def wait(self) -> None:
        """Wait until a drain is asked for."""
        await self._asked.wait()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._count(self._by_handler, number)

    def _read(self, reading: int) -> None:
        with open(reading, "rb", buffering=0) as pipe:
            while numbers := pipe.read(64):
                for number in numbers:
                    self._count(self._by_thread, number)

    def _count(self, counts: Counter[int], number: int) -> None:
        if number not in _SIGNALS:
            return
        other = self._by_thread if counts is self._by_handler else self._by_handler
        with self._lock:
            counts[number] += 1
            if counts[number] <= other[number]:
                return
            seen = sum(max(self._by_handler[each], self._by_thread[each]) for each in _ENDING)
        if number == signal.SIGHUP:
            self._loop.call_soon_threadsafe(self._reload)
            return
        self.ask()
        if seen > 1:
            os.write(sys.stderr.fileno(), b"a second signal: exiting at once\n")
            os._exit(128 + number)
