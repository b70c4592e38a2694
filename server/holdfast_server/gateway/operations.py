"""The HTTP port for operators and their machines: /metrics, /healthz, /readyz.

Apart from the gateway's own, which is for clients, so that it need not be reached by them.
Where tokens are checked, /metrics wants one; the probes say no more than yes or no. A web
page may ask for none of it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.limits import Limits
from holdfast_server.core.tally import Sample
from holdfast_server.core.tokens import bearer
from holdfast_server.gateway.exchange import only
from holdfast_server.gateway.failures import failure_of
from holdfast_server.gateway.guard import Guard
from holdfast_server.gateway.listening import Listening
from holdfast_server.gateway.transport import HttpServer, error_json
from holdfast_server.telemetry.prometheus import render

log = logging.getLogger("holdfast.operations")

_PLAIN: Final = "text/plain; charset=utf-8"
# How long a scrape under way has to end.
_GRACE_S: Final = 1.0


class OperationsPort:
    """Serves from `open` to `close`. `samples` gathers what a scrape is told, and `reason`
    says why nothing is served; it is empty while everything is."""

    def __init__(
        self,
        limits: Limits,
        guard: Guard,
        *,
        samples: Callable[[], list[Sample]],
        reason: Callable[[], str],
        tls: Callable[[], ssl.SSLContext | None],
    ) -> None:
        self._guard = guard
        self._samples = samples
        self._reason = reason
        self._http = HttpServer(self._handle, limits)
        self._listening = Listening(self._http, limits, tls)

    async def open(self, sockets: Sequence[socket.socket]) -> int:
        """Accept connections of sockets that listen, and own them; the port's number."""
        return await self._listening.open(sockets)

    async def renew_tls(self) -> None:
        """Use the TLS files that are in force now for new connections."""
        await self._listening.renew_tls()

    async def close(self) -> None:
        """Close everything; a scrape under way may end before."""
        self._listening.close()
        self._http.pre_shutdown()
        await self._http.shutdown(_GRACE_S)

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(http)
        except HoldfastError as error:
            failure = failure_of(error)
        except ConnectionError:
            raise
        except Exception:
            log.exception("a request failed")
            failure = failure_of(HoldfastError(errors.INTERNAL_ERROR))
        headers = {"www-authenticate": "Bearer"} if failure.status == 401 else None
        return web.Response(
            status=failure.status,
            body=error_json(failure),
            content_type="application/json",
            headers=headers,
        )

    async def _answer(self, http: web.BaseRequest) -> web.StreamResponse:
        self._guard.check_page(http.headers)
        if http.path not in ("/metrics", "/healthz", "/readyz"):
            return _text(404, "there are /metrics, /healthz and /readyz")
        if http.method not in ("GET", "HEAD"):
            return _text(405, "only GET", {"allow": "GET, HEAD"})
        if http.path == "/healthz":
            return _text(200, "ok")
        if http.path == "/readyz":
            return _text(503, "not serving") if self._reason() else _text(200, "ok")
        self._guard.authorize(
            [only(http.headers, "authorization", bearer)], "metrics", http.transport
        )
        samples, accept = self._samples(), http.headers.get("accept", "")
        body, content_type = await asyncio.to_thread(render, samples, accept)
        return web.Response(body=body, headers={"content-type": content_type})


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    all_headers = {"content-type": _PLAIN, **(headers or {})}
    return web.Response(status=status, body=f"{text}\n".encode(), headers=all_headers)
