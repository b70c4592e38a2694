"""The checker of linearizability, by histories whose verdict is known."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from random import Random
from typing import Any

import pytest

from tests.simulation.judge import cell
from tests.simulation.linear import FOREVER, Call, Undecided, check


def register(state: Any, call: Call) -> tuple[Hashable, Any]:
    """A register: write(value) and read()."""
    return (call.args[0], None) if call.action == "write" else (state, state)


def write(value: int, called: float, answered: float = FOREVER) -> Call:
    return Call("write", (value,), called, answered)


def read(result: int, called: float, answered: float) -> Call:
    return Call("read", (), called, answered, result)


GOOD = {
    "one after the other": [write(1, 0, 1), read(1, 2, 3), write(2, 4, 5), read(2, 6, 7)],
    "a read beside a write sees the old value": [write(1, 0, 10), read(0, 1, 2)],
    "or the new one": [write(1, 0, 10), read(1, 1, 2), read(1, 3, 4)],
    "two writes that overlap, in either order": [
        *(write(1, 0, 10), write(2, 0, 10)),
        *(read(2, 11, 12), read(2, 13, 14)),
    ],
    "a write without an answer has happened": [write(1, 0), read(0, 1, 2), read(1, 3, 4)],
    "or never does": [write(1, 0), read(0, 1, 2), read(0, 100, 101)],
    "nothing": [],
}
BAD = {
    "a lost write": [write(1, 0, 1), read(0, 2, 3)],
    "a value of nobody": [write(1, 0, 1), read(2, 2, 3)],
    "a read that goes back": [write(1, 0, 10), read(1, 1, 2), read(0, 3, 4)],
    "two readers that see two orders": [
        *(write(1, 0, 10), write(2, 0, 10)),
        *(read(1, 11, 12), read(2, 13, 14)),
    ],
    "a value from the future": [read(1, 0, 1), write(1, 2, 3)],
    "an unknown write that comes and goes": [write(1, 0), read(1, 1, 2), read(0, 3, 4)],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_linearizable_history_is_accepted(name: str) -> None:
    assert check(GOOD[name], register, 0) == ""


@pytest.mark.parametrize("name", BAD)
def test_a_history_that_is_not_is_refused_with_what_is_left(name: str) -> None:
    assert "no order of the calls" in check(BAD[name], register, 0)


def test_it_agrees_with_all_orders_tried_one_by_one() -> None:
    rng = Random(1)
    verdicts = [_agrees(rng) for _ in range(400)]

    assert 50 < sum(verdicts) < 350


def _agrees(rng: Random) -> bool:
    calls = []
    for _ in range(5):
        called = rng.randrange(10)
        answered = called + rng.randrange(1, 6)
        if rng.random() < 0.5:
            calls.append(write(rng.randrange(3), called, rng.choice((answered, FOREVER))))
        else:
            calls.append(read(rng.randrange(3), called, answered))
    good = check(calls, register, 0) == ""
    assert good == any(_is_order(order) for order in _subsets(calls))
    return good


def _subsets(calls: list[Call]) -> list[tuple[Call, ...]]:
    unknown = [call for call in calls if call.answered == FOREVER]
    known = [call for call in calls if call.answered != FOREVER]
    return [
        order
        for count in range(len(unknown) + 1)
        for chosen in itertools.combinations(unknown, count)
        for order in itertools.permutations([*known, *chosen])
    ]


def _is_order(order: tuple[Call, ...]) -> bool:
    state: Any = 0
    for index, call in enumerate(order):
        if any(later.answered < call.called for later in order[index + 1 :]):
            return False
        state, result = register(state, call)
        if call.answered != FOREVER and result != call.result:
            return False
    return True


def test_a_history_with_too_many_orders_is_given_up() -> None:
    calls = [write(value, 0) for value in range(20)]

    with pytest.raises(Undecided):
        check([*calls, read(-1, 1, 2)], register, 0)


def test_the_model_of_a_cell() -> None:
    calls = [
        Call("destroy", (), 0, 1, ("actor", "not_found")),
        Call("add", (5,), 2, 3, 5),
        Call("put", ("a",), 4, 5, None),
        Call("swap", (5, 7), 6, 7, True),
        Call("fail", (9,), 8, 9, ("user", "asked")),
        Call("value", (), 10, 11, 7),
        Call("entry", (), 12, 13, "a"),
        Call("destroy", (), 14, 15, True),
        Call("value", (), 16, 17, 0),
    ]

    assert check(calls, cell, None) == ""
    calls[-1].result = 7
    assert check(calls, cell, None) != ""
