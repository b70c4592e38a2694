"""How far to move the clock, and when it starts: checked where they are given."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final

_UNITS_US: Final = {
    "weeks": 7 * 86_400_000_000,
    "days": 86_400_000_000,
    "hours": 3_600_000_000,
    "minutes": 60_000_000,
    "seconds": 1_000_000,
    "milliseconds": 1_000,
}
# Wall clocks end with the year 9999.
_MAX_US: Final = 1000 * 366 * _UNITS_US["days"]


def microseconds(
    delta: timedelta | float | None, units: dict[str, float], *, signed: bool = False
) -> int:
    """A duration, given as a timedelta, a number of seconds, or by units.

    Raises TypeError for what is no duration, ValueError for NaN, infinity, more than a
    thousand years and, unless `signed`, for what would turn the clock back.
    """
    if delta is None and not units:
        raise TypeError("say how far: a timedelta, seconds, or days=..., hours=..., seconds=...")
    if delta is not None and units:
        raise TypeError("a timedelta or seconds, or units such as days=..., not both")
    if delta is not None:
        total = _one("the duration", delta, _UNITS_US["seconds"])
    else:
        total = 0
        for unit, value in units.items():
            if isinstance(value, timedelta):
                raise TypeError(f"{unit} is a number, not a timedelta")
            total += _one(unit, value, _UNITS_US[unit])
    if total < 0 and not signed:
        raise ValueError(
            f"the clock only moves forward, not by {total / 1e6:g} s; step_wall sets the wall "
            "clock back, as an operator or NTP would"
        )
    if abs(total) > _MAX_US:
        raise ValueError("the clock moves by a thousand years at most")
    return total


def _one(what: str, value: timedelta | float, unit_us: int) -> int:
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} is a number, not {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError(f"{what} is a finite number, not {value}")
    return round(value * unit_us)


def aware(name: str, moment: datetime) -> datetime:
    """A datetime that says its zone; TypeError or ValueError for anything else."""
    if not isinstance(moment, datetime):
        raise TypeError(f"{name} is a datetime, not {type(moment).__name__}")
    if moment.tzinfo is None:
        raise ValueError(f"{name} needs a time zone: {moment!r} could be any; add tzinfo=UTC")
    return moment.astimezone(UTC)
