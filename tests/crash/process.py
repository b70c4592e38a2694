"""A test server as a process: started, waited for, killed, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from tests.crash.plan import Plan
from tests.crash.stores import cut_power

ROOT = Path(__file__).resolve().parents[2]
# How long a server may take to start, to reach its point, to stop.
PATIENCE_S = 30.0


class ServerProcess:
    """One process; made by `start`, ended by `kill`, `stop` or its own point."""

    def __init__(self, plan: Plan, process: asyncio.subprocess.Process) -> None:
        self.plan = plan
        self.port = plan.port
        self._process = process
        # What it said before it said its port.
        self._said: list[str] = []

    @classmethod
    async def start(cls, plan: Plan) -> ServerProcess:
        """A server that serves, or is dead already because its point came early."""
        # The log goes beside the data, and is shown when something is wrong.
        log = os.open(f"{plan.data}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.crash.server", msgspec.json.encode(plan).decode()),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        finally:
            os.close(log)
        server = cls(plan, process)
        try:
            await server._until_serving()
        except BaseException:
            await server.discard()
            raise
        return server

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def said(self) -> str:
        """The next thing that the server says."""
        if self._said:
            return self._said.pop(0)
        line = await self._line()
        if not line:
            raise AssertionError(f"the server ended:\n{self.log()}")
        return line

    async def _until_serving(self) -> None:
        while not (line := await self._line()).isdigit():
            if line:
                self._said.append(line)
            elif self.port and self.plan.point is not None:
                return
            else:
                raise AssertionError(f"the server did not start:\n{self.log()}")
        self.port = int(line)

    async def _line(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            return (await self._process.stdout.readline()).decode().strip()

    async def tell(self, command: str) -> None:
        """Have the server obey a command of `server.py`."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        await self._process.stdin.drain()
        assert await self.said() == "done"

    def log(self) -> str:
        """The end of what this server and those before it have logged."""
        return Path(f"{self.plan.data}.log").read_text(errors="replace")[-4000:]

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def dead(self) -> None:
        """Wait until SIGKILL has ended the server; then the power goes too, if planned."""
        code = await self._ended()
        if code != -signal.SIGKILL:
            raise AssertionError(f"the server ended with {code}:\n{self.log()}")
        if self.plan.power:
            cut_power(self.plan.data, self.plan.synced_path)

    async def stop(self) -> None:
        """Drain the server; it must exit with 0."""
        self._process.terminate()
        code = await self._ended()
        if code != 0:
            raise AssertionError(f"the server drained with {code}:\n{self.log()}")

    async def discard(self) -> None:
        """End the server, in whatever state the test has left it."""
        self.kill()
        await self._ended()

    async def _ended(self) -> int | None:
        """Wait for the end, but not forever, and close the pipes; the exit code."""
        async with asyncio.timeout(PATIENCE_S):
            code = await self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        return code
