"""Subscriptions: a trial, a bill each month, reminders of those who do not pay, an end.

Serve them with `python -m examples.subscription_billing.app`, then run
`python -m examples.subscription_billing.client`.

One actor for each customer, which wakes itself: no job looks through a table of customers
each night. The step that takes money runs as a schedule. Its effects, the invoice, what
happens next and when, are one commit; if the bank cannot be reached the step is tried
again, and each try has the same `c.fire.id`, which the bank takes as its key: nobody pays
twice. A bank that declines is no failure of ours: the customer is asked again after some
days, and in the end the subscription lapses.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from examples.subscription_billing.payments import Declined, Payments, PretendPayments
from holdfast import Actor, Context, Event, UserError, action, setup

TRIAL = timedelta(days=14)
# Days until a customer whose bank declined is asked again; after the last it is over.
ASKED_AGAIN = (3, 5, 7)
NOTICE = timedelta(days=3)
INVOICES_KEPT = 120

Status = Literal["none", "trial", "active", "past_due", "ended"]


@dataclass
class Plan:
    """What is paid each month."""

    name: str
    cents: int


@dataclass
class Invoice:
    """A month that was paid."""

    number: int
    plan: str
    cents: int
    paid_at: datetime
    receipt: str


@dataclass
class Subscription:
    """Everything about one customer."""

    status: Status = "none"
    plan: Plan = field(default_factory=lambda: Plan("none", 0))
    # The day of the month on which it renews, and the months since.
    anchor: datetime | None = None
    months: int = 0
    paid_until: datetime | None = None
    declined: int = 0
    ends_at_period: bool = False
    # The schedule of the next step.
    step_id: str = ""
    invoices: list[Invoice] = field(default_factory=list)


class Billing(Actor[Subscription]):
    """The subscription of one customer. Key: [customer]."""

    state = Subscription
    emits = {"status": Event(str), "notice": Event(str, int)}
    payments: Payments = PretendPayments()

    @action
    async def subscribe(
        self, c: Context[Subscription], plan: Plan, trial: timedelta = TRIAL
    ) -> datetime:
        """Begin a trial; when the first month is to be paid."""
        if c.state.status not in ("none", "ended"):
            raise UserError("there is a subscription", code="subscribed")
        if plan.cents < 1 or trial < timedelta(0):
            raise UserError("a plan costs at least a cent", code="bad_plan")
        first = c.now() + trial
        c.state = Subscription("trial", plan, anchor=first, invoices=c.state.invoices)
        self._plan_step(c, first)
        c.broadcast("status", "trial")
        return first

    @action
    async def change_plan(self, c: Context[Subscription], plan: Plan) -> None:
        """Another plan from the next month on."""
        self._check_subscribed(c)
        if plan.cents < 1:
            raise UserError("a plan costs at least a cent", code="bad_plan")
        c.state.plan = plan

    @action
    async def cancel(self, c: Context[Subscription]) -> datetime | None:
        """End at the end of what is paid, or at once if nothing is; when that is."""
        self._check_subscribed(c)
        c.state.ends_at_period = True
        if c.state.status == "past_due":
            await c.schedule.cancel(c.state.step_id)
            self._end(c)
            return c.now()
        return c.state.paid_until or c.state.anchor

    @action
    async def resume(self, c: Context[Subscription]) -> None:
        """Take back a cancellation."""
        self._check_subscribed(c)
        c.state.ends_at_period = False

    @action
    async def renew(self, c: Context[Subscription]) -> None:
        """What a schedule runs when a month is to be paid."""
        fire, state = c.fire, c.state
        if fire is None:
            raise UserError("only a schedule takes money", code="not_yours")
        if state.ends_at_period:
            self._end(c)
            return
        try:
            receipt = await type(self).payments.charge(fire.id, c.key[0], state.plan.cents)
        except Declined:
            self._declined(c)
            return
        state.invoices.append(
            Invoice(len(state.invoices) + 1, state.plan.name, state.plan.cents, c.now(), receipt)
        )
        del state.invoices[:-INVOICES_KEPT]
        assert state.anchor is not None
        state.declined = 0
        state.months += 1
        state.paid_until = months_after(state.anchor, state.months)
        self._set_status(c, "active")
        self._plan_step(c, state.paid_until)

    @action
    async def announce(self, c: Context[Subscription]) -> None:
        """What a schedule runs some days before."""
        if c.state.status != "ended" and not c.state.ends_at_period:
            c.broadcast("notice", c.state.plan.name, c.state.plan.cents)

    @action(read_only=True)
    def show(self, c: Context[Subscription]) -> Subscription:
        """Everything about it."""
        return c.state

    def _plan_step(self, c: Context[Subscription], when: datetime) -> None:
        # A bank that is down for a day or two ends no subscription.
        patient = c.schedule.with_options(attempts_max=600, backoff=timedelta(minutes=1))
        c.state.step_id = patient.at(when, "renew")
        if when - NOTICE > c.now():
            c.schedule.at(when - NOTICE, "announce")

    def _declined(self, c: Context[Subscription]) -> None:
        if c.state.declined == len(ASKED_AGAIN):
            self._end(c)
            return
        wait = timedelta(days=ASKED_AGAIN[c.state.declined])
        c.state.declined += 1
        self._set_status(c, "past_due")
        self._plan_step(c, c.now() + wait)

    def _end(self, c: Context[Subscription]) -> None:
        self._set_status(c, "ended")

    def _set_status(self, c: Context[Subscription], status: Status) -> None:
        if c.state.status != status:
            c.state.status = status
            c.broadcast("status", status)

    def _check_subscribed(self, c: Context[Subscription]) -> None:
        if c.state.status in ("none", "ended"):
            raise UserError("there is no subscription", code="not_subscribed")


def months_after(anchor: datetime, months: int) -> datetime:
    """The same day so many months later; the month's last day where it has no such day."""
    years, month = divmod(anchor.month - 1 + months, 12)
    year, month = anchor.year + years, month + 1
    day = min(anchor.day, calendar.monthrange(year, month)[1])
    return anchor.replace(year=year, month=month, day=day)


registry = setup(use={"billing": Billing})

if __name__ == "__main__":
    registry.serve()
