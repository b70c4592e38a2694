"""The patterns: money is neither lost nor doubled, shards add up, jobs come together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from examples.patterns.app import (
    VISIT_SHARDS,
    Account,
    Bank,
    Job,
    VisitShard,
    visit_shard,
    visit_shards,
)
from examples.patterns.client import until
from holdfast import ActorError, Client
from tests.examples.conftest import run_client
from tests.server_process import ServerProcess

EXAMPLE = "patterns"


def test_the_client_shows_each_pattern(server: ServerProcess) -> None:
    first = run_client(server, EXAMPLE)
    assert first[:5] == [
        "ada has 500",
        "ada sends 200 to grace and has 300",
        "grace has 200",
        "the bank holds 500",
        "refused: insufficient {'cents': 300}",
    ]
    assert first[5].startswith("visits by shard: [")
    assert first[5].endswith("together: 40")
    assert first[6:] == ["pieces: 3", "words: 6"]

    server.kill()
    server.start()

    again = run_client(server, EXAMPLE)
    assert again[3] == "the bank holds 1000"
    assert again[5].endswith("together: 80")


async def test_transfers_keep_the_total(client: Client, own: str) -> None:
    bank = client.get_or_create(Bank, [own])
    names = [f"account-{number}" for number in range(5)]
    for name in names:
        await bank.open_account(name)
    assert await bank.open_account(names[0]) == names
    accounts = [client.get(Account, [own, name]) for name in names]
    await asyncio.gather(*(account.deposit(1000) for account in accounts))

    await asyncio.gather(
        *(
            account.transfer(names[(index + step) % 5], 10 * step)
            for index, account in enumerate(accounts)
            for step in range(1, 5)
        )
    )

    await until(bank.total, lambda total: total == 5000)
    assert [await account.balance() for account in accounts] == [1000] * 5


@pytest.mark.parametrize(
    ("action", "arguments", "code"),
    [
        ("deposit", [0], "bad_amount"),
        ("deposit", [-5], "bad_amount"),
        ("transfer", ["b", 0], "bad_amount"),
        ("transfer", ["b", 101], "insufficient"),
        ("transfer", ["b"], "invalid_argument"),
        ("transfer", [7, 1], "invalid_argument"),
    ],
)
async def test_a_refused_amount_moves_nothing(
    client: Client, own: str, action: str, arguments: list[Any], code: str
) -> None:
    account = client.get_or_create(Account, [own, "a"])
    await account.deposit(100)

    with pytest.raises(ActorError) as caught:
        await account.action(action, *arguments)

    assert caught.value.code == code
    assert await account.balance() == 100


async def test_a_visitor_always_meets_the_same_shard(client: Client, own: str) -> None:
    assert visit_shard(own, "ada") == visit_shard(own, "ada")
    assert len(visit_shards(own)) == VISIT_SHARDS
    for _ in range(3):
        await client.get_or_create(VisitShard, visit_shard(own, "ada")).add()

    assert await client.get(VisitShard, visit_shard(own, "ada")).count() == 3


async def test_a_job_starts_once_and_waits_for_every_part(client: Client, own: str) -> None:
    job = client.get_or_create(Job, [own])
    texts = [f"{'word ' * number}" for number in range(20)]
    assert await job.start(texts) == 20

    with pytest.raises(ActorError) as caught:
        await job.start(["again"])

    assert caught.value.code == "started"
    await until(job.result, lambda words: words is not None)
    assert await job.result() == sum(range(20))


async def test_an_empty_job_is_done_at_once(client: Client, own: str) -> None:
    job = client.get_or_create(Job, [own])

    assert await job.start([]) == 0

    assert await job.result() == 0
