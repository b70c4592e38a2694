"""The running event loop, made to show actors another time than the test.

Code belongs to a `Domain` through its context: tasks, timers and callbacks inherit it
from whoever started them. Inside a domain the loop's `time`, `call_later` and `call_at`
are those of the test clock, so that `asyncio.sleep` and `asyncio.timeout` obey it;
outside, which is the test itself, they stay real. Nobody has to change the loop: while a
harness runs, a few methods are replaced on the loop's instance, and given back at its end.

The hub also counts what happens, so that the clock can tell when all is at rest: every
callback that becomes ready, and work on threads until its result is back on the loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from holdfast.testing._time import TestTime

_DOMAIN: contextvars.ContextVar[Domain | None] = contextvars.ContextVar(
    "holdfast_testing_domain", default=None
)
# What opens a socket, a pipe or a process: from then on the disk and the network of the
# machine decide when something is at rest, so that the clock has to wait for them.
_IO: Final = (
    "add_reader",
    "add_writer",
    "connect_read_pipe",
    "connect_write_pipe",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_sendall",
    "subprocess_exec",
    "subprocess_shell",
)
_HUB: Final = "_holdfast_testing_hub"


class Domain:
    """What runs by one test clock and ends together."""

    def __init__(self, time: TestTime) -> None:
        self.time = time
        self.alive = True
        self._tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        # The order of a set is that of addresses, and not the same in two runs.
        self._count = 0
        self._numbers: weakref.WeakKeyDictionary[asyncio.Task[Any], int] = (
            weakref.WeakKeyDictionary()
        )

    def context(self) -> contextvars.Context:
        """A new context of this domain; nothing of the test's own is in it."""
        context = contextvars.Context()
        context.run(_DOMAIN.set, self)
        return context

    def note(self, task: asyncio.Task[Any]) -> None:
        """A task was started in this domain."""
        self._count += 1
        self._tasks.add(task)
        self._numbers[task] = self._count

    def end(self) -> list[asyncio.Task[Any]]:
        """Drop the timers and cancel the tasks, which are given back, oldest first."""
        self.alive = False
        # Those of a gRPC server are compiled: it ends them itself, and hangs without them.
        running = [task for task in self._tasks if not task.done() and iscoroutine(task.get_coro())]
        tasks = sorted(running, key=lambda task: self._numbers[task])
        for task in tasks:
            task.cancel()
        return tasks


def current_domain() -> Domain | None:
    """The domain of the running code; None for the test's own."""
    return _DOMAIN.get()


class LoopHub:
    """The replaced methods of one loop. Used by all harnesses that run on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._users = 0
        # Callbacks that became ready: all of them, and those of domains.
        self._all = 0
        self._inside = 0
        self._from_threads = 0
        self._lock = threading.Lock()
        # Work on threads whose result has not come back; threads that wait for the loop.
        self._works = 0
        self._waiting_threads = 0
        # Told when a work has ended.
        self.on_stir: list[Callable[[], None]] = []
        self._sleeps: list[asyncio.TimerHandle] = []
        self.real_time = loop.time
        self.real_call_soon = loop.call_soon
        self.real_call_later = loop.call_later
        self._real_call_at = loop.call_at
        self._real_call_soon_threadsafe = loop.call_soon_threadsafe
        self._real_create_task = loop.create_task
        self._real_run_in_executor = loop.run_in_executor
        self._replaced: list[str] = []

    @classmethod
    def acquire(cls, loop: asyncio.AbstractEventLoop) -> LoopHub:
        """The hub of a loop; `release` it."""
        hub: LoopHub | None = vars(loop).get(_HUB)
        if hub is None:
            hub = cls(loop)
            hub._install()
        hub._users += 1
        return hub

    def release(self) -> None:
        """Give the loop its own methods back when nobody uses the hub any more."""
        self._users -= 1
        if self._users:
            return
        for name in self._replaced:
            vars(self.loop).pop(name, None)
        vars(self.loop).pop(_HUB, None)

    @property
    def activity(self) -> tuple[int, int]:
        """Changes when any callback becomes ready."""
        return self._all, self._from_threads

    @property
    def inside(self) -> tuple[int, int]:
        """Changes when a callback of a domain, or one from a thread, becomes ready."""
        return self._inside, self._from_threads

    def note_inside(self) -> None:
        """Something of a domain became ready that no callback has shown."""
        self._inside += 1

    @property
    def busy(self) -> bool:
        """Whether a thread works for the loop, and does not itself wait for it."""
        return self._works > self._waiting_threads

    def test_sleeps_s(self) -> float:
        """How long the test itself sleeps on, in real seconds; 0 when it does not."""
        now = self.real_time()
        self._sleeps = [
            timer for timer in self._sleeps if not timer.cancelled() and timer.when() > now
        ]
        return max((timer.when() - now for timer in self._sleeps), default=0.0)

    def work(self, submit: Callable[[], Future[Any]]) -> Future[Any]:
        """Start work on a thread; the future given back is done on the loop's thread."""
        outer: Future[Any] = Future()
        context = contextvars.copy_context()
        self._works += 1
        inner = submit()

        def back() -> None:
            self._works -= 1
            if outer.set_running_or_notify_cancel():
                error = inner.exception()
                if error is not None:
                    outer.set_exception(error)
                else:
                    outer.set_result(inner.result())
            self.stir()

        inner.add_done_callback(
            lambda _: self._real_call_soon_threadsafe(back, context=context.copy())
        )
        return outer

    def thread_waits(self, done: Future[Any]) -> None:
        """From a working thread: it waits for `done`, which the loop does."""
        with self._lock:
            self._waiting_threads += 1

        def ended(_: object) -> None:
            with self._lock:
                self._waiting_threads -= 1

        # On the loop's thread, so that the thread counts as working before it knows.
        done.add_done_callback(ended)
        self._real_call_soon_threadsafe(self.stir)

    def stir(self) -> None:
        """Something happened that no callback has shown."""
        self._inside += 1
        self._all += 1
        for told in list(self.on_stir):
            told()

    # In place of the loop's own

    def _install(self) -> None:
        vars(self.loop)[_HUB] = self
        replaced: dict[str, Callable[..., Any]] = {
            "time": self._time,
            "call_soon": self._call_soon,
            "call_later": self._call_later,
            "call_at": self._call_at,
            "call_soon_threadsafe": self._call_soon_threadsafe,
            "create_task": self._create_task,
            "run_in_executor": self._run_in_executor,
        }
        for name in _IO:
            if hasattr(self.loop, name):
                replaced[name] = self._noting_io(getattr(self.loop, name))
        for name, method in replaced.items():
            setattr(self.loop, name, method)
            self._replaced.append(name)

    def _time(self) -> float:
        domain = _DOMAIN.get()
        return self.real_time() if domain is None else domain.time.seconds

    def _call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        self._all += 1
        domain = _DOMAIN.get() if context is None else context.get(_DOMAIN)
        if domain is not None:
            self._inside += 1
        return self.real_call_soon(callback, *args, context=context)

    def _call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        domain = _DOMAIN.get()
        if domain is None:
            timer = self.real_call_later(delay, callback, *args, context=context)
            if callback is _SLEEP_ENDS:
                self._sleeps.append(timer)
            return timer
        return domain.time.call_in(delay, callback, args, context, domain)

    def _call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        domain = _DOMAIN.get()
        if domain is None:
            return self._real_call_at(when, callback, *args, context=context)
        return domain.time.call_in(when - domain.time.seconds, callback, args, context, domain)

    def _call_soon_threadsafe(
        self, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        with self._lock:
            self._from_threads += 1
        return self._real_call_soon_threadsafe(callback, *args, context=context)

    def _create_task(self, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task = self._real_create_task(coroutine, **options)
        context = options.get("context")
        domain = _DOMAIN.get() if context is None else context.get(_DOMAIN)
        if domain is not None:
            domain.note(task)
        return task

    def _run_in_executor(
        self, executor: Any, function: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = self._real_run_in_executor(executor, function, *args)
        self._works += 1

        def ended(_: object) -> None:
            self._works -= 1
            self.stir()

        future.add_done_callback(ended)
        return future

    def _noting_io(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*args: Any, **kwargs: Any) -> Any:
            domain = _DOMAIN.get()
            if domain is not None:
                domain.time.real_io = True
            return method(*args, **kwargs)

        return noting


# What ends an `asyncio.sleep`: how the test's own sleeps are told from its time limits.
_SLEEP_ENDS: Final[object] = getattr(asyncio.futures, "_set_result_unless_cancelled", None)
