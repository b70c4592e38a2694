"""The actors that the benchmarks call."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import quantiles

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


# How long after its time each timer of this process fired, in seconds, and when the last did.
_delays: list[float] = []
_last_at = [0.0]


class Alarm(Actor[Count]):
    """Sets timers, and counts those that fire."""

    state = Count
    sleep_timeout_s = 86_400

    @action
    async def set_one(self, c: Context[Count], delay_s: float) -> int:
        c.schedule.after(delay_s, "ring")
        return 1

    @action
    async def set_many(self, c: Context[Count], at: float, over_s: float, count: int) -> int:
        for number in range(count):
            c.schedule.at(at + over_s * number / count, "ring")
        return count

    @action
    async def ring(self, c: Context[Count]) -> None:
        assert c.fire is not None
        c.state.value += 1
        now = c.now().timestamp()
        _delays.append(now - c.fire.scheduled_at.timestamp())
        _last_at[0] = now

    @action(read_only=True)
    def value(self, c: Context[Count]) -> int:
        return c.state.value

    @action(read_only=True)
    async def pending(self, c: Context[Count]) -> int:
        return len(await c.schedule.list())


class Bell(Actor):
    """Tells how the timers of its server fired."""

    @action(read_only=True)
    def told(self, c: Context) -> tuple[int, float]:
        return len(_delays), _last_at[0]

    @action(read_only=True)
    def delays(self, c: Context, percents: list[int]) -> list[float]:
        return [quantiles(_delays, n=100, method="inclusive")[each - 1] for each in percents]


registry = setup(
    use={"alarm": Alarm, "bell": Bell, "counter": Counter, "sleeper": Sleeper, "station": Station}
)
