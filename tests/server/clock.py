"""A wall clock that a test moves, so that nobody waits for a day to pass."""

from __future__ import annotations

from dataclasses import replace

from holdfast_server.app import Server


class MovedClock:
    """The server's clock, `ahead_s` seconds ahead."""

    def __init__(self, server: Server) -> None:
        self._inner = server.node.environment.clock
        self.ahead_s = 0.0
        server.node.environment = replace(server.node.environment, clock=self)

    def now_ms(self) -> int:
        return self._inner.now_ms() + int(self.ahead_s * 1000)
