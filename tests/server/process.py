"""Real server processes: started, read line by line, stopped by their pid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 30.0
COUNTER = """
from dataclasses import dataclass
from holdfast import Actor, Context, action, setup

@dataclass
class Count:
    value: int = 0

class Counter(Actor[Count]):
    state = Count

    @action
    async def increment(self, c: Context[Count], by: int = 1) -> int:
        c.state.value += by
        return c.state.value

    @action(read_only=True)
    def value(self, c: Context[Count]) -> int:
        return c.state.value

registry = setup(use={"counter": Counter})
"""


def clean_environment(**changes: str) -> dict[str, str]:
    """This process's variables without those that a server would read."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")}
    return {**kept, **changes}


class Process:
    """A child process whose output is kept; killed at the end of the block."""

    def __init__(self, command: Sequence[str], directory: Path, **environment: str) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-u", *command],
            cwd=directory,
            env=clean_environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def output(self) -> str:
        with self._changed:
            return "".join(self.lines)

    @property
    def silent(self) -> bool:
        """Whether every process that could write to the output has ended."""
        return not self._reader.is_alive()

    def wait_for(self, wanted: Callable[[str], bool] | str, *, after: int = 0) -> str:
        """The first line of output, from line `after`, that holds or satisfies `wanted`."""
        check = (lambda line: wanted in line) if isinstance(wanted, str) else wanted

        def found() -> str | None:
            return next((line for line in self.lines[after:] if check(line)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._ended, WAIT_S)
            line = found()
        assert line is not None, f"no line with {wanted!r} in:\n{self.output}"
        return line

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def wait(self) -> int:
        """Its exit code."""
        code = self._popen.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return code

    def stop(self) -> int:
        """Drain it; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.wait()
        self._reader.join(WAIT_S)
        assert self._popen.stdout is not None
        self._popen.stdout.close()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class ServerProcess(Process):
    """`holdfast-server serve` in `directory`, on free ports, with its data there."""

    def __init__(
        self, directory: Path, *flags: str, app: str = COUNTER, **environment: str
    ) -> None:
        (directory / "app.py").write_text(app)
        addresses = ["--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", "data"]
        command = ["-m", "holdfast_server", "serve", "app:registry", *addresses, *flags]
        super().__init__(command, directory, **environment)

    def __enter__(self) -> Self:
        try:
            self.port = _port(self.wait_for("serves gRPC on"))
            self.admin_port = _port(self.wait_for("Admin on"))
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


def _port(line: str) -> int:
    address = next(word for word in line.replace(",", " ").split() if ":" in word)
    return int(address.strip(":").rpartition(":")[2])
