"""A disk that is full for a while, under a real server process.

The limit on the size of files that a process may write (RLIMIT_FSIZE) is lowered
while the server runs, so that its writes fail as on a full disk, and raised again.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast import ActorError, Client
from holdfast_server.app import Server
from holdfast_server.config import load
from holdfast_server.store.faults import FaultyStore
from holdfast_server.store.rocks import RocksStore
from holdfast_server.store.verify import verify
from tests.server.actors import Counter, registry
from tests.server.process import ServerProcess

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
STORE_FAILURES = {"COMMIT_UNKNOWN", "STORE_UNAVAILABLE"}


class Health:
    """What a server says of itself."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._stub: Any = health_pb2_grpc.HealthStub(self._channel)

    async def __aenter__(self) -> Health:
        self._watch = self._stub.Watch(
            health_pb2.HealthCheckRequest(service="holdfast.v1.KvService")
        )
        await self.until(SERVING)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watch.cancel()
        await self._channel.close()

    async def until(self, wanted: int) -> None:
        """Wait until the watch says so."""
        while (await self._watch.read()).status != wanted:
            pass

    async def reason(self) -> str:
        call = self._stub.Check(health_pb2.HealthCheckRequest())
        assert (await call).status == NOT_SERVING
        return str(dict(await call.trailing_metadata())["holdfast-reason"])


class Load:
    """Increments of many counters, and how many of each were acknowledged."""

    def __init__(self, client: Client, counters: int) -> None:
        self._client = client
        self.acknowledged = dict.fromkeys(map(str, range(counters)), 0)
        self.tried = dict(self.acknowledged)
        self.reasons: set[str] = set()
        self.failed = asyncio.Event()
        self._more = asyncio.Condition()
        self._stop = False

    async def run(self) -> None:
        await asyncio.gather(*(self._one(key) for key in self.acknowledged))

    def stop(self) -> None:
        self._stop = True

    async def acknowledge(self, count: int) -> None:
        """Wait until so many more increments are acknowledged."""
        wanted = sum(self.acknowledged.values()) + count
        async with self._more:
            await self._more.wait_for(lambda: sum(self.acknowledged.values()) >= wanted)

    async def _one(self, key: str) -> None:
        counter = self._client.get_or_create(Counter, [key])
        while not self._stop:
            self.tried[key] += 1
            try:
                await counter.increment(1)
            except ActorError as error:
                self.reasons.add(error.reason)
                self.failed.set()
            else:
                async with self._more:
                    self.acknowledged[key] += 1
                    self._more.notify_all()

    async def check(self) -> None:
        """Nothing acknowledged is lost, and nothing took effect twice."""
        for key, acknowledged in self.acknowledged.items():
            value = await self._client.get_or_create(Counter, [key]).value()
            assert acknowledged <= value <= self.tried[key]


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
async def test_a_full_disk_refuses_calls_and_loses_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    flags = ["--store-reopen-s", "0.05", "--store-wait-s", "0.05"]
    with ServerProcess(tmp_path, *flags) as server:

        def limit(size: int) -> None:
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, hard))

        # Shorter than the pause that a refused client makes: each failure is seen here.
        client = Client(server.address, timeout=0.4)
        async with client, Health(server.address) as health:
            load_ = Load(client, 16)
            running = asyncio.create_task(load_.run())
            await load_.acknowledge(100)
            limit(1)
            await health.until(NOT_SERVING)
            assert await health.reason() == "the disk is full"
            await load_.failed.wait()

            limit(soft)
            await health.until(SERVING)
            await load_.acknowledge(100)
            load_.stop()
            await running

            assert load_.reasons <= STORE_FAILURES | {"DEADLINE_EXCEEDED"}
            assert load_.reasons & STORE_FAILURES
            await load_.check()
        assert await asyncio.to_thread(server.stop) == 0
    unavailable = [line for line in server.lines if "the store is unavailable" in line]
    assert 1 <= len(unavailable) <= 3, "".join(unavailable)
    assert "the store is open again" in server.output
    assert verify(tmp_path / "data") == []


async def test_a_server_stops_while_the_disk_is_full(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ServerProcess(tmp_path) as server:
        async with Client(server.address, timeout=0.4) as client:
            counter = client.get_or_create(Counter, ["a"])
            assert await counter.increment(1) == 1
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1, hard))
            with pytest.raises(ActorError) as caught:
                await counter.increment(1)
            assert caught.value.reason in STORE_FAILURES
            assert await asyncio.to_thread(server.stop) == 0
    with ServerProcess(tmp_path) as server:
        async with Client(server.address) as client:
            assert await client.get_or_create(Counter, ["a"]).value() in (1, 2)


async def test_failures_of_each_kind_pass_and_are_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FaultyStore(RocksStore(tmp_path / "data"))
    settings = {"store_reopen_s": 0.01, "store_wait_s": 0.05}
    server = Server(registry, load({}, grpc="127.0.0.1:0", admin="off", **settings), store)
    await server.start()
    async with (
        Client(f"127.0.0.1:{server.port}", timeout=0.4) as client,
        Health(f"127.0.0.1:{server.port}") as health,
    ):
        counter = client.get_or_create(Counter, ["a"])
        for operation in ("write", "sync"):
            before = await counter.value()
            store.fail_next(operation)
            assert await counter.with_options(timeout=10).increment(1) == before + 1
        caplog.clear()
        store.broken = True
        # Each of these calls fails, and it takes many tries until the disk is back.
        while server.node.recovery.tries < 10:
            with pytest.raises(ActorError) as caught:
                await counter.increment(1)
            assert caught.value.reason in STORE_FAILURES
        assert caught.value.reason == "STORE_UNAVAILABLE"
        assert "nothing ran" in caught.value.message
        await health.until(NOT_SERVING)
        store.broken = False
        await health.until(SERVING)
        assert await counter.with_options(timeout=10).increment(1)
    await server.stop()
    levels = [record.levelno for record in caplog.records if record.name == "holdfast.node"]
    assert levels == [logging.ERROR, logging.WARNING]
