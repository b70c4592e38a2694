"""What must not happen inside the server, whatever befalls it, though no client sees it: an
exception that nobody expected, logged with its stack or left to the loop."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from holdfast import ActorError
from holdfast_server.core.errors import HoldfastError
from tests.simulation.loop import SimLoop

_LOGGERS: Final = ("holdfast", "asyncio")
# Those of the catalogue, as whoever calls may hear them: an actor's own work may fail of them.
_KNOWN: Final = (ActorError, HoldfastError)


class Mishaps(logging.Handler):
    """Collects them."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, _KNOWN):
            self.found.append(f"logged: {record.getMessage()}: {error!r}")

    def of_loop(self, _: Any, context: dict[str, Any]) -> None:
        """What the loop was left with."""
        error = context.get("exception")
        self.found.append(f"left to the loop: {context['message']}: {error!r}")

    @contextmanager
    def watching(self, loop: SimLoop) -> Iterator[None]:
        """Watch what is logged, and keep it from whoever else listens."""
        loggers = [logging.getLogger(name) for name in _LOGGERS]
        before = [(each.level, each.propagate) for each in loggers]
        loop.set_exception_handler(self.of_loop)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
            logger.propagate = False
            logger.addHandler(self)
        try:
            yield
        finally:
            for logger, (level, propagate) in zip(loggers, before, strict=True):
                logger.removeHandler(self)
                logger.setLevel(level)
                logger.propagate = propagate


__all__ = ["Mishaps"]
