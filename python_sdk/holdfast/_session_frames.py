"""Commands to frames: what is ready goes out together, and large ones in chunks.

Commands are written straight into the frame that goes next. One that is larger than a
chunk is serialized and goes out in parts, between which others pass; what must not
overtake it waits behind it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from holdfast.v1 import session_service_pb2 as pb

# A frame holds at most 4 MiB; payloads are counted, the rest is guessed generously.
FRAME_BYTES: Final = 1 << 20
_COMMAND_BYTES: Final = 512
_COMMANDS_MAX: Final = 1024


class _Parts:
    # One command on its way out in chunks.
    __slots__ = ("after", "data", "number", "sent")

    def __init__(self, number: int, data: bytes) -> None:
        self.number = number
        self.data = memoryview(data)
        self.sent = 0
        self.after: list[pb.SessionCommand] = []


class Frames:
    """The frames of one link, in the order in which they go out."""

    __slots__ = ("_frame", "_full", "_order", "_size", "_unsent", "chunk_bytes")

    def __init__(self) -> None:
        self.chunk_bytes: int = 64 * 1024
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
        parts = self._unsent.get(number) if self._unsent else None
        if parts is not None:
            command = pb.SessionCommand(stream=number)
            parts.after.append(command)
            return command
        self._grow(size)
        return self._frame.commands.add(stream=number)

    def add_large(self, command: pb.SessionCommand, behind: int = 0) -> None:
        """A command that may need chunks; it follows what opens the stream `behind`."""
        parts = self._unsent.get(behind) if behind else None
        if parts is not None:
            parts.after.append(command)
            return
        size = command.ByteSize()
        if size <= self.chunk_bytes:
            self._grow(size)
            self._frame.commands.append(command)
            return
        made = _Parts(command.stream, command.SerializeToString())
        self._unsent[command.stream] = made
        self._order.append(made)

    def waits(self, number: int) -> bool:
        """Whether the command that opened this stream has not gone out whole."""
        return number in self._unsent

    def take(self) -> pb.OpenSessionRequest:
        """The next frame."""
        if self._full:
            return self._full.popleft()
        frame = self._frame
        self._frame = pb.OpenSessionRequest()
        self._size = 0
        room = FRAME_BYTES - frame.ByteSize() if self._order else 0
        while self._order and room > 0:
            room -= self._part(frame, self._order.popleft())
        return frame

    def _grow(self, size: int) -> None:
        self._size += size + _COMMAND_BYTES
        if self._size > FRAME_BYTES and self._frame.commands:
            self._full.append(self._frame)
            self._frame = pb.OpenSessionRequest()
            self._size = size + _COMMAND_BYTES

    def _part(self, frame: pb.OpenSessionRequest, parts: _Parts) -> int:
        end = parts.sent + self.chunk_bytes
        data = bytes(parts.data[parts.sent : end])
        parts.sent = end
        last = end >= len(parts.data)
        chunk = frame.commands.add(stream=parts.number).chunk
        chunk.data, chunk.last = data, last
        if not last:
            self._order.append(parts)
            return len(data)
        del self._unsent[parts.number]
        for command in parts.after:
            # Behind it in the next frame, where it is measured like any other.
            self.add_large(command)
        return len(data)


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
