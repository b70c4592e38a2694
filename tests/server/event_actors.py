"""Actors that tell things, for the tests of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from holdfast import Actor, BigInt, Context, Event, UserError, action, setup
from tests.server.stage import stage


@dataclass
class Log:
    lines: list[str] = field(default_factory=list)
    open: bool = False


class Room(Actor[Log]):
    """Undeclared events, in every way of emitting them."""

    state = Log

    @action
    async def say(self, c: Context[Log], *lines: str) -> int:
        for line in lines:
            c.state.lines.append(line)
            c.broadcast("said", line)
        return len(c.state.lines)

    @action
    async def emit(self, c: Context[Log], name: str, *args: Any) -> None:
        c.broadcast(name, *args)

    @action
    async def hint(self, c: Context[Log], name: str, *args: Any) -> None:
        c.broadcast(name, *args, ephemeral=True)

    @action
    async def both(self, c: Context[Log], line: str) -> None:
        c.broadcast("typing", False, ephemeral=True)
        c.broadcast("said", line)

    @action(read_only=True)
    async def point(self, c: Context[Log], at: int) -> None:
        c.broadcast("cursor", at, ephemeral=True)

    @action(read_only=True)
    async def whisper(self, c: Context[Log], line: str) -> None:
        c.broadcast("said", line)

    @action
    async def fail(self, c: Context[Log], line: str) -> None:
        c.broadcast("said", line)
        c.broadcast("typing", True, ephemeral=True)
        raise UserError("no", code="refused")

    @action
    async def half(self, c: Context[Log], before: str, after: str) -> None:
        c.broadcast("said", before)
        await c.commit()
        c.broadcast("said", after)
        await stage.pause("half")
        raise UserError("no", code="refused")

    @action
    async def halves(self, c: Context[Log], before: str, after: str) -> None:
        c.broadcast("said", before)
        await c.commit()
        c.broadcast("said", after)

    @action
    async def steps(self, c: Context[Log], *lines: str) -> AsyncIterator[str]:
        for line in lines:
            c.broadcast("said", line)
            yield line

    @action(interleave=True)
    async def slowly(self, c: Context[Log], line: str) -> None:
        c.broadcast("said", f"{line} begins")
        await stage.pause(line)
        c.broadcast("said", f"{line} ends")

    @action
    async def later(self, c: Context[Log], line: str) -> None:
        """A turn of its own, after this one."""

        async def say() -> None:
            async with c.turn():
                c.broadcast("said", line)

        stage.kept["task"] = asyncio.create_task(say())

    @action
    async def too_late(self, c: Context[Log], line: str) -> None:
        """An event of code that has outlived its turn."""

        async def say() -> None:
            c.broadcast("said", line)

        stage.kept["task"] = asyncio.create_task(say())

    @action
    async def mutate(self, c: Context[Log]) -> None:
        told = ["before"]
        c.broadcast("said", told)
        told.append("after")

    @action
    async def mark(self, c: Context[Log]) -> list[Any]:
        told = [BigInt(5), {7}, 2**70]
        c.broadcast("marked", *told)
        return told

    @action
    async def big(self, c: Context[Log], size: int) -> None:
        c.broadcast("said", "x" * size)

    @action
    async def many(self, c: Context[Log], count: int, size: int = 0) -> None:
        for number in range(count):
            c.broadcast("said", number, "x" * size)

    @action
    async def strange(self, c: Context[Log]) -> None:
        c.broadcast("said", object())

    @action
    async def nameless(self, c: Context[Log]) -> None:
        c.broadcast("", 1)

    @action(thread=True)
    def from_thread(self, c: Context[Log], line: str) -> None:
        c.broadcast("said", line)

    @action
    async def bye(self, c: Context[Log]) -> None:
        c.broadcast("said", "bye")
        c.destroy()


class Greeter(Actor[Log]):
    """Tells of its own creation and waking."""

    state = Log

    async def on_create(self, c: Context[Log], input: Any) -> None:
        c.broadcast("created", input)

    async def on_wake(self, c: Context[Log]) -> None:
        c.broadcast("woke")

    @action
    async def touch(self, c: Context[Log]) -> None:
        c.broadcast("touched")


class Quick(Actor[Log]):
    """Answers before the disk has it."""

    state = Log
    durability = "buffered"

    @action
    async def say(self, c: Context[Log], line: str) -> None:
        c.broadcast("said", line)

    @action(read_only=True)
    async def point(self, c: Context[Log]) -> None:
        c.broadcast("cursor", ephemeral=True)

    @action(durability="synced")
    async def surely(self, c: Context[Log], line: str) -> None:
        c.broadcast("said", line)


@dataclass
class Move:
    x: int
    y: int


class Board(Actor[Log]):
    """Declared events."""

    state = Log

    def is_open(self, c: Context[Log]) -> bool:
        return c.state.open

    async def breaks(self, c: Context[Log]) -> bool:
        raise KeyError("broken")

    async def refuses(self, c: Context[Log]) -> bool:
        raise UserError("members only", code="members_only")

    async def no_bool(self, c: Context[Log]) -> Any:
        return "yes"

    async def is_known(self, c: Context[Log]) -> bool:
        return await stage.pause(f"known {c.key[0]}") is None

    emits: ClassVar = {
        "slow": Event(str, can_subscribe=is_known),
        "moved": Event(str, Move),
        "typing": Event(bool, ephemeral=True),
        "brief": Event(str, retention_s=60),
        "secret": Event(str, can_subscribe=is_open),
        "broken": Event(can_subscribe=breaks),
        "refused": Event(can_subscribe=refuses),
        "odd": Event(can_subscribe=no_bool),
    }

    @action
    async def emit(self, c: Context[Log], name: str, *args: Any) -> None:
        c.broadcast(name, *args)

    @action
    async def move(self, c: Context[Log]) -> None:
        c.broadcast("moved", "ada", Move(1, 2))

    @action
    async def open(self, c: Context[Log]) -> None:
        c.state.open = True


registry = setup(use={"room": Room, "greeter": Greeter, "quick": Quick, "board": Board})
