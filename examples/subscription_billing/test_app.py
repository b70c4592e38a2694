"""Tests of the subscriptions, on `holdfast.testing`: years of them take seconds.

Run them with `pytest examples/subscription_billing`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from examples.subscription_billing.app import Billing, Plan, months_after, registry
from examples.subscription_billing.payments import PretendPayments
from holdfast import ActorError, Registry
from holdfast.testing import Harness

BASIC, TEAM = Plan("basic", 900), Plan("team", 2900)


@pytest.fixture
def holdfast_registry() -> Registry:
    return registry


@pytest.fixture
def bank(monkeypatch: pytest.MonkeyPatch) -> PretendPayments:
    pretend = PretendPayments()
    monkeypatch.setattr(Billing, "payments", pretend)
    return pretend


@pytest.fixture
def ada(holdfast_test: Harness, bank: PretendPayments) -> Billing:
    return holdfast_test.client.get_or_create(Billing, ["ada"])


async def test_a_trial_and_then_a_year(
    holdfast_test: Harness, ada: Billing, bank: PretendPayments
) -> None:
    statuses = await holdfast_test.events(ada, "status")
    first = await ada.subscribe(BASIC)
    assert first == datetime(2026, 1, 15, tzinfo=UTC)

    await holdfast_test.advance_to(first - timedelta(seconds=1))
    assert bank.taken == {}
    await holdfast_test.advance(days=365)

    shown = await ada.show()
    assert [each.paid_at.strftime("%m-%d") for each in shown.invoices] == [
        f"{month:02}-15" for month in range(1, 13)
    ]
    assert bank.total("ada") == 12 * 900
    assert bank.calls == 12
    assert [event.args[0] for event in statuses] == ["trial", "active"]


async def test_each_month_is_paid_once_through_crashes_and_sleeps(
    holdfast_test: Harness, ada: Billing, bank: PretendPayments
) -> None:
    await ada.subscribe(BASIC)
    for month in range(12):
        kind = ("crash_before_commit", "crash_after_commit")[month % 2]
        getattr(holdfast_test.faults, kind)(ada, Billing.renew)
        await holdfast_test.advance(days=31)

    assert holdfast_test.crashes == 12
    shown = await ada.show()
    # A month that crashed before its commit was tried again, under the same key.
    assert bank.calls > len(bank.taken)
    assert len(shown.invoices) == len(bank.taken) == 12


async def test_a_bank_that_cannot_be_reached_is_asked_again_with_the_same_key(
    holdfast_test: Harness, ada: Billing, bank: PretendPayments
) -> None:
    bank.down, bank.answers_lost = 3, 2
    await ada.subscribe(BASIC)

    await holdfast_test.advance(days=15)

    assert bank.calls == 6
    assert bank.total("ada") == 900
    shown = await ada.show()
    assert [each.receipt for each in shown.invoices] == ["receipt-1"]
    # The next month is counted from the day it was due, not from the day it was paid.
    assert shown.paid_until == datetime(2026, 2, 15, tzinfo=UTC)


async def test_who_does_not_pay_is_asked_again_and_lapses(
    holdfast_test: Harness, ada: Billing, bank: PretendPayments
) -> None:
    await ada.subscribe(BASIC)
    bank.declines.add("ada")
    await holdfast_test.advance(days=14)
    assert (await ada.show()).status == "past_due"
    await holdfast_test.advance(days=3 + 5)
    assert (await ada.show()).status == "past_due"
    await holdfast_test.advance(days=7)

    assert (await ada.show()).status == "ended"
    assert bank.calls == 4
    await holdfast_test.advance(days=365)
    assert bank.calls == 4


async def test_who_pays_late_keeps_the_day_of_the_month(
    holdfast_test: Harness, ada: Billing, bank: PretendPayments
) -> None:
    await ada.subscribe(BASIC)
    bank.declines.add("ada")
    await holdfast_test.advance(days=14)
    bank.declines.clear()
    await holdfast_test.advance(days=4)

    shown = await ada.show()
    assert (shown.status, shown.declined) == ("active", 0)
    assert shown.paid_until == datetime(2026, 2, 15, tzinfo=UTC)


async def test_a_cancelled_one_ends_with_what_is_paid(
    holdfast_test: Harness, ada: Billing, bank: PretendPayments
) -> None:
    await ada.subscribe(BASIC)
    await holdfast_test.advance(days=20)
    notices = await holdfast_test.events(ada, "notice")
    assert await ada.cancel() == datetime(2026, 2, 15, tzinfo=UTC)

    await holdfast_test.advance_to(datetime(2026, 2, 14, tzinfo=UTC))
    assert (await ada.show()).status == "active"
    await holdfast_test.advance(days=365)

    assert (await ada.show()).status == "ended"
    assert (bank.calls, notices) == (1, [])
    # And may come back.
    await ada.subscribe(BASIC, timedelta(0))
    await holdfast_test.settle()
    assert [each.number for each in (await ada.show()).invoices] == [1, 2]


async def test_a_cancellation_may_be_taken_back_and_a_plan_changed(
    holdfast_test: Harness, ada: Billing, bank: PretendPayments
) -> None:
    await ada.subscribe(BASIC)
    await holdfast_test.advance(days=20)
    await ada.cancel()
    await ada.change_plan(TEAM)
    await ada.resume()
    await holdfast_test.advance(days=30)
    assert [each.cents for each in (await ada.show()).invoices] == [900, 2900]


async def test_a_notice_comes_some_days_before(
    holdfast_test: Harness, ada: Billing, bank: PretendPayments
) -> None:
    notices = await holdfast_test.events(ada, "notice")
    await ada.subscribe(BASIC)
    await holdfast_test.advance(days=11)
    assert [event.args for event in notices] == [("basic", 900)]


async def test_hundreds_of_customers_are_each_billed_at_their_own_time(
    holdfast_test: Harness, bank: PretendPayments
) -> None:
    customers = [f"customer-{number}" for number in range(300)]
    for number, name in enumerate(customers):
        billing = holdfast_test.client.get_or_create(Billing, [name])
        await billing.subscribe(BASIC, timedelta(hours=number))

    await holdfast_test.advance(days=58)

    # Trials of up to twelve and a half days: everybody's second month, and nobody's third.
    assert {bank.total(name) for name in customers} == {2 * 900}


async def test_what_makes_no_sense_is_refused(ada: Billing, bank: PretendPayments) -> None:
    async def refusal(call: object) -> str:
        with pytest.raises(ActorError) as error:
            await call  # type: ignore[misc]
        return error.value.code

    assert await refusal(ada.cancel()) == "not_subscribed"
    assert await refusal(ada.subscribe(Plan("free", 0))) == "bad_plan"
    assert await refusal(ada.subscribe(BASIC, timedelta(-1))) == "bad_plan"
    assert await refusal(ada.renew()) == "not_yours"
    await ada.subscribe(BASIC)
    assert await refusal(ada.subscribe(TEAM)) == "subscribed"
    assert bank.calls == 0


@pytest.mark.parametrize(
    ("anchor", "months", "expected"),
    [
        ("2026-01-31", 1, "2026-02-28"),
        ("2026-01-31", 2, "2026-03-31"),
        ("2024-02-29", 12, "2025-02-28"),
        ("2023-11-30", 3, "2024-02-29"),
        ("2026-12-15", 1, "2027-01-15"),
    ],
)
def test_a_month_later(anchor: str, months: int, expected: str) -> None:
    moment = datetime.fromisoformat(anchor).replace(tzinfo=UTC)
    assert months_after(moment, months).date().isoformat() == expected
