"""Durable timers as rules: when a schedule is due next, and what becomes of late ones.

Pure: `now_ms` is always a parameter. A *tick* is a time that a schedule names, a *fire*
the turns that one tick leads to: one if it succeeds, more if it is tried again. Ticks
that came due while nothing could fire are *missed*, and are the business of `Missed`;
those that came due while the schedule's own fire ran are the business of `Overlap`.
Due times are wall clock: no tick is due twice, also where the clock is put back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, Final, NamedTuple

from holdfast_server.core import errors
from holdfast_server.core.cron import Cron
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.limits import Limits

NAME_BYTES_MAX: Final = 128
# The last millisecond that a datetime can say.
TIME_MS_MAX: Final = 253_402_300_799_999
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COUNTED_MAX: Final = 100


class Kind(IntEnum):
    """What a schedule is (numbers of the stored record and the proto)."""

    AT = 1
    EVERY = 2
    CRON = 3


class Missed(IntEnum):
    """What becomes of ticks that came due while nothing could fire."""

    # One late fire for the last of them.
    RUN_ONCE = 1
    # None of them fires.
    SKIP = 2
    # The first ones fire, in order, up to a number.
    RUN_ALL = 3


class Overlap(IntEnum):
    """What becomes of ticks that came due while the schedule's own fire ran."""

    SKIP = 1
    # One fire for the last of them, as soon as the other has ended.
    QUEUE = 2


class Result(IntEnum):
    """How a fire ended (numbers of the stored record and the proto)."""

    # It has committed in its middle and goes on.
    RUNNING = 1
    OK = 2
    ERROR = 3
    SKIPPED = 4
    # It had committed in its middle when its process ended.
    INTERRUPTED = 5


class Every(NamedTuple):
    """An interval, counted from `anchor_ms`, so that lateness does not add up."""

    interval_ms: int
    anchor_ms: int

    def next_after(self, after_ms: int) -> int | None:
        """The first tick after `after_ms`."""
        count = max((after_ms - self.anchor_ms) // self.interval_ms + 1, 1)
        due = self.anchor_ms + count * self.interval_ms
        return due if due <= TIME_MS_MAX else None


Cadence = Every | Cron


class Policy(NamedTuple):
    """How a recurring schedule treats what is late."""

    missed: Missed = Missed.RUN_ONCE
    overlap: Overlap = Overlap.SKIP
    # Of RUN_ALL.
    missed_max: int = 1


class Retry(NamedTuple):
    """How often a failing fire is tried, and the pauses between."""

    attempts_max: int
    backoff_ms: int
    backoff_max_ms: int

    def pause_ms(self, failed: int) -> int | None:
        """How long to wait after the `failed`-th failed try; None when it was the last."""
        if failed >= self.attempts_max:
            return None
        return int(min(self.backoff_ms * 2 ** min(failed - 1, 40), self.backoff_max_ms))


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a recurring schedule waits for: the tick, and how it comes to it."""

    tick_ms: int
    # The tick fires however late it is: it was queued, asked for, or is tried again.
    decided: bool = False
    # How many missed ticks may still fire, this one included.
    catch_up: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a due schedule: fire a tick, or only move on."""

    tick_ms: int | None
    # Missed ticks that will not fire, and the first of them; at most 100 are counted.
    missed: int = 0
    first_missed_ms: int = 0
    catch_up: int = 0


@dataclass(frozen=True, slots=True)
class Moved:
    """Where a schedule stands once it has fired; None for one that is over."""

    waiting: Waiting | None
    # Ticks that its own fire kept from firing, and the first of them.
    skipped: int = 0
    first_skipped_ms: int = 0


def decide(
    cadence: Cadence, policy: Policy, waiting: Waiting, now_ms: int, late_ms: int
) -> Decision:
    """What to do with a tick that is due at `now_ms`."""
    tick = waiting.tick_ms
    if waiting.decided or waiting.catch_up:
        return Decision(tick, catch_up=waiting.catch_up)
    following = cadence.next_after(tick)
    alone = following is None or following > now_ms
    if alone and now_ms - tick <= late_ms:
        return Decision(tick)
    if policy.missed is Missed.RUN_ALL:
        return Decision(tick, catch_up=policy.missed_max)
    last, count = last_tick(cadence, tick, now_ms)
    fires = policy.missed is Missed.RUN_ONCE or now_ms - last <= late_ms
    if not fires:
        return Decision(None, missed=count, first_missed_ms=tick)
    return Decision(last, missed=count - 1, first_missed_ms=tick if count > 1 else 0)


def move_on(
    cadence: Cadence, policy: Policy, decision: Decision, began_ms: int, now_ms: int
) -> Moved:
    """Where the schedule stands after the decision, which was made at `began_ms`."""
    now_ms = max(now_ms, began_ms)
    if decision.tick_ms is None:
        return Moved(_at(cadence.next_after(began_ms)))
    following = cadence.next_after(decision.tick_ms)
    if decision.catch_up > 1 and following is not None and following <= began_ms:
        return Moved(Waiting(following, catch_up=decision.catch_up - 1))
    dropped, first = 0, 0
    if following is not None and following <= began_ms:
        # Of a tick that was late for another reason than being missed, or the last of
        # those to catch up with.
        _, dropped = last_tick(cadence, following, began_ms)
        first = following
    # A tick is never due twice, also where the clock was put back meanwhile.
    behind = max(began_ms, decision.tick_ms)
    during = cadence.next_after(behind)
    if during is None or during > now_ms:
        return Moved(_at(during), dropped, first)
    last, count = last_tick(cadence, during, now_ms)
    if policy.overlap is Overlap.QUEUE:
        left = count - 1 + dropped
        return Moved(Waiting(last, decided=True), left, (first or during) if left else 0)
    return Moved(_at(cadence.next_after(now_ms)), count + dropped, first or during)


def last_tick(cadence: Cadence, first_ms: int, now_ms: int) -> tuple[int, int]:
    """The last of the ticks from the tick `first_ms` until `now_ms`, and how many they
    are, of which at most 100 are counted."""
    last, count = first_ms, 1
    while count < _COUNTED_MAX:
        following = cadence.next_after(last)
        if following is None or following > now_ms:
            return last, count
        last, count = following, count + 1
    low, high = last, now_ms
    while low < high:
        middle = (low + high + 1) // 2
        following = cadence.next_after(middle)
        if following is not None and following <= now_ms:
            low = last = following
        else:
            high = middle - 1
    following = cadence.next_after(last)
    return (last if following is None or following > now_ms else following), count


def _at(tick_ms: int | None) -> Waiting | None:
    return None if tick_ms is None else Waiting(tick_ms)


# What users say, checked


def due_after(delay: Any, now_ms: int) -> int:
    """When something is due after a delay of seconds or a timedelta; past ones at once."""
    if isinstance(delay, timedelta):
        micros = delay // timedelta(microseconds=1)
        due = now_ms - (-micros // 1000)
    else:
        due = now_ms + _ms_of_seconds(delay, "delay", "seconds, or a timedelta")
    return _checked_due(max(due, now_ms), "delay")


def due_at(time: Any) -> int:
    """When something is due at an aware datetime, or at seconds since 1970."""
    if isinstance(time, datetime):
        if time.tzinfo is None or time.utcoffset() is None:
            raise _bad_time(
                "time",
                "a datetime without a time zone means another moment on each machine: "
                "use datetime.now(UTC) or replace(tzinfo=...)",
            )
        micros = (time - _EPOCH) // timedelta(microseconds=1)
        due = min(-(-micros // 1000), TIME_MS_MAX)
    else:
        due = _ms_of_seconds(time, "time", "an aware datetime, or seconds since 1970")
    return _checked_due(max(due, 0), "time")


def _ms_of_seconds(value: Any, field: str, wanted: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _bad_time(field, f"must be {wanted}, not {type(value).__name__}")
    if isinstance(value, int):
        return value * 1000
    if not math.isfinite(value):
        raise _bad_time(field, f"must be finite, not {value}")
    return math.ceil(value) * 1000 if abs(value) > 1e15 else math.ceil(value * 1000)


def _checked_due(due_ms: int, field: str) -> int:
    if due_ms > TIME_MS_MAX:
        raise _bad_time(field, "is after the year 9999; numbers are seconds, not milliseconds")
    return due_ms


def _bad_time(field: str, why: str) -> HoldfastError:
    return HoldfastError(errors.SCHEDULE_INVALID_TIME, f"{field}: {why}", metadata={"field": field})


def check_interval(interval: Any, limits: Limits) -> int:
    """The milliseconds of an interval; SCHEDULE_INVALID_INTERVAL."""
    least = limits.schedule_interval_min_s
    try:
        if isinstance(interval, timedelta):
            interval_ms = interval // timedelta(milliseconds=1)
        else:
            interval_ms = _ms_of_seconds(interval, "interval", "seconds, or a timedelta")
    except HoldfastError as error:
        raise HoldfastError(
            errors.SCHEDULE_INVALID_INTERVAL, error.message, metadata={"field": "interval"}
        ) from None
    if not least * 1000 <= interval_ms <= TIME_MS_MAX:
        raise HoldfastError(
            errors.SCHEDULE_INVALID_INTERVAL,
            f"interval: {min(interval_ms, TIME_MS_MAX) / 1000:g} s; at least {least:g} s",
            metadata={"field": "interval", "limit": f"{least:g}"},
        )
    return interval_ms


def check_schedule_name(name: Any) -> None:
    """SCHEDULE_INVALID_NAME unless it is text of 1 to 128 bytes."""
    try:
        size = len(name.encode()) if isinstance(name, str) else 0
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= NAME_BYTES_MAX:
        raise HoldfastError(
            errors.SCHEDULE_INVALID_NAME,
            f"name: text of 1 to {NAME_BYTES_MAX} bytes in UTF-8",
            metadata={"field": "name", "limit": str(NAME_BYTES_MAX)},
        )


def check_history_max(value: Any, limits: Limits) -> int:
    """SCHEDULE_INVALID_MAX_HISTORY unless it is a count within its limit."""
    limit = limits.schedule_history_max
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
        raise HoldfastError(
            errors.SCHEDULE_INVALID_MAX_HISTORY,
            f"history_max: 0 to {limit}, not {value!r}",
            metadata={"field": "history_max", "limit": str(limit)},
        )
    return value


def check_policy(missed: Any, overlap: Any, missed_max: Any, limits: Limits) -> Policy:
    """A Policy from the words of users; SCHEDULE_INVALID_POLICY."""
    most = limits.schedule_catch_up_max
    for field, value, known in (("missed", missed, Missed), ("overlap", overlap, Overlap)):
        words = [entry.name.lower() for entry in known]
        if value not in words:
            listed = ", ".join(repr(word) for word in words)
            raise bad_policy(field, f"one of {listed}, not {value!r}")
    if (
        isinstance(missed_max, bool)
        or not isinstance(missed_max, int)
        or not 1 <= missed_max <= most
    ):
        raise bad_policy("missed_max", f"1 to {most}, not {missed_max!r}")
    return Policy(Missed[missed.upper()], Overlap[overlap.upper()], missed_max)


def bad_policy(field: str, why: str) -> HoldfastError:
    """An option of a schedule that is none."""
    return HoldfastError(
        errors.SCHEDULE_INVALID_POLICY, f"{field}: {why}", metadata={"field": field}
    )


def check_retry(attempts_max: Any, backoff: Any, limits: Limits) -> Retry:
    """A Retry; None for what the server's settings say. SCHEDULE_INVALID_POLICY."""
    attempts = limits.timer_attempts_max if attempts_max is None else attempts_max
    if isinstance(attempts, bool) or not isinstance(attempts, int) or not 1 <= attempts <= 1000:
        raise bad_policy("attempts_max", f"1 to 1,000, not {attempts_max!r}")
    pause_ms = int(limits.timer_backoff_s * 1000)
    if backoff is not None:
        pause_ms = span_ms("backoff", backoff)
    most = max(int(limits.timer_backoff_max_s * 1000), pause_ms)
    return Retry(attempts, pause_ms, most)


def span_ms(field: str, value: Any) -> int:
    """The milliseconds of an option that is a length of time, more than none."""
    try:
        if isinstance(value, timedelta):
            size = value // timedelta(milliseconds=1)
        else:
            size = _ms_of_seconds(value, field, "seconds, or a timedelta")
    except HoldfastError as error:
        raise HoldfastError(
            errors.SCHEDULE_INVALID_POLICY, error.message, metadata={"field": field}
        ) from None
    if not 0 < size <= TIME_MS_MAX:
        raise bad_policy(field, f"more than no time, not {value!r}")
    return size
