"""What is kept of events: bounds, incarnations and places to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.event_log import EventLog, count_to_drop, outlived, place_of
from holdfast_server.core.events import Cursor

ACTOR = bytes(16)


@given(
    st.lists(st.integers(1, 50), max_size=200),
    st.integers(1, 150),
    st.integers(1, 2000),
)
def test_the_bounds_hold_and_no_more_goes_than_has_to(
    sizes: list[int], count_max: int, bytes_max: int
) -> None:
    read = 0

    def each() -> Iterator[int]:
        nonlocal read
        for size in sizes:
            read += 1
            yield size

    dropped, freed = count_to_drop(
        each(), len(sizes), sum(sizes), count_max=count_max, bytes_max=bytes_max
    )
    assert read == dropped
    assert freed == sum(sizes[:dropped])
    left = sizes[dropped:]
    assert len(left) <= count_max
    assert sum(left) <= bytes_max
    if dropped:
        # With one more it would be above a bound, or above what a bound is brought down to.
        more = sizes[dropped - 1 :]
        assert len(more) > count_max - count_max // 64 or sum(more) > bytes_max - bytes_max // 64


@pytest.mark.parametrize(
    ("buffered_epoch", "orderly", "unorderly", "expected"),
    [
        (0, 0, 5, 1),  # nothing ever left unsynced
        (3, 3, 0, 1),  # that epoch ended in an orderly way
        (3, 3, 2, 1),
        (3, 5, 2, 1),  # and so did all after it
        (3, 0, 3, 2),  # it did not
        (3, 2, 3, 2),
        (3, 4, 3, 2),
        (3, 4, 5, 2),  # nobody knows
    ],
)
def test_numbers_are_others_where_those_that_left_may_be_lost(
    buffered_epoch: int, orderly: int, unorderly: int, expected: int
) -> None:
    assert outlived(1, buffered_epoch, orderly, unorderly) == expected


LOG = EventLog(incarnation=2, first=4, last=9)


@pytest.mark.parametrize(
    ("start", "behind"),
    [
        (None, 9),
        (4, 3),
        (9, 8),
        (10, 9),
        (Cursor(ACTOR, 2, 3), 3),
        (Cursor(ACTOR, 2, 9), 9),
    ],
)
def test_a_subscription_starts_where_it_asks(start: int | Cursor | None, behind: int) -> None:
    assert place_of(start, LOG, ACTOR, 4, 3) == behind


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (0, "REQUEST_INVALID"),
        (11, "REQUEST_INVALID"),
        (3, "EVENTS_TRIMMED"),
        (Cursor(ACTOR, 2, 2), "EVENTS_TRIMMED"),
        (Cursor(ACTOR, 2, 10), "CURSOR_STALE"),
        (Cursor(ACTOR, 1, 9), "CURSOR_STALE"),
        (Cursor(b"x" * 16, 2, 9), "CURSOR_STALE"),
    ],
)
def test_or_hears_why_it_cannot(start: int | Cursor, reason: str) -> None:
    with pytest.raises(HoldfastError) as caught:
        place_of(start, LOG, ACTOR, 4, 3)
    assert caught.value.reason.reason == reason
    if reason != "REQUEST_INVALID":
        assert caught.value.metadata["oldest_sequence"] == "4"
        assert caught.value.metadata["incarnation"] == "2"


def trimmed_log() -> EventLog:
    log = EventLog(last=9)
    log.trim(["a", "b", "a", "c"])
    return log


@pytest.mark.parametrize(
    ("names", "expected"), [("", 4), ("a", 3), ("b", 2), ("c", 4), ("ab", 3), ("d", 0), ("bd", 2)]
)
def test_the_last_trimmed_number_of_each_name_is_known(names: str, expected: int) -> None:
    log = trimmed_log()
    assert log.first == 5
    assert log.last_trimmed(frozenset(names)) == expected


def test_a_reader_of_some_names_may_start_before_what_is_kept_of_others() -> None:
    log = trimmed_log()
    lost = log.last_trimmed(frozenset("b"))
    assert place_of(Cursor(ACTOR, 1, 2), log, ACTOR, log.first, lost) == 2
    with pytest.raises(HoldfastError) as caught:
        place_of(Cursor(ACTOR, 1, 1), log, ACTOR, log.first, lost)
    assert caught.value.metadata["oldest_sequence"] == "5"


def test_of_too_many_names_the_longest_gone_are_one() -> None:
    log = EventLog(last=100)
    log.trim([f"n{number}" for number in range(40)])
    assert log.last_trimmed(frozenset(["n39"])) == 40
    assert log.last_trimmed(frozenset(["n0"])) == log.last_trimmed(frozenset(["never"])) == 8
    assert len(log.trimmed) == 32


def test_one_that_nobody_can_read_may_have_been_of_any_name() -> None:
    log = EventLog(last=9)
    log.trim(["a", "", "b"])
    assert [log.last_trimmed(frozenset(name)) for name in "abc"] == [2, 3, 2]
