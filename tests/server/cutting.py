"""A TCP proxy between a client and its server, which cuts and stalls what goes through it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# Closing at once, without the bytes that were not sent: the other side sees a reset.
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Passes bytes on, until it is told to do otherwise.

    `cuts` counts the connections that were open when they were cut.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._server: asyncio.Server | None = None
        self._pipes: set[_Pipe] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        # Bytes that each direction still passes on before the connection is cut.
        self._left: dict[str, int] = {}
        self.cuts: int = 0
        self.address: str = ""
        # Whether who connects is turned away.
        self.closed: bool = False

    def cut(self) -> None:
        """Cut every connection, between two packets."""
        self._left.clear()
        for pipe in list(self._pipes):
            self.cuts += pipe.cut()

    def cut_after(self, direction: str, count: int) -> None:
        """Cut once so many more bytes have gone "up" to the server or "down" from it."""
        self._left[direction] = count

    def stall(self) -> None:
        """Pass nothing on."""
        self._flowing.clear()

    def flow(self) -> None:
        """Pass everything on again."""
        self._left.clear()
        self._flowing.set()

    @property
    def open(self) -> int:
        """How many connections go through it."""
        return len(self._pipes)

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Cut everything, and listen no more."""
        assert self._server is not None
        self._server.close()
        self.flow()
        self.cut()
        await self._server.wait_closed()
        while self._pipes:  # noqa: ASYNC110 - the tasks of the pipes end by themselves
            await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.closed:
            _reset(writer)
            return
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        pipe = _Pipe(writer, up_writer)
        self._pipes.add(pipe)
        try:
            await asyncio.gather(
                self._pass(pipe, "up", reader, up_writer),
                self._pass(pipe, "down", up_reader, writer),
            )
        finally:
            self._pipes.discard(pipe)
            pipe.close()

    async def _pass(
        self, pipe: _Pipe, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(65536):
                await self._flowing.wait()
                left = self._left.get(way)
                if left is not None and len(data) >= left:
                    writer.write(data[:left])
                    await writer.drain()
                    self.cut()
                    return
                if left is not None:
                    self._left[way] = left - len(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            pipe.close()


class _Pipe:
    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._writers = client, server
        self._over = False

    def cut(self) -> bool:
        """Whether it was open."""
        if self._over:
            return False
        self._over = True
        for writer in self._writers:
            _reset(writer)
        return True

    def close(self) -> None:
        if not self._over:
            self._over = True
            for writer in self._writers:
                writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    found = writer.get_extra_info("socket")
    if found is not None and found.fileno() >= 0:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


@asynccontextmanager
async def proxied(target: str) -> AsyncIterator[Proxy]:
    """A proxy in front of `target`, gone at the end of the block."""
    proxy = Proxy(target)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()


__all__ = ["Proxy", "proxied"]
