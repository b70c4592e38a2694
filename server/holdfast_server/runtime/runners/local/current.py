"""The turn that the running code belongs to: its handler, and what that starts."""

from __future__ import annotations

from contextvars import ContextVar, Token

from holdfast_server.runtime.turn import Turn

_current: ContextVar[Turn | None] = ContextVar("holdfast_turn", default=None)


def current_turn() -> Turn | None:
    """The turn entered last; it may have ended since, where code outlives it."""
    return _current.get()


def enter_turn(turn: Turn) -> Token[Turn | None]:
    """Code that runs now, and what it starts, belongs to `turn`."""
    return _current.set(turn)


def leave_turn(token: Token[Turn | None]) -> None:
    """The code goes on outside the turn that it entered."""
    _current.reset(token)
