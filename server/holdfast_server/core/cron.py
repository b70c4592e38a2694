"""When a cron expression is due, in the zone that it is written for.

A library parses the expression and finds its times on a calendar without zones; what
becomes of them where a clock is put forward or back is decided here, and is the rule
of Debian's cron: an expression whose minute and hour are both fixed (`30 2 * * *`) is
due once on every day it names: at the first minute after a gap that its time falls
into, and the first of two where its time comes twice. Any other (`*/15 * * * *`,
`0 * * * *`) is due whenever the clock on the wall matches: what falls into a gap is
left out, and what comes twice is due twice.

Times are milliseconds since 1970. The zones' data is the machine's, else the `tzdata`
package's.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError

EXPRESSION_CHARS_MAX: Final = 256
ZONE_CHARS_MAX: Final = 64
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*\Z")
# Files of zone data that are no zones: what they say depends on the machine.
_NO_ZONES: Final = frozenset({"localtime", "posixrules", "Factory"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
# Clocks are put back by less: only so long after a time can its local time come again.
_BACK_MAX: Final = timedelta(hours=26)
_LAST_YEAR: Final = 9900


class Cron(NamedTuple):
    """An expression and a zone, both checked by `check_cron`."""

    expression: str
    timezone: str

    def next_after(self, after_ms: int) -> int | None:
        """The first time after `after_ms`; None where there is none for 50 years."""
        after = _EPOCH + timedelta(milliseconds=after_ms)
        if after.year > _LAST_YEAR:
            return None
        zone = _zone(self.timezone)
        found = (
            _next_of_fixed(self.expression, zone, after)
            if _is_fixed(self.expression)
            else _next_of_repeated(self.expression, zone, after)
        )
        return None if found is None else (found - _EPOCH) // timedelta(milliseconds=1)


def check_cron(expression: str, timezone: str) -> Cron:
    """A Cron; SCHEDULE_INVALID_CRON_EXPRESSION or SCHEDULE_INVALID_TIMEZONE."""
    check_zone(timezone)
    if not isinstance(expression, str) or len(expression) > EXPRESSION_CHARS_MAX:
        raise _bad_expression(expression, f"is text of at most {EXPRESSION_CHARS_MAX} characters")
    fields = expression.split()
    if len(fields) != 5:
        raise _bad_expression(
            expression, "has five fields: minute, hour, day of month, month, day of week"
        )
    normal = " ".join(fields)
    if not normal.isascii():
        raise _bad_expression(expression, "is ASCII")
    try:
        CronSim(normal, datetime(2000, 1, 1))
    except (CronSimError, ValueError) as error:
        raise _bad_expression(expression, str(error)) from None
    if _next_naive(normal, datetime(2000, 1, 1)) is None:
        raise _bad_expression(expression, "is never due: no year has such a day")
    return Cron(normal, timezone)


def check_zone(name: str) -> None:
    """SCHEDULE_INVALID_TIMEZONE unless `name` is a zone of the IANA database."""
    if isinstance(name, str) and len(name) <= ZONE_CHARS_MAX and _ZONE.match(name):
        try:
            if name not in _NO_ZONES:
                _zone(name)
                return
        except (KeyError, ValueError, OSError):
            pass
    raise HoldfastError(
        errors.SCHEDULE_INVALID_TIMEZONE,
        f"timezone: {str(name)[:80]!r} is no IANA time zone, such as 'UTC' or 'Europe/Berlin'",
        metadata={"field": "timezone"},
    )


def _bad_expression(expression: object, why: str) -> HoldfastError:
    return HoldfastError(
        errors.SCHEDULE_INVALID_CRON_EXPRESSION,
        f"expression: {str(expression)[:80]!r}: {why}",
        metadata={"field": "expression"},
    )


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _is_fixed(expression: str) -> bool:
    minute, hour = expression.split()[:2]
    return not minute.startswith("*") and not hour.startswith("*")


def _next_naive(expression: str, after: datetime) -> datetime | None:
    """The first match after `after` on a calendar without zones."""
    return next(CronSim(expression, after), None)


def _next_of_fixed(expression: str, zone: ZoneInfo, after: datetime) -> datetime | None:
    """Each match of the calendar once: the first of two, or the first after a gap."""
    local: datetime | None = after.astimezone(zone).replace(tzinfo=None, fold=0)
    while local is not None:
        local = _next_naive(expression, local)
        if local is None:
            return None
        instant = local.replace(tzinfo=zone).astimezone(UTC)
        if instant.astimezone(zone).replace(tzinfo=None) != local:
            instant = _end_of_gap(zone, instant)
        if instant > after:
            return instant
    return None


def _end_of_gap(zone: ZoneInfo, instant: datetime) -> datetime:
    """The first instant after a gap; `instant` is a local time in it, by the offset before."""
    # By the offset before, the end of the gap is no later than the local time in it.
    return _change_in(zone, instant - _BACK_MAX, instant)


def _next_of_repeated(expression: str, zone: ZoneInfo, after: datetime) -> datetime | None:
    """Matches of the clock on the wall: goes from one change of the offset to the next."""
    begin = after
    while True:
        offset = _offset(zone, begin)
        local = (begin + offset).replace(tzinfo=None)
        if begin is not after:
            # The first second after a change counts too.
            local -= _SECOND
        match = _next_naive(expression, local)
        if match is None:
            return None
        candidate = match.replace(tzinfo=UTC) - offset
        change = _first_change(zone, begin, candidate)
        if change is None:
            return candidate
        begin = change


def _first_change(zone: ZoneInfo, begin: datetime, end: datetime) -> datetime | None:
    """A change of the offset in (begin, end] that matters for what is due until `end`.

    Two changes further on that cancel out do not: the local times between are behind
    `end` and ahead of `begin`, and none of those matches.
    """
    offset, at = _offset(zone, begin), begin
    near = min(end, begin + _BACK_MAX)
    while at < near:
        at = min(at + timedelta(hours=1), near)
        if _offset(zone, at) != offset:
            return _change_in(zone, begin, at)
    return _change_in(zone, near, end) if _offset(zone, end) != offset else None


def _change_in(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The first second of a new offset, given that `low` and `high` differ in theirs."""
    offset = _offset(zone, low)
    low, high = low.replace(microsecond=0), high.replace(microsecond=0)
    while high - low > _SECOND:
        middle = low + (high - low) // 2
        middle = middle.replace(microsecond=0)
        if _offset(zone, middle) == offset:
            low = middle
        else:
            high = middle
    return high


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None
    return offset
