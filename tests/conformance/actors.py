"""Actors that the conformance cases call. A case may rely on everything said here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from google.protobuf.wrappers_pb2 import StringValue

from holdfast import Actor, Context, Event, UserError, action, setup


@dataclass
class Count:
    value: int = 0


class Counter(Actor[Count]):
    """Counts, in every way an action can run."""

    state = Count

    @action
    async def increment(self, c: Context[Count], by: int = 1) -> int:
        c.state.value += by
        return c.state.value

    @action(read_only=True)
    def value(self, c: Context[Count]) -> int:
        return c.state.value

    @action(name="increment.inThread", thread=True)
    def increment_in_thread(self, c: Context[Count]) -> int:
        c.state.value += 1
        return c.state.value

    @action(interleave=True)
    async def increment_interleaved(self, c: Context[Count]) -> int:
        c.state.value += 1
        return c.state.value

    @action(read_only=True)
    def cheat(self, c: Context[Count]) -> None:
        c.state.value = 99

    @action
    async def count_up(self, c: Context[Count], count: int) -> AsyncIterator[int]:
        for _ in range(count):
            c.state.value += 1
            yield c.state.value

    @action
    async def finish(self, c: Context[Count]) -> str:
        c.destroy()
        return "bye"


@dataclass
class Trail:
    value: int = 0
    text: str = ""


class Failing(Actor[Trail]):
    """Fails in every way; each failing action first adds 100, which must leave no trace."""

    state = Trail

    async def create_vars(self, c: Context[Trail]) -> list[str]:
        return []

    @action
    async def value(self, c: Context[Trail]) -> list[int]:
        """The value, and how many KV entries there are."""
        return [c.state.value, len(await c.kv.list())]

    @action
    async def raise_user_error(
        self, c: Context[Trail], message: str, code: str | None = None, metadata: Any = None
    ) -> None:
        await self._leave_traces(c)
        if code is None:
            raise UserError(message)
        raise UserError(message, code=code, metadata=metadata)

    @action
    async def raise_bug(self, c: Context[Trail]) -> None:
        await self._leave_traces(c)
        raise ValueError("a secret")

    @action
    async def raise_bug_once(self, c: Context[Trail]) -> str:
        """Fails at the first call of an activation, answers afterwards."""
        c.vars.append("called")
        if len(c.vars) == 1:
            raise ValueError("a secret")
        return "ok"

    @action
    async def hang(self, c: Context[Trail]) -> None:
        await self._leave_traces(c)
        await asyncio.Event().wait()

    @action(timeout_s=0.05)
    async def hang_briefly(self, c: Context[Trail]) -> None:
        await self._leave_traces(c)
        await asyncio.Event().wait()

    @action
    async def grow_state(self, c: Context[Trail], size: int) -> None:
        await self._leave_traces(c)
        c.state.text = "x" * size

    @action
    async def long_result(self, c: Context[Trail], size: int) -> str:
        await self._leave_traces(c)
        return "x" * size

    @action
    async def odd_result(self, c: Context[Trail], what: str) -> Any:
        """A result that no encoding carries, two steps deep."""
        await self._leave_traces(c)
        odd = {"object": object(), "nan": float("nan"), "naive": datetime(2026, 1, 2)}
        return {"items": [1, odd[what]]}

    @action
    async def items_then_user_error(self, c: Context[Trail]) -> AsyncIterator[int]:
        c.state.value += 1
        yield 1
        c.state.value += 1
        yield 2
        c.state.value += 100
        raise UserError("enough", code="enough", metadata={"after": 2})

    @action
    async def items_then_bug(self, c: Context[Trail]) -> AsyncIterator[int]:
        yield 1
        raise ValueError("a secret")

    @action(timeout_s=0.5)
    async def item_then_hang(self, c: Context[Trail]) -> AsyncIterator[int]:
        c.state.value += 1
        yield 1
        await self._leave_traces(c)
        await asyncio.Event().wait()
        yield 2

    async def _leave_traces(self, c: Context[Trail]) -> None:
        c.state.value += 100
        await c.kv.put("trace", "left")


@dataclass
class Point:
    x: int
    y: int = 0


class Values(Actor):
    """Gives back what it was given, as the type it says."""

    @action
    async def anything(self, c: Context, value: Any) -> Any:
        return value

    @action
    async def nothing(self, c: Context) -> None:
        return None

    @action
    async def octets(self, c: Context, value: bytes) -> bytes:
        return value

    @action
    async def moment(self, c: Context, value: datetime) -> datetime:
        return value

    @action
    async def integer(self, c: Context, value: int) -> int:
        return value

    @action
    async def decimal(self, c: Context, value: Decimal) -> Decimal:
        return value

    @action
    async def real(self, c: Context, value: float) -> float:
        return value

    @action
    async def point(self, c: Context, point: Point) -> Point:
        return point

    @action
    async def message(self, c: Context, message: StringValue) -> StringValue:
        return StringValue(value=message.value.upper())

    @action
    async def join(
        self, c: Context, first: str, second: str = "two", *, separator: str = "-"
    ) -> str:
        return f"{first}{separator}{second}"

    @action
    async def sum(self, c: Context, first: int, *more: int) -> int:
        return first + sum(more)


@dataclass
class RoomInput:
    topic: str = "anything"
    seats: int = 2


@dataclass
class RoomState:
    topic: str
    seats: int
    notes: list[str] = field(default_factory=list)


class Room(Actor[RoomState]):
    """A room with a topic.

    This paragraph is not part of its description.
    """

    async def create_state(self, c: Context[RoomState], input: RoomInput | None) -> RoomState:
        given = input or RoomInput()
        if given.topic == "refuse":
            raise UserError("no such topic", code="bad_topic", metadata={"topic": given.topic})
        if given.topic == "crash":
            raise ValueError("a secret")
        return RoomState(given.topic, given.seats)

    @action(read_only=True)
    def describe(self, c: Context[RoomState]) -> list[Any]:
        """Topic and seats."""
        return [c.state.topic, c.state.seats]

    @action(name="noteThat")
    async def note(self, c: Context[RoomState], text: str, times: int = 1) -> int:
        """Adds a note."""
        c.state.notes += [text] * times
        return len(c.state.notes)

    @action
    async def notes(self, c: Context[RoomState]) -> AsyncIterator[str]:
        for text in c.state.notes:
            yield text


class Shelf(Actor):
    """Has KV entries only."""

    @action
    async def put(self, c: Context, entries: dict[str, str]) -> None:
        await c.kv.put_batch(entries)

    @action
    async def fill(self, c: Context, count: int) -> None:
        """Puts entries of the largest value, under their numbers in two digits."""
        for number in range(count):
            await c.kv.put(f"{number:02}", "x" * 131072)

    @action
    async def put_octets(self, c: Context, key: bytes, value: bytes) -> None:
        await c.kv.put(key, value)


class Speaker(Actor):
    """Tells what it is told to tell."""

    @action
    async def say(self, c: Context, name: str, *texts: str) -> None:
        """One event for each text, all of one turn."""
        for text in texts:
            c.broadcast(name, text)

    @action
    async def count(self, c: Context, first: int, last: int, size: int = 0) -> None:
        """Events of these numbers, in one turn, each with a text of this size."""
        for number in range(first, last + 1):
            c.broadcast("counted", number, "x" * size)

    @action
    async def hint(self, c: Context, text: str) -> None:
        c.broadcast("hint", text, ephemeral=True)

    @action
    async def finish(self, c: Context) -> None:
        c.destroy()


class Whisperer(Speaker):
    """Lets nobody hear its secrets."""

    emits = {"secret": Event(str, can_subscribe=lambda self, c: False)}


class Planner(Actor):
    """Sets schedules; each that fires is told as `rung`."""

    @action
    async def after(self, c: Context, delay_s: float, text: str) -> str:
        return c.schedule.after(delay_s, "ring", text)

    @action
    async def cron(
        self, c: Context, name: str, expression: str, text: str, timezone: str = "UTC"
    ) -> None:
        c.cron.set(name, expression, "ring", text, timezone=timezone)

    @action
    async def every(self, c: Context, name: str, interval_s: float, text: str) -> None:
        c.cron.every(name, interval_s, "ring", text)

    @action
    async def hopeless(self, c: Context, delay_s: float) -> None:
        """What fires then fails at its only try."""
        c.schedule.with_options(attempts_max=1).after(delay_s, "fail")

    @action
    async def fail(self, c: Context) -> None:
        raise UserError("no", code="hopeless")

    @action
    async def ring(self, c: Context, text: str) -> None:
        """Tells what the fire is: the text, the kind, its id, and which try it is."""
        assert c.fire is not None
        c.broadcast("rung", text, c.fire.kind, c.fire.id, c.fire.attempt)


registry = setup(
    use={
        "counter": Counter,
        "failing": Failing,
        "planner": Planner,
        "room": Room,
        "shelf": Shelf,
        "speaker": Speaker,
        "values": Values,
        "whisperer": Whisperer,
    }
)
