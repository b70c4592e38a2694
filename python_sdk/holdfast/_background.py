"""The event loop behind blocking clients: one a process, on one daemon thread.

All clients share it, because gRPC's asyncio code wants one loop in a process. It runs
while a client is open. Each client has a `Runner`, through which any number of threads
run coroutines and wait for them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Final, TypeVar, cast

from holdfast.errors import HoldfastError

R = TypeVar("R")

# How long an interrupted thread waits for its call to end.
CANCEL_WAIT_S: Final = 5.0
_END: Final = object()


class BackgroundLoop:
    """One event loop on one daemon thread."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        self.users: int = 0
        self._thread = threading.Thread(target=self._main, name="holdfast-client", daemon=True)
        self._thread.start()

    def is_current_thread(self) -> bool:
        """Whether the calling thread is the loop's own."""
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """End the loop and wait for its thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        # What gRPC has still to do for calls that were cancelled.
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


_guard = threading.Lock()
_shared: BackgroundLoop | None = None


def _acquire() -> BackgroundLoop:
    global _shared
    with _guard:
        if _shared is None:
            _shared = BackgroundLoop()
        _shared.users += 1
        return _shared


def _release(background: BackgroundLoop) -> None:
    global _shared
    with _guard:
        background.users -= 1
        if background.users > 0:
            return
        if _shared is background:
            _shared = None
    background.stop()


def _after_fork() -> None:
    # The thread is not in the child, and another one may have held the lock.
    global _guard, _shared
    _guard, _shared = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Job:
    """One coroutine on the loop, and the thread that waits for it."""

    __slots__ = ("_background", "_coroutine", "_task", "done")

    def __init__(self, background: BackgroundLoop, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._background = background
        self._coroutine = coroutine
        self._task: asyncio.Task[Any] | None = None
        self.done: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def submit(self) -> None:
        """Start on the loop, in the context of the calling thread: its trace goes along."""
        context = contextvars.copy_context()
        self._background.loop.call_soon_threadsafe(self._start, context)

    def cancel(self) -> None:
        """Cancel from any thread; after `submit`."""
        self._background.loop.call_soon_threadsafe(self._cancel)

    def _start(self, context: contextvars.Context) -> None:
        self._task = self._background.loop.create_task(self._coroutine, context=context)
        self._task.add_done_callback(self._finish)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _finish(self, task: asyncio.Task[Any]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            self.done.set_exception(error)
        else:
            self.done.set_result(task.result())


class Runner:
    """Runs the coroutines of one client for any number of threads."""

    def __init__(self) -> None:
        self._background = _acquire()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._jobs: set[_Job] = set()
        self.closed: bool = False

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine and wait for it; what interrupts the wait cancels it."""
        job = _Job(self._background, coroutine)
        try:
            self._submit(job)
        except BaseException:
            coroutine.close()
            raise
        try:
            result: R = job.done.result()
            return result
        except asyncio.CancelledError:
            raise HoldfastError("the client is closed") from None
        except BaseException:
            if not job.done.done():
                # An interrupt of this thread must not leave the call running.
                job.cancel()
                concurrent.futures.wait([job.done], CANCEL_WAIT_S)
            raise
        finally:
            with self._lock:
                self._jobs.discard(job)

    def iterate(self, items: AsyncIterator[R]) -> Iterator[R]:
        """The items, each fetched when it is wanted; closing stops the source."""
        try:
            while True:
                item = self.run(_next(items))
                if item is _END:
                    return
                yield cast(R, item)
        finally:
            self._stop(items)

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Cancel what runs, run `last`, and let go of the loop. Does nothing again."""
        if self._pid != os.getpid():
            last.close()
            return
        with self._lock:
            if self.closed:
                last.close()
                return
            self.closed = True
            jobs = list(self._jobs)
        for job in jobs:
            job.cancel()
        concurrent.futures.wait([job.done for job in jobs])
        final = _Job(self._background, last)
        final.submit()
        try:
            final.done.result()
        finally:
            _release(self._background)

    def _submit(self, job: _Job) -> None:
        if self._pid != os.getpid():
            raise HoldfastError(
                "this process was forked while a Holdfast client was open, and its thread is "
                "not here: close the clients before the fork, or start processes with 'spawn'"
            )
        if self._background.is_current_thread():
            raise HoldfastError(
                "a blocking client cannot wait on its own loop: use holdfast.Client in coroutines"
            )
        with self._lock:
            if self.closed:
                raise HoldfastError("the client is closed")
            self._jobs.add(job)
            job.submit()

    def _stop(self, items: AsyncIterator[Any]) -> None:
        close = getattr(items, "aclose", None)
        if close is None or self.closed or self._pid != os.getpid():
            return
        if self._background.is_current_thread():
            # The garbage collector ended the iteration, on whatever thread it ran.
            self._background.loop.create_task(close())
            return
        self.run(close())


async def _next(items: AsyncIterator[Any]) -> Any:
    return await anext(items, _END)


__all__ = ["Runner"]
