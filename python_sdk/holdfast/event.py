"""Declared events: what an actor broadcasts, with types, retention and who may listen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Event:
    """Declares an event of a class, by its name in the class attribute `emits`:

        emits = {"message": Event(str), "typing": Event(bool, ephemeral=True)}

    `types` are those of its arguments, which `c.broadcast` then checks. One that is
    `ephemeral` is always so: it has no number, is not stored, and may be dropped for a
    slow reader. `retention_s` is how long it is kept for replay, where that is not the
    server's setting. `can_subscribe` is a function of the actor and a context, plain or
    `async`, that says with a bool whether the caller may subscribe to the event.
    """

    __slots__ = ("can_subscribe", "ephemeral", "retention_s", "types")

    def __init__(
        self,
        *types: Any,
        ephemeral: bool = False,
        retention_s: float | None = None,
        can_subscribe: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        self.types: tuple[Any, ...] = types
        self.ephemeral: bool = ephemeral
        self.retention_s: float | None = retention_s
        self.can_subscribe: Callable[[Any, Any], Any] | None = can_subscribe

    def __repr__(self) -> str:
        return f"Event({', '.join(getattr(kind, '__name__', repr(kind)) for kind in self.types)})"


__all__ = ["Event"]
