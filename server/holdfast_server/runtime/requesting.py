"""Raw HTTP requests: `on_request`, from a front's exchange to its complete answer.

A request is a turn. A body that is small, and whose length is told, is read before it
begins, so that the turn waits for no client. Any other is read between turns, one for each
part, and so is a streamed answer sent: what leaves waits for the commit of its turn. The
whole runs in the front's task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.call import Call, Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.raw import Headers, RequestHead
from holdfast_server.core.trace import NO_TRACE, TraceContext
from holdfast_server.core.values import Durability, Value
from holdfast_server.runtime.course import Course
from holdfast_server.runtime.deadline import Expiring
from holdfast_server.runtime.fronts import ClientGone, Exchange
from holdfast_server.runtime.outlets import Outlet
from holdfast_server.runtime.visiting import let_in

if TYPE_CHECKING:
    from holdfast_server.core.auth import Identity
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.node import Node

log = logging.getLogger("holdfast.actor")

REQUEST = "$request"

# Answers that have no body, and say nothing of its length.
_BODILESS = frozenset({204, 205, 304})
# RFC 9110, section 7.6.1.
_HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-connection", "te"),
        *("trailer", "transfer-encoding", "upgrade"),
    }
)


def call_of(
    target: Target,
    *,
    params: Value | None = None,
    deadline: float | None = None,
    trace: TraceContext = NO_TRACE,
    auth: Identity | None = None,
) -> Call:
    """The part of a raw request or WebSocket that any call has. `deadline`, in the loop's
    time, is that of the whole; each turn has `action_timeout_s` as well."""
    return Call(
        target=target, action=REQUEST, params=params, deadline=deadline, trace=trace, auth=auth
    )


async def serve_request(node: Node, call: Call, head: RequestHead, exchange: Exchange) -> None:
    """Answer a request; raises HoldfastError for what is no answer of the handler."""
    limit = node.limits.request_bytes_max
    if head.content_length is not None and head.content_length > limit:
        raise _too_long(head.content_length, limit)
    incoming = Incoming(node, head, exchange)

    async def run(activation: Activation) -> None:
        await _serve(activation, call, incoming)

    try:
        await node.run(call, run)
    except ClientGone:
        raise HoldfastError(errors.CANCELLED, "the client has gone") from None
    except HoldfastError as error:
        if not incoming.complete:
            raise
        log.info("after an answer of %s: %s", incoming.head.target, error)


async def _serve(activation: Activation, call: Call, incoming: Incoming) -> None:
    info = activation.info
    if not info.raw.on_request:
        raise HoldfastError(errors.HANDLER_REQUEST_NOT_DEFINED)
    async with Expiring(call.deadline):
        await incoming.read_ahead()
    conn = await let_in(activation, call, None) if info.connect_hooks.preflight else None
    course = incoming.course = Course(activation, call, conn)
    try:
        async with course.running():
            await course.open()
            incoming.actor_id = activation.actor_id
            await course.instance.on_request(course, incoming)
            durable = await course.finish()
    except BaseException as error:
        await _end(course, error)
        raise
    finally:
        activation.node.raw.remove_stream(incoming)
    await durable
    await incoming.send_answer()


async def _end(course: Course, error: BaseException) -> None:
    """The handler has not come to its end."""
    late = isinstance(error, HoldfastError) and error.reason is errors.DEADLINE_EXCEEDED
    if course.closing and (late or isinstance(error, (ClientGone, asyncio.CancelledError))):
        # What it did about that is kept.
        await course.bow_out()
        return
    await course.failed(error)
    await course.bow_out()


def _end_to_end(headers: Headers) -> Headers:
    """The headers that are for the client, and not for the connection to it."""
    return tuple(pair for pair in headers if pair[0].lower() not in _HOP_BY_HOP)


def _too_long(size: int, limit: int) -> HoldfastError:
    return HoldfastError(
        errors.MESSAGE_INCOMING_TOO_LONG,
        f"body of {size} bytes or more; at most {limit}",
        metadata={"field": "body", "limit": str(limit)},
    )


class Incoming:
    """One request, as the runner has it: what there is to read, and where to answer."""

    def __init__(self, node: Node, head: RequestHead, exchange: Exchange) -> None:
        self.head = head
        self.actor_id = b""
        # Whether turns push the answer's parts.
        self.pushed = False
        # Whether all of it has been sent.
        self.complete = False
        self.course: Course
        self._node = node
        self._exchange = exchange
        self._outlet: Outlet[bytes] | None = None
        # The body, once it is read ahead; how much of any other has been read.
        self._whole: bytes | None = None
        self._read = 0
        self._answer: tuple[int, Headers, bytes] | None = None
        self._cut = False

    # The request

    async def read_ahead(self) -> None:
        """Read a body that is known to be small."""
        length = self.head.content_length
        if self._whole is None and length is not None:
            if length > self._node.limits.request_buffer_bytes:
                return
            parts: list[bytes] = []
            while part := await self._receive():
                parts.append(part)
            self._whole = b"".join(parts)

    async def read(self) -> bytes:
        """The next part of the body, empty at its end; ends the turn unless it is there."""
        if self._whole is not None:
            data, self._whole = self._whole, b""
            return data

        async def receive(durable: asyncio.Future[Durability]) -> bytes:
            return await self._receive()

        return await self.course.between(receive)

    async def _receive(self) -> bytes:
        data = await self._exchange.receive()
        self._read += len(data)
        limit = self._node.limits.request_bytes_max
        if self._read > limit:
            raise _too_long(self._read, limit)
        return data

    # The answer

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """This is the answer, which leaves with the end of the last turn."""
        self._check_size(body)
        self._answer = status, headers, body

    async def start(self, status: int, headers: Headers) -> None:
        """The answer comes in parts; ends the turn."""
        self._node.raw.add_stream(self)
        await self._between(lambda: self._exchange.start(status, _end_to_end(headers)))

    async def send(self, data: bytes) -> None:
        """A part of the answer; ends the turn."""
        self._check_size(data)
        if self._cut:
            raise HoldfastError(errors.SERVER_DRAINING)
        if data:
            await self._between(lambda: self._exchange.send(data))

    async def relay(self, status: int, headers: Headers, outlet: Outlet[bytes], pull: Pull) -> None:
        """Send what any turn pushes into `outlet`, until that ends; meanwhile no turn is
        held. `pull` gives the next part, empty at the end."""
        self.pushed, self._outlet = True, outlet
        self._node.raw.add_stream(self)

        async def run() -> None:
            await self._exchange.start(status, _end_to_end(headers))
            while data := await pull():
                await self._exchange.send(data)
            self.complete = True

        try:
            await self._between(run, last=True)
        finally:
            outlet.end(drop=True)

    async def send_answer(self) -> None:
        """Everything that the turns did is durable: send what is left."""
        if self._answer is None:
            return
        status, headers, body = self._answer
        bodiless = status in _BODILESS
        # Of an answer to HEAD only the handler knows how long it would be, if it did not
        # give the body.
        if not bodiless and (body or self.head.method != "HEAD"):
            told = [pair for pair in headers if pair[0].lower() != "content-length"]
            headers = (*told, ("content-length", str(len(body))))
        await self._exchange.start(status, _end_to_end(headers))
        if body and self.head.method != "HEAD" and not bodiless:
            await self._exchange.send(body)

    def cut(self) -> None:
        """The answer ends before its next part."""
        self._cut = True
        if self._outlet is not None:
            self._outlet.end()

    async def _between(self, act: Callable[[], Awaitable[None]], *, last: bool = False) -> None:
        async def wait(durable: asyncio.Future[Durability]) -> None:
            await durable
            await act()

        await self.course.between(wait, last=last)

    def _check_size(self, body: bytes) -> None:
        limit = self._node.limits.response_bytes_max
        if len(body) > limit:
            raise HoldfastError(
                errors.MESSAGE_OUTGOING_TOO_LONG,
                f"body of {len(body)} bytes; at most {limit} at once",
                metadata={"limit": str(limit), "size": str(len(body))},
            )


Pull = Callable[[], Awaitable[bytes]]
