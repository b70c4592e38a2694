"""Actors that set timers, and write down how they fire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from holdfast import Actor, Context, Fire, UserError, action, setup

# What fires of all tests have told; outlives a crash of the node, as a test does.
heard: list[str] = []
# How often `flaky` still fails, and whether `slow` may go on.
trouble: dict[str, int] = {}
gates: dict[str, asyncio.Event] = {}


def clear() -> None:
    heard.clear()
    trouble.clear()
    gates.clear()


@dataclass
class Book:
    notes: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    fires: list[str] = field(default_factory=list)


class Alarm(Actor[Book]):
    """Sets timers on itself."""

    state = Book

    def _write(self, c: Context[Book], text: str) -> None:
        c.state.notes.append(text)
        fire = c.fire
        if fire is not None:
            c.state.times.append(fire.scheduled_at.timestamp())
            c.state.attempts.append(fire.attempt)
            c.state.fires.append(fire.id)

    @action
    async def note(self, c: Context[Book], text: str = "note") -> None:
        self._write(c, text)

    @action
    async def flaky(self, c: Context[Book], text: str) -> None:
        """Fails as often as the test wants, having changed everything it can."""
        assert c.fire is not None
        heard.append(f"{text}:{c.fire.attempt}:{c.fire.id}")
        self._write(c, text)
        await c.kv.put(text, "x")
        c.schedule.after(1, "note", f"child of {text}")
        if trouble.get(text, 0) > 0:
            trouble[text] -= 1
            raise UserError("not now", code="not_now")

    @action
    async def halves(self, c: Context[Book], text: str) -> None:
        """Commits in its middle, then fails if the test wants."""
        self._write(c, f"{text}.1")
        await c.commit()
        heard.append(text)
        if text in gates:
            await gates[text].wait()
        if trouble.get(text):
            raise UserError("second half", code="second_half")
        self._write(c, f"{text}.2")

    @action
    async def slow(self, c: Context[Book], seconds: float, text: str = "slow") -> None:
        heard.append(f"begin {text}")
        await asyncio.sleep(seconds)
        self._write(c, text)

    @action
    async def slow_kv(self, c: Context[Book], seconds: float) -> None:
        heard.append("begin slow_kv")
        await c.kv.put("slow", "x")
        await asyncio.sleep(seconds)

    @action
    async def entries(self, c: Context[Book]) -> list[str]:
        return [str(key) for key, _ in await c.kv.list()]

    @action
    async def stream(self, c: Context[Book]) -> AsyncIterator[int]:
        yield 1

    @action(read_only=True)
    def look(self, c: Context[Book]) -> None:
        heard.append(f"look {len(c.state.notes)}")

    # What tests ask for

    @action
    async def after(self, c: Context[Book], delay: float, act: str, *args: Any) -> str:
        return c.schedule.after(delay, act, *args)

    @action
    async def after_with(
        self, c: Context[Book], options: dict[str, Any], delay: float, act: str, *args: Any
    ) -> str:
        return c.schedule.with_options(**options).after(delay, act, *args)

    @action
    async def many(self, c: Context[Book], count: int, delay: float) -> int:
        for number in range(count):
            c.schedule.after(delay, Alarm.note, str(number))
        return len(await c.schedule.list())

    @action
    async def set_and_cancel(self, c: Context[Book], delay: float) -> list[bool]:
        schedule_id = c.schedule.after(delay, "note", "never")
        return [await c.schedule.cancel(schedule_id), await c.schedule.cancel(schedule_id)]

    @action
    async def cancel(self, c: Context[Book], schedule_id: str) -> bool:
        return await c.schedule.cancel(schedule_id)

    @action
    async def pending(self, c: Context[Book]) -> list[str]:
        return [each.id for each in await c.schedule.list()]

    @action
    async def get(self, c: Context[Book], schedule_id: str) -> dict[str, Any] | None:
        found = await c.schedule.get(schedule_id)
        if found is None:
            return None
        return {"action": found.action, "args": list(found.args), "attempts": found.attempts}

    @action
    async def cron(
        self,
        c: Context[Book],
        name: str,
        expression: str,
        act: str,
        args: list[Any],
        options: dict[str, Any],
    ) -> None:
        c.cron.set(name, expression, act, *args, **options)

    @action
    async def every(
        self,
        c: Context[Book],
        name: str,
        seconds: float,
        act: str,
        args: list[Any],
        options: dict[str, Any],
    ) -> None:
        c.cron.every(name, seconds, act, *args, **options)

    @action
    async def job(self, c: Context[Book], name: str) -> dict[str, Any] | None:
        found = await c.cron.get(name)
        if found is None:
            return None
        return {
            "id": found.id,
            "next": found.next_at.timestamp() if found.next_at else None,
            "args": list(found.args),
            "paused": found.paused,
            "attempts": found.attempts,
        }

    @action
    async def jobs(self, c: Context[Book]) -> list[str]:
        return [each.name or "" for each in await c.cron.list()]

    @action
    async def manage(self, c: Context[Book], what: str, name: str) -> bool:
        done: bool = await getattr(c.cron, what)(name)
        return done

    @action
    async def history(self, c: Context[Book], name: str, limit: int = 20) -> list[list[Any]]:
        def stamp(at: datetime | None) -> float | None:
            return None if at is None else at.timestamp()

        return [
            [run.result, stamp(run.scheduled_at), run.attempts, run.skipped, run.error_code]
            for run in await c.cron.history(name, limit=limit)
        ]

    @action(read_only=True)
    def book(self, c: Context[Book]) -> Book:
        return c.state

    @action
    async def destroy(self, c: Context[Book]) -> None:
        c.destroy()

    @action
    async def fire_here(self, c: Context[Book]) -> Fire | None:
        return c.fire

    @action(thread=True)
    def in_thread(self, c: Context[Book], delay: float) -> str:
        return c.schedule.after(delay, "note", "from a thread")


class Loose(Alarm):
    """The same, whose turns interleave."""

    interleave = True


registry = setup(use={"alarm": Alarm})
loose = setup(use={"alarm": Loose})
