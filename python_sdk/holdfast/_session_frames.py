"""Commands to frames: what is ready goes out together, and large ones in chunks.

Commands are written straight into the frame that goes next. One that is larger than a
chunk is serialized and goes out in parts, between which others pass. Its first part goes
out in its turn, since the numbers of streams rise in the order in which they arrive.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from holdfast.v1 import session_service_pb2 as pb

# A frame holds at most 4 MiB; payloads are counted, the rest is guessed generously.
FRAME_BYTES: Final = 1 << 20
_COMMAND_BYTES: Final = 512


class _Parts:
    # One command on its way out in chunks.
    __slots__ = ("data", "number", "sent")

    def __init__(self, number: int, data: bytes) -> None:
        self.number = number
        self.data = memoryview(data)
        self.sent = 0


class Frames:
    """The frames of one link, in the order in which they go out."""

    __slots__ = ("_frame", "_full", "_order", "_size", "_unsent", "chunk_bytes", "whole")

    def __init__(self) -> None:
        self.chunk_bytes: int = 64 * 1024
        # Streams whose command has gone out whole since somebody last looked.
        self.whole: list[int] = []
        self._frame = pb.OpenSessionRequest()
        self._size = 0
        self._full: deque[pb.OpenSessionRequest] = deque()
        # Commands in chunks by their stream, and whose turn it is.
        self._unsent: dict[int, _Parts] = {}
        self._order: deque[_Parts] = deque()

    def __bool__(self) -> bool:
        return bool(self._frame.commands or self._full or self._order)

    def add(self, number: int, size: int = 0) -> pb.SessionCommand:
        """A command of a stream, to be filled in at once; `size` is that of its payloads."""
        self._grow(size)
        return self._frame.commands.add(stream=number)

    def add_large(self, command: pb.SessionCommand) -> None:
        """A command that may need chunks."""
        size = command.ByteSize()
        if size <= self.chunk_bytes:
            self._grow(size)
            self._frame.commands.append(command)
            return
        parts = _Parts(command.stream, command.SerializeToString())
        self._unsent[command.stream] = parts
        self._part(parts)

    def cancel(self, number: int) -> None:
        """End a stream; what of its command has not gone out stays here."""
        parts = self._unsent.pop(number, None)
        if parts is not None:
            self._order.remove(parts)
        self.add(number).cancel.SetInParent()

    def waits(self, number: int) -> bool:
        """Whether the command that opened this stream has not gone out whole."""
        return number in self._unsent

    def take(self) -> pb.OpenSessionRequest:
        """The next frame."""
        if self._full:
            return self._full.popleft()
        while self._order and self._size <= FRAME_BYTES - self.chunk_bytes - _COMMAND_BYTES:
            self._part(self._order.popleft())
        frame = self._frame
        self._frame = pb.OpenSessionRequest()
        self._size = 0
        return frame

    def _grow(self, size: int) -> None:
        self._size += size + _COMMAND_BYTES
        if self._size > FRAME_BYTES and self._frame.commands:
            self._full.append(self._frame)
            self._frame = pb.OpenSessionRequest()
            self._size = size + _COMMAND_BYTES

    def _part(self, parts: _Parts) -> None:
        end = parts.sent + self.chunk_bytes
        data = bytes(parts.data[parts.sent : end])
        parts.sent = end
        self._grow(len(data))
        chunk = self._frame.commands.add(stream=parts.number).chunk
        chunk.data, chunk.last = data, end >= len(parts.data)
        if chunk.last:
            del self._unsent[parts.number]
            self.whole.append(parts.number)
        else:
            self._order.append(parts)


class Joiner:
    """Chunks of answers back to answers."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: dict[int, list[bytes]] = {}

    def add(self, number: int, chunk: pb.SessionChunk) -> pb.SessionAnswer | None:
        """The answer, once its last part is here."""
        parts = self._parts.setdefault(number, [])
        parts.append(chunk.data)
        if not chunk.last:
            return None
        del self._parts[number]
        return pb.SessionAnswer.FromString(b"".join(parts))


__all__ = ["FRAME_BYTES", "Frames", "Joiner"]
