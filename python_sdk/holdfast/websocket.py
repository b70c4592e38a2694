"""Raw WebSockets: what `on_websocket` gets, and what `handle.websocket` opens.

async for message in websocket:      # str or bytes; ends when the socket is closed
    await websocket.send(message)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from holdfast.errors import HoldfastError
from holdfast.http import GivenHeaders, Pairs, Target, header_pairs

if TYPE_CHECKING:
    from holdfast.connection import Connection

REASON_BYTES_MAX = 123


class WebSocketClosed(HoldfastError):
    """The WebSocket is closed; `code` and `reason` say why. 1006 is a connection that
    broke."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"the WebSocket is closed: {self.code} {self.reason}".rstrip()


class SocketHost(Protocol):
    """What carries a WebSocket."""

    @property
    def subprotocol(self) -> str | None: ...
    @property
    def conn(self) -> Connection[Any] | None: ...
    @property
    def ended(self) -> tuple[int, str] | None:
        """Code and reason, once it is closed."""
        ...

    async def accept(self, subprotocol: str | None, headers: Pairs) -> None: ...
    async def receive(self) -> str | bytes:
        """The next message; raises WebSocketClosed."""
        ...

    async def send(self, message: str | bytes) -> None: ...
    async def drain(self) -> None: ...
    async def close(self, code: int, reason: str) -> None: ...


class WebSocket(Target):
    """A WebSocket, on either side of it.

    In an actor the turn ends where the handler asks for the next message; what it sends
    leaves once the turn in which it was sent has committed, whichever turn of the actor
    that is. One task receives; any may send.
    """

    def __init__(
        self,
        host: SocketHost,
        target: str = "/",
        headers: GivenHeaders = (),
        *,
        scheme: str = "ws",
        subprotocols: tuple[str, ...] = (),
        client: tuple[str, int] | None = None,
        resumed: bool = False,
    ) -> None:
        super().__init__(scheme, target, header_pairs(headers))
        self.host: SocketHost = host
        """What carries it."""
        self.subprotocols: tuple[str, ...] = subprotocols
        """Subprotocols that the client offers, in its order."""
        self.client: tuple[str, int] | None = client
        """Address and port of the client; None where that is not known."""
        self.resumed: bool = resumed
        """Whether the socket was open before: its actor slept, and `on_websocket` runs
        anew for it. See `hibernate_websockets`."""

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that was agreed on; None without."""
        return self.host.subprotocol

    @property
    def conn(self) -> Connection[Any] | None:
        """In an actor, the connection that the socket is for its length, with its params and
        its state; None for a client."""
        return self.host.conn

    @property
    def closed(self) -> bool:
        """Whether it is closed, as far as is known here."""
        return self.host.ended is not None

    @property
    def close_code(self) -> int | None:
        """Why it is closed; None while it is open."""
        ended = self.host.ended
        return None if ended is None else ended[0]

    @property
    def close_reason(self) -> str:
        """What was said when it was closed; empty without."""
        ended = self.host.ended
        return "" if ended is None else ended[1]

    async def accept(
        self, subprotocol: str | None = None, headers: GivenHeaders | None = None
    ) -> None:
        """Accept the client, with one of its subprotocols, and with headers.

        Needed only for these: whatever else is done first accepts by itself. RivetKit's
        clients have a subprotocol of their own, which is answered in place of this one.
        """
        if subprotocol is not None and subprotocol not in self.subprotocols:
            raise ValueError(f"the client offers no subprotocol {subprotocol!r}")
        await self.host.accept(subprotocol, header_pairs(() if headers is None else headers))

    async def receive(self) -> str | bytes:
        """The next message. Raises WebSocketClosed when there is none left.

        In an actor this ends the turn, and a new one begins with the message.
        """
        return await self.host.receive()

    async def send(self, message: str | bytes) -> None:
        """Send text or binary.

        In a turn of an actor it waits for nothing: the message leaves once the turn has
        committed. Elsewhere it waits until there is room. On a closed socket a client gets
        WebSocketClosed; what an actor sends there is dropped, and `receive` tells why.
        """
        if isinstance(message, (bytearray, memoryview)):
            message = bytes(message)
        if not isinstance(message, (str, bytes)):
            raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
        if isinstance(message, str) and not message.isascii():
            # Half a surrogate pair is no text that can be sent.
            message.encode("utf-8")
        await self.host.send(message)

    async def drain(self) -> None:
        """Wait until everything that was sent has left.

        In an actor this ends the turn, as `receive` does: for more than a turn may send.
        """
        await self.host.drain()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it, after what was sent before; nothing where it is closed already.

        `code` is 1000, or 3000 to 4999 for the application's own; `reason` has at most 123
        bytes of UTF-8. In a turn of an actor it takes effect once that has committed.
        """
        if isinstance(code, bool) or not isinstance(code, int):
            raise TypeError(f"a close code is a number, not {type(code).__name__}")
        if code not in _OWN_CODES and not 3000 <= code <= 4999:
            raise ValueError(f"{code} cannot be sent: 1000, or 3000 to 4999 for your own")
        if len(reason.encode("utf-8")) > REASON_BYTES_MAX:
            raise ValueError(f"a close reason has at most {REASON_BYTES_MAX} bytes")
        await self.host.close(code, reason)

    def __aiter__(self) -> WebSocket:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.host.receive()
        except WebSocketClosed:
            raise StopAsyncIteration from None

    def __repr__(self) -> str:
        ended = self.host.ended
        state = "open" if ended is None else f"closed {ended[0]}"
        return f"<WebSocket {self.url} {state}>"


# RFC 6455, section 7.4.1: those that an endpoint may send.
_OWN_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})

__all__ = ["WebSocket", "WebSocketClosed"]
