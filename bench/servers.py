"""The servers under test: started as processes of their own, and looked at from outside."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.calls import answer_bytes

ROOT = Path(__file__).resolve().parents[1]
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_START_S = 30.0
_STOP_S = 30.0
# Flags that bound RocksDB's own memory low, where that of something else is measured.
LOW_MEMORY = ("--block-cache-bytes-max", "1000000", "--write-buffer-bytes-max", "1000000")
# Fixed ports, which only one of two servers side by side would get.
_ALONE = ("--http", "off", "--admin", "off")


class ServerProcess:
    """A server process on `port`."""

    def __init__(self, command: list[str], port: int) -> None:
        self.port = port
        self._command = command
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", *self._command],
            cwd=ROOT,
            env={**os.environ, "HOLDFAST_LOG_LEVEL": "warning"},
            stdout=subprocess.DEVNULL,
        )

    def wait(self) -> None:
        """Until it takes connections."""
        ends = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            if self._process.poll() is not None or time.monotonic() > ends:
                raise RuntimeError("a server did not start")
            time.sleep(0.005)

    @property
    def cpu_seconds(self) -> float:
        """CPU time that the process has used."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        user, system = stat.rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) * _TICK_S

    @property
    def resident_bytes(self) -> int:
        """Memory that the process holds."""
        statm = Path(f"/proc/{self._process.pid}/statm").read_text()
        return int(statm.split()[1]) * _PAGE_BYTES

    def kill_and_start(self) -> None:
        """End the process with SIGKILL, and start it again as it was started."""
        self._process.kill()
        self._process.wait()
        self._process = self._start()

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[ServerProcess]:
    server = ServerProcess(command, port)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def data_directory() -> Iterator[Path]:
    """A new directory on the disk of this repository, which `/tmp` may not be on."""
    (ROOT / "build").mkdir(exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="bench-", dir=ROOT / "build"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextlib.contextmanager
def holdfast_server(data: Path, *flags: str) -> Iterator[ServerProcess]:
    """The server, as its command starts it, with these flags."""
    port = _free_port()
    command = ["holdfast_server", "serve", "bench.actors:registry", "--data", str(data), *flags]
    with running([*command, "--grpc", f"127.0.0.1:{port}", *_ALONE], port) as server:
        yield server


@contextlib.contextmanager
def echo_server(loop: str) -> Iterator[ServerProcess]:
    """A bare grpc.aio server on the event loop of that name."""
    port = _free_port()
    command = ["bench.echo_server", str(port), str(answer_bytes()), loop]
    with running(command, port) as server:
        yield server
