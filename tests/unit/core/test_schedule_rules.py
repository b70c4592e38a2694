"""The rules of recurring schedules: no tick twice, and each accounted for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast_server.core.cron import Cron
from holdfast_server.core.limits import Limits
from holdfast_server.core.schedule import (
    Cadence,
    Every,
    Missed,
    Overlap,
    Policy,
    Retry,
    Waiting,
    check_retry,
    decide,
    last_tick,
    move_on,
)

LATE_MS = 60_000
EVERY = Every(10_000, 500)
MINUTELY = Cron("* * * * *", "UTC")

policies = st.builds(Policy, st.sampled_from(Missed), st.sampled_from(Overlap), st.integers(1, 5))
# How long nothing could fire, and how long the run took.
lives = st.lists(
    st.tuples(st.one_of(st.just(0), st.integers(0, 900_000)), st.integers(0, 300_000)),
    min_size=1,
    max_size=12,
)


def ticks_between(cadence: Cadence, first: int, last: int) -> int:
    count, tick = 0, first
    while tick <= last:
        count += 1
        following = cadence.next_after(tick)
        assert following is not None
        tick = following
    return count


@given(cadence=st.sampled_from([EVERY, MINUTELY]), policy=policies, life=lives)
def test_every_tick_fires_once_or_is_counted_as_skipped(
    cadence: Cadence, policy: Policy, life: list[tuple[int, int]]
) -> None:
    first = cadence.next_after(1_000_000)
    assert first is not None
    waiting, now, fired, skipped = Waiting(first), first, [], 0
    for outage, lasts in life:
        now = max(now, waiting.tick_ms) + outage
        decision = decide(cadence, policy, waiting, now, LATE_MS)
        began = now
        skipped += decision.missed
        if decision.tick_ms is not None:
            fired.append(decision.tick_ms)
            now += lasts
        moved = move_on(cadence, policy, decision, began, now)
        skipped += moved.skipped
        assert (moved.skipped == 0) == (moved.first_skipped_ms == 0)
        assert moved.waiting is not None
        assert moved.waiting.tick_ms > (decision.tick_ms or 0)
        waiting = moved.waiting
    assert fired == sorted(set(fired))
    last = waiting.tick_ms - 1
    if skipped < 100:
        assert len(fired) + skipped == ticks_between(cadence, first, last)


@given(policy=policies, late=st.integers(0, 10_000_000))
def test_a_late_schedule_fires_no_more_than_its_policy_says(policy: Policy, late: int) -> None:
    now, fires, waiting = 10_500 + late, 0, Waiting(10_500)
    while waiting.tick_ms <= now:
        decision = decide(EVERY, policy, waiting, now, LATE_MS)
        fires += decision.tick_ms is not None
        moved = move_on(EVERY, policy, decision, now, now)
        assert moved.waiting is not None
        waiting = moved.waiting
    most = policy.missed_max if policy.missed is Missed.RUN_ALL else 1
    assert 0 <= fires <= most
    if policy.missed is not Missed.SKIP:
        assert fires


@given(first=st.integers(0, 10**7), span=st.integers(0, 10**8))
def test_the_last_tick_is_the_last_however_many_there_are(first: int, span: int) -> None:
    cadence = Every(7_000, first)
    begin = cadence.next_after(first)
    assert begin is not None
    last, count = last_tick(cadence, begin, begin + span)
    assert last <= begin + span < last + 7_000
    assert count == min((last - begin) // 7_000 + 1, 100)


def test_the_last_tick_of_a_cron_over_years_is_found_at_once() -> None:
    cron = Cron("30 2 * * 1", "Europe/Berlin")
    begin = cron.next_after(0)
    assert begin is not None
    last, count = last_tick(cron, begin, 1_780_000_000_000)
    following = cron.next_after(last)
    assert following is not None
    assert last <= 1_780_000_000_000 < following
    assert count == 100


def test_a_clock_set_back_repeats_no_tick() -> None:
    policy = Policy()
    decision = decide(EVERY, policy, Waiting(50_500), 50_500, LATE_MS)
    moved = move_on(EVERY, policy, decision, 50_500, 20_000)
    assert moved.waiting == Waiting(60_500)


def test_a_try_after_the_clock_was_set_back_goes_on_behind_its_own_tick() -> None:
    policy, waiting = Policy(), Waiting(50_500, decided=True)
    decision = decide(EVERY, policy, waiting, 20_000, LATE_MS)
    assert decision.tick_ms == 50_500
    assert move_on(EVERY, policy, decision, 20_000, 20_000).waiting == Waiting(60_500)


def test_an_interval_ends_with_time() -> None:
    assert Every(10**13, 253_402_300_000_000).next_after(253_402_300_000_000) is None


def test_pauses_double_up_to_the_longest_and_end_with_the_tries() -> None:
    retry = Retry(5, 1000, 3000)
    assert [retry.pause_ms(failed) for failed in range(1, 6)] == [1000, 2000, 3000, 3000, None]
    assert Retry(10_000, 1000, 3000).pause_ms(9999) == 3000


def test_a_pause_of_its_own_may_be_longer_than_the_servers_longest() -> None:
    assert check_retry(3, 3600, Limits()) == Retry(3, 3_600_000, 3_600_000)
