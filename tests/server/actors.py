"""Actors that the server's tests call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from holdfast import Actor, Context, UserError, action, setup


@dataclass
class Count:
    value: int = 0
    log: list[str] = field(default_factory=list)


class Counter(Actor[Count]):
    """Counts."""

    state = Count

    @action
    async def increment(self, c: Context[Count], by: int = 1) -> int:
        c.state.value += by
        return c.state.value

    @action(read_only=True)
    def value(self, c: Context[Count]) -> int:
        return c.state.value

    @action(read_only=True)
    def cheat(self, c: Context[Count]) -> None:
        c.state.value = 99

    @action
    async def fail(self, c: Context[Count], how: str) -> None:
        c.state.value += 100
        await c.kv.put("trace", how)
        if how == "user":
            raise UserError("no", code="refused", metadata={"n": 1})
        raise ValueError(how)

    @action
    async def sleep(self, c: Context[Count], seconds: float) -> None:
        await asyncio.sleep(seconds)

    @action
    async def put(self, c: Context[Count], key: str, value: str) -> str | None:
        await c.kv.put(key, value)
        found = await c.kv.get(key)
        return found if isinstance(found, str) else None

    @action
    async def entries(self, c: Context[Count], prefix: str = "") -> list[str]:
        return [key for key, _ in await c.kv.list(prefix)]

    @action
    async def stream(self, c: Context[Count], count: int) -> AsyncIterator[int]:
        for _ in range(count):
            c.state.value += 1
            yield c.state.value

    @action
    async def tell(self, c: Context[Count], other: str, times: int) -> None:
        for _ in range(times):
            c.send(Counter, [other], "increment", 1)

    @action
    async def ask(self, c: Context[Count], other: str) -> int:
        return await c.client.get_or_create(Counter, [other]).increment(1)

    @action
    async def circle(self, c: Context[Count], through: str) -> int:
        me = c.key[0]
        return await c.client.get_or_create(Counter, [through]).ask(me)

    @action
    async def finish(self, c: Context[Count]) -> str:
        c.destroy()
        return "bye"

    @action(thread=True)
    def threaded(self, c: Context[Count]) -> int:
        c.state.value += 1
        return c.state.value


registry = setup(use={"counter": Counter})
