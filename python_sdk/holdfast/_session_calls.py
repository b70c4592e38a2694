"""Calls as streams of a session: one future each, and no task."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final

import grpc

from holdfast._messages import encoded, encoding, fill_target, milliseconds, put
from holdfast._session_streams import WINDOW_BYTES, Stream, local_error, status_error
from holdfast._trace import trace_headers
from holdfast._transport import Call, Encoded, Reply
from holdfast.v1 import session_service_pb2 as pb

# Deadlines are watched in steps of this: one timer for all calls of a step.
DEADLINE_STEP_S: Final = 0.02
_SLACK_BYTES: Final = 256


class CallStream(Stream):
    """What a call and a streaming call share: how they are opened."""

    __slots__ = ("_acknowledged_below", "_call", "_connection", "_number", "_timeout", "_trace")

    def __init__(
        self,
        call: Call,
        number: int,
        acknowledged_below: int,
        timeout: float | None,
        connection: Stream | None,
    ) -> None:
        # What Stream's does, in place: every call comes here.
        self.link = None
        self.number = 0
        self._call = call
        self._number = number
        self._acknowledged_below = acknowledged_below
        self._timeout = timeout
        self._connection = connection
        # Of the caller: the stream may be opened by another task.
        self._trace = trace_headers()

    def size(self) -> int:
        return call_size(self._call)

    def parent(self) -> Stream | None:
        return self._connection

    def fill(self, command: pb.SessionCommand) -> None:
        call, message = self._call, command.call
        if self._connection is not None:
            message.connection = self._connection.number
        else:
            fill_target(message.target, call.target)
            if call.params is not None:
                put(message.params, call.params)
        message.action = call.action
        if call.args is not None:
            put(message.args, call.args)
        if call.kwargs is not None:
            put(message.kwargs, call.kwargs)
        message.accept_encoding = encoding(call.accept)
        if call.idempotency_key is not None:
            message.idempotency_key = call.idempotency_key
        else:
            message.number = self._number
            message.acknowledged_below = self._acknowledged_below
        if self._timeout is not None:
            message.timeout_ms = milliseconds(self._timeout)
        for name, value in self._trace:
            setattr(message, name, value)


class Invocation(CallStream):
    """A call; `future` is what it gives, or fails with as the RPC would."""

    __slots__ = ("future",)

    def __init__(
        self,
        call: Call,
        number: int,
        acknowledged_below: int,
        timeout: float | None,
        connection: Stream | None,
        future: asyncio.Future[Reply],
    ) -> None:
        super().__init__(call, number, acknowledged_below, timeout, connection)
        self.future = future

    def result(self, answer: pb.SessionResult) -> None:
        if not self.future.done():
            self.future.set_result(
                Reply(encoded(answer.result), answer.actor_id, answer.durability, answer.replayed)
            )

    def end(self, answer: pb.SessionEnd) -> None:
        self.cut(status_error(answer))

    def cut(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Iteration(CallStream):
    """A streaming call: `next` gives its items, None at the end."""

    __slots__ = ("_credit", "_error", "_items", "_over", "_wanted", "fail_with")

    def __init__(
        self,
        call: Call,
        number: int,
        acknowledged_below: int,
        timeout: float | None,
        connection: Stream | None,
    ) -> None:
        super().__init__(call, number, acknowledged_below, timeout, connection)
        self._items: deque[Encoded] = deque()
        self._wanted: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._over = False
        self._credit = 0

    def fill(self, command: pb.SessionCommand) -> None:
        super().fill(command)
        command.call.streaming = True
        command.call.window_bytes = WINDOW_BYTES

    async def next(self) -> Encoded | None:
        """The next item; None after the last. Raises what the call failed with."""
        while not self._items:
            if self._error is not None:
                raise self._error
            if self._over:
                return None
            self._wanted = asyncio.get_running_loop().create_future()
            await self._wanted
        item = self._items.popleft()
        self._credit += len(item.data)
        if self._credit >= WINDOW_BYTES // 4 and self.link is not None:
            self.link.owe(self)
        return item

    def owed(self, link: object) -> None:
        if self.link is not None and self._credit:
            self.link.command(self.number).credit.bytes = self._credit
            self._credit = 0

    def items(self, answer: pb.SessionItems) -> None:
        self._items.extend(Encoded(item.encoding, item.data) for item in answer.items)
        self._wake()

    def end(self, answer: pb.SessionEnd) -> None:
        if answer.code == 0:
            self._over = True
            self._wake()
        else:
            self.cut(status_error(answer))

    def cut(self, error: Exception) -> None:
        if self._error is None and not self._over:
            self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)


class Deadlines:
    """Ends streams whose time is up, where the server has not; one timer a step."""

    __slots__ = ("_drop", "_loop", "_steps")

    def __init__(self, drop: Callable[[Stream], None]) -> None:
        # Not to keep whom it serves, once that is closed.
        self._drop = weakref.WeakMethod(drop)
        self._loop = asyncio.get_running_loop()
        self._steps: dict[int, set[CallStream]] = {}

    def add(self, stream: CallStream, timeout: float) -> set[CallStream]:
        """Watch a stream; the caller takes it out of the set that this returns."""
        step = int((self._loop.time() + timeout) / DEADLINE_STEP_S) + 1
        streams = self._steps.get(step)
        if streams is None:
            streams = self._steps[step] = set()
            self._loop.call_at(step * DEADLINE_STEP_S, self._due, step)
        streams.add(stream)
        return streams

    def _due(self, step: int) -> None:
        drop = self._drop()
        for stream in self._steps.pop(step, ()):
            if drop is not None:
                drop(stream)
            stream.cut(local_error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))


class Watched:
    """A stream whose deadline, if it has one, is watched inside a block."""

    __slots__ = ("_deadlines", "_others", "_stream", "_timeout")

    def __init__(self, deadlines: Deadlines, stream: CallStream, timeout: float | None) -> None:
        self._deadlines = deadlines
        self._stream = stream
        self._timeout = timeout
        self._others: set[CallStream] | None = None

    def __enter__(self) -> None:
        if self._timeout is not None:
            self._others = self._deadlines.add(self._stream, self._timeout)

    def __exit__(self, *_: object) -> None:
        if self._others is not None:
            self._others.discard(self._stream)


def call_size(call: Call) -> int:
    """About the bytes of a call on the wire."""
    size = _SLACK_BYTES
    for value in (call.args, call.kwargs, call.params, call.target.input):
        if value is not None:
            size += len(value.data)
    return size


__all__ = ["CallStream", "Deadlines", "Invocation", "Iteration", "Watched", "call_size"]
