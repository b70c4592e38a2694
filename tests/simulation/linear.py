"""Whether a history of calls is linearizable: as if each had happened in one moment
between its call and its answer.

The search is that of Wing and Gong with the memo of Lowe: it tries, as the next call, each
that had begun before all others that are left had been answered, and remembers which sets of
calls have led to which state. A call without an answer may have happened at any time after its
call, or never.

Pure: a history and a model in, what is wrong out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

FOREVER: Final = float("inf")
# The search of one history; beyond it is given up, which is no violation.
STEPS_MAX: Final = 300_000


@dataclass(slots=True)
class Call:
    """One call; `answered` is FOREVER, and `result` not known, for one of unknown fate."""

    action: str
    args: tuple[Any, ...]
    called: float
    answered: float = FOREVER
    result: Any = None

    def __str__(self) -> str:
        return f"{self.action}{self.args} -> {self.result} [{self.called:.6f}, {self.answered:.6f}]"


# What a call makes of a state: the next state, and the answer.
Model = Callable[[Any, Call], tuple[Hashable, Any]]


class Undecided(Exception):
    """There are more orders than could be tried."""


def check(calls: Sequence[Call], model: Model, first: Hashable) -> str:
    """Why the history is not linearizable; empty when it is. Raises Undecided."""
    order = sorted(calls, key=lambda call: call.called)
    everything = sum(1 << i for i, call in enumerate(order) if call.answered != FOREVER)
    seen: set[tuple[int, Hashable]] = set()
    stack: list[tuple[int, Hashable]] = [(0, first)]
    furthest, steps = 0, 0
    while stack:
        done, state = stack.pop()
        if done & everything == everything:
            return ""
        furthest = max(furthest, done & everything, key=int.bit_count)
        for index in _next(order, done):
            steps += 1
            call = order[index]
            following, result = model(state, call)
            if call.answered != FOREVER and result != call.result:
                continue
            place = (done | 1 << index, following)
            if place not in seen:
                seen.add(place)
                stack.append(place)
        if steps > STEPS_MAX:
            raise Undecided(f"{len(order)} calls")
    left = [call for i, call in enumerate(order) if not furthest >> i & 1]
    stuck = "; ".join(str(call) for call in left[:8])
    return f"no order of the calls gives their answers; the longest one leaves {stuck}"


def _next(order: Sequence[Call], done: int) -> list[int]:
    """The calls that may be next; the likeliest last, where the search takes it from."""
    left = [i for i in range(len(order)) if not done >> i & 1]
    bound = min((order[i].answered for i in left), default=FOREVER)
    found = [i for i in left if order[i].called <= bound]
    return sorted(found, key=lambda i: order[i].answered, reverse=True)


__all__ = ["FOREVER", "Call", "Undecided", "check"]
