"""Clocks that a test moves, so that nobody waits for a day to pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from holdfast_server.app import Server


class MovedClock:
    """The server's clock, `ahead_s` seconds ahead."""

    def __init__(self, server: Server) -> None:
        self._inner = server.node.environment.clock
        self.ahead_s = 0.0
        server.node.environment = replace(server.node.environment, clock=self)

    def now_ms(self) -> int:
        return self._inner.now_ms() + int(self.ahead_s * 1000)


def sweep(server: Server, *, later_s: float = 0.0) -> None:
    """What becomes of the idle when they have been so for `later_s` seconds more."""
    node = server.node
    loop: Any = node.loop
    node.loop = _LaterLoop(loop, later_s)  # type: ignore[assignment]
    try:
        while node.catalog.sweep():
            pass
    finally:
        node.loop = loop


class _LaterLoop:
    """The loop, with a clock of its own."""

    def __init__(self, loop: Any, later_s: float) -> None:
        self._loop = loop
        self._later_s = later_s

    def time(self) -> float:
        now: float = self._loop.time()
        return now + self._later_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)
