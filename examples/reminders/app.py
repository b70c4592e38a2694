"""Reminders: once, at a moment or in a while, and every day at a time of the user's zone.

Serve them with `python -m examples.reminders.app`, then run
`python -m examples.reminders.client`.

One actor for each user. What it schedules is durable with the call that asked for it;
when it is due the actor is woken, wherever it sleeps, and the reminder takes effect once,
whatever crashes meanwhile. What leaves the actor, a push message, cannot be undone when a
try fails: it carries the id of the fire, the same at each try, so that the service that
delivers it can tell.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from holdfast import Actor, Context, Event, UserError, action, setup

INBOX_MAX = 100
TEXT_CHARS_MAX = 500

Deliver = Callable[[str, str, str], Awaitable[None]]


async def to_nobody(user: str, text: str, delivery_id: str) -> None:
    """Delivers a push message; a real one calls a service, with `delivery_id` as the key."""


@dataclass
class Rung:
    """A reminder that has rung."""

    text: str
    due: datetime
    rang: datetime


@dataclass
class Pending:
    """A reminder that has not."""

    id: str
    text: str
    due: datetime


@dataclass
class Inbox:
    """The last reminders that rang, the oldest first."""

    rung: list[Rung] = field(default_factory=list)


class Reminders(Actor[Inbox]):
    """The reminders of one user. Key: [user]."""

    state = Inbox
    emits = {"rang": Event(str)}
    deliver: Deliver = staticmethod(to_nobody)

    @action
    async def remind_in(self, c: Context[Inbox], text: str, delay: timedelta) -> str:
        """Ring after a while; the id of the reminder."""
        return c.schedule.after(delay, "ring", checked(text))

    @action
    async def remind_at(self, c: Context[Inbox], text: str, when: datetime) -> str:
        """Ring at a moment, which has a time zone; the id of the reminder."""
        if when < c.now():
            raise UserError("that is over", code="in_the_past", metadata={"now": str(c.now())})
        return c.schedule.at(when, "ring", checked(text))

    @action
    async def remind_daily(
        self, c: Context[Inbox], name: str, text: str, time: str, timezone: str = "UTC"
    ) -> None:
        """Ring every day at "HH:MM" of a time zone. One of the same name is replaced."""
        hour, minute = hours_and_minutes(time)
        # Where the server was down for days, one is enough.
        c.cron.set(
            name,
            f"{minute} {hour} * * *",
            "ring",
            checked(text),
            timezone=timezone,
            missed="run_once",
        )

    @action
    async def snooze(self, c: Context[Inbox], reminder_id: str, delay: timedelta) -> str:
        """Put off a reminder that has not rung; its new id."""
        found = await c.schedule.get(reminder_id)
        if found is None or not await c.schedule.cancel(reminder_id):
            raise UserError("it has rung, or there is none", code="no_such_reminder")
        # The old one goes and the new one comes in one commit.
        return c.schedule.at(found.scheduled_at + delay, "ring", *found.args)

    @action
    async def forget(self, c: Context[Inbox], which: str) -> bool:
        """Drop a reminder, by its id or its name; whether there was one."""
        return await c.schedule.cancel(which) or await c.cron.delete(which)

    @action
    async def pending(self, c: Context[Inbox]) -> list[Pending]:
        """What has not rung, in the order of time; daily ones by their name."""
        found = [*await c.schedule.list(), *await c.cron.list()]
        found.sort(key=lambda each: each.scheduled_at)
        return [Pending(each.name or each.id, each.args[0], each.scheduled_at) for each in found]

    @action
    async def ring(self, c: Context[Inbox], text: str) -> None:
        """What a schedule runs."""
        fire = c.fire
        if fire is None:
            raise UserError("only a schedule rings", code="not_yours")
        await type(self).deliver(c.key[0], text, fire.id)
        c.state.rung.append(Rung(text, fire.scheduled_at, c.now()))
        del c.state.rung[:-INBOX_MAX]
        c.broadcast("rang", text)

    @action(read_only=True)
    def inbox(self, c: Context[Inbox]) -> list[Rung]:
        """The last reminders that rang, the oldest first."""
        return c.state.rung


def checked(text: str) -> str:
    """A text that may be kept."""
    if not 0 < len(text) <= TEXT_CHARS_MAX:
        raise UserError(f"a reminder has 1 to {TEXT_CHARS_MAX} characters", code="bad_text")
    return text


def hours_and_minutes(time: str) -> tuple[int, int]:
    """The parts of "HH:MM"."""
    try:
        parsed = datetime.strptime(time, "%H:%M")
    except ValueError:
        raise UserError("a time is HH:MM", code="bad_time", metadata={"time": time}) from None
    return parsed.hour, parsed.minute


registry = setup(use={"reminders": Reminders})

if __name__ == "__main__":
    registry.serve()
