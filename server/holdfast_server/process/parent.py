"""The process that watches over this one: a pipe tells when it is gone.

A signal would not do: it may come from elsewhere, and a parent that was killed
sends none.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

__all__ = ["Parent"]


class Parent:
    """Waits, on a thread, until the other end of the pipe is closed."""

    def __init__(self, descriptor: int, gone: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._gone = gone
        threading.Thread(target=self._wait, name="holdfast-parent", daemon=True).start()

    def _wait(self) -> None:
        while os.read(self._descriptor, 1):
            pass
        self._gone()
