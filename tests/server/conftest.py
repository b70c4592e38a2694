"""A real server on a free port over a real RocksDB, and a real client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from holdfast import Client, Registry
from holdfast_server.app import Server
from holdfast_server.config import load
from tests.server.actors import registry as default_registry

Start = Callable[..., Awaitable[tuple[Server, Client]]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    opened: list[tuple[Server, Client]] = []

    async def run(
        registry: Registry = default_registry, *, data: str = "data", **settings: object
    ) -> tuple[Server, Client]:
        flags = {"data": str(tmp_path / data), "grpc": "127.0.0.1:0", **settings}
        server = Server(registry, load({}, **flags))
        await server.start()
        client = Client(f"127.0.0.1:{server.port}")
        opened.append((server, client))
        return server, client

    yield run
    for server, client in opened:
        await client.close()
        if not server.node.closed:
            await server.stop()


@pytest.fixture
async def client(start: Start) -> Client:
    return (await start())[1]
