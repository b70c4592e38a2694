"""Shows each of the four patterns at work."""

from __future__ import annotations

import asyncio
import os

from examples.patterns.app import (
    Account,
    Bank,
    Job,
    VisitShard,
    visit_shard,
    visit_shards,
)
from holdfast import Client

SERVER = os.environ.get("HOLDFAST_SERVER", "127.0.0.1:6430")


async def bank(client: Client) -> None:
    """One actor per entity, a coordinator that knows them, a question to all of them."""
    coordinator = client.get_or_create(Bank, ["first"])
    for name in ("ada", "grace"):
        await coordinator.open_account(name)
    await client.get(Account, ["first", "ada"]).deposit(500)
    left = await client.get(Account, ["first", "ada"]).transfer("grace", 200)
    print("ada sent 200 to grace and has", left)
    async with asyncio.timeout(10):
        while (total := await coordinator.total()) % 500:
            await asyncio.sleep(0.02)
    print("the bank holds", total)


async def visits(client: Client, visitors: int = 40) -> None:
    """One counter that is many actors."""
    names = [f"visitor-{number}" for number in range(visitors)]
    await asyncio.gather(
        *(client.get_or_create(VisitShard, visit_shard("site", name)).add() for name in names)
    )
    shards = [client.get_or_create(VisitShard, key) for key in visit_shards("site")]
    counts = await asyncio.gather(*(shard.count() for shard in shards))
    print("visits by shard:", counts, "together:", sum(counts))


async def job(client: Client) -> None:
    """Work that is told to many, and whose results come together."""
    texts = ["one two three", "four five", "six"]
    await client.destroy(Job, ["words"]) if [a async for a in client.list(Job)] else None
    words = client.get_or_create(Job, ["words"])
    print("pieces:", await words.start(texts))
    async with asyncio.timeout(10):
        while (total := await words.result()) is None:
            await asyncio.sleep(0.02)
    print("words:", total)


async def main(server: str = SERVER) -> None:
    """Run them all."""
    async with Client(server) as client:
        await bank(client)
        await visits(client)
        await job(client)


if __name__ == "__main__":
    asyncio.run(main())
