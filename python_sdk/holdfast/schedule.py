"""Durable timers: what `c.schedule`, `c.cron` and `c.fire` are, and what they give.

A schedule is part of the turn that makes it. When it is due, the actor is woken and its
action runs as a turn of its own, without a caller and without a connection; the schedule
and the effects of that turn are committed together. An action that fails is tried again
with growing pauses, then a one-shot becomes a dead letter and a cron job waits for its
next time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from holdfast.actor import Action, BoundAction

Kind = Literal["at", "every", "cron"]
MissedPolicy = Literal["run_once", "skip", "run_all"]
OverlapPolicy = Literal["skip", "queue"]
RunResult = Literal["running", "ok", "error", "skipped", "interrupted"]
Seconds: TypeAlias = float | timedelta
ActionName: TypeAlias = "str | Action[Any, Any] | BoundAction[Any, Any]"


@dataclass(frozen=True, slots=True)
class Fire:
    """The fire of a schedule that a turn is."""

    id: str
    """The same for every try of this fire, and for no other."""
    schedule_id: str
    name: str | None
    """Name of the cron job; None for a one-shot."""
    kind: Kind
    scheduled_at: datetime
    """The time that the schedule named."""
    fired_at: datetime
    """When this try was begun."""
    attempt: int
    """Which try this is, from 1."""
    missed: int
    """How many times before `scheduled_at` were missed and do not fire; 100 for more too."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """One schedule, one-shot or recurring."""

    id: str
    name: str | None
    kind: Kind
    action: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    next_at: datetime | None
    """When it is due next, which may be another try; None while it is paused."""
    scheduled_at: datetime
    """The time that the next fire stands for."""
    created_at: datetime
    paused: bool = False
    attempts: int = 0
    """Failed tries of the present fire."""
    last_error: str | None = None
    expression: str | None = None
    timezone: str | None = None
    interval: timedelta | None = None
    missed: MissedPolicy = "run_once"
    missed_max: int = 1
    overlap: OverlapPolicy = "skip"
    history_max: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One run in the history of a cron job."""

    action: str
    result: RunResult
    scheduled_at: datetime
    fired_at: datetime | None
    finished_at: datetime | None
    attempts: int
    skipped: int
    """How many times were skipped: all of a skipped entry, those before it of a run."""
    error_code: str | None
    """Group and code: `user.refused`, `schedule.interrupted`."""
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a schedule is tried; None for what the server is set to."""

    attempts_max: int | None = None
    backoff: Seconds | None = None
    timeout: Seconds | None = None
    expires: Seconds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CronOptions:
    """Everything of a cron job but its name, its times and its action."""

    timezone: str | None = None
    missed: MissedPolicy = "run_once"
    missed_max: int = 100
    overlap: OverlapPolicy = "skip"
    history_max: int = 100
    retry: Options = field(default_factory=Options)


class ScheduleHost(Protocol):
    """What a runner provides for the schedules of one actor."""

    @property
    def fire(self) -> Fire | None: ...
    def after(
        self, delay: Seconds, action: Any, args: Any, kwargs: Any, options: Options
    ) -> str: ...
    def at(self, time: Any, action: Any, args: Any, kwargs: Any, options: Options) -> str: ...
    def set_cron(
        self, name: str, expression: str, action: Any, args: Any, kwargs: Any, options: CronOptions
    ) -> None: ...
    def set_every(
        self,
        name: str,
        interval: Seconds,
        action: Any,
        args: Any,
        kwargs: Any,
        options: CronOptions,
    ) -> None: ...
    async def find(self, schedule_id: str) -> Schedule | None: ...
    async def find_named(self, name: str) -> Schedule | None: ...
    async def cancel(self, schedule_id: str) -> bool: ...
    async def delete(self, name: str) -> bool: ...
    async def pause(self, name: str) -> bool: ...
    async def resume(self, name: str) -> bool: ...
    async def history(self, name: str, limit: int) -> list[Run]: ...
    async def list(self, named: bool) -> list[Schedule]: ...


class Schedules:
    """`c.schedule`: one-shot timers of the actor.

    `action` is the wire name of an action of the actor, or the action itself. A delay is
    seconds or a timedelta, a time an aware datetime or seconds since 1970; what is past
    is due at once. Limits and their errors: `schedule.max_schedules_exceeded` (1,000 an
    actor), `schedule.invalid_time`, `action.not_found`, `action.wrong_kind` for a
    streaming action.
    """

    __slots__ = ("_host", "_options")

    def __init__(self, host: ScheduleHost, options: Options | None = None) -> None:
        self._host = host
        self._options = Options() if options is None else options

    def after(self, delay: Seconds, action: ActionName, /, *args: Any, **kwargs: Any) -> str:
        """Runs `action` once after `delay`; the id of the schedule."""
        return self._host.after(delay, action, args, kwargs, self._options)

    def at(self, time: datetime | float, action: ActionName, /, *args: Any, **kwargs: Any) -> str:
        """Runs `action` once at `time`; the id of the schedule."""
        return self._host.at(time, action, args, kwargs, self._options)

    def with_options(
        self,
        *,
        attempts_max: int | None = None,
        backoff: Seconds | None = None,
        timeout: Seconds | None = None,
        expires: Seconds | None = None,
    ) -> Schedules:
        """Schedules with options: how many tries; the pause after the first that failed,
        which doubles; the time limit of a try, where it is shorter than the action's;
        how long after its time a try may still begin."""
        given = {
            "attempts_max": attempts_max,
            "backoff": backoff,
            "timeout": timeout,
            "expires": expires,
        }
        wanted = {name: value for name, value in given.items() if value is not None}
        return Schedules(self._host, replace(self._options, **wanted))  # type: ignore[arg-type]

    async def get(self, schedule_id: str) -> Schedule | None:
        """A one-shot that has not fired; None when there is none of this id."""
        return await self._host.find(schedule_id)

    async def list(self) -> list[Schedule]:
        """Those that have not fired, in the order in which they are due."""
        return await self._host.list(False)

    async def cancel(self, schedule_id: str) -> bool:
        """Whether there was one; it then takes no effect any more."""
        return await self._host.cancel(schedule_id)


class Crons:
    """`c.cron`: named, recurring timers of the actor.

    Setting one again under its name replaces it; with the same times it keeps what it
    waits for. `missed` says what becomes of times that passed while nothing could fire:
    `run_once` (one late run for the last), `skip`, `run_all` (in order, `missed_max` at
    most); `overlap` what becomes of those that come while its own run lasts: `skip`, or
    `queue` (one more run at its end). Every such time is in the history.
    """

    __slots__ = ("_host",)

    def __init__(self, host: ScheduleHost) -> None:
        self._host = host

    def set(
        self,
        name: str,
        expression: str,
        action: ActionName,
        /,
        *args: Any,
        kwargs: Mapping[str, Any] | None = None,
        timezone: str = "UTC",
        missed: MissedPolicy = "run_once",
        missed_max: int = 100,
        overlap: OverlapPolicy = "skip",
        history_max: int = 100,
        attempts_max: int | None = None,
        backoff: Seconds | None = None,
        timeout: Seconds | None = None,
        expires: Seconds | None = None,
    ) -> None:
        """Runs `action` at the times of a cron expression of five fields, in a time zone."""
        retry = Options(
            attempts_max=attempts_max, backoff=backoff, timeout=timeout, expires=expires
        )
        options = CronOptions(
            timezone=timezone,
            missed=missed,
            missed_max=missed_max,
            overlap=overlap,
            history_max=history_max,
            retry=retry,
        )
        self._host.set_cron(name, expression, action, args, kwargs or {}, options)

    def every(
        self,
        name: str,
        interval: Seconds,
        action: ActionName,
        /,
        *args: Any,
        kwargs: Mapping[str, Any] | None = None,
        missed: MissedPolicy = "run_once",
        missed_max: int = 100,
        overlap: OverlapPolicy = "skip",
        history_max: int = 100,
        attempts_max: int | None = None,
        backoff: Seconds | None = None,
        timeout: Seconds | None = None,
        expires: Seconds | None = None,
    ) -> None:
        """Runs `action` every `interval`, counted from now; lateness does not add up."""
        retry = Options(
            attempts_max=attempts_max, backoff=backoff, timeout=timeout, expires=expires
        )
        options = CronOptions(
            missed=missed,
            missed_max=missed_max,
            overlap=overlap,
            history_max=history_max,
            retry=retry,
        )
        self._host.set_every(name, interval, action, args, kwargs or {}, options)

    async def get(self, name: str) -> Schedule | None:
        """The job of a name; None when there is none."""
        return await self._host.find_named(name)

    async def delete(self, name: str) -> bool:
        """Deletes a job with its history; whether there was one."""
        return await self._host.delete(name)

    async def pause(self, name: str) -> bool:
        """The job does not run until it is resumed; whether there is one."""
        return await self._host.pause(name)

    async def resume(self, name: str) -> bool:
        """The job goes on with its next time; whether there is one."""
        return await self._host.resume(name)

    async def history(self, name: str, *, limit: int = 20) -> list[Run]:
        """The last runs of a job, the latest first."""
        return await self._host.history(name, limit)

    async def list(self) -> list[Schedule]:
        """All jobs, in the order in which they are due; paused ones last."""
        return await self._host.list(True)


__all__ = [
    "CronOptions",
    "Crons",
    "Fire",
    "Options",
    "Run",
    "Schedule",
    "ScheduleHost",
    "Schedules",
]
