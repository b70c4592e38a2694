"""Processes with all that they start, found by a mark in their environment.

What a server starts may leave its process group and its parent, as Ray's daemons do;
its environment it keeps. So CPU time and memory are counted of all, and all are ended.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

_MARK = "_HOLDFAST_BENCH"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_START_S = 60.0
_STOP_S = 10.0


class Group:
    """The processes of one server, or of one load."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._mark = secrets.token_hex(8)
        self._started: list[subprocess.Popen[bytes]] = []
        self._adopted: list[Group] = []

    def adopt(self, other: Group) -> None:
        """Count another group's processes among these; it still ends them itself."""
        self._adopted.append(other)

    def start(
        self,
        command: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start one; what it prints goes to the log."""
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, **env, _MARK: self._mark},
                stdin=stdin,
                stdout=log if stdout is None else stdout,
                stderr=log,
            )
        self._started.append(process)
        return process

    def wait_for(self, port: int) -> None:
        """Until `port` takes connections."""
        ends = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                return
            self.check()
            if time.monotonic() > ends:
                raise RuntimeError(f"nothing listens on {port}; it said: {self.said()}")
            time.sleep(0.02)

    def check(self) -> None:
        """Whether all that were started still run."""
        for process in self._started:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args!r} has ended; it said: {self.said()}")

    def said(self) -> str:
        """The end of the log."""
        return self._log.read_text(errors="replace")[-1000:] if self._log.exists() else ""

    def pids(self) -> list[int]:
        """All that carry the mark."""
        needle = f"{_MARK}={self._mark}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if needle in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found

    def cpu_seconds(self, but: int = 0) -> float:
        """CPU time that all have used, and those of their children that ended, but of one."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                total += 0 if pid == but else sum(int(each) for each in stat[11:15])
        return total * _TICK_S + sum(other.cpu_seconds() for other in self._adopted)

    @property
    def resident_bytes(self) -> int:
        """Memory that is theirs alone, or their share of what is shared."""
        own = sum(_proportional(pid) for pid in self.pids())
        return own + sum(other.resident_bytes for other in self._adopted)

    def stop(self) -> None:
        """End all, each by its own id."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            ends = time.monotonic() + _STOP_S
            while time.monotonic() < ends:
                for process in self._started:
                    process.poll()
                if not self.pids():
                    break
                time.sleep(0.02)
        for process in self._started:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                _close(pipe)


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        with contextlib.suppress(OSError):
            pipe.close()


def _proportional(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


@contextlib.contextmanager
def group(log: Path) -> Iterator[Group]:
    """Processes that have all ended at the end, also when SIGTERM ends this one."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    processes = Group(log)
    try:
        yield processes
    finally:
        processes.stop()


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
