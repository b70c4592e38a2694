"""One request on its way through the gateway: what is known of it, and how it is answered."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Container, Mapping
from typing import Any, Final

from aiohttp import web

from holdfast_server.core.auth import ANONYMOUS, Identity, Role
from holdfast_server.core.checks import DEFAULT_NAMESPACE, check_size, known_namespace
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.limits import Limits
from holdfast_server.core.tokens import bearer
from holdfast_server.core.trace import NO_TRACE, TraceContext, trace_in
from holdfast_server.gateway.failures import Failure, Told
from holdfast_server.gateway.guard import cors_headers
from holdfast_server.gateway.routes import split_path
from holdfast_server.gateway.transport import SlowRequest, error_json, timed_out, to_json
from holdfast_server.runtime.deadline import run_until
from holdfast_server.runtime.fronts import ClientGone

RAY: Final = "x-rivet-ray-id"
ERROR: Final = "x-rivet-error"
_RAY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_RAY_BYTES: Final = 12
_TOKEN_IN_PATH: Final = re.compile(r"(/gateway/[^/@]*@)[^/]*")
JSON_TYPE: Final = "application/json"
# What an ASGI server in front of this one knows of its client, as JSON.
FRONT: Final = "x-holdfast-front"
_UNKNOWN: Final = Identity(caller=ANONYMOUS, role=Role.NONE, namespaces=frozenset())


class Exchange:
    """A request and what goes with its answer. `path` and `query` are as they were sent."""

    __slots__ = (
        "answer_headers",
        "auth",
        "client",
        "http",
        "limits",
        "path",
        "query",
        "ray",
        "secure",
    )

    def __init__(self, http: web.BaseRequest, limits: Limits, ray: str) -> None:
        self.http = http
        self.limits = limits
        # Who asks; until that is known, somebody who may do nothing.
        self.auth = _UNKNOWN
        self.path, self.query = split_path(http.raw_path)
        # Whether the client speaks TLS, and its address and port.
        self.secure, self.client = _client_of(http)
        given = http.headers.get(RAY, "")
        self.ray = given if _RAY.match(given) else ray
        # Of every answer, whatever it is.
        self.answer_headers = {RAY: self.ray, "server": "holdfast"}

    def let_page_read(self) -> None:
        """The page that asks may know the answer."""
        self.answer_headers.update(cors_headers(self.http.headers))

    @property
    def wants_websocket(self) -> bool:
        http = self.http
        named = http.headers.get("upgrade", "").strip().lower() == "websocket"
        return named and http.method == "GET"

    @property
    def shown_path(self) -> str:
        """The path without the secrets that it may hold, for the log."""
        return _TOKEN_IN_PATH.sub(r"\1***", self.path)

    @property
    def trace(self) -> TraceContext:
        """What the caller's trace is."""
        headers = self.http.headers
        if "traceparent" not in headers:
            return NO_TRACE
        return trace_in((name.lower(), value) for name, value in headers.items())

    def tokens(self) -> list[str | None]:
        """The tokens in the headers."""
        headers = self.http.headers
        return [only(headers, "authorization", bearer), only(headers, "x-rivet-token")]

    def namespace(self, name: str, known: Container[str]) -> str:
        """The namespace that a request names, if its caller may use it."""
        self.auth.check_namespace(name or DEFAULT_NAMESPACE)
        return known_namespace(name, known)

    @property
    def offered(self) -> list[str]:
        """The headers in which a WebSocket's client offers subprotocols."""
        return self.http.headers.getall("sec-websocket-protocol", [])

    async def body(self, limit: int) -> bytes:
        """The whole body, of `limit` bytes at most, which no coding was applied to."""
        if self.http.headers.get("content-encoding", "identity").lower() != "identity":
            raise invalid("content-encoding", "is not supported here")
        try:
            return await self.read(limit)
        except SlowRequest as slow:
            raise Told(timed_out(slow)) from None

    async def read(self, limit: int) -> bytes:
        """The whole body as it was sent, of `limit` bytes at most; SlowRequest when it does not
        arrive."""
        http, timeout_s = self.http, self.limits.http_body_timeout_s
        check_size("body", http.content_length or 0, limit)
        await self.expect_body()
        parts, size = [], 0
        try:
            async with asyncio.timeout(timeout_s):
                while part := await http.content.readany():
                    size += len(part)
                    check_size("body", size, limit)
                    parts.append(part)
        except TimeoutError:
            raise SlowRequest("body", "http_body_timeout_s", timeout_s) from None
        except web.RequestPayloadError as error:
            raise invalid("body", f"is malformed: {str(error)[:200]}") from None
        return b"".join(parts)

    async def expect_body(self) -> None:
        """Tell a client that asks before it sends its body that it is wanted."""
        http = self.http
        if http.headers.get("expect", "").lower() == "100-continue":
            await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # It is no part of the response, which has not begun.
            http.writer.output_size = 0

    async def write(self, response: web.StreamResponse, data: bytes) -> None:
        """Send a part of an answer; ClientGone for a client that takes nothing."""
        deadline = asyncio.get_running_loop().time() + self.limits.http_stall_s
        try:
            await run_until(response.write(data), deadline)
        except (ConnectionError, HoldfastError):
            raise ClientGone from None
        # While the system's buffers have room nothing has waited, and what makes many small
        # parts would keep the loop from everybody else.
        await asyncio.sleep(0)

    async def json(self, limit: int) -> Any:
        """The body as JSON; REQUEST_INVALID when it is none."""
        data = await self.body(limit)
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise invalid("body", "is not JSON") from None

    # Answers

    def answer(
        self,
        body: bytes,
        content_type: str = JSON_TYPE,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> web.Response:
        """A response with the headers that all have."""
        all_headers = {**self.answer_headers, **(headers or {}), "content-type": content_type}
        return web.Response(status=status, body=body, headers=all_headers)

    def answer_json(self, value: Any, status: int = 200) -> web.Response:
        return self.answer(to_json(value), status=status)

    def refusal(
        self, failure: Failure, body: bytes | None = None, content_type: str = JSON_TYPE
    ) -> web.Response:
        """The response of a failure; `body` is its error in the caller's encoding."""
        headers = {ERROR: header(f"{failure.group}.{failure.code}")}
        if failure.retry_after_s is not None:
            # Whole seconds, of which 0 would say nothing.
            headers["retry-after"] = str(max(1, round(failure.retry_after_s)))
        if failure.status == 401:
            headers["www-authenticate"] = "Bearer"
        if body is None:
            body, content_type = error_json(failure), JSON_TYPE
        response = self.answer(body, content_type, failure.status, headers)
        if not self.http.content.is_eof():
            # The rest of the body is not worth reading.
            response.force_close()
        return response


def _client_of(http: web.BaseRequest) -> tuple[bool, tuple[str, int] | None]:
    transport = http.transport
    if transport is None:
        return http.secure, None
    if isinstance(transport.get_extra_info("sockname"), str):
        # A Unix socket: only the application around us reaches it.
        front = json.loads(http.headers.get(FRONT, "{}"))
        client = front.get("client")
        return bool(front.get("secure")), None if client is None else (client[0], client[1])
    peer = transport.get_extra_info("peername")
    return http.secure, (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else None


def only(
    headers: Mapping[str, str], name: str, read: Callable[[str], str | None] = lambda text: text
) -> str | None:
    """What a header says; None where there are two, of which others on the way may have
    looked at the one that we do not."""
    found = [value for key, value in headers.items() if key.lower() == name]
    return read(found[0]) if len(found) == 1 else None


def make_ray(random_bytes: bytes) -> str:
    """An id of a request from random bytes."""
    return random_bytes[:_RAY_BYTES].hex()


def header(text: str) -> str:
    """Text that a header can hold; a user's own code may be anything."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:200])
