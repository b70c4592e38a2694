"""A reader's folder: the files of a page, its commands, and the server it starts."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.docs.blocks import Block
from tests.server_process import BIN, ServerProcess, environment

ADDRESS = "127.0.0.1:6430"
HTTP_ADDRESS = "127.0.0.1:6420"
SERVE = "holdfast-server serve app:registry"


class Folder:
    """Does what a page says, with a free address in place of the page's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        command = [str(BIN / "holdfast-server"), *SERVE.split()[1:]]
        self.server = ServerProcess(command, path / ".holdfast", cwd=path)
        self.environ = environment(
            PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}", HOLDFAST_SERVER=self.server.address
        )

    def write(self, block: Block) -> None:
        """Put a block into the file that its first line names."""
        name = block.first_line.removeprefix("# ")
        self.path.joinpath(name).write_text(self.addressed(block.text), encoding="utf-8")

    def addressed(self, text: str) -> str:
        text = text.replace(HTTP_ADDRESS, self.server.http_address)
        return text.replace(ADDRESS, self.server.address)

    def shell(self, text: str) -> str:
        """Run commands; what they print."""
        return self.run("sh", "-ec", self.addressed(text))

    def run(self, *command: str, **settings: str) -> str:
        """Run one program; what it prints."""
        done = subprocess.run(
            command,
            cwd=self.path,
            env={**self.environ, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), (command, done.stdout)
        return done.stdout


@contextmanager
def folder(path: Path) -> Iterator[Folder]:
    """A folder whose server is stopped at the end."""
    opened = Folder(path)
    try:
        yield opened
    finally:
        if opened.server.runs:
            assert opened.server.stop() == 0


def result_of(answer: str) -> object:
    """The result in an answer in JSON, where its bytes are in base64."""
    return json.loads(base64.b64decode(json.loads(answer)["result"]["data"]))
