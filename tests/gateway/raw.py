"""Bytes to the gateway as no HTTP library would send them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from holdfast_server.app import Server


class Line:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def hang_up(self) -> None:
        """Vanish without a word."""
        self._writer.transport.abort()

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next response."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return int(first.split(" ")[1]), headers, body

    async def until(self, mark: bytes) -> bytes:
        """What comes, up to and with `mark`."""
        return await self._reader.readuntil(mark)

    async def error(self) -> tuple[int, str]:
        """Status and error of the next response."""
        status, _, body = await self.response()
        told: dict[str, Any] = json.loads(body)
        return status, f"{told['group']}.{told['code']}"

    async def rest(self) -> bytes:
        """Whatever comes until the server closes."""
        try:
            return await self._reader.read()
        except ConnectionError:
            return b""


@asynccontextmanager
async def line_to(server: Server) -> AsyncIterator[Line]:
    """An open line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


def request(
    method: str, path: str, *headers: str, body: bytes = b"", host: str = "127.0.0.1"
) -> bytes:
    """A request as it should be, but for what is given."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
