"""The gateway: HTTP and WebSocket into the actors of one node.

Its sockets are bound before the data is opened and closed when all else has ended, so that
a connection is accepted at any time; while there is no node to ask, or none any more, the
answer says so in the way that clients wait for: 503 `guard.service_unavailable`, and for a
WebSocket the same as the reason of its close.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from aiohttp import web

from holdfast_server.addresses import BACKLOG
from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.limits import Limits
from holdfast_server.gateway.connect.door import is_rpc, refuse
from holdfast_server.gateway.desk import Desk
from holdfast_server.gateway.exchange import Exchange, make_ray
from holdfast_server.gateway.failures import Failure, Told, failure_of
from holdfast_server.gateway.guard import preflight_headers
from holdfast_server.gateway.router import Router
from holdfast_server.gateway.transport import HttpServer
from holdfast_server.gateway.websocket import Sockets, reject

log = logging.getLogger("holdfast.gateway")
access = logging.getLogger("holdfast.access")

# How long requests may take to be answered once everything else has ended.
_GRACE_S: Final = 2.0
# What the log says of a request whose client did not wait for the answer.
_HUNG_UP: Final = 499


class Gateway:
    """Serves from `open` to `close`; it has a node between `start` and `drain`."""

    def __init__(
        self,
        limits: Limits,
        *,
        secret_bytes: Callable[[int], bytes],
        tls: Callable[[], ssl.SSLContext | None],
        access_log: bool,
    ) -> None:
        self._limits = limits
        self._secret_bytes = secret_bytes
        self._tls = tls
        self._access_log = access_log
        self._bound: list[socket.socket] = []
        self._listening: list[asyncio.Server] = []
        self._http = HttpServer(self._handle, limits)
        self._router: Router | None = None
        self._started = asyncio.Event()
        self.sockets = Sockets()

    @property
    def open_connections(self) -> int:
        """HTTP connections, WebSockets among them."""
        return self._http.open

    async def open(self, sockets: Sequence[socket.socket]) -> int:
        """Accept connections of sockets that listen, and own them; the port's number, which is
        0 of a Unix socket."""
        self._bound = list(sockets)
        try:
            await self._listen()
        except BaseException:
            await self.close()
            raise
        name = self._bound[0].getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    def start(self, desk: Desk) -> None:
        """Answer by this node from now on."""
        self._router = Router(desk, self.sockets)
        desk.guard.watch(self.sockets.recheck)
        self._started.set()

    async def renew_tls(self) -> None:
        """Use the TLS files that are in force now for new connections."""
        if self._listening:
            before, self._listening = self._listening, []
            try:
                await self._listen()
            except BaseException:
                self._listening = before
                raise
            for server in before:
                server.close()

    def drain(self) -> None:
        """Take nothing new, and close each WebSocket when its calls have been answered."""
        self.sockets.drain()

    async def close(self) -> None:
        """Close everything; requests under way are cut."""
        for server in self._listening:
            server.close()
        self._listening = []
        for bound in self._bound:
            bound.close()
        self._bound = []
        await self.sockets.close()
        self._http.pre_shutdown()
        await self._http.shutdown(_GRACE_S)

    async def _listen(self) -> None:
        loop, context = asyncio.get_running_loop(), self._tls()
        for bound in self._bound:
            self._listening.append(
                await loop.create_server(
                    self._http,
                    # What it is closed with must not close the bound one.
                    sock=bound.dup(),
                    ssl=context,
                    backlog=BACKLOG,
                    ssl_handshake_timeout=self._limits.http_header_timeout_s if context else None,
                )
            )

    # One request

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        exchange = Exchange(http, self._limits, make_ray(self._secret_bytes(16)))
        if not self._access_log:
            return await self._respond(exchange)
        began, status = asyncio.get_running_loop().time(), _HUNG_UP
        try:
            response = await self._respond(exchange)
            status = response.status
            return response
        finally:
            self._log(exchange, status, began)

    def _log(self, exchange: Exchange, status: int, began: float) -> None:
        seconds = asyncio.get_running_loop().time() - began
        access.info(
            "%s %s %d",
            exchange.http.method,
            exchange.shown_path,
            status,
            extra={
                "ray_id": exchange.ray,
                "seconds": round(seconds, 6),
                "remote": None if exchange.client is None else exchange.client[0],
            },
        )

    async def _respond(self, exchange: Exchange) -> web.StreamResponse:
        router = self._router
        calls = router.desk.calls if router is not None else None
        try:
            return await self._route(exchange)
        except Told as told:
            failure = told.failure
        except ConnectionError:
            raise
        except (asyncio.CancelledError, Exception) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError):
                cut = calls.was_cut(task) if calls is not None and task is not None else None
                if cut is None:
                    raise
                known = cut
            else:
                known = _known(error)
            if is_rpc(exchange.path) and not exchange.wants_websocket:
                return refuse(exchange, known, None if router is None else router.desk.procedures)
            failure = failure_of(known)
        return await self._refuse(exchange, failure)

    async def _refuse(self, exchange: Exchange, failure: Failure) -> web.StreamResponse:
        if exchange.wants_websocket:
            # One that asks for it wrongly hears it like any other request.
            with suppress(HoldfastError):
                return await reject(exchange, failure)
        return exchange.refusal(failure)

    async def _route(self, exchange: Exchange) -> web.StreamResponse:
        router = self._router or await self._starting()
        router.desk.guard.check_page(exchange.http.headers)
        exchange.let_page_read()
        if exchange.http.method == "OPTIONS":
            headers = {**exchange.answer_headers, **preflight_headers(exchange.http.headers)}
            return web.Response(status=204, headers=headers)
        return await router.route(exchange)

    async def _starting(self) -> Router:
        """The router, for which it is worth waiting a little: a start is short."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.store_wait_s):
                await self._started.wait()
        if self._router is None:
            raise HoldfastError(errors.SERVER_DRAINING, "the server is starting; nothing ran")
        return self._router


def _known(error: BaseException) -> HoldfastError:
    if isinstance(error, HoldfastError):
        return error
    log.exception("a request failed", exc_info=error)
    return HoldfastError(errors.INTERNAL_ERROR)
