"""The HTTP server beneath the gateway: aiohttp's, with our limits and our own refusals.

A request that is malformed, too large in its head, or takes too long to arrive never gets
to a handler; it is answered here, and its connection is closed. What is left of aiohttp's
own behaviour is its strict parser, keep-alive and the ends of connections.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.limits import Limits
from holdfast_server.gateway.failures import Failure, failure_of

log = logging.getLogger("holdfast.gateway")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

HEADERS_TOO_LARGE: Final = 431
TIMED_OUT: Final = 408


def to_json(value: Any) -> bytes:
    """Compact JSON in UTF-8, whatever text it is of."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def error_json(failure: Failure) -> bytes:
    """The body of a failure for whoever asked for no other encoding."""
    body = {"group": failure.group, "code": failure.code, "message": failure.message}
    if failure.metadata is not None:
        body["metadata"] = failure.metadata
    return to_json(body)


class HttpServer(web.Server):
    """The connections of one gateway."""

    def __init__(self, handler: Handler, limits: Limits) -> None:
        super().__init__(
            handler,
            # Whoever hangs up has cancelled.
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=limits.http_idle_s,
            max_line_size=limits.http_header_bytes_max,
            max_field_size=limits.http_header_bytes_max,
            max_headers=limits.http_headers_max,
            lingering_time=min(10.0, limits.http_body_timeout_s),
            # Bodies are passed on as they come, and could hold more than they seem to.
            auto_decompress=False,
        )
        self.limits = limits
        self.open = 0

    def __call__(self) -> web.RequestHandler:
        return HttpConnection(self, loop=self._loop, **self._kwargs)


class HttpConnection(web.RequestHandler):
    """One connection."""

    __slots__ = ("_head_timer", "_limits", "_server")

    def __init__(self, server: HttpServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._limits = server.limits
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        server, limit = self._server, self._limits.http_connections_max
        server.open += 1
        super().connection_made(transport)
        if server.open > limit:
            error = HoldfastError(
                errors.SERVER_OVERLOADED,
                f"the gateway has {limit} connections",
                metadata={"limit": "http_connections_max"},
            )
            self._refuse(failure_of(error))

    def connection_lost(self, exc: BaseException | None) -> None:
        self._server.open -= 1
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._stop_timer()
        elif self._head_timer is None and data and self._waits_for_head:
            self._head_timer = self._loop.call_later(
                self._limits.http_header_timeout_s, self._head_takes_too_long
            )

    @property
    def _waits_for_head(self) -> bool:
        # What is left of a body that nobody wanted is no head: then it does not wait.
        return self._waiter is not None and not self._messages and self._payload_parser is None

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_takes_too_long(self) -> None:
        self._head_timer = None
        if self._waits_for_head:
            seconds = self._limits.http_header_timeout_s
            self._refuse(timed_out(SlowRequest("head", "http_header_timeout_s", seconds)))

    def _refuse(self, failure: Failure) -> None:
        """Answer what was not read, and close."""
        transport = self.transport
        if transport is not None:
            body = error_json(failure)
            head = (
                f"HTTP/1.1 {failure.status} {failure.code}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n"
            )
            if failure.retry_after_s is not None:
                head += "retry-after: 1\r\n"
            transport.write(head.encode("ascii") + b"\r\n" + body)
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what the parser refused."""
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the response has been sent")
        if status == 400:
            failure = _refusal(exc, message, self._limits)
        else:
            log.error("a request failed in the HTTP server", exc_info=exc)
            failure = failure_of(HoldfastError(errors.INTERNAL_ERROR))
        response = web.Response(
            status=failure.status, body=error_json(failure), content_type="application/json"
        )
        response.force_close()
        return response


def _refusal(exc: BaseException | None, message: str | None, limits: Limits) -> Failure:
    if isinstance(exc, LineTooLong) or (message or "").startswith("Too many headers"):
        error = invalid("headers", "are too large or too many", limit=limits.http_header_bytes_max)
        told = failure_of(error)
        return Failure(HEADERS_TOO_LARGE, told.group, told.code, told.message, told.metadata)
    # The parser's text shows what was sent, with a mark under it.
    why = (message or "").strip().partition("\n")[0][:200].rstrip(":")
    return failure_of(invalid("request", f"is no HTTP: {why}" if why else "is no HTTP"))


class SlowRequest(HoldfastError):
    """A part of a request did not arrive within the seconds of a limit."""

    def __init__(self, what: str, limit: str, seconds: float) -> None:
        super().__init__(
            errors.DEADLINE_EXCEEDED,
            f"the {what} of the request did not arrive within {seconds:g} s; nothing ran",
            metadata={"limit": limit},
        )


def timed_out(error: SlowRequest) -> Failure:
    """What a client hears whose request does not arrive."""
    told = failure_of(error)
    return Failure(TIMED_OUT, told.group, told.code, told.message, told.metadata)
