"""Runs the process's main task to its end, whatever code on the loop raises.

asyncio lets a SystemExit or KeyboardInterrupt of any task or callback end the loop, and
so the process: right for a program whose own code that is, wrong for a server and the
code of its actors. What handlers raise is caught where they run; this is for a task
that an actor's code has made on its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

R = TypeVar("R")

log = logging.getLogger("holdfast.server")

_ENDING: Final = (SystemExit, KeyboardInterrupt)


def run_to_its_end(
    main: Coroutine[Any, Any, R],
    factory: Callable[[], asyncio.AbstractEventLoop],
    signals_are_ours: Callable[[], bool],
) -> R:
    """The result of `main`, run on a loop of its own.

    While `signals_are_ours`, no KeyboardInterrupt is one of the user at the keyboard, and
    the loop goes on after one, as after a SystemExit, until `main` itself has ended.
    """
    with asyncio.Runner(loop_factory=factory) as runner:
        task = runner.get_loop().create_task(main)
        while True:
            try:
                runner.run(_end_of(task))
                return task.result()
            except _ENDING as error:
                if task.done() or not signals_are_ours():
                    raise
                log.error(
                    "a task outside every handler raised this; the server goes on", exc_info=error
                )


async def _end_of(task: asyncio.Task[Any]) -> None:
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:
        # Ctrl-C, before signals are ours.
        task.cancel()
        await asyncio.wait((task,))
        raise
