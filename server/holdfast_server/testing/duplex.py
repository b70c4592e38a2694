"""What a bidirectional RPC of the in-process channel is made of: pipes, and faults of calls.

A session is one such RPC. Its calls are commands within frames, so that a fault of a call
is found by looking into the frames; it then breaks the whole session, as a real one would.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from holdfast.v1 import actor_pb2
from holdfast.v1 import session_service_pb2 as pb
from holdfast_server.testing.wire import Subject, Wire

# Messages that are under way at once, about as many as a window of HTTP/2 lets pass.
_UNDER_WAY: Final = 4


class Pipe:
    """Messages one way, from one writer to one reader."""

    def __init__(self) -> None:
        self._items: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._closed = False
        self._error: Exception | None = None

    async def put(self, data: bytes) -> None:
        """Send a message; waits while too many are under way, raises what it was closed for."""
        while len(self._items) >= _UNDER_WAY and not self._closed:
            await self._change()
        if self._closed:
            raise self._error or asyncio.InvalidStateError("the RPC has ended")
        self._items.append(data)
        self._changed.set()

    async def get(self) -> bytes | None:
        """The next message; None, or what it was closed for, after the last."""
        while not self._items:
            if self._error is not None:
                raise self._error
            if self._closed:
                return None
            await self._change()
        data = self._items.popleft()
        self._changed.set()
        return data

    def close(self, error: Exception | None) -> None:
        """Nothing more is sent; does nothing again."""
        if not self._closed:
            self._closed, self._error = True, error
            self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class SessionFaults:
    """Finds the calls of one session, for faults that are armed for them."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._namespace = ""
        # By the numbers of their streams: connections, and calls that are not answered.
        self._connections: dict[int, actor_pb2.ActorTarget] = {}
        self._calls: dict[int, Subject] = {}

    def commands(self, frame: pb.OpenSessionRequest) -> bool:
        """Whether this frame is lost on its way to the server."""
        lost = False
        for command in frame.commands:
            which = command.WhichOneof("command")
            if which == "hello":
                self._namespace = command.hello.namespace
            elif which == "connect":
                self._connections[command.stream] = command.connect.target
            elif which == "call":
                call = command.call
                target = self._connections.get(call.connection, call.target)
                subject = Subject(*self._wire.target(self._namespace, target), call.action)
                self._calls[command.stream] = subject
                lost = self._wire.hits("drop_call", subject) or lost
        return lost

    def answers(self, frame: pb.OpenSessionResponse) -> bool:
        """Whether this frame is lost on its way to the client."""
        lost = False
        for answer in frame.answers:
            kind: Any = answer.WhichOneof("answer")
            if kind in ("result", "end"):
                subject = self._calls.pop(answer.stream, None)
                self._connections.pop(answer.stream, None)
                if subject is not None:
                    lost = self._wire.hits("drop_reply", subject) or lost
        return lost
