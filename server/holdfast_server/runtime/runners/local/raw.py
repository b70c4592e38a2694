"""A raw handler in this process: its context, and the turn that its code is in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from holdfast.context import Context
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.mailbox import Mode
from holdfast_server.runtime.runners.local.current import current_turn, go_on_in
from holdfast_server.runtime.runners.local.failure import actor_error, ended_from_outside, outward
from holdfast_server.runtime.runners.local.host import LocalHost
from holdfast_server.runtime.turn import Turn

if TYPE_CHECKING:
    from holdfast_server.runtime.course import Course
    from holdfast_server.runtime.runners.local.instance import LocalInstance


class LocalCourse:
    """Watcher of one handler's course: whose turn its code is in."""

    def __init__(self, instance: LocalInstance, course: Course, what: str) -> None:
        self.instance = instance
        self.course = course
        self._what = what
        assert course.turn is not None
        self._host = LocalHost(instance, course.turn)
        self.context: Context[Any, Any] = Context(self._host)
        # Whether an earlier turn used the state: the handler may have kept it.
        self._touched = False
        # The observer's own, with the task whose context has it.
        self._watched: tuple[object, object] | None = None
        # The turn that waits for this one, if it is one of this task.
        self._before = current_turn()
        # What was raised into the handler, as it knows it and as it is.
        self._raised: tuple[Exception, Exception] | None = None

    # The watcher

    def entered(self, turn: Turn) -> None:
        self._host.current = turn
        turn.touched = self._touched and turn.mode is not Mode.READ_ONLY
        task = turn.task = asyncio.current_task()
        if turn.span is not None:
            self._watched = task, turn.activation.node.observer.turn_entered(turn)
        go_on_in(turn)

    def left(self, turn: Turn) -> None:
        self._touched = self._touched or turn.touched
        self._host.current = None
        if self._watched is not None:
            (task, watched), self._watched = self._watched, None
            if task is asyncio.current_task():
                turn.activation.node.observer.turn_left(turn, watched)
        go_on_in(self._before)

    # The handler's code

    @contextmanager
    def handling(self) -> Iterator[None]:
        """The code inside is the handler's; what it raises leaves as a HoldfastError, or
        as what was raised into it."""
        assert self.course.turn is not None
        self.entered(self.course.turn)
        self.course.watcher = self
        try:
            yield
        except BaseException as error:
            if ended_from_outside(error):
                raise
            if self._raised is not None and error is self._raised[0]:
                raise self._raised[1] from error
            raise outward(error, self._what, self.instance.activation.address) from error

    @contextmanager
    def surfacing(self) -> Iterator[None]:
        """What the runtime raises into the handler, as actor code knows it."""
        try:
            yield
        except HoldfastError as error:
            raise self.known(actor_error(error), error) from None

    def known(self, shown: Exception, error: Exception) -> Exception:
        """`error` as the handler sees it; when that leaves the handler, it is `error`."""
        self._raised = shown, error
        return shown
