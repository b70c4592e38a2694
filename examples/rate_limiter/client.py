"""Lets a burst of calls through, is refused, waits, and blocks a caller.

It calls the server at HOLDFAST_SERVER, by default 127.0.0.1:6430.
"""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from uuid import uuid4

from examples.rate_limiter.app import Limit, Limiter, shard_of, shards_of
from holdfast import Client

SERVER = os.environ.get("HOLDFAST_SERVER", "127.0.0.1:6430")
LIMIT = Limit(burst=5, per_second=4)


async def main(server: str = SERVER, callers: int = 40) -> None:
    """Limit the calls of some callers of a new API."""
    async with Client(server) as client:
        api = f"search-{uuid4()}"

        def limiter(caller: str) -> Limiter:
            return client.get_or_create(Limiter, shard_of(api, caller), input=LIMIT)

        ada = limiter("ada")
        verdicts = [await ada.take("ada") for _ in range(7)]
        print("ada:", ["yes" if each.allowed else "no" for each in verdicts])
        await asyncio.sleep(verdicts[-1].retry_after_s)
        print("a little later:", (await ada.take("ada")).allowed)
        await limiter("mallory").block("mallory", timedelta(minutes=10))
        print("mallory:", (await limiter("mallory").take("mallory")).allowed)
        names = [f"caller-{number}" for number in range(callers)]
        others = await asyncio.gather(*(limiter(name).take(name) for name in names))
        print("others:", sum(each.allowed for each in others), "of", callers)
        shards = [client.get_or_create(Limiter, key, input=LIMIT) for key in shards_of(api)]
        kept = await asyncio.gather(*(shard.stored() for shard in shards))
        print("shards in use:", sum(1 for each in kept if each) > 1)


if __name__ == "__main__":
    asyncio.run(main())
