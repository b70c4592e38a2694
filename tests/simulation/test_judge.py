"""Every rule of the judge, kept and broken: a rule that nothing breaks sees nothing."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from tests.crash.actors import Found
from tests.simulation.actors import Guests
from tests.simulation.journal import Journal, Reading, Visit
from tests.simulation.judge import Findings, judge
from tests.simulation.linear import Call
from tests.simulation.loop import SimLoop


def life() -> tuple[Journal, Findings]:
    """A history as it should be, and what is found after it."""
    loop = SimLoop(Random(1))
    journal = Journal(loop)
    loop.close()
    for _ in range(3):
        operation = journal.begin("a", "add")
        journal.acknowledge(operation, operation.tag)
    events = [(1, "1.1", 1), (2, "2.1", 2), (3, "3.1", 3)]
    journal.readings.append(Reading("a", events))
    journal.visits.append(Visit("lobby", [7, 8], [(7, 1), (8, 2)], opened=1, stayed=True))
    journal.cells["x"] = [Call("add", (1,), 0, 1, 1)]
    entries = ["1.1", "2.1", "3.1"]
    found = Findings(
        {"a": Found(entries, [], list(entries))},
        Guests(["c"], ["c"], [7, 8]),
        [("f1", 5.0, 0), ("f2", 10.0, 0), ("f3", 25.0, 2)],
        trims=False,
    )
    return journal, found


def test_a_life_as_it_should_be() -> None:
    assert judge(*life()) == []


def lost_event(journal: Journal, _: Findings) -> None:
    del journal.readings[0].events[1]


def event_twice(journal: Journal, _: Findings) -> None:
    journal.readings[0].events.insert(1, (1, "1.1", 1))


def other_event(journal: Journal, _: Findings) -> None:
    journal.readings[0].events[1] = (2, "3.1", 2)


def told_gap(journal: Journal, _: Findings) -> None:
    journal.readings[0].gaps.append(1)


def lost_echo(journal: Journal, _: Findings) -> None:
    del journal.visits[0].echoes[0]


def echo_twice(journal: Journal, _: Findings) -> None:
    journal.visits[0].echoes.append((8, 2))


def echoes_turned(journal: Journal, _: Findings) -> None:
    journal.visits[0].echoes.reverse()


def unheard(_: Journal, found: Findings) -> None:
    found.guests.said.remove(7)


def came_twice(_: Journal, found: Findings) -> None:
    found.guests.came.append("c")


def never_went(_: Journal, found: Findings) -> None:
    found.guests.went.clear()


def tick_twice(_: Journal, found: Findings) -> None:
    found.fires.insert(0, found.fires[0])


def lost_tick(_: Journal, found: Findings) -> None:
    del found.fires[1]


def wrong_sum(journal: Journal, _: Findings) -> None:
    journal.cells["x"][0].result = 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lost_event, "event 3 of a came after 1"),
        (event_twice, "event 1 of a came after 1"),
        (other_event, "event 2 of a tells 3.1"),
        (told_gap, "a reader of a was told of a gap"),
        (lost_echo, "the echoes of [7] did not come"),
        (echo_twice, "the echoes of [8] came more than once"),
        (echoes_turned, "came out of order"),
        (unheard, "the room has heard"),
        (came_twice, "on_connect ran twice"),
        (never_went, "came ['c'], and went []"),
        (tick_twice, "took effect more than once"),
        (lost_tick, "a tick at 25.0 came after 5.0"),
        (wrong_sum, "cell x: no order of the calls"),
    ],
)
def test_what_is_wrong_is_said(wrong: Callable[[Journal, Findings], None], words: str) -> None:
    journal, found = life()
    wrong(journal, found)

    assert any(words in what for what in judge(journal, found))
