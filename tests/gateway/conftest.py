"""A real server with a gateway on a free port, and a plain HTTP client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from holdfast import Registry
from holdfast_server.app import Server
from holdfast_server.config import load
from holdfast_server.store.api import Store
from holdfast_server.store.memory import MemoryStore
from holdfast_server.telemetry.observer import Observer
from tests.gateway.actors import registry as default_registry
from tests.gateway.browser import Browser
from tests.server.stage import Stage
from tests.server.stage import stage as the_stage

Start = Callable[..., Awaitable[Server]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a server in memory, or over the data of this test; `settings` are its flags."""
    opened: list[Server] = []

    async def run(
        registry: Registry = default_registry,
        *,
        store: Store | None = None,
        observer: Observer | None = None,
        on_disk: bool = False,
        **settings: object,
    ) -> Server:
        flags = {
            "data": str(tmp_path / "data"),
            "grpc": "127.0.0.1:0",
            "admin": "off",
            "drain_timeout_s": 2.0,
            **settings,
        }
        store = None if on_disk else store or MemoryStore()
        server = Server(registry, load({}, **flags), store, observer=observer)
        opened.append(server)
        await server.start()
        return server

    yield run
    for server in opened:
        if hasattr(server, "node") and not server.node.closed:
            await server.stop()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def browser(start: Start, session: aiohttp.ClientSession) -> Browser:
    """A client of a server with the default settings."""
    return Browser(session, await start())


@pytest.fixture
def stage() -> Iterator[Stage]:
    """The meeting place of this test and its actors."""
    the_stage.clear()
    yield the_stage
    the_stage.clear()
