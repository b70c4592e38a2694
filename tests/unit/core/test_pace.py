"""When a sync starts: alone at once, in company together, and never too late."""

from __future__ import annotations

from holdfast_server.core.pace import Pace

WAIT_S, SYNC_S = 0.010, 0.001


def paced(count: int, waiting: int = 0, *, now: float = 1.0) -> Pace:
    """A pace that has just seen a sync of `count` batches end."""
    pace = Pace(WAIT_S)
    pace.synced(count, waiting, SYNC_S, now)
    return pace


def test_the_first_batch_is_synced_at_once() -> None:
    assert Pace(WAIT_S).came(1, 1.0) == 0


def test_one_caller_alone_never_waits() -> None:
    pace = paced(1)

    assert pace.came(1, 1.0005) == 0


def test_as_many_are_awaited_as_waited_before() -> None:
    pace = paced(2, waiting=1)

    assert pace.came(1, 1.0001) > 0
    assert pace.came(2, 1.0002) > 0
    assert pace.came(3, 1.0003) == 0


def test_nobody_is_awaited_longer_than_a_sync_takes() -> None:
    pace = paced(3)

    left = pace.came(1, 1.0005)

    assert left <= SYNC_S
    assert pace.left(1, 1.0005 + left) == 0


def test_a_loop_that_was_busy_has_not_seen_yet_who_came() -> None:
    pace = paced(3)
    now = 1.0005 + pace.came(1, 1.0005)

    pace.looked(SYNC_S, now)

    assert pace.left(1, now) > 0
    pace.looked(0.0, now + 2 * SYNC_S)
    assert pace.left(1, now + 2 * SYNC_S) == 0


def test_a_loop_that_is_always_busy_does_not_keep_a_batch_from_its_sync() -> None:
    pace = paced(1000)
    pace.came(1, 1.0005)
    now = 1.0005 + WAIT_S

    pace.looked(SYNC_S, now)

    assert pace.left(1, now) == 0


def test_each_that_comes_is_given_time_for_another_but_not_forever() -> None:
    pace = paced(1000)
    now, waiting = 1.0005, 1

    while pace.came(waiting, now) > 0:
        now += SYNC_S / 2
        waiting += 1

    assert WAIT_S <= now - 1.0005 <= WAIT_S + SYNC_S


def test_after_a_pause_nobody_is_expected() -> None:
    pace = paced(64)

    assert pace.came(1, 1.0 + 2 * WAIT_S) == 0


def test_without_a_wait_nobody_is_awaited() -> None:
    pace = Pace(0.0)
    pace.synced(64, 0, SYNC_S, 1.0)

    assert pace.came(1, 1.0) == 0


def test_more_than_a_group_is_not_awaited() -> None:
    pace = paced(200, waiting=100)

    assert pace.came(1, 1.0001) > 0
    assert pace.came(63, 1.0002) > 0
    assert pace.came(64, 1.0002) == 0
