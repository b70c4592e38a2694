"""One raw WebSocket between its front and its actor: what waits in both directions.

A link outlives its actor's activation, and so a hibernating one's sleep. Messages in wait
here until the handler takes them, and are read from the front while there is room. What
turns send leaves by a writer, which runs only while there is something to write. A message
that a hibernating handler has taken is kept until the turn that it began is durable, so
that a failed store loses none.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.raw import Headers, RequestHead
from holdfast_server.runtime.fronts import (
    CLOSE_ABNORMAL,
    CLOSE_FAILED,
    CLOSE_GOING_AWAY,
    CLOSE_TOO_BIG,
    CLOSE_TOO_SLOW,
    REASON_GOING_AWAY,
    REASON_TOO_SLOW,
    Socket,
    SocketClosed,
)
from holdfast_server.runtime.outlets import Outlet

if TYPE_CHECKING:
    from holdfast_server.core.values import Durability
    from holdfast_server.runtime.node import Node

log = logging.getLogger("holdfast.actor")

_REASON_BYTES_MAX = 123


class Accept(NamedTuple):
    """Completes the handshake."""

    subprotocol: str | None
    headers: Headers


class Close(NamedTuple):
    """Closes the socket."""

    code: int
    reason: str


Item = str | bytes | Accept | Close


def size_of(message: str | bytes) -> int:
    """Bytes of a message on the wire."""
    if isinstance(message, str) and not message.isascii():
        return len(message.encode("utf-8", "surrogatepass"))
    return len(message)


class Channel:
    """Messages of one socket, in both directions."""

    def __init__(self, node: Node, head: RequestHead, socket: Socket) -> None:
        self.head = head
        self.node = node
        self._socket = socket
        limits = node.limits
        self.outlet: Outlet[Item] = Outlet(
            node.loop,
            limits.websocket_send_bytes_max,
            wake=self._begin_writing,
            overflow=lambda: self.close(CLOSE_TOO_SLOW, REASON_TOO_SLOW, drop=True),
        )
        # What was agreed on; whether the handshake was asked for, and is complete.
        self.subprotocol: str | None = None
        self.accepting = False
        self._accepted: asyncio.Future[bool] = node.loop.create_future()
        # Why it is closed, as its handler sees it.
        self.ended: Close | None = None
        self._inbox: deque[str | bytes] = deque()
        self._inbox_bytes = 0
        # Taken by the handler, and not durable yet.
        self._taken: deque[str | bytes] = deque()
        self._settling = 0
        # How often that was lost.
        self._life = 0
        self._room: asyncio.Future[None] | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._closed = False

    # From the client

    async def pump(self) -> None:
        """Read the socket until it is closed."""
        if not await self._accepted:
            return
        limits = self.node.limits
        try:
            while True:
                message = await self._socket.receive()
                size = size_of(message)
                if size > limits.websocket_message_bytes_max:
                    self.close(CLOSE_TOO_BIG, "message.incoming_too_long", drop=True)
                    return
                self._inbox.append(message)
                self._inbox_bytes += size
                self.notify()
                while self._inbox_bytes > limits.websocket_receive_bytes_max and not self.ended:
                    self._room = self.node.loop.create_future()
                    await self._room
        except SocketClosed as closed:
            self.gone(closed.code, closed.reason)

    def gone(self, code: int = CLOSE_ABNORMAL, reason: str = "") -> None:
        """The client, or its transport, has closed the socket."""
        self._closed = True
        self.outlet.end(drop=True)
        self._end(Close(code, reason))

    @property
    def waiting(self) -> bool:
        """Whether there is something for the handler."""
        return bool(self._inbox) or self.ended is not None

    async def arrival(self) -> None:
        """Wait until there is something for the handler."""
        while not self.waiting:
            self._arrived = self.node.loop.create_future()
            try:
                await self._arrived
            finally:
                self._arrived = None

    def take(self, *, keep: bool) -> str | bytes:
        """The next message; raises SocketClosed behind the last. With `keep` it is put
        back if its turn is lost."""
        if not self._inbox:
            assert self.ended is not None
            raise SocketClosed(*self.ended)
        message = self._inbox.popleft()
        if keep:
            self._taken.append(message)
        else:
            self._drop(message)
        return message

    def settle(self, durable: asyncio.Future[Durability]) -> None:
        """The turn of what was taken ends with `durable`."""
        count, life = len(self._taken) - self._settling, self._life

        def done(future: asyncio.Future[Durability]) -> None:
            failed = future.cancelled() or future.exception() is not None
            if not failed and life == self._life:
                self._settling -= count
                for _ in range(count):
                    self._drop(self._taken.popleft())

        if count:
            self._settling += count
            durable.add_done_callback(done)

    def put_back(self, *, lost: bool) -> None:
        """What was taken is for the next activation: what no turn has ended with, or, where
        the memory of the present one is `lost`, all that is not durable."""
        if lost:
            self._life += 1
            self._settling = 0
        while len(self._taken) > self._settling:
            self._inbox.appendleft(self._taken.pop())

    def _drop(self, message: str | bytes) -> None:
        self._inbox_bytes -= size_of(message)
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def notify(self) -> None:
        """There is something for the handler."""
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    # To the client

    def close(self, code: int, reason: str, *, drop: bool = False) -> None:
        """Close it now, behind what has been committed, or, with `drop`, without that."""
        if drop:
            self.outlet.end(drop=True)
            self.outlet.over = False
            self.outlet.lose()
            if self._writer is not None:
                self._writer.cancel()
        self.outlet.last(Close(code, reason))
        self._end(Close(code, reason))

    def go_away(self) -> None:
        """The server stops, or the actor sleeps."""
        self.close(CLOSE_GOING_AWAY, REASON_GOING_AWAY)

    def fail(self, error: HoldfastError) -> None:
        """Something other than the handler or the client ends it."""
        if error.reason is errors.SERVER_DRAINING:
            self.go_away()
        else:
            reason = f"{error.group}.{error.code}".encode()[:_REASON_BYTES_MAX]
            self.close(CLOSE_FAILED, reason.decode("utf-8", "ignore"))

    def _end(self, why: Close) -> None:
        if self.ended is None:
            self.ended = why
        self.notify()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _begin_writing(self) -> None:
        if self._writer is None and not self.outlet.empty and not self._closed:
            self._writer = self.node.raw.spawn(self._write())
            self._writer.add_done_callback(self._written)

    def _written(self, writer: asyncio.Task[None]) -> None:
        self._writer = None
        self.outlet.left()
        if self._closed and not self._accepted.done():
            self._accepted.set_result(False)
        self._begin_writing()

    async def _write(self) -> None:
        limits = self.node.limits
        try:
            while not self.outlet.empty and not self._closed:
                item = self.outlet.take()
                if isinstance(item, Close):
                    # No more is taken, and the client is not waited for any longer.
                    self._end(item)
                    self._closed = True
                    self.outlet.end(drop=True)
                    async with asyncio.timeout(limits.hook_timeout_s):
                        await self._socket.close(*item)
                    return
                async with asyncio.timeout(limits.websocket_stall_s):
                    await self._send(item)
                self.outlet.left()
        except SocketClosed as closed:
            self.gone(closed.code, closed.reason)
        except TimeoutError:
            if not self._closed:
                # The client has taken nothing for too long. What closes it is another task.
                self._writer = None
                self.close(CLOSE_TOO_SLOW, REASON_TOO_SLOW, drop=True)
        except Exception:
            log.exception("a WebSocket's front failed")
            self.gone()

    async def _send(self, item: Item) -> None:
        if not self._accepted.done():
            asked = item if isinstance(item, Accept) else Accept(None, ())
            await self._socket.accept(*asked)
            if not self._accepted.done():
                self._accepted.set_result(True)
        if isinstance(item, (str, bytes)):
            await self._socket.send(item)
