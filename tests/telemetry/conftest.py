"""A real server, and a client that speaks of a trace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from holdfast import Client
from holdfast_server.app import Server
from holdfast_server.config import load
from tests.telemetry.actors import registry

Start = Callable[..., Awaitable[tuple[Server, Client]]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    opened: list[tuple[Server, Client]] = []

    async def run(**settings: object) -> tuple[Server, Client]:
        flags = {"data": str(tmp_path / "data"), "grpc": "127.0.0.1:0", **settings}
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
