"""`on_request` in this process: the SDK's Request in, whatever is a response out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from holdfast.asgi import is_asgi_app, respond_with
from holdfast.http import ClientDisconnected, Request, Response
from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.raw import Headers
from holdfast_server.runtime.fronts import ClientGone
from holdfast_server.runtime.runners.local.event_stream import LocalEventStream
from holdfast_server.runtime.runners.local.raw import LocalCourse

if TYPE_CHECKING:
    from holdfast_server.runtime.course import Course
    from holdfast_server.runtime.requesting import Incoming
    from holdfast_server.runtime.runners.local.instance import LocalInstance

log = logging.getLogger("holdfast.actor")


class LocalRequest(LocalCourse):
    """One request: the source of its body, and the sink of its answer."""

    def __init__(self, instance: LocalInstance, course: Course, incoming: Incoming) -> None:
        super().__init__(instance, course, "on_request")
        self._incoming = incoming

    async def run(self) -> None:
        """Run the handler, and answer with what it returns."""
        head = self._incoming.head
        request = Request(
            head.method, head.target, head.headers, self, scheme=head.scheme, client=head.client
        )
        with self.handling():
            result = await self.instance.actor.on_request(self.context, request)
            await self._answer(result, request)

    async def _answer(self, result: Any, request: Request) -> None:
        if isinstance(result, Response):
            await self._respond(result)
        elif is_asgi_app(result):
            await respond_with(result, self.context, request, self, self)
        else:
            raise HoldfastError(
                errors.HANDLER_INVALID_RESPONSE,
                f"on_request returned {type(result).__name__}, which is no response",
            )

    async def _respond(self, response: Response) -> None:
        headers, parts = response.headers.pairs, response.parts
        if self._incoming.head.method == "HEAD" or parts is None:
            whole = response.whole
            self.respond(response.status, headers, b"" if whole is None else whole)
            return
        host = getattr(parts, "host", None)
        if isinstance(host, LocalEventStream):
            keepalive_s = getattr(parts, "keepalive_s", None)
            with self._reaching():
                await self._incoming.relay(
                    response.status, headers, host.outlet, lambda: host.read(keepalive_s)
                )
            return
        await self.start(response.status, headers)
        items = aiter(parts)
        try:
            async for part in items:
                if not isinstance(part, (bytes, str, bytearray, memoryview)):
                    raise TypeError(f"a part of a body is bytes or str, not {type(part).__name__}")
                await self.send(part.encode("utf-8") if isinstance(part, str) else bytes(part))
        except BaseException:
            await self._close(items)
            raise

    async def _close(self, items: object) -> None:
        """Let a generator clean up; what it raises does not take the place of why."""
        close = getattr(items, "aclose", None)
        try:
            if close is not None:
                await close()
        except Exception as error:
            address = self.instance.activation.address
            log.warning("the end of an answer of %s: %s", address, error)

    # BodySource

    async def read(self) -> bytes:
        with self._reaching():
            return await self._incoming.read()

    # ResponseSink

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        with self._reaching():
            self._incoming.respond(status, headers, body)

    async def start(self, status: int, headers: Headers) -> None:
        with self._reaching():
            await self._incoming.start(status, headers)

    async def send(self, data: bytes) -> None:
        with self._reaching():
            await self._incoming.send(data)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """What is done with the client; that it has gone is told as the SDK does."""
        with self.surfacing():
            try:
                yield
            except ClientGone as gone:
                raise self.known(ClientDisconnected("the client has gone"), gone) from None
