"""The server that the pages are from, and whose actors they call."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from pathlib import Path
from typing import Self

from tests.server.process import ROOT
from tests.server.test_supervisor import Supervised

APP = "from tests.browser.actors import registry"


class Server(Supervised):
    """A server under a supervisor that holds its port, with the actors of these tests."""

    def __init__(self, directory: Path, *, app: str = APP, **environment: str) -> None:
        super().__init__(directory, app, PYTHONPATH=str(ROOT), **environment)
        self._starts = 0

    def __enter__(self) -> Self:
        try:
            self._starts = 1
            self._pid = self.serving()
            request = urllib.request.Request(
                f"{self.url}/actors?namespace=default",
                json.dumps({"name": "site", "key": "/", "runner_name_selector": "x"}).encode(),
                method="PUT",
            )
            with urllib.request.urlopen(request, timeout=20) as answer:
                self._site = json.load(answer)["actor"]["actor_id"]
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    @property
    def url(self) -> str:
        """The gateway."""
        return f"http://127.0.0.1:{self.http_port}"

    def page(self, page: Path | None = None) -> str:
        """Where an actor serves a page that was bundled, or an empty one."""
        site = f"{self.url}/gateway/{self._site}/request"
        return f"{site}/{page.name}/" if page else f"{site}/empty"

    def kill(self) -> None:
        """End it with SIGKILL, and wait until the next one serves."""
        os.kill(self._pid, signal.SIGKILL)
        self._starts += 1
        self._pid = self.serving(self._starts)
