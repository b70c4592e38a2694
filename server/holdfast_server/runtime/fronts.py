"""What a front must be to carry raw HTTP and WebSockets: all that one has to implement.

A front (the gateway, a test) makes a core `Call` for the actor, with the connection
parameters as its `params`, a `RequestHead`, and an Exchange or a Socket, and waits for

    call = call_of(target, params=..., deadline=..., trace=...)      # runtime/requesting.py
    await serve_request(node, call, head, exchange)
    await serve_websocket(node, call, head, socket)                  # runtime/serving.py

in the task that it keeps for that request. The runtime does the rest: it finds the actor,
runs its handler turn by turn, and uses what it was given. A front knows no turns, sends
nothing by itself, and adds no queue: `send` returns when there is room for more.

The client's end. A client that goes away is told in either of two ways, whichever the
front learns first: `receive` and `send` raise ClientGone (SocketClosed on a Socket), or
the front cancels the task. In both the handler ends, and its `finally` runs.

Errors. `serve_request` raises HoldfastError for all that is no answer of the handler. As
long as `start` has not been called the front makes the error response of it, in its own
shape; afterwards the answer is cut short, and the front must break the connection so that
the client notices. `serve_websocket` raises nothing: a failure is a close with code 1011
and reason "group.code", before `accept` too: a front accepts then by itself, since clients
do not see why a handshake was refused.

All methods are called on the loop, one at a time for each direction.
"""

from __future__ import annotations

from typing import Protocol

from holdfast_server.core.raw import Headers

# Why a socket closes, beside what the handler and the client choose themselves.
CLOSE_DONE = 1000
CLOSE_GOING_AWAY = 1001
CLOSE_TOO_BIG = 1009
CLOSE_FAILED = 1011
CLOSE_TOO_SLOW = 1013
# What a transport says that has ended without a close: never sent.
CLOSE_ABNORMAL = 1006

REASON_GOING_AWAY = "websocket.going_away"
REASON_TOO_SLOW = "websocket.too_slow"


class ClientGone(Exception):
    """The client has gone: nothing more comes from it, and nothing reaches it."""


class SocketClosed(Exception):
    """The socket is closed, by the client or by its transport: code and reason."""

    def __init__(self, code: int = CLOSE_ABNORMAL, reason: str = "") -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{code} {reason}".rstrip())


class Exchange(Protocol):
    """One HTTP request and its answer."""

    async def receive(self) -> bytes:
        """The next part of the request's body, empty at its end and from then on."""
        ...

    async def start(self, status: int, headers: Headers) -> None:
        """Send status and headers; called once. Without a content-length the answer is
        of unknown size. Hop-by-hop headers are the front's own, and are not among these."""
        ...

    async def send(self, data: bytes) -> None:
        """Send a part of the answer's body, which is never empty. When `serve_request`
        returns, it is complete."""
        ...


class Socket(Protocol):
    """One WebSocket."""

    async def accept(self, subprotocol: str | None, headers: Headers) -> None:
        """Complete the handshake, before any `send`; called once at most. A front whose
        protocol has a subprotocol of its own answers that instead."""
        ...

    async def receive(self) -> str | bytes:
        """The client's next message; raises SocketClosed when there is none left. Called
        after `accept` only, and while the handler has room for more."""
        ...

    async def send(self, message: str | bytes) -> None:
        """Send a message. Raises SocketClosed when the client has gone."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close it, accepting it before if need be; called once. `receive` then raises
        SocketClosed. `reason` has at most 123 bytes."""
        ...
