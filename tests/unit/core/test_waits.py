"""Call cycles are found when they close, and nothing else is taken for one."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from holdfast_server.core.waits import Holder, find_cycle


class Waiting:
    """A turn of an actor, and the turns that its calls wait for."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.behind: list[Waiting] = []

    def waits_for(self) -> Iterable[Holder]:
        return self.behind


def test_a_circle_of_three_is_told_as_its_chain() -> None:
    a, b, c = Waiting("a"), Waiting("b"), Waiting("c")
    a.behind, b.behind = [b], [c]

    assert find_cycle(c, "a", [a]) == ["c", "a", "b", "c"]


def test_a_call_to_oneself_is_a_circle() -> None:
    a = Waiting("a")

    assert find_cycle(a, "a", [a]) == ["a", "a"]


def test_a_line_is_no_circle() -> None:
    a, b, c = Waiting("a"), Waiting("b"), Waiting("c")
    a.behind = [b]

    assert find_cycle(c, "a", [a, b]) is None


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=30))
def test_it_agrees_with_reachability(edges: list[tuple[int, int]]) -> None:
    turns = [Waiting(str(number)) for number in range(8)]
    for start, end in edges:
        turns[start].behind.append(turns[end])
    reached, frontier = {1}, [1]
    while frontier:
        here = frontier.pop()
        for start, end in edges:
            if start == here and end not in reached:
                reached.add(end)
                frontier.append(end)

    chain = find_cycle(turns[0], "1", [turns[1]])

    assert (chain is not None) == (0 in reached)
