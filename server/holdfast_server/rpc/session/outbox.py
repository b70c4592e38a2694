"""What a session has to say: one writer, and frames of what is ready together.

Answers are put in place into the frame that leaves next, so that all of one loop
tick leave at once and a lone one is not delayed. Everything leaves in the order in
which it was put, also a large answer's parts: events stay ahead of the reply of
their turn. An event for several subscriptions that stand in the same place is one
answer, to which streams are added until its frame leaves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from holdfast.v1 import session_service_pb2 as pb
from holdfast_server.rpc.events import fill_event
from holdfast_server.rpc.session.chunks import split

if TYPE_CHECKING:
    from holdfast_server.core.events import Delivery

Frame = pb.OpenSessionResponse

# A frame takes no further answer at this size: larger ones save nothing.
FRAME_BYTES: Final = 256 << 10
# What an answer takes beside its payload, roughly.
_ANSWER_BYTES: Final = 48
# And one more stream of an event.
_STREAM_BYTES: Final = 4


class _Part:
    """A frame, and the bytes it counts for; `large` when its one answer may need chunks."""

    __slots__ = ("frame", "large", "size")

    def __init__(self, frame: Frame, size: int, large: bool = False) -> None:
        self.frame = frame
        self.size = size
        self.large = large


class Outbox:
    """Frames that wait for the transport of one session."""

    __slots__ = (
        "_changed",
        "_chunk_bytes",
        "_events",
        "_loop",
        "_parts",
        "_wake",
        "place",
        "size",
        "writing_since",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, chunk_bytes: int) -> None:
        self._loop = loop
        self._chunk_bytes = chunk_bytes
        self._parts: deque[_Part] = deque()
        # Events in frames that have not left, by the delivery that is shared by all
        # subscriptions that stand alike; it is kept, so that its id stays its own. With
        # each the place of its answer.
        self._events: dict[int, tuple[Delivery, pb.SessionEvent, int]] = {}
        # Number of the last answer that was put.
        self.place = 0
        # Bytes that have not left, those of the frame that is being written among them.
        self.size = 0
        # When the write under way began, in the loop's time.
        self.writing_since: float | None = None
        self._wake: asyncio.Future[None] | None = None
        self._changed: asyncio.Future[None] | None = None

    def open(self, stream: int, size: int) -> pb.SessionAnswer:
        """A new answer with a payload of `size` bytes, to be filled at once."""
        size += _ANSWER_BYTES
        self.size += size
        self.place += 1
        large, parts = size > self._chunk_bytes, self._parts
        part = parts[-1] if parts else None
        if part is not None and not (large or part.large) and part.size + size <= FRAME_BYTES:
            part.size += size
        else:
            part = _Part(Frame(), size, large)
            parts.append(part)
            wake = self._wake
            if wake is not None:
                self._wake = None
                wake.set_result(None)
        answer = part.frame.answers.add()
        answer.stream = stream
        return answer

    def event(self, stream: int, delivery: Delivery, *, after: int) -> int:
        """An event of a subscription whose last answer has the place `after`, which an
        event that others have too must not come before; the place of this one."""
        waiting = self._events.get(id(delivery))
        if waiting is not None and waiting[2] > after:
            waiting[1].streams.append(stream)
            self.size += _STREAM_BYTES
            self._parts[-1].size += _STREAM_BYTES
            return waiting[2]
        message = self.open(0, delivery.event.size).event
        fill_event(message.event, delivery)
        message.streams.append(stream)
        self._events[id(delivery)] = delivery, message, self.place
        return self.place

    async def write(self, send: Callable[[Frame], Awaitable[None]]) -> None:
        """Send frames as they become ready, until cancelled."""
        loop = self._loop
        while True:
            if not self._parts:
                self._wake = loop.create_future()
                await self._wake
            part = self._take()
            self.writing_since = loop.time()
            await send(part.frame)
            self.writing_since = None
            self.size -= part.size
            if self._changed is not None:
                self._changed.set_result(None)
                self._changed = None

    async def at_most(self, size: int) -> None:
        """Wait until no more than `size` bytes wait."""
        while self.size > size:
            if self._changed is None:
                self._changed = self._loop.create_future()
            await asyncio.shield(self._changed)

    def _take(self) -> _Part:
        self._events.clear()
        part = self._parts.popleft()
        if not part.large:
            return part
        answer = part.frame.answers[0]
        data = answer.SerializeToString()
        if len(data) <= self._chunk_bytes:
            return part
        self.size += len(data) - part.size
        self._parts.extendleft(reversed(self._chunked(answer.stream, data)))
        return self._parts.popleft()

    def _chunked(self, stream: int, data: bytes) -> list[_Part]:
        parts: list[_Part] = []
        for piece, last in split(data, self._chunk_bytes):
            if not parts or parts[-1].size + len(piece) > FRAME_BYTES:
                parts.append(_Part(Frame(), 0))
            part = parts[-1]
            part.size += len(piece)
            answer = part.frame.answers.add()
            answer.stream = stream
            answer.chunk.data = piece
            answer.chunk.last = last
        return parts
