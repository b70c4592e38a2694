"""`holdfast dev app.py`: serves the registry of a file and restarts on every change.

This process only watches. The server is a child process, so that each start has
fresh modules; the data directory keeps the state. A child that ends by itself,
for a syntax error say, is not started again before something changes. The child
is asked to drain by closing a pipe rather than by a signal: Ctrl-C reaches both
processes, and the child must not count it twice.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from watchfiles import PythonFilter, watch

from holdfast_server.config import load
from holdfast_server.process.failures import FAILED, OK, USAGE
from holdfast_server.process.flags import add_settings, flags_of
from holdfast_server.settings import ConfigError

DRAIN_TIMEOUT_S: Final = 5.0
_POLL_MS: Final = 250
_DEBOUNCE_MS: Final = 200
# Beyond the drain timeout of a child: cutting calls and closing take their time too.
_STOP_EXTRA_S: Final = 5.0


def main(arguments: Sequence[str]) -> int:
    """Serve and restart until SIGINT or SIGTERM; the exit code."""
    options = parser().parse_args(arguments)
    path = Path(options.file)
    if not path.is_file():
        print(f"error: there is no file {options.file}", file=sys.stderr)
        return USAGE
    try:
        settings = load(os.environ, flags_of(options), drain_timeout_s=DRAIN_TIMEOUT_S)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    return Reloader(path, list(arguments), settings.limits.drain_timeout_s).run()


def parser() -> argparse.ArgumentParser:
    """The arguments of this command and of its child."""
    made = argparse.ArgumentParser(
        prog="holdfast dev",
        allow_abbrev=False,
        description="Serve the registry of a file, and restart when the file or one beside it "
        "changes. All settings of `holdfast-server serve` are flags here too.",
    )
    made.add_argument("file", help="the application, e.g. app.py")
    add_settings(made)
    return made


class Reloader:
    """The child process and its restarts."""

    def __init__(self, path: Path, arguments: list[str], drain_timeout_s: float) -> None:
        self._directory = path.resolve().parent
        self._stop_s = drain_timeout_s + _STOP_EXTRA_S
        self._arguments = arguments
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        changes = watch(
            self._directory,
            watch_filter=PythonFilter(),
            stop_event=self._stopping,
            rust_timeout=_POLL_MS,
            yield_on_timeout=True,
            debounce=_DEBOUNCE_MS,
            raise_interrupt=False,
        )
        self._start()
        try:
            for changed in changes:
                if self._stopping.is_set():
                    break
                if changed:
                    names = sorted({Path(name).name for _, name in changed})
                    self._say(f"{', '.join(names)} changed, restarting")
                    self._stop()
                    self._start()
                elif self._child is not None and self._child.poll() is not None:
                    code = self._child.returncode
                    self._stop()
                    self._say(f"the server ended with code {code}; it starts again on a change")
        finally:
            code = self._stop()
        return OK if code in (OK, None) else FAILED

    def _start(self) -> None:
        if self._stopping.is_set():
            return
        reading, self._pipe = os.pipe()
        command = [sys.executable, "-m", "holdfast_server.dev_child", str(reading)]
        try:
            self._child = subprocess.Popen([*command, *self._arguments], pass_fds=[reading])
        finally:
            os.close(reading)

    def _stop(self) -> int | None:
        """Let the child drain and end; its exit code, None when there is none."""
        child = self._child
        if child is None:
            return None
        os.close(self._pipe)
        try:
            code = child.wait(self._stop_s)
        except subprocess.TimeoutExpired:
            child.kill()
            code = child.wait()
        self._child = None
        return code

    def _on_signal(self, *_: int | FrameType | None) -> None:
        if self._stopping.is_set() and self._child is not None:
            self._child.kill()
        self._stopping.set()

    @staticmethod
    def _say(text: str) -> None:
        print(f"holdfast dev: {text}", flush=True)
