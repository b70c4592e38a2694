"""How long answers are kept: until acknowledged, until their time, and never more than fit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Actor, Context, action, setup
from holdfast_server.app import Server
from holdfast_server.core.ids import Address, scope_of
from holdfast_server.store import keys
from holdfast_server.store.api import Store
from holdfast_server.store.memory import MemoryStore
from holdfast_server.store.verify import check_rows
from tests.server.clock import MovedClock
from tests.server.conftest import Connect, Start
from tests.server.outcomes import wire_refusal
from tests.server.wire import Wire, by_id, numbered, result, target


class Tally(Actor[dict[str, int]]):
    state = dict

    @action
    async def add(self, c: Context[dict[str, int]]) -> int:
        c.state["sum"] = c.state.get("sum", 0) + 1
        return c.state["sum"]

    @action
    async def fail(self, c: Context[dict[str, int]]) -> None:
        raise ValueError("no")


registry = setup(use={"tally": Tally})
A = target("tally", "a")
ADDRESS = Address("default", "tally", ("a",))
REPLIES = keys.reply_prefix(scope_of(ADDRESS))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def server(start: Start, store: MemoryStore) -> Server:
    return (await start(registry, store=store, replies_max=4))[0]


@pytest.fixture
def wire(server: Server, connect: Connect) -> Wire:
    return connect(server)


def kept(store: Store) -> int:
    """Stored answers of the tally."""
    return len(store.scan(REPLIES, keys.prefix_end(REPLIES), limit=1000))


def evict(server: Server) -> None:
    assert server.node.catalog.evict(ADDRESS)


async def add(wire: Wire, number: int, below: int, client: str = "c") -> Any:
    return await wire.invoke(A, "add", client_sequence=numbered(number, below, client))


async def refused_add(wire: Wire, number: int, below: int) -> str:
    return (await wire_refusal(add(wire, number, below))).reason


async def test_a_client_that_acknowledges_never_fills_the_table(
    wire: Wire, store: MemoryStore, server: Server
) -> None:
    for number in range(1, 30):
        # Two are always in flight or not yet acknowledged.
        assert result(await add(wire, number, max(number - 1, 0))) == number
        assert kept(store) <= 2
        if number % 10 == 0:
            evict(server)
    assert check_rows(store) == []


async def test_a_full_table_refuses_new_keys_and_says_when_to_come_again(
    wire: Wire, store: MemoryStore, server: Server
) -> None:
    for number in range(1, 5):
        await add(wire, number, 1)

    for _ in range(2):
        for key in ({"client_sequence": numbered(5, 1)}, {"idempotency_key": "k"}):
            refusal = await wire_refusal(wire.invoke(A, "add", **key))
            assert refusal.status == "RESOURCE_EXHAUSTED"
            assert refusal.reason == "IDEMPOTENCY_TABLE_FULL"
            assert refusal.retry_after_s is not None
        assert (await add(wire, 2, 1)).replayed
        evict(server)
    # Nothing of those has run; one that makes room itself is taken.
    assert result(await add(wire, 5, 3)) == 5
    assert kept(store) == 3
    assert result(await wire.invoke(A, "add")) == 6


async def test_a_table_full_of_bytes_refuses_as_well(start: Start, connect: Connect) -> None:
    server, _ = await start(registry, store=MemoryStore(), replies_bytes_max=1)
    wire = connect(server)
    await add(wire, 1, 1)

    assert await refused_add(wire, 2, 1) == "IDEMPOTENCY_TABLE_FULL"
    assert result(await add(wire, 2, 2)) == 2


async def test_a_failed_call_acknowledges_nothing_by_itself(wire: Wire, store: MemoryStore) -> None:
    await add(wire, 1, 1)
    await wire_refusal(wire.invoke(A, "fail", client_sequence=numbered(2, 2)))

    assert kept(store) == 1
    assert (await add(wire, 1, 1)).replayed


@pytest.mark.parametrize("between", ["nothing", "eviction"])
async def test_what_was_acknowledged_is_refused(wire: Wire, server: Server, between: str) -> None:
    for number in (1, 2, 4):
        await add(wire, number, number)
    if between == "eviction":
        evict(server)

    # Neither those that were answered nor one that never came.
    for number in (1, 2, 3):
        refusal = await wire_refusal(add(wire, number, 1))
        assert (refusal.status, refusal.reason) == ("ABORTED", "IDEMPOTENCY_KEY_EXPIRED")
    assert (await add(wire, 4, 4)).replayed
    assert result(await add(wire, 5, 4)) == 4
    assert result(await add(wire, 1, 1, client="another")) == 5


async def test_what_was_acknowledged_is_refused_after_a_restart(
    start: Start, connect: Connect
) -> None:
    server, client = await start(registry)
    for number in (1, 2, 4):
        await add(connect(server), number, number)
    await client.close()
    await server.stop()

    server, client = await start(registry)
    wire = connect(server)

    for number in (1, 2, 3):
        assert await refused_add(wire, number, 1) == "IDEMPOTENCY_KEY_EXPIRED"
    assert (await add(wire, 4, 4)).replayed
    # The actor's end does not make it forget.
    await client.destroy(Tally, ["a"])
    assert await refused_add(wire, 3, 1) == "IDEMPOTENCY_KEY_EXPIRED"


async def test_an_own_key_lives_a_day(wire: Wire, server: Server, store: MemoryStore) -> None:
    clock = MovedClock(server)
    await wire.invoke(A, "add", idempotency_key="k")

    clock.ahead_s = 24 * 3600 - 10
    server.node.reply_sweep.sweep()
    assert (await wire.invoke(A, "add", idempotency_key="k")).replayed
    clock.ahead_s = 24 * 3600 + 10
    server.node.reply_sweep.sweep()

    assert result(await wire.invoke(A, "add", idempotency_key="k")) == 2
    assert kept(store) == 1
    assert check_rows(store) == []


async def test_a_silent_client_is_forgotten_and_one_that_calls_anywhere_is_not(
    wire: Wire, server: Server, store: MemoryStore
) -> None:
    clock = MovedClock(server)
    await add(wire, 1, 1, client="silent")
    await add(wire, 1, 1, client="busy")

    for minutes in range(5, 60, 5):
        clock.ahead_s = minutes * 60
        elsewhere = numbered(minutes, 1, "busy")
        await wire.invoke(target("tally", f"b{minutes}"), "add", client_sequence=elsewhere)
        if minutes == 5:
            server.node.reply_sweep.sweep()
            assert kept(store) == 2
        server.node.reply_sweep.sweep()

    assert (await add(wire, 1, 1, client="busy")).replayed
    assert kept(store) == 1
    assert result(await add(wire, 1, 1, client="silent")) == 3


async def test_a_client_that_memory_has_no_room_for_is_not_forgotten_early(
    start: Start, connect: Connect
) -> None:
    store = MemoryStore()
    server, _ = await start(registry, store=store, reply_clients_max=1)
    wire, clock = connect(server), MovedClock(server)

    async def sweep(minutes: int) -> int:
        clock.ahead_s = minutes * 60
        server.node.reply_sweep.sweep()
        await server.node.committer.barrier()
        return kept(store)

    async def call_elsewhere(client: str, minutes: int) -> None:
        clock.ahead_s = minutes * 60
        sequence = numbered(minutes, 1, client)
        await wire.invoke(target("tally", "b"), "add", client_sequence=sequence)

    await add(wire, 1, 1, client="one")
    await call_elsewhere("one", 9)
    await call_elsewhere("two", 9)

    # Ten minutes after its only answer here, but not after it was last heard.
    assert await sweep(18) == 1
    assert await sweep(20) == 0


async def test_rows_of_a_silent_client_make_room(
    wire: Wire, server: Server, store: MemoryStore
) -> None:
    clock = MovedClock(server)
    for number in range(1, 5):
        await add(wire, number, 1, client="silent")
    assert await refused_add(wire, 1, 1) == "IDEMPOTENCY_TABLE_FULL"

    clock.ahead_s = 11 * 60
    server.node.reply_sweep.sweep()

    assert result(await add(wire, 1, 1)) == 5
    assert kept(store) == 1


async def test_the_grave_of_an_actor_goes_with_its_answers(start: Start, connect: Connect) -> None:
    store = MemoryStore()
    server, client = await start(registry, store=store)
    wire, clock = connect(server), MovedClock(server)
    first = await wire.invoke(A, "add", idempotency_key="k")
    await client.destroy(Tally, ["a"], idempotency_key="d")

    clock.ahead_s = 23 * 3600
    server.node.reply_sweep.sweep()
    assert (await wire.invoke(by_id(first.actor_id), "add", idempotency_key="k")).replayed
    clock.ahead_s = 25 * 3600
    server.node.reply_sweep.sweep()

    refusal = await wire_refusal(wire.invoke(by_id(first.actor_id), "add", idempotency_key="k"))
    assert refusal.reason == "ACTOR_NOT_FOUND"
    await server.node.committer.barrier()
    left = {int.from_bytes(key[:2]) for key, _ in store.scan(b"", b"\xff", limit=1000)}
    assert left == {keys.Kind.FORMAT, keys.Kind.EPOCH}


async def test_many_calls_at_once_keep_as_many_answers(start: Start, connect: Connect) -> None:
    store = MemoryStore()
    server, _ = await start(registry, store=store)
    wire = connect(server)

    answers = await asyncio.gather(*(add(wire, number, 1) for number in range(1, 101)))

    assert sorted(map(result, answers)) == list(range(1, 101))
    assert kept(store) == 100
    assert result(await add(wire, 101, 101)) == 101
    assert kept(store) == 1
