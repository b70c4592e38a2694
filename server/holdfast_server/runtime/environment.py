"""What reaches the runtime from outside: wall clock, randomness and threads.

The loop's own `time()` is the monotonic clock, so timeouts of actors and of the
runtime obey the same clock under test. Nothing in `runtime` imports `time`,
`random`, `threading` or `os`; a lint rule checks it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from random import Random


class Clock(Protocol):
    """The wall clock."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        ...


class Threads(Protocol):
    """Where blocking work runs."""

    def sync(self, work: Callable[[], None]) -> Future[None]:
        """Run `work` on the one committer thread."""
        ...

    def action(self, work: Callable[[], Any]) -> Future[Any]:
        """Run a plain action on one of `action_threads_max` threads."""
        ...

    def wait(self, done: Future[Any]) -> Any:
        """On such a thread: wait for what the loop does for it."""
        ...


def housekeeping(look: Callable[[Any], None]) -> Callable[[Any], None]:
    """Mark a method that a timer runs now and again to look whether there is something to
    do: nothing depends on when exactly it looks, so that a test that moves the clock by a
    year need not run it each second."""
    vars(look)["housekeeping"] = True
    return look


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Everything injected. `secret_bytes` must be unguessable outside tests.

    `stopwatch` is a monotonic clock in seconds that tells microseconds apart, only to
    measure by: the `time()` of uvloop moves in whole milliseconds. `context` gives a new
    context for what belongs to no call, such as a fire.
    """

    clock: Clock
    stopwatch: Callable[[], float]
    random: Random
    secret_bytes: Callable[[int], bytes]
    threads: Threads
    context: Callable[[], Context] = Context
