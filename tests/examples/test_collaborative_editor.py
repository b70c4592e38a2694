"""The collaborative editor on a real server: its client in Python, and a kill. Its tests on
`holdfast.testing` are beside it, those of its page in tests/browser."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.collaborative_editor.app import Document
from examples.collaborative_editor.client import LINE
from examples.collaborative_editor.peer import Peer
from holdfast import Client, WebSocketClosed
from tests.server_process import ServerProcess, run, served

EXAMPLE = "collaborative_editor"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """The actors without the page, which takes Node to build."""
    registry = f"examples.{EXAMPLE}.app:registry"
    command = [sys.executable, "-m", "holdfast_server", "serve", registry]
    with served(command, tmp_path / "data") as server:
        yield server


def test_the_client_types_a_line_and_then_another(server: ServerProcess) -> None:
    for times in (1, 2):
        command = (sys.executable, "-m", f"examples.{EXAMPLE}.client", "notes")
        done = run(
            *command,
            address=server.address,
            HOLDFAST_HTTP=server.http_address,
            LETTER_S="0",
        )
        assert (done.returncode, done.stderr) == (0, "")
        updates = times * len(LINE)
        facts = f"{updates} updates, {updates} since the last snapshot\n"
        assert done.stdout == LINE * times + facts


async def test_a_kill_loses_nothing_that_was_called_saved(server: ServerProcess) -> None:
    gateway = f"http://{server.http_address}"
    ada = Peer("ada")
    async with Client(server.address, gateway=gateway) as client:
        document = client.get_or_create(Document, ["notes"])
        async with document.websocket() as websocket:
            await ada.connect(websocket)
            ada.text += "saved"
            await ada.flush()
            ada.text += " and not yet"
            server.kill()
            with pytest.raises(WebSocketClosed):
                await ada.flush()
        server.start()
        assert await document.text() == "saved"
        async with document.websocket() as websocket:
            await ada.connect(websocket)
        assert await document.text() == "saved and not yet"
