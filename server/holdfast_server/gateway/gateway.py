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
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from aiohttp import web

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.limits import Limits
from holdfast_server.core.tally import Histogram, Sample
from holdfast_server.gateway.connect.door import is_rpc, refuse
from holdfast_server.gateway.desk import Desk
from holdfast_server.gateway.exchange import Exchange, make_ray
from holdfast_server.gateway.failures import Failure, Told, failure_of
from holdfast_server.gateway.guard import preflight_headers
from holdfast_server.gateway.listening import Listening
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
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._stopwatch = stopwatch
        self._secret_bytes = secret_bytes
        self._access_log = access_log
        self._http = HttpServer(self._handle, limits)
        self._listening = Listening(self._http, limits, tls)
        self._router: Router | None = None
        # Of all requests: how long they took, and the statuses of their answers.
        self.durations = Histogram()
        self.statuses: dict[int, int] = {}
        self._started = asyncio.Event()
        self.sockets = Sockets()

    @property
    def open_connections(self) -> int:
        """HTTP connections, WebSockets among them."""
        return self._http.open

    def samples(self) -> Iterator[Sample]:
        """What a scrape is told of it."""
        yield Sample("holdfast_http_request_duration_seconds", self.durations.copy())
        for status, count in self.statuses.items():
            yield Sample("holdfast_http_requests_total", count, (str(status),))
        yield Sample("holdfast_http_connections", self.open_connections)

    async def open(self, sockets: Sequence[socket.socket]) -> int:
        """Accept connections of sockets that listen, and own them; the port's number, which is
        0 of a Unix socket."""
        return await self._listening.open(sockets)

    def start(self, desk: Desk) -> None:
        """Answer by this node from now on."""
        self._router = Router(desk, self.sockets)
        desk.guard.watch(self.sockets.recheck)
        self._started.set()

    async def renew_tls(self) -> None:
        """Use the TLS files that are in force now for new connections."""
        await self._listening.renew_tls()

    def drain(self) -> None:
        """Take nothing new, and close each WebSocket when its calls have been answered."""
        self.sockets.drain()

    async def close(self) -> None:
        """Close everything; requests under way are cut."""
        self._listening.close()
        await self.sockets.close()
        self._http.pre_shutdown()
        await self._http.shutdown(_GRACE_S)

    # One request

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        exchange = Exchange(http, self._limits, make_ray(self._secret_bytes(16)))
        began, status = self._stopwatch(), _HUNG_UP
        try:
            response = await self._respond(exchange)
            status = response.status
            return response
        finally:
            seconds = self._stopwatch() - began
            self.durations.take(seconds)
            self.statuses[status] = self.statuses.get(status, 0) + 1
            if self._access_log:
                self._log(exchange, status, seconds)

    def _log(self, exchange: Exchange, status: int, seconds: float) -> None:
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
