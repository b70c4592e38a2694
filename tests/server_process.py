"""A server in a process of its own, as a user starts it: what it prints, how it ends."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.run import wait_until_serving

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now, nor is given by the system to a client."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_768)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def free_address() -> str:
    """A loopback address that nothing listens on now."""
    return f"127.0.0.1:{free_port()}"


def environment(**settings: str) -> dict[str, str]:
    """This process's environment, with `settings` and no other HOLDFAST_* variable."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")}
    return {**inherited, "PYTHONUNBUFFERED": "1", **settings}


def run(
    *command: str, address: str, cwd: Path = ROOT, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run a program of a user, a client of the server at `address`, to its end."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment(HOLDFAST_SERVER=address, **settings),
        capture_output=True,
        text=True,
        check=False,
    )


class ServerProcess:
    """One server, on one address and one data directory, started as often as wanted."""

    def __init__(self, command: Sequence[str], data: Path, cwd: Path = ROOT) -> None:
        self.address = free_address()
        self.http_address = free_address()
        self.data = data
        self._command = list(command)
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it serves."""
        self._process = subprocess.Popen(
            self._command,
            cwd=self._cwd,
            env=environment(
                HOLDFAST_GRPC=self.address,
                HOLDFAST_HTTP=self.http_address,
                HOLDFAST_DATA=str(self.data),
            ),
        )
        wait_until_serving(self._process, self.address)

    def kill(self) -> None:
        """End it with SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self.wait_killed()

    def wait_killed(self) -> None:
        """Wait until somebody's SIGKILL has ended it."""
        assert self._process is not None
        assert self._process.wait() == -signal.SIGKILL

    def stop(self) -> int:
        """End it with SIGTERM; its exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait()

    @property
    def runs(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None


@contextmanager
def served(command: Sequence[str], data: Path, cwd: Path = ROOT) -> Iterator[ServerProcess]:
    """A server that runs inside the block, and drains at its end."""
    server = ServerProcess(command, data, cwd)
    server.start()
    try:
        yield server
    finally:
        if server.runs:
            assert server.stop() == 0
