"""Nothing leaves the server before what it tells is synced; a sync is held back to see it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from holdfast import Client
from holdfast.v1 import actor_pb2, kv_service_pb2
from holdfast_server.app import Server
from holdfast_server.config import load
from holdfast_server.core.ids import Address
from holdfast_server.store.faults import FaultyStore
from holdfast_server.store.keys import directory_key
from holdfast_server.store.memory import MemoryStore
from tests.server.actors import Counter, registry


class HeldStore(FaultyStore):
    """A store whose next sync waits, in its own thread, until it is let go."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self._reached = threading.Event()
        self._let_go = threading.Event()
        self._let_go.set()
        self.before_sync = self._wait

    def hold(self) -> None:
        self._reached.clear()
        self._let_go.clear()

    def let_go(self) -> None:
        self._let_go.set()

    async def reached(self) -> None:
        """Return once a sync waits."""
        await asyncio.to_thread(self._reached.wait)

    def _wait(self) -> None:
        self._reached.set()
        self._let_go.wait()


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
