"""Sockets that an HTTP server accepts connections of, from their opening to their close."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence

from holdfast_server.addresses import BACKLOG
from holdfast_server.core.limits import Limits
from holdfast_server.gateway.transport import HttpServer


class Listening:
    """The bound sockets of one HTTP server; `tls` gives what is in force now."""

    def __init__(
        self, http: HttpServer, limits: Limits, tls: Callable[[], ssl.SSLContext | None]
    ) -> None:
        self._http = http
        self._tls = tls
        self._handshake_s = limits.http_header_timeout_s
        self._bound: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []

    async def open(self, sockets: Sequence[socket.socket]) -> int:
        """Accept connections of sockets that listen, and own them; the port's number, which is
        0 of a Unix socket."""
        self._bound = list(sockets)
        try:
            await self._listen()
        except BaseException:
            self.close()
            raise
        name = self._bound[0].getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    async def renew_tls(self) -> None:
        """Use the TLS files that are in force now for new connections."""
        if self._servers:
            before, self._servers = self._servers, []
            try:
                await self._listen()
            except BaseException:
                self._servers = before
                raise
            for server in before:
                server.close()

    def close(self) -> None:
        """Accept nothing more; what is open stays so."""
        for server in self._servers:
            server.close()
        for bound in self._bound:
            bound.close()
        self._servers, self._bound = [], []

    async def _listen(self) -> None:
        loop, context = asyncio.get_running_loop(), self._tls()
        for bound in self._bound:
            self._servers.append(
                await loop.create_server(
                    self._http,
                    # What it is closed with must not close the bound one.
                    sock=bound.dup(),
                    ssl=context,
                    backlog=BACKLOG,
                    ssl_handshake_timeout=self._handshake_s if context else None,
                )
            )
