"""A real server on a free port, over a real RocksDB unless told otherwise, and a real client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from holdfast import Client, Registry
from holdfast_server.app import Server
from holdfast_server.config import load
from holdfast_server.store.api import Store
from tests.server.actors import registry as default_registry
from tests.server.place import Place, shared_server
from tests.server.stage import Stage
from tests.server.stage import stage as the_stage
from tests.server.wire import Wire

Start = Callable[..., Awaitable[tuple[Server, Client]]]
Connect = Callable[[Server], Wire]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a server; `store` replaces its RocksDB, `settings` are its flags."""
    opened: list[tuple[Server, Client]] = []

    async def run(
        registry: Registry = default_registry,
        *,
        data: str = "data",
        store: Store | None = None,
        **settings: object,
    ) -> tuple[Server, Client]:
        # A turn that a failing test leaves behind must not hold up the next one.
        flags = {
            "data": str(tmp_path / data),
            "grpc": "127.0.0.1:0",
            "drain_timeout_s": 2.0,
            **settings,
        }
        server = Server(registry, load({}, **flags), store)
        await server.start()
        gateway = f"http://127.0.0.1:{server.http_port}" if server.http_port else None
        client = Client(f"127.0.0.1:{server.port}", gateway=gateway)
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


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens a channel without the SDK."""
    channels: list[grpc.aio.Channel] = []

    def open_wire(server: Server) -> Wire:
        channels.append(grpc.aio.insecure_channel(f"127.0.0.1:{server.port}"))
        return Wire(channels[-1])

    yield open_wire
    for channel in channels:
        await channel.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    """The meeting place of this test and its actors."""
    the_stage.clear()
    yield the_stage
    the_stage.clear()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Server, Client]]:
    """A server that all tests of a module share, and so their loop."""
    async with shared_server(tmp_path_factory.mktemp("shared")) as running:
        yield running


@pytest.fixture
def place(shared: tuple[Server, Client]) -> Place:
    """The shared server, and a key that no other test uses."""
    return Place(*shared)
