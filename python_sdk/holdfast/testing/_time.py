"""The test clock: timers of domains, run in order when the test moves the time.

Time is a whole number of microseconds, the same for the loop's time and the wall clock,
so that a timer and the row that it is for are due in the same instant. It stands still
but for two reasons. `advance` moves it, timer by timer, each once all is at rest after
the last. And while the test waits for a call, and all is at rest, it moves to the next
timer by itself: a retry's backoff, or an action that sleeps, holds up nobody.

At rest is when a whole round of the loop made no callback ready, and no thread works.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from holdfast.testing._loop import Domain, LoopHub
from holdfast.testing.errors import HarnessError

R = TypeVar("R")

# Where the loop's time begins: far from 0, where "never" would look like "just now".
_BEGIN_US: Final = 1_000_000 * 1_000_000
# Rounds of the loop in which only the test's own tasks did something, as one that polls.
_OUTSIDE_ROUNDS: Final = 200
# Timers that may run in one instant before that counts as an endless loop.
_INSTANT_MAX: Final = 100_000
# How far the clock moves by itself for one call.
_WAIT_US: Final = 24 * 3600 * 1_000_000
# Looks that found nothing to do come after twice the time, up to this.
_LOOK_US: Final = 3600 * 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Timer(asyncio.TimerHandle):
    """A timer of the test clock, due at `due_us`."""

    __slots__ = ("domain", "due_us")

    def __init__(
        self, time: TestTime, due_us: int, callback: Any, args: Any, context: Any, domain: Domain
    ) -> None:
        when = (_BEGIN_US + due_us) / 1_000_000
        super().__init__(when, callback, args, time.hub.loop, context)
        self.domain = domain
        self.due_us = due_us

    def cancel(self) -> None:
        # Not TimerHandle's, which tells the loop.
        if not self.cancelled():
            asyncio.Handle.cancel(self)
            self.domain.time.cancelled += 1

    @property
    def pending(self) -> bool:
        return self.domain.alive and not self.cancelled()


class _Look:
    """A periodic look of the runtime. One that found nothing to do waits twice as long
    for the next, unless something happens meanwhile."""

    __slots__ = ("_set_at_us", "every_us", "inside", "timer")

    def __init__(self) -> None:
        self.timer: _Timer | None = None
        self.every_us = 0
        self._set_at_us = 0
        # What had happened when its timer was set.
        self.inside: tuple[int, int] = (-1, -1)

    def set(self, timer: _Timer, now_us: int, inside: tuple[int, int]) -> None:
        idle = inside == self.inside
        asked_us = timer.due_us - now_us
        self.every_us = max(asked_us, min(2 * self.every_us, _LOOK_US) if idle else 0)
        self.timer, self.inside, self._set_at_us = timer, inside, now_us

    def due_us(self, inside: tuple[int, int]) -> int | None:
        """When it looks, as things are; None while it has no timer."""
        if self.timer is None or not self.timer.pending:
            return None
        return self.timer.due_us if inside != self.inside else self.latest_us

    @property
    def latest_us(self) -> int:
        """When it looks if nothing happens."""
        assert self.timer is not None
        return self._set_at_us + self.every_us

    def take(self) -> _Timer:
        """Its timer, which runs now."""
        assert self.timer is not None
        timer, self.timer = self.timer, None
        return timer


class _Waiter:
    """A call that the test waits for."""

    __slots__ = ("since_us", "stuck", "task")

    def __init__(self, since_us: int, task: asyncio.Task[Any]) -> None:
        self.since_us = since_us
        self.task = task
        self.stuck = False


class TestTime:
    """One test clock over the hub of a loop."""

    __test__ = False

    def __init__(self, hub: LoopHub, start: datetime, io_wait_s: float) -> None:
        self.hub = hub
        self.real_io = False
        self.auto = True
        self.cancelled = 0
        self._io_wait_s = io_wait_s
        self._start_us = (start - _EPOCH) // timedelta(microseconds=1)
        self._now_us = 0
        self._heap: list[tuple[int, int, _Timer]] = []
        self._count = 0
        self._looks: dict[Any, _Look] = {}
        # The advance under way: where to, and who waits for it.
        self._target_us: int | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._waiters: dict[int, _Waiter] = {}
        # The state of the search for rest.
        self._probing = False
        self._listened = False
        self._activity = hub.activity
        self._inside = hub.inside
        self._outside_rounds = 0
        self._instant = 0
        # Callbacks that are the clock's own belong to no domain.
        self._context = contextvars.Context()
        hub.on_stir.append(self._wake)

    # What others read

    @property
    def seconds(self) -> float:
        """The loop's time."""
        return (_BEGIN_US + self._now_us) / 1_000_000

    @property
    def now_us(self) -> int:
        """Microseconds since the clock's start."""
        return self._now_us

    def wall_us(self) -> int:
        """The wall clock: microseconds since 1970."""
        return self._start_us + self._now_us

    def step_wall(self, step_us: int) -> None:
        """Set the wall clock, and nothing else, forward or back."""
        self._start_us += step_us

    # Timers

    def call_in(
        self, delay_s: float, callback: Any, args: Any, context: Any, domain: Domain
    ) -> asyncio.TimerHandle:
        """Run `callback` after a delay of the test clock."""
        context = contextvars.copy_context() if context is None else context
        # A year is the longest that asyncio's own loops wait at once; here it is no limit,
        # but infinity must have a number.
        due_us = self._now_us + max(0, round(min(delay_s, 1e10) * 1_000_000))
        timer = _Timer(self, due_us, callback, args, context, domain)
        if not domain.alive:
            return timer
        if _is_look(callback):
            look = self._looks.setdefault((callback.__func__, id(callback.__self__)), _Look())
            look.set(timer, self._now_us, self.hub.inside)
            return timer
        self._count += 1
        heapq.heappush(self._heap, (due_us, self._count, timer))
        if self.cancelled > 1000 and self.cancelled * 2 > len(self._heap):
            self._compact()
        return timer

    def _compact(self) -> None:
        self._heap = [entry for entry in self._heap if entry[2].pending]
        heapq.heapify(self._heap)
        self.cancelled = 0

    def _next_us(self) -> int | None:
        """When the next timer is due."""
        while self._heap and not self._heap[0][2].pending:
            heapq.heappop(self._heap)
            self.cancelled = max(0, self.cancelled - 1)
        due = [self._heap[0][0]] if self._heap else []
        due += [at for look in self._looks.values() if (at := look.due_us(self.hub.inside))]
        return max(self._now_us, min(due)) if due else None

    def _run_due(self, due_us: int) -> None:
        """Move to `due_us` and make ready what is due there."""
        self._instant = self._instant + 1 if due_us <= self._now_us else 0
        self._now_us = max(self._now_us, due_us)
        looks = [
            look
            for look in self._looks.values()
            if (at := look.due_us(self.hub.inside)) is not None and at <= due_us
        ]
        while self._heap and self._heap[0][0] <= due_us:
            timer = heapq.heappop(self._heap)[2]
            if timer.pending:
                self.hub.note_inside()
                self.hub.real_call_soon(_run, timer, context=self._context)
        self._run_looks(looks)

    def _catch_up(self, target_us: int) -> bool:
        """At the end of an advance: run the looks that were put off beyond it."""
        late = [
            look
            for look in self._looks.values()
            if look.timer is not None and look.timer.pending and look.timer.due_us <= target_us
        ]
        self._run_looks(late)
        return bool(late)

    def _run_looks(self, looks: list[_Look]) -> None:
        for look in looks:
            self.hub.real_call_soon(_run, look.take(), context=self._context)

    # Moving

    async def advance(self, delta_us: int) -> None:
        """Run everything that is due within `delta_us`, in order, and come to rest."""
        if self._target_us is not None:
            raise HarnessError("the clock is being advanced already: await that first")
        self._target_us = self._now_us + delta_us
        self._instant = 0
        self._arrived = self.hub.loop.create_future()
        self._wake()
        try:
            await self._arrived
        finally:
            self._target_us = self._arrived = None

    async def wait_for(self, run: Coroutine[Any, Any, R], domain: Domain, what: str) -> R:
        """The result of `run`, a task of `domain`; the clock moves as it needs."""
        task = self.hub.loop.create_task(run, context=domain.context())
        waiter = self._waiters[id(task)] = _Waiter(self._now_us, task)
        self._instant = 0
        self._wake()
        try:
            return await task
        except asyncio.CancelledError:
            if waiter.stuck:
                raise HarnessError(
                    f"{what} does not end: it waited for {timedelta(microseconds=_WAIT_US)} of "
                    "the test clock, so what it waits for is not time"
                ) from None
            raise
        finally:
            del self._waiters[id(task)]

    def close(self) -> None:
        """Stop; whoever waits for the clock is let go."""
        self.hub.on_stir.remove(self._wake)
        self._heap.clear()
        self._looks.clear()
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_exception(HarnessError("the harness has ended"))

    def _wake(self) -> None:
        """Look whether all is at rest, from now on."""
        if not self._probing:
            self._probing = True
            self._again()

    def _again(self) -> None:
        self.hub.real_call_soon(self._probe, context=self._context)

    def _probe(self) -> None:
        # All that was ready before this callback has run.
        hub = self.hub
        inside, activity = hub.inside != self._inside, hub.activity != self._activity
        self._inside, self._activity = hub.inside, hub.activity
        self._outside_rounds = 0 if inside or not activity else self._outside_rounds + 1
        if inside or (activity and self._outside_rounds < _OUTSIDE_ROUNDS):
            self._listened = False
            self._again()
        elif hub.busy:
            # Its end stirs the hub.
            self._probing = False
        elif self.real_io and not self._listened:
            self._listened = True
            hub.real_call_later(self._io_wait_s, self._probe, context=self._context)
        else:
            self._listened = False
            self._at_rest()

    def _at_rest(self) -> None:
        due_us = self._next_us()
        if self._arrived is not None and self._target_us is not None:
            self._move(self._arrived, self._target_us, due_us)
        elif not self._waiters or not self.auto:
            self._probing = False
        elif sleeps_s := self.hub.test_sleeps_s():
            # The test waits for real time: nothing is hurried.
            self._probing = False
            self.hub.real_call_later(sleeps_s, self._wake, context=self._context)
        else:
            self._help(due_us)

    def _move(self, arrived: asyncio.Future[None], target_us: int, due_us: int | None) -> None:
        if self._instant > _INSTANT_MAX:
            self._probing = False
            arrived.set_exception(HarnessError(self._endless()))
        elif due_us is not None and due_us <= target_us:
            self._run_due(due_us)
            self._again()
        else:
            self._now_us = max(self._now_us, target_us)
            if not self._catch_up(target_us):
                self._target_us = None
                if not arrived.done():
                    arrived.set_result(None)
            self._again()

    def _help(self, due_us: int | None) -> None:
        """The test waits for calls, and all is at rest: go to the next timer."""
        for waiter in self._waiters.values():
            stuck = due_us is None or due_us - waiter.since_us > _WAIT_US
            if stuck or self._instant > _INSTANT_MAX:
                waiter.stuck = True
                waiter.task.cancel()
        if due_us is not None:
            self._run_due(due_us)
        self._again()

    def _endless(self) -> str:
        names = sorted({_name(entry[2]) for entry in self._heap if entry[0] <= self._now_us})
        return (
            f"{_INSTANT_MAX} timers ran in one instant of the test clock, an endless loop of: "
            f"{', '.join(names[:5])}"
        )


def _is_look(callback: Any) -> bool:
    return getattr(callback, "housekeeping", False) is True and hasattr(callback, "__self__")


def _name(timer: _Timer) -> str:
    callback: Callable[..., Any] | None = getattr(timer, "_callback", None)
    return getattr(callback, "__qualname__", repr(callback))


def _run(timer: _Timer) -> None:
    if timer.pending:
        timer._run()
