"""What cannot be a schedule is refused where it is set, and the turn may go on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast import Actor, ActorError, Context, action, setup
from holdfast_server.core.errors import HoldfastError
from tests.server.timer_actors import registry
from tests.server.virtual import World, run

# What an actor's code does with its context, by name; tests pass no code over the wire.
tries: dict[str, Any] = {}


class Tryer(Actor):
    """Does what a test wants, and tells what it was refused for."""

    @action
    async def act(self, c: Context, name: str) -> str:
        try:
            result = tries[name](c)
            if hasattr(result, "__await__"):
                result = await result
        except ActorError as error:
            return f"{error.group}.{error.code} {(error.metadata or {}).get('field', '')}".strip()
        return repr(result) if not isinstance(result, str) else "ok"

    @action
    async def note(self, c: Context, text: str, *, loud: bool = False) -> None:
        pass

    @action
    async def stream(self, c: Context) -> Any:
        yield 1

    @action
    async def count(self, c: Context) -> list[int]:
        return [len(await c.schedule.list()), len(await c.cron.list())]

    @action(read_only=True)
    async def look(self, c: Context) -> str:
        try:
            c.schedule.after(1, "note", "x")
        except ActorError as error:
            return f"{error.group}.{error.code}"
        return "ok"


tryers = setup(use={"alarm": Tryer})


def ask(body: Any) -> str:
    """What the actor was refused for; nothing it tried may be left."""

    async def asked(world: World) -> str:
        tries["it"] = body
        answer: str = await world.call("act", "it")
        if answer != "ok":
            assert await world.call("count") == [0, 0]
        return answer

    return run(tryers, asked)


YEAR_10000 = 253_402_300_800


@pytest.mark.parametrize(
    ("delay", "code"),
    [
        (float("nan"), "schedule.invalid_time delay"),
        (float("inf"), "schedule.invalid_time delay"),
        ("5", "schedule.invalid_time delay"),
        (None, "schedule.invalid_time delay"),
        (True, "schedule.invalid_time delay"),
        (1e300, "schedule.invalid_time delay"),
        (10**400, "schedule.invalid_time delay"),
        (timedelta.max, "schedule.invalid_time delay"),
        (1_000_000_000_000, "schedule.invalid_time delay"),
        (-5, "ok"),
        (timedelta(days=-3), "ok"),
        (timedelta(days=365_000), "ok"),
        (0, "ok"),
    ],
)
def test_delays(delay: Any, code: str) -> None:
    assert ask(lambda c: c.schedule.after(delay, "note", "x")) == code


@pytest.mark.parametrize(
    ("time", "code"),
    [
        (datetime(2030, 1, 1), "schedule.invalid_time time"),
        (float("nan"), "schedule.invalid_time time"),
        (YEAR_10000, "schedule.invalid_time time"),
        (1_780_000_000_000, "schedule.invalid_time time"),
        ("2030-01-01", "schedule.invalid_time time"),
        (False, "schedule.invalid_time time"),
        (datetime(1960, 1, 1, tzinfo=UTC), "ok"),
        (-1.0, "ok"),
        (datetime.max.replace(tzinfo=UTC), "ok"),
        (1_900_000_000.5, "ok"),
    ],
)
def test_times(time: Any, code: str) -> None:
    assert ask(lambda c: c.schedule.at(time, "note", "x")) == code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (lambda c: c.schedule.after(1, "nope"), "action.not_found"),
        (lambda c: c.schedule.after(1, "stream"), "action.wrong_kind"),
        (lambda c: c.schedule.after(1, "note"), "action.invalid_argument"),
        (lambda c: c.schedule.after(1, "note", 5), "action.invalid_argument"),
        (lambda c: c.schedule.after(1, "note", "x", quiet=True), "action.invalid_argument"),
        (lambda c: c.schedule.after(1, "note", "x" * 70_000), "message.incoming_too_long"),
        (lambda c: c.schedule.after(1, 5), "request.invalid action"),
        (lambda c: c.schedule.after(1, Tryer.note, "x", loud=True), "ok"),
    ],
)
def test_actions_and_arguments(body: Any, code: str) -> None:
    assert ask(body) == code


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"attempts_max": 0}, "schedule.invalid_policy attempts_max"),
        ({"attempts_max": 1.5}, "schedule.invalid_policy attempts_max"),
        ({"backoff": -1}, "schedule.invalid_policy backoff"),
        ({"timeout": float("nan")}, "schedule.invalid_policy timeout"),
        ({"expires": 0}, "schedule.invalid_policy expires"),
        ({"attempts_max": 1000, "backoff": timedelta(hours=1)}, "ok"),
    ],
)
def test_options(options: dict[str, Any], code: str) -> None:
    assert ask(lambda c: c.schedule.with_options(**options).after(1, "note", "x")) == code


def cron(**given: Any) -> Any:
    wanted: dict[str, Any] = {"name": "job", "expression": "* * * * *", **given}
    name, expression = wanted.pop("name"), wanted.pop("expression")

    def body(c: Context) -> str:
        c.cron.set(name, expression, "note", "x", **wanted)
        return "set"

    return body


def every(interval: Any) -> Any:
    def body(c: Context) -> str:
        c.cron.every("job", interval, "note", "x")
        return "set"

    return body


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (cron(), "ok"),
        (cron(name=""), "schedule.invalid_name name"),
        (cron(name="x" * 129), "schedule.invalid_name name"),
        (cron(name="ü" * 65), "schedule.invalid_name name"),
        (cron(name="\ud800"), "schedule.invalid_name name"),
        (cron(name=5), "schedule.invalid_name name"),
        (cron(name="ü" * 64), "ok"),
        (cron(expression="* * * *"), "schedule.invalid_cron_expression expression"),
        (cron(expression="0 0 30 2 *"), "schedule.invalid_cron_expression expression"),
        (cron(expression=5), "schedule.invalid_cron_expression expression"),
        (cron(timezone="Mars/Olympus"), "schedule.invalid_timezone timezone"),
        (cron(timezone=None), "schedule.invalid_timezone timezone"),
        (cron(missed="never"), "schedule.invalid_policy missed"),
        (cron(missed="run_all", missed_max=0), "schedule.invalid_policy missed_max"),
        (cron(missed_max=1001), "schedule.invalid_policy missed_max"),
        (cron(overlap=None), "schedule.invalid_policy overlap"),
        (cron(history_max=1001), "schedule.invalid_max_history history_max"),
        (cron(history_max=-1), "schedule.invalid_max_history history_max"),
        (cron(history_max=True), "schedule.invalid_max_history history_max"),
        (every(4.999), "schedule.invalid_interval interval"),
        (every(float("nan")), "schedule.invalid_interval interval"),
        (every(-60), "schedule.invalid_interval interval"),
        (every("60"), "schedule.invalid_interval interval"),
        (every(timedelta(days=2_930_000)), "schedule.invalid_time"),
        (every(1e15), "schedule.invalid_interval interval"),
        (every(timedelta(seconds=5)), "ok"),
        (lambda c: c.cron.history("job", limit=0), "request.invalid limit"),
        (lambda c: c.cron.pause(""), "schedule.invalid_name name"),
    ],
)
def test_jobs(body: Any, code: str) -> None:
    assert ask(body) == code


def test_a_read_only_turn_and_code_outside_a_turn_set_nothing() -> None:
    kept: list[Context] = []

    def keep(c: Context) -> str:
        kept.append(c)
        return "kept"

    async def body(world: World) -> None:
        assert await world.call("look") == "action.read_only"
        tries["it"] = keep
        await world.call("act", "it")
        with pytest.raises(ActorError) as caught:
            kept[0].schedule.after(1, "note", "x")
        assert caught.value.code == "no_turn"
        assert kept[0].fire is None

    run(tryers, body)


def test_ten_thousand_schedules_meet_the_limit_and_leave_none() -> None:
    async def body(world: World) -> None:
        with pytest.raises(HoldfastError) as caught:
            await world.call("many", 10_000, 60)
        assert caught.value.reason.code == "max_schedules_exceeded"
        assert caught.value.metadata == {"limit": "1000"}
        assert await world.call("many", 1000, 60) == 1000
        with pytest.raises(HoldfastError):
            await world.call("after", 1, "note", "one more")
        # A job that is there may be set again, also at the limit.
        (first, *_) = await world.call("pending")
        assert await world.call("cancel", first)
        await world.call("every", "job", 60, "note", ["x"], {})
        await world.call("every", "job", 90, "note", ["y"], {})
        with pytest.raises(HoldfastError):
            await world.call("every", "other", 60, "note", ["x"], {})

    run(registry, body)


def test_room_made_in_a_turn_may_be_used_in_it() -> None:
    async def body(world: World) -> None:
        def swap(c: Context) -> Any:
            async def swapped() -> str:
                (old,) = await c.schedule.list()
                await c.schedule.cancel(old.id)
                return c.schedule.after(1, "note", "x")

            return swapped()

        tries["first"] = lambda c: c.schedule.after(1, "note", "x")
        tries["swap"] = swap
        assert await world.call("act", "first") == "ok"
        assert await world.call("act", "first") == "schedule.max_schedules_exceeded"
        assert await world.call("act", "swap") == "ok"

    run(tryers, body, schedules_max=1)


def test_histories_of_all_jobs_have_a_limit_together() -> None:
    async def body(world: World) -> None:
        await world.call("every", "a", 60, "note", ["x"], {"history_max": 15})
        with pytest.raises(HoldfastError) as caught:
            await world.call("every", "b", 60, "note", ["x"], {"history_max": 6})
        assert caught.value.reason.code == "invalid_max_history"
        await world.call("every", "a", 60, "note", ["x"], {"history_max": 14})
        await world.call("every", "b", 60, "note", ["x"], {"history_max": 6})

    run(registry, body, schedule_history_actor_max=20)


def test_a_lowered_limit_keeps_what_is_there() -> None:
    async def body(world: World) -> None:
        await world.call("many", 10, 60)
        world.limits = type(world.limits)(schedules_max=5)
        world.crash()
        with pytest.raises(HoldfastError):
            await world.call("after", 1, "note", "x")
        await world.pass_by(61)
        assert len((await world.call("book"))["notes"]) == 10

    run(registry, body)
