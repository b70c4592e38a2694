"""The machine as the runtime sees it: wall clock, threads and event loop."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from holdfast_server.settings import ConfigError


class SystemClock:
    """The machine's wall clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class SystemThreads:
    """One committer thread and a bounded pool for plain actions."""

    def __init__(self, action_threads_max: int) -> None:
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="holdfast-committer")
        self._actions = ThreadPoolExecutor(action_threads_max, thread_name_prefix="holdfast-action")
        self._lock = threading.Lock()
        self._running = 0

    def sync(self, work: Callable[[], None]) -> Future[None]:
        return self._committer.submit(work)

    def action(self, work: Callable[[], Any]) -> Future[Any]:
        return self._actions.submit(self._counted, work)

    def wait(self, done: Future[Any]) -> Any:
        return done.result()

    @property
    def busy(self) -> bool:
        """Whether a plain action runs: nothing can stop it but the end of the process."""
        return self._running > 0

    def close(self) -> None:
        self._committer.shutdown()
        self._actions.shutdown(wait=False, cancel_futures=True)

    def _counted(self, work: Callable[[], Any]) -> Any:
        with self._lock:
            self._running += 1
        try:
            return work()
        finally:
            with self._lock:
                self._running -= 1


def spare_the_collector() -> None:
    """Let the cycle collector run less often, and not over what the start has made.

    A turn leaves no cycles, so that what the collector finds is little, while it
    looks through the objects of every awake actor.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def loop_factory(kind: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the loop of the setting `loop`."""
    installed = importlib.util.find_spec("uvloop") is not None
    if kind == "asyncio" or (kind == "auto" and not (installed and sys.platform == "linux")):
        return asyncio.new_event_loop
    if not installed:
        raise ConfigError("--loop: uvloop is not installed; use auto or asyncio")
    import uvloop

    return uvloop.new_event_loop
