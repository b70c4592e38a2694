"""Commands and answers that travel in parts; bytes only, of whichever side.

Parts of one stream come in order, parts of several streams may be mixed.
"""

from __future__ import annotations

from collections.abc import Iterator


class ChunksFull(Exception):
    """All unfinished commands together have too many bytes."""


class ChunkedTooLong(Exception):
    """One command has too many bytes; its parts were dropped."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


def split(data: bytes, part_bytes: int) -> Iterator[tuple[bytes, bool]]:
    """The parts of what is sent, and whether each is the last."""
    for start in range(0, len(data), part_bytes):
        yield data[start : start + part_bytes], start + part_bytes >= len(data)


class Assembler:
    """Parts that have arrived, by stream."""

    __slots__ = ("_all_bytes_max", "_one_bytes_max", "_parts", "size")

    def __init__(self, one_bytes_max: int, all_bytes_max: int) -> None:
        self._one_bytes_max = one_bytes_max
        self._all_bytes_max = all_bytes_max
        # By stream: the parts, in order.
        self._parts: dict[int, bytearray] = {}
        # Bytes of all parts that are kept.
        self.size = 0

    def add(self, stream: int, data: bytes, last: bool) -> bytes | None:
        """The whole once its last part is here. ChunkedTooLong leaves other streams as
        they are; after ChunksFull nothing may be added."""
        kept = self._parts.get(stream)
        if kept is None:
            kept = self._parts[stream] = bytearray()
        if len(kept) + len(data) > self._one_bytes_max:
            size = len(kept) + len(data)
            self.drop(stream)
            raise ChunkedTooLong(size)
        kept += data
        self.size += len(data)
        if self.size > self._all_bytes_max:
            raise ChunksFull
        if not last:
            return None
        self.drop(stream)
        return bytes(kept)

    def drop(self, stream: int) -> None:
        """Forget the parts of a stream."""
        self.size -= len(self._parts.pop(stream, b""))
