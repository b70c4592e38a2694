"""The turn that the running code belongs to: its handler, and what that starts."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Final

from holdfast_server.core.trace import NO_TRACE, TraceContext
from holdfast_server.runtime.turn import Turn

Entered = tuple[Token[Turn | None], Turn, object]

_current: ContextVar[Turn | None] = ContextVar("holdfast_turn", default=None)


# The turn entered last; it may have ended since, where code outlives it.
current_turn: Final[Callable[[], Turn | None]] = _current.get


def enter_turn(turn: Turn) -> Entered:
    """Code that runs now, and what it starts, belongs to `turn`."""
    watched = None
    if turn.span is not None:
        watched = turn.activation.node.observer.turn_entered(turn)
    return _current.set(turn), turn, watched


def go_on_in(turn: Turn | None) -> None:
    """The code goes on in another turn of its handler, or for a while in none."""
    _current.set(turn)


def turn_of(instance: object) -> Turn | None:
    """The turn of this actor that the running code belongs to, if there is one."""
    turn = _current.get()
    if turn is None or turn.ended or turn.instance is not instance:
        return None
    return turn


def leave_turn(entered: Entered) -> None:
    """The code goes on outside the turn that it entered."""
    token, turn, watched = entered
    _current.reset(token)
    if turn.span is not None:
        turn.activation.node.observer.turn_left(turn, watched)


def passed_on(turn: Turn | None) -> TraceContext:
    """The trace context for what the code of `turn`, as it runs now, calls or sends."""
    if turn is None:
        return NO_TRACE
    return turn.trace if turn.span is None else turn.activation.node.observer.passed_on(turn)
