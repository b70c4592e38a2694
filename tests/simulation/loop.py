"""The simulation's event loop: one thread, no sockets, a virtual clock, one seed.

Whatever asyncio promises is kept: callbacks run in the order in which they became ready,
and a timer never early. What it leaves open is drawn from the seed: how long a tick takes,
and so which timer, message or sync comes between two ticks; and how late a timer is, and
so the order of those that are due together.

Code of a server belongs to a `Life`, which tasks, timers and callbacks inherit by a context
variable. A life that is killed does not run one step more, as a process that has got
SIGKILL: what it still had to do is kept, and is run when all is over, so that its tasks end.
"""

from __future__ import annotations

import asyncio
import contextvars
import selectors
from collections.abc import Callable
from random import Random
from typing import Any, Final

from tests.server.virtual import JumpingSelector, VirtualLoop

# Where time begins: far from 0, where "never" would look like "just now".
BEGIN_S: Final = 1_000_000.0
_LIFE: contextvars.ContextVar[Life | None] = contextvars.ContextVar("simulated_life", default=None)


class Life:
    """What runs from one start of a server to its end."""

    def __init__(self) -> None:
        self.alive = True
        # In the order in which they were begun; held, so that the collector ends none.
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.unfinished: list[tuple[Callable[..., Any], tuple[Any, ...], Any]] = []

    def context(self) -> contextvars.Context:
        """A new context of this life; nothing else is in it."""
        context = contextvars.Context()
        context.run(_LIFE.set, self)
        return context


class SeededSelector(JumpingSelector):
    """Passes the time: up to the next timer, or a little where something is ready."""

    def __init__(self, rng: Random, tick_s: float) -> None:
        super().__init__()
        self.now = BEGIN_S
        self.ticks = 0
        self._rng = rng
        self._tick_s = tick_s

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing will ever happen"
        self.ticks += 1
        # The square: most ticks are short, some are long.
        self.now += timeout if timeout > 0 else self._tick_s * self._rng.random() ** 2
        return []


class SimLoop(VirtualLoop):
    """See the module. `tick_s` is the longest time that one tick takes."""

    def __init__(self, rng: Random, tick_s: float = 0.0005) -> None:
        self._rng = rng
        self._tick_s = tick_s
        super().__init__(SeededSelector(rng, tick_s))
        self.set_task_factory(None)

    @property
    def ticks(self) -> int:
        """How many ticks there were; two runs that are alike have as many."""
        return self.selector.ticks  # type: ignore[attr-defined,no-any-return]

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        life = _LIFE.get() if context is None else context.get(_LIFE)
        if life is not None and not life.alive:
            life.unfinished.append((callback, args, context or contextvars.copy_context()))
            return asyncio.Handle(callback, args, self, context)
        return super().call_soon(callback, *args, context=context)

    def call_soon_threadsafe(
        self, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        late_s = self._tick_s * self._rng.random()
        return super().call_at(when + late_s, callback, *args, context=context)

    def create_task(self, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task = super().create_task(coroutine, **options)
        context = options.get("context")
        life = _LIFE.get() if context is None else context.get(_LIFE)
        if life is not None:
            life.tasks[task] = None
            task.add_done_callback(lambda done: life.tasks.pop(done, None))
        return task

    def kill(self, life: Life) -> None:
        """The life ends in this moment; not from within it."""
        assert _LIFE.get() is not life
        life.alive = False
        mine = [h for h in self._ready if h._context.get(_LIFE) is life]  # type: ignore[attr-defined]
        for handle in mine:
            if not handle.cancelled():
                life.unfinished.append((handle._callback, handle._args, handle._context))
                handle.cancel()
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        for timer in [each for each in timers if each._context.get(_LIFE) is life]:  # type: ignore[attr-defined]
            timer.cancel()

    async def bury(self, life: Life) -> None:
        """Let the tasks of a life that is over come to their ends."""
        life.alive = True
        for callback, args, context in life.unfinished:
            self.call_soon(callback, *args, context=context)
        life.unfinished.clear()
        for _ in range(100):
            if not life.tasks:
                return
            for task in list(life.tasks):
                task.cancel()
            await asyncio.sleep(0)


__all__ = ["Life", "SimLoop"]
