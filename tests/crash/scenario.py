"""One crash from beginning to end: load, death, restart, judgement.

`crash` returns what the oracle has to say, so that the same scenario serves the
sound build, of which it must say nothing, and the broken ones, of which it must
say something.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from random import Random

from holdfast import Client
from holdfast_server.store import keys
from holdfast_server.store.rocks import RocksReader
from holdfast_server.store.verify import verify
from tests.crash.actors import Found, Ledger
from tests.crash.history import Fate, History
from tests.crash.load import BUFFERED, LEDGERS, Load
from tests.crash.oracle import check, received, sent
from tests.crash.plan import Plan, Point, Stage
from tests.crash.process import PATIENCE_S, ServerProcess

# How long a held sync is watched for answers that must not come.
HELD_S = 0.2
# How long sends may take to arrive after the restart.
ARRIVAL_S = 15.0


@asynccontextmanager
async def running(plan: Plan) -> AsyncIterator[ServerProcess]:
    """A server process that does not outlive the block."""
    server = await ServerProcess.start(plan)
    try:
        yield server
    finally:
        await server.discard()


async def crash(
    plan: Plan, points: Sequence[Point | None], rng: Random, *, arrival_s: float = ARRIVAL_S
) -> list[str]:
    """Run the load over a death at each of the points, and judge what is found.

    Where the point is None the server is killed after some random number of
    answers. Sends have `arrival_s` to arrive in the end.
    """
    history = History()
    server = await ServerProcess.start(plan.at(points[0]))
    load = Load(server.address, history, rng)
    try:
        load.start()
        for following in (*points[1:], None):
            await _end(server, history, rng)
            history.violations += verify(plan.data)
            server = await ServerProcess.start(plan.at(following, port=server.port))
        await asyncio.wait_for(load.finish(), PATIENCE_S)
        await load.again()
        books = await settled(load.client, history, arrival_s)
        await server.stop()
    finally:
        await load.close()
        await server.discard()
    history.violations += [*verify(plan.data), *leftovers(plan.data)]
    return check(history, books)


async def _end(server: ServerProcess, history: History, rng: Random) -> None:
    """Let the server come to its death."""
    point = server.plan.point
    if point is None:
        async with asyncio.timeout(PATIENCE_S):
            await history.until_acknowledged(history.acknowledged + rng.randint(1, 400))
        server.kill()
    elif point.stage is Stage.HELD_SYNC:
        assert await server.said() == "held"
        # A sound server gives no answer now but to what was synced before.
        answers = history.until_acknowledged(history.acknowledged + 20)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(answers, HELD_S)
        server.kill()
    await server.dead()


async def settled(
    client: Client, history: History, arrival_s: float = ARRIVAL_S
) -> dict[str, Found]:
    """The ledgers, once every send and timer has arrived or has had the time to."""
    books: dict[str, Found] = {}
    ledgers = (*LEDGERS, BUFFERED)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(arrival_s):
            while not books or not has_arrived(history, books):
                for ledger in ledgers:
                    books[ledger] = await client.get_or_create(Ledger, [ledger]).found()
    return books


def has_arrived(history: History, books: dict[str, Found]) -> bool:
    """Whether every send and timer that the clients know of has taken effect."""
    got = received(books)
    entries = {entry for book in books.values() for entry in book.entries}
    for operation in history.operations.values():
        later = operation.action == "later" and operation.fate is Fate.ACKNOWLEDGED
        if later and operation.entry(1) not in entries:
            return False
    return all(
        len(got.get(pair, ())) >= len(messages) for pair, messages in sent(history, books).items()
    )


def leftovers(data: str) -> Iterator[str]:
    """Rows that no load may leave: dead letters, and watermarks of settled sends."""
    reader = RocksReader(data)
    try:
        for key, row in reader.scan(*keys.kind_range(keys.Kind.DEAD_SEND), limit=10):
            yield f"a send was given up: {key.hex()} {row!r}"
        for key, number in reader.scan(*keys.kind_range(keys.Kind.INBOX), limit=1000):
            target, sender = key[2:18], key[18:34]
            if reader.get(keys.outbox_key(sender, target, int.from_bytes(number))) is None:
                yield f"a watermark is left of a send that is settled: {key.hex()}"
    finally:
        reader.close()
