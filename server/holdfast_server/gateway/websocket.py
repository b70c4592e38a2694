"""WebSockets as the gateway's parts use them: accepted, written to in order, and ended.

An upgrade is always accepted, since clients see nothing of one that is not; what is wrong
is told by a frame or by the close. What is to be sent waits in one queue, first in, first
out. Its bytes are bounded: whoever fills it asks for room before it reads on, and loses its
credit while there is none; a client that takes nothing for too long is cut off.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.limits import Limits
from holdfast_server.gateway.exchange import Exchange
from holdfast_server.gateway.failures import Failure
from holdfast_server.gateway.wire import FAILED, NORMAL
from holdfast_server.runtime.deadline import run_until

T = TypeVar("T")

log = logging.getLogger("holdfast.gateway")

# What clients ask to be answered with, whatever else they offer.
PROTOCOL: Final = "rivet"
TOO_LONG: Final = "message.incoming_too_long"
# RFC 6455 has 125 bytes for the payload of a close frame, of which its code takes two.
_REASON_BYTES: Final = 123
# Of a message that nobody will read.
_MESSAGE_BYTES: Final = 4096
# How long a client may take to answer a close, and to take what comes before it.
_CLOSE_S: Final = 2.0
# More than any credit: nothing is sent on it.
_HELD: Final = 1 << 40

Frame = bytes | str


class WebSocket(web.WebSocketResponse):
    """One WebSocket; one that is sent too much says so in the way that clients read."""

    def __init__(self, exchange: Exchange, message_bytes_max: int, *, raw: bool = False) -> None:
        """`raw` is for one that no RivetKit client has to understand."""
        names = [part.strip() for line in exchange.offered for part in line.split(",")]
        # A client that offers some and is given none hangs up.
        chosen = PROTOCOL if PROTOCOL in names else next(filter(None, names), None)
        super().__init__(
            protocols=() if chosen is None else (chosen,),
            timeout=_CLOSE_S,
            heartbeat=exchange.limits.websocket_ping_s,
            max_msg_size=message_bytes_max,
            # Memory for each that is open, and messages that hold more than they seem to.
            compress=False,
        )
        self._ray = exchange.ray
        self._raw = raw
        # Whether our close has been sent while somebody reads, and whether they are at the end.
        self._said = False
        self._read = asyncio.Event()
        self.headers.update(exchange.answer_headers)

    def prefer(self, protocol: str) -> None:
        """Answer with this subprotocol, unless the client offers ours."""
        if PROTOCOL not in self._protocols:
            self._protocols = (protocol,)

    async def receive(self, timeout: float | None = None) -> WSMessage:
        """The next message; one of a close is the last."""
        try:
            message = await super().receive(timeout)
        except BaseException:
            self._read.set()
            raise
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            self._read.set()
        return message

    async def close(self, *, code: int = NORMAL, message: bytes = b"", drain: bool = True) -> bool:
        """Close it, and wait a little for the client to do so too: one that meets a closed
        line instead may lose what was said last."""
        if code == WSCloseCode.MESSAGE_TOO_BIG and not self._raw:
            code, message = FAILED, f"{TOO_LONG}#{self._ray}".encode()
        writer = self._writer
        if writer is None or not (self._waiting or self._said):
            return await super().close(code=code, message=message, drain=drain)
        if not self._said and not self._closed:
            # aiohttp would hang up at once, since another task reads.
            self._said = True
            await writer.close(code, message)
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._read.wait()
            self._set_closed()
            self._close_transport()
        return True


async def accept(exchange: Exchange, message_bytes_max: int = _MESSAGE_BYTES) -> WebSocket:
    """The WebSocket that a request asks for; REQUEST_INVALID when it does so wrongly."""
    socket = WebSocket(exchange, message_bytes_max)
    try:
        await socket.prepare(exchange.http)
    except web.HTTPBadRequest as error:
        raise invalid("upgrade", (error.text or "is no WebSocket's")[:200]) from None
    return socket


async def reject(
    exchange: Exchange, failure: Failure, first: Frame | None = None
) -> web.StreamResponse:
    """Accept and close at once, with the failure as the reason, after a `first` frame."""
    socket = await accept(exchange)
    with suppress(ConnectionError):
        if first is not None:
            await _send(socket, first)
        await socket.close(code=FAILED, message=failure.close_reason(exchange.ray).encode())
    return socket


def _send(socket: WebSocket, frame: Frame) -> Coroutine[Any, Any, None]:
    return socket.send_str(frame) if isinstance(frame, str) else socket.send_bytes(frame)


def fitting(reason: str) -> bytes:
    """An actor's own reason as far as a close frame has room for it."""
    data = reason.encode("utf-8", "replace")[:_REASON_BYTES]
    return data.decode("utf-8", "ignore").encode()


class Credited(Protocol):
    """Whoever sends by credit."""

    def grant(self, count: int) -> None: ...


class Outgoing:
    """What waits to be sent on one WebSocket."""

    __slots__ = (
        "_exchange", "_held", "_limits", "_loop", "_queue", "_room", "_socket", "_wake",
        "broken", "size",
    )  # fmt: skip

    def __init__(self, socket: WebSocket, exchange: Exchange) -> None:
        self._socket = socket
        self._exchange = exchange
        self._limits: Limits = exchange.limits
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[Frame, Credited | None, int]] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._room: list[asyncio.Future[None]] = []
        self._held: list[Credited] = []
        # Bytes that wait.
        self.size = 0
        # Whether nothing can be sent any more.
        self.broken = False

    def put(self, frame: Frame, owner: Credited | None = None, credit: int = 0) -> None:
        """Send a frame after all before it; then `owner` has its credit back."""
        if self.broken:
            return
        self._queue.append((frame, owner, credit))
        self.size += len(frame)
        if owner is not None and self.size > self._limits.websocket_send_bytes_max:
            owner.grant(-_HELD)
            self._held.append(owner)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def room(self, most: int | None = None) -> None:
        """Wait while more than `most` bytes wait, by default the limit."""
        limit = self._limits.websocket_send_bytes_max if most is None else most
        while self.size > limit and not self.broken:
            future = self._loop.create_future()
            self._room.append(future)
            await future

    async def run(self) -> None:
        """Send what comes, until cancelled or broken."""
        try:
            while True:
                while self._queue:
                    await self._send_next()
                self._wake = self._loop.create_future()
                await self._wake
        except (ConnectionError, HoldfastError):
            transport = self._exchange.http.transport
            if transport is not None:
                # Nothing more is told to whoever takes nothing.
                transport.abort()
        finally:
            self._break()

    async def _send_next(self) -> None:
        frame, owner, credit = self._queue.popleft()
        deadline = self._loop.time() + self._limits.websocket_stall_s
        await run_until(_send(self._socket, frame), deadline)
        self.size -= len(frame)
        self._tell_of_room()
        if owner is not None:
            owner.grant(credit)

    def _tell_of_room(self) -> None:
        if self.size <= self._limits.websocket_send_bytes_max and self._held:
            held, self._held = self._held, []
            for owner in held:
                owner.grant(_HELD)
        if self._room:
            waiting, self._room = self._room, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def _break(self) -> None:
        self.broken = True
        self._queue.clear()
        self._held.clear()
        self.size = 0
        self._tell_of_room()


class Conversation(Protocol):
    """What goes on on a WebSocket."""

    def drain(self) -> None:
        """Close when what is under way has been answered."""
        ...

    def recheck(self) -> None:
        """Other tokens are accepted: close if its own is not among them."""
        ...


class Sockets:
    """The conversations that are open, and work of theirs that outlives them."""

    def __init__(self) -> None:
        self._open: dict[Conversation, asyncio.Task[Any]] = {}
        self._work: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, conversation: Conversation) -> None:
        """It is held by the task that runs."""
        task = asyncio.current_task()
        assert task is not None
        self._open[conversation] = task

    def discard(self, conversation: Conversation) -> None:
        self._open.pop(conversation, None)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something that no conversation waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    def drain(self) -> None:
        for conversation in list(self._open):
            conversation.drain()

    def recheck(self) -> None:
        for conversation in list(self._open):
            conversation.recheck()

    async def close(self) -> None:
        """Wait a little until all is said."""
        tasks = {*self._open.values(), *self._work}
        if tasks:
            await asyncio.wait(tasks, timeout=2 * _CLOSE_S)


async def close_after(socket: WebSocket, outgoing: Outgoing, code: int, reason: str) -> None:
    """Close a WebSocket once it has taken what waits, if it does so soon."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await outgoing.room(0)
    with suppress(ConnectionError):
        await socket.close(code=code, message=fitting(reason))
