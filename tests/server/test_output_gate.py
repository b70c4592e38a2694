"""Nothing leaves the server before what it tells is synced; a sync is held back to see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from holdfast import Client
from holdfast.v1 import actor_pb2, kv_service_pb2
from holdfast_server.app import Server
from holdfast_server.config import load
from holdfast_server.core.ids import Address
from holdfast_server.store.keys import Kind, directory_key, kind_range, state_key
from holdfast_server.store.v1 import records_pb2 as records
from tests.server.actors import Counter, registry
from tests.server.held_store import HeldStore
from tests.server.probe import until


@pytest.fixture
async def store() -> AsyncIterator[HeldStore]:
    store = HeldStore()
    yield store
    store.let_go()


@pytest.fixture
async def client(store: HeldStore) -> AsyncIterator[Client]:
    server = Server(registry, load({}, data="unused", grpc="127.0.0.1:0"), store)
    await server.start()
    async with Client(f"127.0.0.1:{server.port}") as client:
        for key in ("a", "quiet"):
            await client.get_or_create(Counter, [key]).increment(1)
        yield client
    store.let_go()
    await server.stop()


async def list_actors(client: Client) -> list[tuple[str, ...]]:
    return [info.key async for info in client.list(Counter)]


async def kv_entries(client: Client, key: str) -> list[bytes]:
    target = actor_pb2.ActorTarget(get=actor_pb2.ActorKey(name="counter", key=[key]))
    request = kv_service_pb2.ListKvEntriesRequest(target=target)
    answer = await client.transport.kv_list(request, 10)
    return [entry.key for entry in answer.entries]


async def round_trip(client: Client) -> None:
    """A call that waits for no sync: the server has had the time to answer others too."""
    await client.get(Counter, ["quiet"]).value()


async def test_neither_the_answer_nor_a_reader_is_ahead_of_the_sync(
    client: Client, store: HeldStore
) -> None:
    counter = client.get_or_create(Counter, ["b"])
    store.hold()
    put = asyncio.create_task(counter.put("x", "1"))
    await store.reached()
    readers = [
        asyncio.create_task(each)
        for each in (counter.entries(), list_actors(client), kv_entries(client, "b"))
    ]
    await round_trip(client)

    assert not put.done()
    assert not any(reader.done() for reader in readers)

    store.let_go()
    assert await put == "1"
    assert await asyncio.gather(*readers) == [["x"], [("a",), ("b",), ("quiet",)], [b"x"]]


async def test_a_send_does_not_leave_before_the_sync(client: Client, store: HeldStore) -> None:
    store.hold()
    tell = asyncio.create_task(client.get_or_create(Counter, ["a"]).tell("c", 1))
    await store.reached()
    await round_trip(client)

    assert not tell.done()
    assert store.inner.get(directory_key(Address("default", "counter", ("c",)))) is None

    store.let_go()
    await tell
    async with asyncio.timeout(10):
        while ("c",) not in await list_actors(client):
            pass


def value_of(store: HeldStore, key: str) -> int:
    """What a counter has counted, as far as it is written."""
    actor_id = store.inner.get(directory_key(Address("default", "counter", (key,))))
    record = records.StateRecord()
    record.ParseFromString(store.inner.get(state_key(actor_id or b"")) or b"")
    value: int = msgspec.msgpack.decode(record.data)["value"]
    return value


async def test_nor_does_one_to_a_target_that_is_being_told_another(
    client: Client, store: HeldStore
) -> None:
    teller = client.get_or_create(Counter, ["a"])
    store.hold()
    first = asyncio.create_task(teller.tell("c", 1))
    await store.reached()
    store.let_one_go()
    # The first send is delivered; what it did waits for the sync.
    await first
    await store.reached()
    second = asyncio.create_task(teller.tell("c", 1))
    await until(lambda: len(store.inner.scan(*kind_range(Kind.OUTBOX), limit=3)) == 2)
    store.let_one_go()
    # The first is settled; the second is there, not synced.
    await store.reached()
    await until(lambda: len(store.inner.scan(*kind_range(Kind.OUTBOX), limit=3)) == 1)
    for _ in range(5):
        await round_trip(client)

    assert not second.done()
    assert value_of(store, "c") == 1

    store.let_go()
    await second
    async with asyncio.timeout(10):
        while await client.get(Counter, ["c"]).value() != 2:
            pass
