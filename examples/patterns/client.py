"""Shows each of the four patterns at work.

It calls the server at HOLDFAST_SERVER, by default 127.0.0.1:6430.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import uuid4

from examples.patterns.app import (
    Account,
    Bank,
    Job,
    VisitShard,
    visit_shard,
    visit_shards,
)
from holdfast import ActorError, Client

T = TypeVar("T")
SERVER = os.environ.get("HOLDFAST_SERVER", "127.0.0.1:6430")


async def show_bank(client: Client) -> None:
    """One actor per entity, a coordinator that knows them, a question to all of them."""
    bank = client.get_or_create(Bank, ["first"])
    for name in ("ada", "grace"):
        await bank.open_account(name)
    ada, grace = (client.get(Account, ["first", name]) for name in ("ada", "grace"))
    before = await grace.balance()

    print("ada has", await ada.deposit(500))
    print("ada sends 200 to grace and has", await ada.transfer("grace", 200))
    # The money left ada's account with her commit; it reaches grace's by itself.
    await until(grace.balance, lambda cents: cents == before + 200)
    print("grace has", await grace.balance())
    print("the bank holds", await bank.total())
    try:
        await ada.transfer("grace", 1_000_000)
    except ActorError as error:
        print("refused:", error.code, error.metadata)


async def show_visits(client: Client, visitors: int = 40) -> None:
    """One counter that is many actors: as many visits at once as there are shards."""
    names = [f"visitor-{number}" for number in range(visitors)]
    await asyncio.gather(
        *(client.get_or_create(VisitShard, visit_shard("site", name)).add() for name in names)
    )
    shards = [client.get_or_create(VisitShard, key) for key in visit_shards("site")]
    counts = await asyncio.gather(*(shard.count() for shard in shards))
    print("visits by shard:", counts, "together:", sum(counts))


async def show_job(client: Client) -> None:
    """Work that is told to many, and whose results come together."""
    job = client.get_or_create(Job, ["words", str(uuid4())])
    print("pieces:", await job.start(["one two three", "four five", "six"]))
    await until(job.result, lambda words: words is not None)
    print("words:", await job.result())


async def until(ask: Callable[[], Awaitable[T]], satisfied: Callable[[T], bool]) -> None:
    """Ask until the answer satisfies: what was sent arrives after the call that sent it."""
    async with asyncio.timeout(10):
        while not satisfied(await ask()):
            await asyncio.sleep(0.02)


async def main(server: str = SERVER) -> None:
    """Run them all."""
    async with Client(server) as client:
        await show_bank(client)
        await show_visits(client)
        await show_job(client)


if __name__ == "__main__":
    asyncio.run(main())
