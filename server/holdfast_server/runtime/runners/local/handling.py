"""A handler's code inside its turn: what leaves it is what its caller may know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast_server.runtime.runners.local.current import enter_turn, leave_turn
from holdfast_server.runtime.runners.local.failure import ended_from_outside, outward
from holdfast_server.runtime.turn import Turn


@contextmanager
def handling(turn: Turn, what: str) -> Iterator[None]:
    """For hooks, which are rare: the code inside belongs to `turn`, and what it raises
    leaves as a HoldfastError. Actions spell it out, since every call pays for it."""
    activation = turn.activation
    turn.task = asyncio.current_task(activation.node.loop)
    token = enter_turn(turn)
    try:
        yield
    except BaseException as error:
        if ended_from_outside(error):
            raise
        raise outward(error, what, activation.address) from error
    finally:
        leave_turn(token)
