"""Answers to requests for a part of something: `Range`, `If-Range`, 206 and 416.

    return ranged(request, document, headers={"content-type": "application/pdf"})

One range is answered with 206; several at once are answered with the whole, as RFC 9110
(section 14.2) lets a server do.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Final

from holdfast.http import GivenHeaders, Request, Response, header_pairs

Reader = Callable[[int, int], AsyncIterable[bytes]]
"""Gives the bytes from a start up to an end, in parts."""

_BYTES: Final = re.compile(r"bytes=(\d*)-(\d*)\Z", re.IGNORECASE | re.ASCII)


class UnsatisfiableRange(ValueError):
    """The range asked for lies beyond the end."""


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of the one range that a header asks for.

    None for the whole: without a header, and for what is malformed, of another unit or of
    several ranges, which are ignored. Raises UnsatisfiableRange.
    """
    match = _BYTES.match(header.replace(" ", "")) if header is not None else None
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        if not last:
            return None
        count = int(last)
        if count == 0 or size == 0:
            raise UnsatisfiableRange(header)
        return max(0, size - count), size
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise UnsatisfiableRange(header)
    return start, min(int(last) + 1, size) if last else size


def ranged(
    request: Request,
    data: bytes | Reader,
    *,
    size: int | None = None,
    etag: str | None = None,
    headers: GivenHeaders | None = None,
) -> Response:
    """The whole of `data`, or the part that `request` asks for.

    `data` is bytes, or a function of start and end that gives an async iterator of bytes;
    that needs the `size` of the whole. `etag` is a strong validator, without quotes: with
    it a client can ask for the rest of the same version (`If-Range`), and is told 304 for a
    version that it has (`If-None-Match`). Methods other than GET and HEAD get the whole.
    """
    if isinstance(data, (bytes, bytearray, memoryview)):
        whole, size = bytes(data), len(data)
    elif size is None:
        raise TypeError("size is needed where data is a function")
    else:
        whole = None
    pairs = (*header_pairs(() if headers is None else headers), ("accept-ranges", "bytes"))
    quoted = None if etag is None else f'"{etag}"'
    if quoted is not None:
        pairs = (*pairs, ("etag", quoted))
    asked = request.headers.get("range") if request.method in ("GET", "HEAD") else None
    if quoted is not None and request.method in ("GET", "HEAD"):
        known = {each.strip() for each in request.headers.get("if-none-match", "").split(",")}
        if quoted in known or "*" in known:
            return Response(b"", 304, pairs)
    # A version that is told otherwise than by its tag is not known here.
    if request.headers.get("if-range", quoted) != quoted:
        asked = None
    try:
        part = parse_range(asked, size)
    except UnsatisfiableRange:
        return Response(b"", 416, (*pairs, ("content-range", f"bytes */{size}")))
    start, end = part or (0, size)
    if part is not None:
        pairs = (*pairs, ("content-range", f"bytes {start}-{end - 1}/{size}"))
    status = 200 if part is None else 206
    if whole is not None:
        return Response(whole[start:end], status, pairs)
    pairs = (*pairs, ("content-length", str(end - start)))
    assert callable(data)
    return Response(_parts(data, start, end), status, pairs)


async def _parts(read: Reader, start: int, end: int) -> AsyncIterator[bytes]:
    async for part in read(start, end):
        yield part


__all__ = ["parse_range", "ranged"]
