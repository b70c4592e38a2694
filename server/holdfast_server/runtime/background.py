"""What of an actor goes on outside its turns: `run`, keep_awake and wait_until work.

An activation has a Background from the first time that it needs one, and most
never do: it holds the tasks, the abort signal that tells them to end, and the
state of the activation's life. Work that fails is logged, and told to the
observer; it never fails anything else. Tasks hold no turn, they take their own.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Generator
from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, Any

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.lifecycle import Event, State, following

if TYPE_CHECKING:
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.runners.api import Instance

log = logging.getLogger("holdfast.actor")

# How long cancelled work may take to clean up; then it is left behind.
_CANCELLED_S = 1.0


class Work(Enum):
    """The kinds of background work, by the names that users know."""

    RUN = "run"
    KEEP_AWAKE = "keep_awake"
    # The same, when somebody awaits its result and so hears of its failure.
    AWAITED = "keep_awake (awaited)"
    WAIT_UNTIL = "wait_until"
    WEBSOCKET = "on_websocket"
    # Of a class whose sockets stay open while it sleeps.
    HIBERNATING = "on_websocket (hibernating)"


# What lets the actor go to sleep; what has limits of its own.
_LETS_SLEEP = frozenset({Work.WAIT_UNTIL, Work.HIBERNATING})
_COUNTED = frozenset({Work.KEEP_AWAKE, Work.AWAITED, Work.WAIT_UNTIL})

_code_of: ContextVar[Background | None] = ContextVar("holdfast_background", default=None)

# How work ends that its actor leaves behind: nothing to be alarmed about.
_STOPPED = frozenset({errors.ACTOR_STOPPING.reason, errors.ACTOR_DESTROYED.reason})


def running_background() -> Background | None:
    """The background whose work the running code is, or was called by."""
    return _code_of.get()


class Background:
    """The work of one activation, and the state of its life."""

    __slots__ = ("aborted", "activation", "asleep", "keeping", "state", "tasks", "waiting")

    def __init__(self, activation: Activation, state: State) -> None:
        self.activation = activation
        self.state = state
        # Set when the activation begins to stop.
        self.aborted = asyncio.Event()
        self.tasks: dict[asyncio.Future[Any], Work] = {}
        # Tasks that keep the actor awake.
        self.keeping = 0
        # Done when the activation has left memory; made when it begins to.
        self.asleep: asyncio.Future[None] | None = None
        # Calls that wait for that.
        self.waiting = 0

    @property
    def sleeping(self) -> bool:
        """Whether new calls have to wait until it is asleep."""
        return self.state is State.SLEEPING

    def on(self, event: Event) -> bool:
        """Take an event; whether it changed the state. ACTOR_STOPPING if it is refused."""
        after = following(self.state, event)
        if after is None:
            raise HoldfastError(errors.ACTOR_STOPPING, f"the actor is {self.state.value}")
        before, self.state = self.state, after
        if after in (State.SLEEPING, State.DESTROYING, State.GONE):
            self.aborted.set()
        if after is not before and (after is State.SLEEPING or event is Event.LOST):
            self.activation.node.raw.stop(self.activation, lost=event is Event.LOST)
        return after is not before

    # Work

    def add(self, awaitable: Awaitable[Any], work: Work) -> asyncio.Future[Any]:
        """Let `awaitable` go on outside turns."""
        limit = self.activation.node.limits.background_tasks_max
        try:
            if self.state is State.GONE:
                raise HoldfastError(errors.ACTOR_STOPPING, "the actor has left memory since")
            counted = work in _COUNTED and len(self.tasks) >= limit
            if counted and sum(each in _COUNTED for each in self.tasks.values()) >= limit:
                raise HoldfastError(
                    errors.ACTOR_OVERLOADED,
                    f"{limit} tasks of keep_awake and wait_until are under way",
                    metadata={"limit": str(limit)},
                )
        except HoldfastError:
            if asyncio.iscoroutine(awaitable):
                awaitable.close()
            raise
        task = self._task_of(awaitable, work)
        if task in self.tasks:
            return task
        self.tasks[task] = work
        self.keeping += work not in _LETS_SLEEP
        task.add_done_callback(self._on_done)
        return task

    def _task_of(self, awaitable: Awaitable[Any], work: Work) -> asyncio.Future[Any]:
        if isinstance(awaitable, asyncio.Future):
            return awaitable
        # `run` belongs to no call; what a turn starts carries its trace and its log fields.
        node = self.activation.node
        own = work is Work.RUN
        context = node.environment.context() if own else contextvars.copy_context()
        context.run(self.enter)
        task = node.loop.create_task(contained(awaitable), context=context)
        if asyncio.iscoroutine(awaitable):
            # One that was cancelled before its first step has never come to it.
            coroutine = awaitable
            task.add_done_callback(lambda _: coroutine.close())
        return task

    def awaited(self, task: asyncio.Future[Any]) -> None:
        """Somebody waits for the result of this keep_awake work."""
        if self.tasks.get(task) is Work.KEEP_AWAKE:
            self.tasks[task] = Work.AWAITED

    def enter(self) -> None:
        """The code that runs in this context is work of this background."""
        _code_of.set(self)

    def _on_done(self, task: asyncio.Future[Any]) -> None:
        work = self.tasks.pop(task)
        if work not in _LETS_SLEEP:
            self.keeping -= 1
            self.activation.last_used = self.activation.node.loop.time()
        error = None if task.cancelled() else task.exception()
        if error is None or work is Work.AWAITED:
            return
        address = self.activation.address
        if self.aborted.is_set() and getattr(error, "reason", None) in _STOPPED:
            log.info("%s of %s ended with its actor: %s", work.value, address, error)
            return
        where = {"actor": address.name, "key": list(address.key)}
        log.error("%s of %s failed", work.value, address, exc_info=error, extra=where)
        self.activation.node.observer.work_failed(address, work.value, error)

    # The end

    async def drain(self, until: float) -> bool:
        """Wait for all work until then, in the loop's time, and cancel what is left;
        whether all of it has ended."""
        loop = self.activation.node.loop
        while self.tasks and (left_s := until - loop.time()) > 0:
            await asyncio.wait(list(self.tasks), timeout=left_s)
        if not self.tasks:
            return True
        self.cancel()
        await asyncio.wait(list(self.tasks), timeout=_CANCELLED_S)
        if self.tasks:
            log.error("%s does not end though it is cancelled: it is left behind", self._left())
        return not self.tasks

    def cancel(self) -> None:
        """The work has had its time."""
        if self.tasks:
            limit_s = self.activation.node.limits.sleep_grace_s
            log.warning("%s did not end within %g s and is cancelled", self._left(), limit_s)
            self._cancel()

    def _cancel(self) -> None:
        for task in list(self.tasks):
            task.cancel()

    def lose(self) -> None:
        """The activation's memory is not true any more: all work ends."""
        self.on(Event.LOST)
        self._cancel()
        self.let_waiting_go()

    def let_waiting_go(self) -> None:
        """The calls that wait may wake the actor anew."""
        if self.asleep is not None and not self.asleep.done():
            self.asleep.set_result(None)

    def _left(self) -> str:
        works = [work.value for work in self.tasks.values()]
        counts = ", ".join(f"{name} ({works.count(name)})" for name in dict.fromkeys(works))
        return f"background work of {self.activation.address}: {counts}"


class Kept:
    """What c.keep_awake gives: awaited it has the work's result, and whoever waits may
    be cancelled without it."""

    __slots__ = ("_background", "_task")

    def __init__(self, background: Background, awaitable: Awaitable[Any]) -> None:
        self._background = background
        self._task = background.add(awaitable, Work.KEEP_AWAKE)

    def __await__(self) -> Generator[Any, Any, Any]:
        self._background.awaited(self._task)
        return asyncio.shield(self._task).__await__()


async def contained(awaitable: Awaitable[Any]) -> Any:
    """The result of what is a task's own work: an error of it that would end the loop, and
    with it the server, leaves as a RuntimeError."""
    try:
        return await awaitable
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"the actor's code raised {type(error).__name__}") from error


# What an activation tells its background


def begin(activation: Activation, instance: Instance) -> None:
    """The actor has started."""
    background = activation.background_now()
    if background.state is State.STARTING:
        background.on(Event.STARTED)
    if activation.info.has_run:
        background.add(instance.run(), Work.RUN)


def end(activation: Activation) -> None:
    """The start has failed: what its hooks have begun ends with it."""
    background, activation.background = activation.background, None
    if background is not None:
        background.lose()


def check_stays(activation: Activation) -> None:
    """ACTOR_STOPPING for a destroy that was asked for after a sleep."""
    if activation.background is not None and activation.background.sleeping:
        raise HoldfastError(errors.ACTOR_STOPPING, "the actor goes to sleep; it was not destroyed")


def begin_destroy(activation: Activation) -> None:
    """The turn that destroys the actor is at its end."""
    check_stays(activation)
    if activation.background is not None:
        activation.background.on(Event.DESTROY)


def undo_destroy(activation: Activation) -> None:
    """That turn has failed: what was told to stop goes on with the next activation."""
    background = activation.background
    if background is not None and background.state is State.DESTROYING:
        background.on(Event.UNDONE)
        activation.node.sleeper.go_on(activation, background)


def end_destroyed(activation: Activation) -> None:
    """The actor is deleted: its work has the grace time to end."""
    background, activation.background = activation.background, None
    if background is not None:
        background.on(Event.DESTROY)
        background.on(Event.ENDED)
        activation.node.sleeper.bid_farewell(background)
