"""The server as an ASGI application: what `Registry.asgi` gives.

Invariant: between the ends of `running` there is one server with a socket of its own in a
directory that only this user can enter; outside of it every request is told to come again.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from holdfast.asgi import Receive, Scope, Send
from holdfast.registry import Registry
from holdfast_server.addresses import BACKLOG
from holdfast_server.config import OFF, ConfigError, load
from holdfast_server.gateway.bridge import Bridge, refuse_request, refuse_websocket
from holdfast_server.process.failures import EXPLAINED
from holdfast_server.server import Server

log = logging.getLogger("holdfast.server")


class Application:
    """The gateway for any ASGI server; see `Registry.asgi`."""

    def __init__(self, registry: Registry, config: Mapping[str, Any]) -> None:
        self._registry = registry
        self._config = config
        self._bridge: Bridge | None = None
        self._server: Server | None = None

    @property
    def port(self) -> int:
        """The port of gRPC; 0 while the server does not run."""
        return 0 if self._server is None else self._server.port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await self._live(receive, send)
        elif kind == "http":
            if self._bridge is None:
                await refuse_request(send)
            else:
                await self._bridge.request(scope, receive, send)
        elif kind == "websocket":
            if self._bridge is None:
                await receive()
                await refuse_websocket(send)
            else:
                await self._bridge.websocket(scope, receive, send)
        else:
            raise ValueError(f"there is nothing here for {kind!r}")

    def lifespan(self, app: Any) -> AbstractAsyncContextManager[None]:
        """`running`, as Starlette and FastAPI take it: `lifespan=holdfast.lifespan`."""
        return self.running()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the server for as long as the block lasts, and drain it at the end."""
        if self._bridge is not None:
            raise RuntimeError("the server runs already: an application has one lifespan")
        config = load(os.environ, **self._config)
        if config.http == OFF:
            raise ConfigError("http is off, but asgi() is the gateway; leave the setting out")
        async with AsyncExitStack() as undo:
            directory = tempfile.mkdtemp(prefix="holdfast-")
            undo.callback(shutil.rmtree, directory, ignore_errors=True)
            path = os.path.join(directory, "gateway")
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            undo.callback(listening.close)
            listening.bind(path)
            listening.listen(BACKLOG)
            listening.setblocking(False)
            bridge = self._bridge = Bridge(path)
            undo.push_async_callback(bridge.close)
            undo.callback(setattr, self, "_bridge", None)
            server = Server(self._registry, config, http=[listening])
            await server.start()
            self._server = server
            undo.callback(setattr, self, "_server", None)
            undo.push_async_callback(server.stop)
            yield

    async def _live(self, receive: Receive, send: Send) -> None:
        """The lifespan of an application that is not mounted in another."""
        await receive()
        phase = "startup"
        try:
            async with self.running():
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
        except EXPLAINED as error:
            log.error("%s", error)
            await send({"type": f"lifespan.{phase}.failed", "message": str(error)})
        else:
            await send({"type": "lifespan.shutdown.complete"})


def application(registry: Registry, **config: Any) -> Application:
    """What `Registry.asgi` does."""
    return Application(registry, config)
