"""An ASGI server as people run one, in the event loop of a test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import uvicorn


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """An application by uvicorn, with its lifespan, and a client of it."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(app, lifespan="on", log_config=None, ws="websockets-sansio")
    )
    ready = asyncio.Event()
    startup = server.startup

    async def started(sockets: Any = None) -> None:
        await startup(sockets)
        ready.set()

    server.startup = started  # type: ignore[method-assign]
    running = asyncio.create_task(server._serve([listening]))
    try:
        await asyncio.wait(
            (running, asyncio.ensure_future(ready.wait())), return_when=asyncio.FIRST_COMPLETED
        )
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            yield session
    finally:
        server.should_exit = True
        await running
        listening.close()
