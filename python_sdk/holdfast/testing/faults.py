"""Faults that a test arms: each happens to the next thing that matches it.

    h.faults.drop_reply(action="add")            # the next reply of add is lost
    with h.faults.disk_full():                   # every write in the block fails
        ...

A fault that is armed and never happens makes the test fail, at the end of its `with`
block or of the harness: a test of a failure that did not fail proves nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self

from holdfast._handle import ActorHandle
from holdfast.actor import Action, Actor
from holdfast.testing._durations import microseconds
from holdfast.testing.errors import FaultNotHitError, HarnessError

_WIRE: Final = frozenset({"drop_call", "drop_reply", "duplicate_call"})


class Fault:
    """One armed fault. As a context manager it is disarmed at the end of the block."""

    def __init__(
        self,
        owner: Faults,
        kind: str,
        *,
        name: str | None = None,
        key: tuple[str, ...] | None = None,
        action: str | None = None,
        times: int = 1,
        delay_us: int = 0,
        lasting: bool = False,
    ) -> None:
        self.kind = kind
        self.name = name
        self.key = key
        self.action = action
        self.delay_us = delay_us
        self.hits: int = 0
        """How often it has happened."""
        self._owner = owner
        self._left: float = times
        self._lasting = lasting
        self._told = False
        self._armed_at = _caller()

    @property
    def hit(self) -> bool:
        """Whether it has happened."""
        return self.hits > 0

    def disarm(self) -> None:
        """Let it happen no more; that it never did is no failure then."""
        self._left = 0
        self._told = True

    def matches(self, name: str, key: tuple[str, ...], action: str) -> bool:
        """Whether this fault is for a call of `action` of that actor."""
        if self._left <= 0 or (self.name is not None and self.name != name):
            return False
        if self.key is not None and self.key != key:
            return False
        # Turns that are no action's, such as the one that creates, have names with "$".
        return action == self.action if self.action is not None else not action.startswith("$")

    @property
    def armed(self) -> bool:
        """Whether it may still happen."""
        return self._left > 0

    @property
    def lasting(self) -> bool:
        """Whether it happens every time, until its block ends."""
        return self._left == float("inf")

    def happen(self) -> None:
        """It happens now."""
        self.hits += 1
        self._left -= 1

    def check(self) -> None:
        """Raise FaultNotHitError when it has never happened; once."""
        if not self.hit and not self._told:
            self._told = True
            raise FaultNotHitError(f"{self} never happened: no such call was made")

    def __enter__(self) -> Self:
        if self._lasting:
            self._left = float("inf")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._left = 0
        if exc_type is None:
            self.check()
        self._told = True

    def __str__(self) -> str:
        given = [] if self.name is None else [f"actor={self.name!r}"]
        given += [] if self.key is None else [f"key={list(self.key)}"]
        given += [] if self.action is None else [f"action={self.action!r}"]
        return f"the fault {self.kind}({', '.join(given)}), armed at {self._armed_at},"

    def __repr__(self) -> str:
        return f"<Fault {self.kind} hits={self.hits}>"


class Faults:
    """The faults of one harness: `h.faults`.

    Those of calls take `actor` (a handle, a class or a registered name), `action` (its
    wire name, or `Counter.add`) and `times`; without, the next call of any actor is hit.
    """

    def __init__(self) -> None:
        self._armed: list[Fault] = []
        self._over_wire = False

    def crash_after_commit(self, actor: Any = None, action: Any = None, *, times: int = 1) -> Fault:
        """The server dies when the turn's effects are durable and its answer has not left.

        It starts again at once on the same store. Also turns of timers, sends and calls
        between actors are hit.
        """
        return self._call("crash_after_commit", actor, action, times)

    def crash_before_commit(
        self, actor: Any = None, action: Any = None, *, times: int = 1
    ) -> Fault:
        """The server dies when the handler has returned and nothing of it is durable."""
        return self._call("crash_before_commit", actor, action, times)

    def drop_call(self, actor: Any = None, action: Any = None, *, times: int = 1) -> Fault:
        """A call of the client never reaches the server: the connection breaks before."""
        return self._call("drop_call", actor, action, times)

    def drop_reply(self, actor: Any = None, action: Any = None, *, times: int = 1) -> Fault:
        """A call of the client runs, and its answer is lost: the connection breaks."""
        return self._call("drop_reply", actor, action, times)

    def duplicate_call(self, actor: Any = None, action: Any = None, *, times: int = 1) -> Fault:
        """A call of the client arrives twice, the copy while the first one runs."""
        return self._call("duplicate_call", actor, action, times)

    def disk_full(self) -> Fault:
        """The next write finds no space; as a context manager every write in the block."""
        return self._arm(Fault(self, "disk_full", lasting=True))

    def disk_error(self) -> Fault:
        """The next sync fails, so that nobody knows what of it is stored; as a context
        manager every sync in the block."""
        return self._arm(Fault(self, "disk_error", lasting=True))

    def slow_disk(self, delay: timedelta | float) -> Fault:
        """The next sync takes `delay` of the test clock; as a context manager every one."""
        delay_us = microseconds(delay, {})
        return self._arm(Fault(self, "slow_disk", delay_us=delay_us, lasting=True))

    def clear(self) -> None:
        """Disarm every fault; those that never happened are no failure then."""
        for fault in self._armed:
            fault.disarm()
        self._armed.clear()

    # For the harness

    def take(
        self, kind: str, name: str = "", key: Iterable[str] = (), action: str = ""
    ) -> Fault | None:
        """The fault of a kind that happens to this call, or to the disk, now."""
        for fault in self._armed:
            if fault.kind == kind and fault.matches(name, tuple(key), action):
                fault.happen()
                return fault
        return None

    def any_of(self, *kinds: str) -> bool:
        """Whether a fault of these kinds is armed."""
        return any(fault.kind in kinds and fault.armed for fault in self._armed)

    def lasts(self, kind: str) -> bool:
        """Whether a block is open in which this fault happens every time."""
        return any(fault.kind == kind and fault.lasting for fault in self._armed)

    def over_wire(self) -> None:
        """Calls go over a network that the harness cannot break."""
        self._over_wire = True

    def check(self) -> None:
        """Raise FaultNotHitError for the first that never happened."""
        armed, self._armed = self._armed, []
        for fault in armed:
            fault.check()

    def _call(self, kind: str, actor: Any, action: Any, times: int) -> Fault:
        if self._over_wire and kind in _WIRE:
            raise HarnessError(f"{kind} needs the harness's own transport: leave out grpc=True")
        if isinstance(times, bool) or not isinstance(times, int) or times < 1:
            raise ValueError(f"times is a number from 1, not {times!r}")
        name, key = _actor(actor)
        fault = Fault(self, kind, name=name, key=key, action=_action(action), times=times)
        return self._arm(fault)

    def _arm(self, fault: Fault) -> Fault:
        self._armed.append(fault)
        return fault


def _actor(actor: Any) -> tuple[str | None, tuple[str, ...] | None]:
    """Name and key of what a fault is for."""
    if actor is None:
        return None, None
    if isinstance(actor, str):
        return actor, None
    if isinstance(actor, type) and issubclass(actor, Actor):
        name = vars(actor).get("__holdfast_name__")
        if not isinstance(name, str):
            raise HarnessError(f"{actor.__name__} is registered nowhere: pass it to setup")
        return name, None
    handle = getattr(actor, "_handle", actor)
    if isinstance(handle, ActorHandle):
        target = handle._target
        return target.name, target.key if target.actor_id is None else None
    raise TypeError(f"actor is a handle, a class or a name, not {type(actor).__name__}")


def _action(action: Any) -> str | None:
    if action is None or isinstance(action, str):
        return action
    if isinstance(action, Action):
        return action.name
    name = getattr(action, "name", None)
    if isinstance(name, str):
        return name
    raise TypeError(f"action is a wire name or `Counter.add`, not {type(action).__name__}")


def _caller() -> str:
    """The line of the test that arms a fault."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


__all__ = ["Fault", "Faults"]
