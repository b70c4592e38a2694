"""The actors that the benchmarks call."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast import Actor, Context, action, setup


@dataclass
class Count:
    value: int = 0


class Counter(Actor[Count]):
    """A small actor that stays awake."""

    state = Count
    sleep_timeout_s = 86_400

    @action
    async def increment(self, c: Context[Count], by: int = 1) -> int:
        c.state.value += by
        return c.state.value

    @action
    async def announce(self, c: Context[Count]) -> int:
        c.state.value += 1
        c.broadcast("counted", c.state.value)
        return c.state.value

    @action(read_only=True)
    def value(self, c: Context[Count]) -> int:
        return c.state.value


class Sleeper(Actor[Count]):
    """A small actor that soon sleeps, and tells how often it was called since it woke."""

    state = Count
    vars = list
    sleep_timeout_s = 0.5

    @action
    async def increment(self, c: Context[Count]) -> int:
        c.state.value += 1
        c.vars.append(None)
        return len(c.vars)

    @action(read_only=True)
    def look(self, c: Context[Count]) -> int:
        c.vars.append(None)
        return len(c.vars)


class Station(Actor[Count]):
    """Broadcasts numbers that rise by one, to whoever listens."""

    state = Count
    sleep_timeout_s = 86_400

    @action
    async def tell(self, c: Context[Count], count: int = 1, ephemeral: bool = False) -> int:
        for _ in range(count):
            c.state.value += 1
            c.broadcast("told", c.state.value, ephemeral=ephemeral)
        return c.state.value


registry = setup(use={"counter": Counter, "sleeper": Sleeper, "station": Station})
