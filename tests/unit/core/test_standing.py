"""Where a subscriber stands, step by step and against a reader that keeps everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast_server.core.events import Emitted
from holdfast_server.core.standing import Phase, Standing
from holdfast_server.core.values import Value


def standing(credit: int = 100, *names: str, conflates: bool = False) -> Standing:
    made = Standing(frozenset(names), 2, credit, 5, conflates=conflates)
    made.enter(Phase.LIVE)
    return made


def emitted(name: str, sequence: int, size: int = 0) -> Emitted:
    return Emitted(name, Value(2, b"x" * size), sequence)


def deliver(one: Standing, event: Emitted) -> int:
    return one.advance(event.encoded(2, lambda value, _: value))


def test_a_delivery_names_the_one_before_whatever_was_passed_between() -> None:
    one = standing(100, "a")
    assert deliver(one, emitted("a", 6)) == 5
    assert not one.pass_by(7)
    assert (one.sequence, one.told) == (7, 6)
    assert deliver(one, emitted("a", 8)) == 6
    assert deliver(one, emitted("a", 0)) == 0
    assert one.told == 8


def test_credit_is_spent_by_bytes_and_may_be_overdrawn_once() -> None:
    one = standing(3)
    assert one.ready
    deliver(one, emitted("a", 6, 4))
    assert (one.credit, one.ready) == (-2, False)
    one.credit += 2
    one.update()
    assert not one.ready
    one.credit += 1
    one.update()
    assert one.ready


def test_a_reader_is_moved_after_many_events_of_other_names() -> None:
    one = standing(100, "a")
    moved = [sequence for sequence in range(6, 600) if one.pass_by(sequence)]
    assert moved == [5 + 256, 5 + 512]
    assert one.told == moved[-1]


def test_the_latest_of_each_name_waits_in_the_order_of_numbers() -> None:
    one = standing(0, conflates=True)
    for sequence, name in enumerate("abacb", 6):
        one.spare(emitted(name, sequence), names_max=10, bytes_max=100)
    assert one.spared == 2
    assert not one.ready
    one.credit = 100
    waiting = []
    while (event := one.next_waiting()) is not None:
        waiting.append((event.name, deliver(one, event), event.sequence))
    assert waiting == [("a", 5, 8), ("c", 8, 9), ("b", 9, 10)]
    assert one.take_spared() == 2
    assert one.take_spared() == 0


def test_what_waits_is_bounded_by_names_and_by_bytes() -> None:
    one = standing(0, conflates=True)
    for sequence, name in enumerate("abcd", 6):
        one.spare(emitted(name, sequence, 10), names_max=3, bytes_max=1000)
    assert list(one.waiting or ()) == ["b", "c", "d"]
    one.spare(emitted("e", 10, 10), names_max=9, bytes_max=25)
    assert list(one.waiting or ()) == ["d", "e"]
    # One always waits, however large it is.
    one.spare(emitted("f", 11, 100), names_max=9, bytes_max=25)
    assert list(one.waiting or ()) == ["f"]
    assert (one.spared, one.waiting_bytes) == (5, 101)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=60))
def test_nothing_is_left_out_uncounted(steps: list[tuple[str, bool]]) -> None:
    """Every event is delivered, waits, or is counted; the latest of a name is never old."""
    one = standing(1, conflates=True)
    heard: list[int] = []
    counted = 0
    for sequence, (name, reads) in enumerate(steps, 6):
        event = emitted(name, sequence)
        if one.ready:
            heard.append(sequence)
            deliver(one, event)
        else:
            one.spare(event, names_max=4, bytes_max=1000)
        if reads:
            one.credit = 1
            while (waiting := one.next_waiting()) is not None:
                assert one.told == (heard[-1] if heard else 5)
                heard.append(waiting.sequence)
                deliver(one, waiting)
                counted += one.take_spared()
            one.update()
    assert heard == sorted(heard)
    assert len(heard) + counted + one.spared + len(one.waiting or ()) == len(steps)
    assert one.waiting_bytes == sum(each.size for each in (one.waiting or {}).values())
