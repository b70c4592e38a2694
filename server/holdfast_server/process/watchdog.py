"""Sees a handler that holds the event loop, and logs whose it is and where it stands.

A timer on the loop beats; a thread looks at how old the last beat is. When it is
too old, the thread reads the stack of the loop's thread, which holds the frames
of the runtime that run the handler, and among their variables the turn and the
call. So nothing is marked when a turn begins or ends, and a turn pays nothing.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from types import FrameType
from typing import Final

from holdfast_server.core.call import Call
from holdfast_server.runtime.turn import Turn

log = logging.getLogger("holdfast.watchdog")

_BEATS: Final = 4
_FRAMES_MAX: Final = 30
_REPORT_S: Final = 10.0


class Watchdog:
    """Watches the loop it is started on; `warn_s` of 0 is off.

    There is at most one report in `report_s`; the next says how many were left out.
    """

    def __init__(self, warn_s: float, report_s: float = _REPORT_S) -> None:
        self._warn_s = warn_s
        self._report_s = report_s
        self._period_s = warn_s / _BEATS
        self._beaten_at = 0.0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reported_at = float("-inf")
        self._left_out = 0
        # How often the loop was held for too long.
        self.blocked = 0

    def start(self) -> None:
        """Watch the running loop, which runs in this thread."""
        if not self._warn_s:
            return
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._beat()
        self._thread = threading.Thread(target=self._watch, name="holdfast-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._thread.join()

    def _beat(self) -> None:
        self._beaten_at = time.monotonic()
        self._timer = self._loop.call_later(self._period_s, self._beat)

    def _watch(self) -> None:
        while not self._stopped.wait(self._period_s):
            beaten_at = self._beaten_at
            if time.monotonic() - beaten_at < self._warn_s:
                continue
            self.blocked += 1
            reported = self._report(time.monotonic() - beaten_at)
            while self._beaten_at == beaten_at and not self._stopped.wait(self._period_s):
                pass
            if reported:
                held_s = time.monotonic() - beaten_at
                log.warning("the event loop is free again after %.1f s", held_s)

    def _report(self, held_s: float) -> bool:
        now = time.monotonic()
        frame = sys._current_frames().get(self._loop_thread)
        if frame is None:
            return False
        if now - self._reported_at < self._report_s:
            self._left_out += 1
            return False
        # Read first: the code goes on while it is being described.
        whose = _whose(frame)
        stack = "".join(traceback.format_stack(frame, _FRAMES_MAX)).rstrip()
        others = f" ({self._left_out} more since the last report)" if self._left_out else ""
        self._reported_at, self._left_out = now, 0
        log.warning(
            "the event loop is held for %.1f s by %s; use await, or @action(thread=True) for "
            "blocking code%s\n%s",
            held_s,
            whose,
            others,
            stack,
        )
        return True


def _whose(frame: FrameType) -> str:
    """The innermost turn on a stack and the call that it belongs to."""
    turn: Turn | None = None
    call: Call | None = None
    at: FrameType | None = frame
    while at is not None and (turn is None or call is None):
        # Only the runtime's own frames: looking at a user's values is not ours.
        if str(at.f_globals.get("__name__", "")).startswith("holdfast_server.runtime."):
            for value in list(at.f_locals.values()):
                if turn is None and type(value) is Turn:
                    turn = value
                elif call is None and type(value) is Call:
                    call = value
        at = at.f_back
    if turn is None:
        return "code outside a turn"
    action = f"action {call.action!r} of " if call is not None else ""
    return f"{action}actor {turn.label}"
