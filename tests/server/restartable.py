"""A server in a process of its own, which a test can kill and start again on one port."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.server.process import ROOT, clean_environment
from tests.server_process import free_port


class RestartableServer:
    """`holdfast-server serve` over one data directory and one port."""

    def __init__(self, registry: str, data: Path, *flags: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._registry = registry
        self._flags = flags
        self._data = data
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start, and wait until it says that it serves."""
        arguments = ["serve", self._registry, "--data", str(self._data), "--grpc", self.address]
        arguments += ["--admin", "127.0.0.1:0", *self._flags]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "holdfast_server",
            *arguments,
            cwd=ROOT,
            env=clean_environment(PYTHONUNBUFFERED="1"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            if b"serves gRPC" in line:
                return
        raise AssertionError("the server ended before it served")

    async def kill(self) -> None:
        """End it as a power cut would."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """End it as an operator would."""
        await self._end(signal.SIGTERM)

    async def _end(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
            await self._process.communicate()


@asynccontextmanager
async def server_process(
    registry: str, data: Path, *flags: str
) -> AsyncIterator[RestartableServer]:
    """A started server, ended when the block ends."""
    server = RestartableServer(registry, data, *flags)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
