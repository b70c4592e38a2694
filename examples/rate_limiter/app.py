"""A rate limiter for very many callers, sharded by key.

Serve it with `python -m examples.rate_limiter.app`, then run
`python -m examples.rate_limiter.client`.

The callers of an API are shared out among SHARDS actors by a hash of their name, so that
as many calls are decided at once as there are shards, while each caller is always counted
by the same one. A shard keeps a bucket for each of its callers in KV. A bucket fills up by
itself as time goes by, and one that is full is as good as none: each is kept with a time
to live, until it would be full, so that callers that have gone leave nothing behind.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from datetime import timedelta

from holdfast import Actor, Context, UserError, action, setup

SHARDS = 16
CALLER_CHARS_MAX = 200
DAYS_KEPT = 366


@dataclass
class Limit:
    """So many calls at once at most, and so many a second in the long run."""

    burst: float = 10
    per_second: float = 2


@dataclass
class Verdict:
    """What became of a call."""

    allowed: bool
    remaining: int
    retry_after_s: float = 0.0


@dataclass
class Day:
    """What was decided on one day."""

    date: str
    allowed: int = 0
    refused: int = 0


@dataclass
class Shard:
    """What a shard knows beside its buckets."""

    limit: Limit = field(default_factory=Limit)
    allowed: int = 0
    refused: int = 0
    blocked: int = 0
    days: list[Day] = field(default_factory=list)


class Limiter(Actor[Shard]):
    """Some of the callers of an API. Key: [api, number of the shard]."""

    async def create_state(self, c: Context[Shard], input: Limit | None) -> Shard:
        limit = input or Limit()
        if not (limit.burst >= 1 and limit.per_second > 0):
            raise UserError("a limit lets at least one call through", code="bad_limit")
        return Shard(limit)

    async def on_create(self, c: Context[Shard], input: Limit | None) -> None:
        # A day that was missed has nothing to tell, but must not be merged with another.
        c.cron.set("day", "0 0 * * *", "close_day", missed="run_all", missed_max=7)

    @action
    async def take(self, c: Context[Shard], caller: str, cost: float = 1) -> Verdict:
        """Whether a call of `caller` may go ahead; it is counted if it may."""
        limit, key = c.state.limit, key_of(caller)
        if not 0 < cost <= limit.burst:
            raise UserError("a call costs more than 0 and at most the burst", code="bad_cost")
        if await c.kv.get(f"blocked/{key}") is not None:
            c.state.refused += 1
            return Verdict(False, 0, limit.burst / limit.per_second)
        now = c.now().timestamp()
        stored = await c.kv.get(f"bucket/{key}")
        tokens, at = json.loads(stored) if stored is not None else (limit.burst, now)
        # A clock that was put back fills no bucket; it is counted from there.
        tokens = min(limit.burst, tokens + max(0.0, now - at) * limit.per_second)
        allowed = tokens >= cost
        wait_s = 0.0 if allowed else (cost - tokens) / limit.per_second
        if allowed:
            tokens -= cost
            c.state.allowed += 1
        else:
            c.state.refused += 1
        if allowed or now < at:
            full_in_s = (limit.burst - tokens) / limit.per_second
            await c.kv.put(f"bucket/{key}", json.dumps([tokens, now]), ttl=full_in_s)
        return Verdict(allowed, int(tokens), wait_s)

    @action
    async def block(self, c: Context[Shard], caller: str, how_long: timedelta) -> None:
        """Refuse every call of a caller for a while; again, from now on."""
        key = f"blocked/{key_of(caller)}"
        if await c.kv.get(key) is None:
            c.state.blocked += 1
        await c.kv.put(key, "", ttl=how_long)
        c.schedule.after(how_long, "unblocked", key)

    @action
    async def unblocked(self, c: Context[Shard], key: str) -> None:
        """A block has run out, unless it was renewed: then its own timer comes."""
        if await c.kv.get(key) is None and c.state.blocked > 0:
            c.state.blocked -= 1

    @action
    async def close_day(self, c: Context[Shard]) -> None:
        """What a schedule runs at midnight."""
        if c.fire is None:
            raise UserError("only a schedule closes a day", code="not_yours")
        date = (c.fire.scheduled_at - timedelta(days=1)).date().isoformat()
        c.state.days.append(Day(date, c.state.allowed, c.state.refused))
        c.state.allowed = c.state.refused = 0
        del c.state.days[:-DAYS_KEPT]

    @action(read_only=True)
    def days(self, c: Context[Shard]) -> list[Day]:
        """The days that are over, the oldest first."""
        return c.state.days

    @action(read_only=True)
    async def stored(self, c: Context[Shard]) -> list[str]:
        """The keys that are kept."""
        return [str(key) for key, _ in await c.kv.list()]

    @action(read_only=True)
    def blocked(self, c: Context[Shard]) -> int:
        """How many callers are blocked."""
        return c.state.blocked


def key_of(caller: str) -> str:
    """The name of a caller, if it may be one."""
    if not 0 < len(caller) <= CALLER_CHARS_MAX:
        raise UserError(f"a caller has 1 to {CALLER_CHARS_MAX} characters", code="bad_caller")
    return caller


def shard_of(api: str, caller: str) -> list[str]:
    """The key of the one limiter that counts this caller."""
    # A hash that is the same in every process.
    return [api, str(zlib.crc32(caller.encode()) % SHARDS)]


def shards_of(api: str) -> list[list[str]]:
    """The keys of all limiters of an API."""
    return [[api, str(number)] for number in range(SHARDS)]


registry = setup(use={"limiter": Limiter})

if __name__ == "__main__":
    registry.serve()
