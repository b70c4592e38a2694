"""Cron against a slow reference that walks over every minute, also where clocks change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast_server.core.cron import Cron, check_cron, check_zone
from holdfast_server.core.errors import HoldfastError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def ms(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def at(at_ms: int | None) -> datetime:
    assert at_ms is not None
    return EPOCH + timedelta(milliseconds=at_ms)


# The reference: sets of numbers, and a walk


def numbers(field: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        if span == "*":
            first, last = low, high
        elif "-" in span:
            first, last = map(int, span.split("-"))
        else:
            first, last = int(span), high if step else int(span)
        found |= set(range(first, last + 1, int(step or 1)))
    return found


class Reference:
    """An expression as sets of numbers."""

    def __init__(self, expression: str) -> None:
        minute, hour, day, month, weekday = expression.split()
        self.fixed = not minute.startswith("*") and not hour.startswith("*")
        self.both = day.startswith("*") or weekday.startswith("*")
        self.minutes, self.hours = numbers(minute, 0, 59), numbers(hour, 0, 23)
        self.days, self.months = numbers(day, 1, 31), numbers(month, 1, 12)
        self.weekdays = {number % 7 for number in numbers(weekday, 0, 7)}

    def matches(self, local: datetime) -> bool:
        if local.minute not in self.minutes or local.hour not in self.hours:
            return False
        day, weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return local.month in self.months and (day and weekday if self.both else day or weekday)

    def walk(self, zone: ZoneInfo, begin: datetime, end: datetime) -> Iterator[datetime]:
        """Every due time in [begin, end), by looking at each minute of the world."""
        seen: set[datetime] = set()
        instant, before = begin, (begin - MINUTE).astimezone(zone)
        while instant < end:
            local = instant.astimezone(zone)
            naive = local.replace(tzinfo=None, fold=0)
            answers = [naive]
            if self.fixed:
                # What a minute answers for: itself, and a gap that it ends; but not what
                # has come before.
                own = before.replace(tzinfo=None, fold=0) + MINUTE
                while own < naive:
                    answers.append(own)
                    own += MINUTE
                answers = [each for each in answers if each not in seen]
                seen.add(naive)
            if any(map(self.matches, answers)):
                yield instant
            before, instant = local, instant + MINUTE


ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",  # changes at midnight
    "Australia/Lord_Howe",  # by half an hour
    "Asia/Kathmandu",  # 5:45
    "Africa/Casablanca",
    "America/St_Johns",
    "Pacific/Chatham",
)


def changes(zone: str, year: int = 2026) -> list[datetime]:
    """Days on which the offset of a zone changes; a day in June where it never does."""
    info, day = ZoneInfo(zone), datetime(year, 1, 1, tzinfo=UTC)
    found = []
    while day.year == year:
        if (
            day.astimezone(info).utcoffset()
            != (day + timedelta(days=1)).astimezone(info).utcoffset()
        ):
            found.append(day)
        day += timedelta(days=1)
    return found or [datetime(year, 6, 1, tzinfo=UTC)]


CASES = [(zone, day) for zone in ZONES for day in changes(zone)]


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high).map(str)
    # The library reads 5-5/2 as 5/2.
    span = st.tuples(st.integers(low, high - 1), st.integers(1, high)).map(
        lambda pair: f"{pair[0]}-{min(pair[0] + pair[1], high)}"
    )
    stepped = st.tuples(st.one_of(st.just("*"), span), st.integers(1, 15)).map(
        lambda pair: f"{pair[0]}/{pair[1]}"
    )
    return st.one_of(
        st.just("*"),
        number,
        span,
        stepped,
        st.lists(number, min_size=2, max_size=3).map(",".join),
    )


expressions = st.tuples(
    field(0, 59),
    st.one_of(field(0, 23), st.sampled_from(["1", "2", "1-2", "0", "23", "2-3", "*/2"])),
    st.sampled_from(["*", "*", "*", "*/2", "1-31", "25", "8"]),
    st.sampled_from(["*", "*", "*", "3,10,11", "1-12"]),
    st.sampled_from(["*", "*", "*", "0", "7", "1-5", "SUN"]),
).map(" ".join)


@settings(max_examples=120, deadline=None)
@given(
    expression=expressions,
    case=st.sampled_from(CASES),
    lead=st.integers(0, 24 * 60),
    into_ms=st.integers(0, 59_999),
)
def test_cron_is_due_when_a_walk_over_the_minutes_says(
    expression: str, case: tuple[str, datetime], lead: int, into_ms: int
) -> None:
    name, day = case
    expression = expression.replace("SUN", "0")
    begin = day - timedelta(minutes=lead)
    end = day + timedelta(days=2)
    # The walk begins early enough to have seen what the local clock showed before.
    since = begin - timedelta(hours=3)
    expected = [
        due
        for due in Reference(expression).walk(ZoneInfo(name), since, end)
        if due > begin + timedelta(milliseconds=into_ms)
    ]
    cron, found = Cron(expression, name), []
    after = ms(begin) + into_ms
    while (due := cron.next_after(after)) is not None and at(due) < end:
        assert due > after
        found.append(at(due))
        after = due

    assert found == expected


@pytest.mark.parametrize(
    ("expression", "zone", "after", "due"),
    [
        # Clocks go from 2:00 to 3:00: a fixed time in the gap comes at its end.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", "2026-03-29T01:00Z"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-29T01:00Z", "2026-03-30T00:30Z"),
        # Clocks go from 3:00 to 2:00: a fixed time that comes twice comes once.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", "2026-10-25T00:30Z"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30Z", "2026-10-26T01:30Z"),
        # Every hour means every hour.
        ("0 * * * *", "Europe/Berlin", "2026-10-25T00:00Z", "2026-10-25T01:00Z"),
        ("0 * * * *", "Europe/Berlin", "2026-03-29T00:00Z", "2026-03-29T01:00Z"),
        # What only matches in the gap is left out.
        ("*/20 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", "2026-03-30T00:00Z"),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00Z", "2028-02-29T00:00Z"),
        ("0 9 * * 1-5", "America/New_York", "2026-07-03T13:00Z", "2026-07-06T13:00Z"),
        ("0 0 L * *", "UTC", "2026-02-01T00:00Z", "2026-02-28T00:00Z"),
        ("0 12 * * MON#1", "Asia/Kathmandu", "2026-06-02T00:00Z", "2026-07-06T06:15Z"),
    ],
)
def test_examples(expression: str, zone: str, after: str, due: str) -> None:
    cron = check_cron(expression, zone)

    assert at(cron.next_after(ms(datetime.fromisoformat(after)))) == datetime.fromisoformat(due)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "5-1 * * * *",
        "a * * * *",
        "0 0 31 2 *",
        "0 0 30 2 *",
        "@daily",
        "\u0661 * * * *",
        "* * * * *\x00",
        "1," * 200 + "1 * * * *",
    ],
)
def test_a_wrong_expression_is_refused_by_name(expression: str) -> None:
    with pytest.raises(HoldfastError) as caught:
        check_cron(expression, "UTC")

    assert caught.value.reason.code == "invalid_cron_expression"
    assert caught.value.metadata == {"field": "expression"}


@pytest.mark.parametrize(
    "zone",
    [
        "",
        "Mars/Olympus",
        "../etc/passwd",
        "/etc/localtime",
        "Europe",
        "localtime",
        "x" * 200,
        "UTC ",
    ],
)
def test_a_wrong_zone_is_refused_by_name(zone: str) -> None:
    with pytest.raises(HoldfastError) as caught:
        check_zone(zone)

    assert caught.value.reason.code == "invalid_timezone"


def test_spaces_do_not_matter() -> None:
    assert check_cron("  */5   *  * * * ", "UTC") == Cron("*/5 * * * *", "UTC")


def test_the_end_of_time_is_no_time() -> None:
    assert Cron("* * * * *", "UTC").next_after(253_402_300_799_999) is None
