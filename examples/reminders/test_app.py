"""Tests of the reminders, on `holdfast.testing`: a year of them takes a second or two.

Run them with `pytest examples/reminders`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from examples.reminders.app import Reminders, registry
from holdfast import ActorError, Client, Registry
from holdfast.testing import Harness


class Push:
    """A service for push messages that a test can break."""

    def __init__(self) -> None:
        self.failures = 0
        self.tries: list[tuple[str, str, str]] = []

    async def __call__(self, user: str, text: str, delivery_id: str) -> None:
        self.tries.append((user, text, delivery_id))
        if self.failures > 0:
            self.failures -= 1
            raise ConnectionError("no push today")


@pytest.fixture
def holdfast_registry() -> Registry:
    return registry


@pytest.fixture
def push(monkeypatch: pytest.MonkeyPatch) -> Push:
    service = Push()
    monkeypatch.setattr(Reminders, "deliver", service)
    return service


@pytest.fixture
def ada(holdfast_test: Harness, push: Push) -> Reminders:
    return holdfast_test.client.get_or_create(Reminders, ["ada"])


async def test_it_rings_at_its_time_and_once(
    holdfast_test: Harness, ada: Reminders, push: Push
) -> None:
    await ada.remind_in("tea", timedelta(minutes=4))
    rang = await holdfast_test.events(ada, "rang")

    await holdfast_test.advance(minutes=3, seconds=59)
    assert await ada.inbox() == []
    await holdfast_test.advance(days=1)

    assert [event.args for event in rang] == [("tea",)]
    (tea,) = await ada.inbox()
    assert tea.rang == tea.due == datetime(2026, 1, 1, 0, 4, tzinfo=UTC)
    assert [(user, text) for user, text, _ in push.tries] == [("ada", "tea")]


async def test_a_push_that_fails_is_tried_again_with_the_same_id(
    holdfast_test: Harness, ada: Reminders, push: Push
) -> None:
    push.failures = 3
    await ada.remind_in("tea", timedelta(minutes=4))

    await holdfast_test.advance(minutes=5)

    assert len(push.tries) == 4
    assert len(set(push.tries)) == 1
    (tea,) = await ada.inbox()
    # After pauses of 1, 2 and 4 seconds.
    assert tea.rang - tea.due == timedelta(seconds=7)


@pytest.mark.parametrize("fault", ["crash_before_commit", "crash_after_commit"])
async def test_a_crash_while_it_rings_leaves_one_entry(
    holdfast_test: Harness, ada: Reminders, push: Push, fault: str
) -> None:
    await ada.remind_in("tea", timedelta(minutes=4))
    getattr(holdfast_test.faults, fault)(ada, Reminders.ring)

    await holdfast_test.advance(minutes=5)

    assert holdfast_test.crashes == 1
    assert [each.text for each in await ada.inbox()] == ["tea"]
    # The service may hear of it twice, but can tell by the id.
    assert len({delivery_id for _, _, delivery_id in push.tries}) == 1


async def test_a_year_of_a_daily_reminder_by_the_clock_on_the_wall(
    holdfast_test: Harness, ada: Reminders, push: Push
) -> None:
    await ada.remind_daily("pills", "take your pills", "08:30", "Europe/Berlin")

    for _ in range(12):
        await holdfast_test.advance(days=30)
        await holdfast_test.evict(ada)
    await holdfast_test.advance(days=5)

    assert len(push.tries) == 365
    times = {each.rang.astimezone(UTC).strftime("%H:%M") for each in await ada.inbox()}
    # The inbox has the last hundred, across the end of summer time.
    assert times == {"06:30", "07:30"}


async def test_a_server_that_was_down_for_days_rings_once(
    holdfast_test: Harness, ada: Reminders, push: Push
) -> None:
    await ada.remind_daily("pills", "take your pills", "08:30")
    # What a clock shows when its server comes back.
    await holdfast_test.step_wall(days=4)
    await holdfast_test.advance(minutes=1)

    assert len(push.tries) == 1


async def test_a_snoozed_one_rings_later_and_only_then(
    holdfast_test: Harness, ada: Reminders, push: Push
) -> None:
    tea = await ada.remind_in("tea", timedelta(minutes=4))
    await ada.snooze(tea, timedelta(minutes=10))
    await holdfast_test.advance(minutes=13)
    assert push.tries == []
    await holdfast_test.advance(minutes=1)
    assert len(push.tries) == 1

    with pytest.raises(ActorError) as refused:
        await ada.snooze(tea, timedelta(minutes=1))
    assert refused.value.code == "no_such_reminder"


async def test_forgotten_ones_never_ring(
    holdfast_test: Harness, ada: Reminders, push: Push
) -> None:
    tea = await ada.remind_in("tea", timedelta(minutes=4))
    await ada.remind_daily("pills", "take your pills", "08:30")
    assert [each.id for each in await ada.pending()] == [tea, "pills"]

    assert [await ada.forget(which) for which in (tea, "pills", tea)] == [True, True, False]
    await holdfast_test.advance(days=30)

    assert (push.tries, await ada.pending()) == ([], [])


@pytest.mark.parametrize(
    ("action", "args", "code"),
    [
        ("remind_at", ["tea", datetime(2025, 12, 31, tzinfo=UTC)], "in_the_past"),
        ("remind_in", ["", timedelta(1)], "bad_text"),
        ("remind_in", ["x" * 501, timedelta(1)], "bad_text"),
        ("remind_daily", ["pills", "x", "25:00"], "bad_time"),
        ("remind_daily", ["pills", "x", "08:30", "Europe/Nowhere"], "invalid_timezone"),
        ("remind_daily", ["", "x", "08:30"], "invalid_name"),
        ("ring", ["now"], "not_yours"),
    ],
)
async def test_what_is_no_reminder_is_refused(
    holdfast_client: Client, action: str, args: list[Any], code: str
) -> None:
    ada = holdfast_client.get_or_create("reminders", ["ada"])
    with pytest.raises(ActorError) as error:
        await ada.action(action, *args)
    assert error.value.code == code
    assert await ada.action("pending") == []
