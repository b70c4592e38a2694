"""Four ways to divide work among actors.

Serve them with `python -m examples.patterns.app`, then run
`python -m examples.patterns.client`.

One actor per entity: `Account`. Coordinator and data actors: a `Bank` knows its
accounts, each account knows its money. Sharding by key: `VisitShard`, many actors that
together are one counter. Fan-out and fan-in: `Bank.total` asks all its accounts at
once; a `Job` tells each `Part` its piece, and is told each result.
"""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass, field

from holdfast import Actor, Context, UserError, action, setup

VISIT_SHARDS = 8


@dataclass
class Balance:
    """The money of one account, in cents."""

    cents: int = 0


class Account(Actor[Balance]):
    """One actor per entity. Key: [bank, account]."""

    state = Balance

    @action
    async def deposit(self, c: Context[Balance], cents: int) -> int:
        """Put money in; the new balance."""
        if cents < 1:
            raise UserError("an amount is at least one cent", code="bad_amount")
        c.state.cents += cents
        return c.state.cents

    @action
    async def transfer(self, c: Context[Balance], to: str, cents: int) -> int:
        """Send money to an account of the same bank; the balance left.

        The subtraction and the message are one commit, and the message takes effect
        exactly once: money is neither lost nor doubled, whatever crashes.
        """
        if cents < 1:
            raise UserError("an amount is at least one cent", code="bad_amount")
        if cents > c.state.cents:
            raise UserError(
                "not enough money", code="insufficient", metadata={"cents": c.state.cents}
            )
        c.state.cents -= cents
        c.send(Account, [c.key[0], to], "deposit", cents)
        return c.state.cents

    @action(read_only=True)
    def balance(self, c: Context[Balance]) -> int:
        """The money in it."""
        return c.state.cents


@dataclass
class Directory:
    """The accounts of a bank, in the order they were opened."""

    accounts: list[str] = field(default_factory=list)


class Bank(Actor[Directory]):
    """The coordinator: it knows who there is, and none of their money. Key: [bank]."""

    state = Directory

    @action
    async def open_account(self, c: Context[Directory], name: str) -> list[str]:
        """Create the account and remember it; opening it again changes nothing."""
        if name not in c.state.accounts:
            await c.client.get_or_create(Account, [c.key[0], name]).resolve()
            c.state.accounts.append(name)
        return c.state.accounts

    @action(read_only=True)
    async def total(self, c: Context[Directory]) -> int:
        """Fan-out and fan-in by calls: ask every account at once, add the answers."""
        accounts = [c.client.get(Account, [c.key[0], name]) for name in c.state.accounts]
        return sum(await asyncio.gather(*(account.balance() for account in accounts)))


class VisitShard(Actor[int]):
    """One of the actors that share the visits of a site. Key: [site, shard]."""

    state = 0

    @action
    async def add(self, c: Context[int]) -> None:
        """Count one visit."""
        c.state += 1

    @action(read_only=True)
    def count(self, c: Context[int]) -> int:
        """The visits this shard has counted."""
        return c.state


def visit_shard(site: str, visitor: str) -> list[str]:
    """The key of the shard that counts a visitor: always the same one."""
    return [site, str(zlib.crc32(visitor.encode()) % VISIT_SHARDS)]


def visit_shards(site: str) -> list[list[str]]:
    """The keys of all shards of a site."""
    return [[site, str(shard)] for shard in range(VISIT_SHARDS)]


@dataclass
class Progress:
    """What a job waits for, and what it has been told."""

    pieces: int = 0
    results: dict[str, int] = field(default_factory=dict)


class Job(Actor[Progress]):
    """Fan-out and fan-in by sends: survives a crash at any point. Key: [job]."""

    state = Progress

    @action
    async def start(self, c: Context[Progress], texts: list[str]) -> int:
        """Tell each part its piece; they all leave with this turn's commit."""
        if c.state.pieces:
            raise UserError("the job has started", code="started")
        c.state.pieces = len(texts)
        for index, text in enumerate(texts):
            c.send(Part, [*c.key, str(index)], "count_words", text)
        return len(texts)

    @action
    async def done(self, c: Context[Progress], part: str, words: int) -> None:
        """A part has finished."""
        c.state.results[part] = words

    @action(read_only=True)
    def result(self, c: Context[Progress]) -> int | None:
        """The words of all pieces; None while some are missing."""
        if len(c.state.results) < c.state.pieces:
            return None
        return sum(c.state.results.values())


class Part(Actor):
    """Does one piece of a job. Key: [job, piece]. It has no state of its own."""

    @action
    async def count_words(self, c: Context, text: str) -> None:
        """Count, and tell the job."""
        c.send(Job, c.key[:-1], "done", c.key[-1], len(text.split()))


registry = setup(
    use={"account": Account, "bank": Bank, "visit-shard": VisitShard, "job": Job, "part": Part}
)

if __name__ == "__main__":
    registry.serve()
