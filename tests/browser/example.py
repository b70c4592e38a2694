"""An example that serves a page, as its one command starts it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Self

from tests.server.process import ROOT, Process
from tests.server_process import free_address, free_port


class Example:
    """`python -m examples.NAME.app` on free ports, over one data directory; it may be killed."""

    def __init__(self, name: str, data: Path) -> None:
        self.port = free_port()
        self.grpc = free_address()
        self._command = ["-m", f"examples.{name}.app"]
        self._environment = {
            # Where it serves its page: an application of its own, or the gateway.
            "PORT": str(self.port),
            "HOLDFAST_HTTP": f"127.0.0.1:{self.port}",
            "HOLDFAST_DATA": str(data),
            "HOLDFAST_GRPC": self.grpc,
            "HOLDFAST_ADMIN": "off",
        }

    @property
    def url(self) -> str:
        """The page."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self._process = Process(self._command, ROOT, **self._environment)
        try:
            self._process.wait_for(self._serves)
        except BaseException:
            self._process.__exit__(None, None, None)
            raise

    def _serves(self, line: str) -> bool:
        return line.startswith("Gateway on ") or "Uvicorn running on" in line

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.signal(signal.SIGKILL)
        self._process.wait()
        self._process.__exit__(None, None, None)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._process.__exit__(None, None, None)
