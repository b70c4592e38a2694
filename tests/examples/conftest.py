"""An example's application in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from holdfast import Client
from tests.server_process import ServerProcess, run, served


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """The application that the test's module names in EXAMPLE, with no data yet."""
    example: str = request.module.EXAMPLE
    with served([sys.executable, "-m", f"examples.{example}.app"], tmp_path / "data") as server:
        yield server


@pytest.fixture(scope="module")
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """One for all tests of a module that keep to a key of their own."""
    data = tmp_path_factory.mktemp("data")
    with served([sys.executable, "-m", f"examples.{request.module.EXAMPLE}.app"], data) as server:
        yield server


@pytest.fixture
async def client(shared: ServerProcess) -> AsyncIterator[Client]:
    async with Client(shared.address) as client:
        yield client


@pytest.fixture
def own(request: pytest.FixtureRequest) -> str:
    """A part of a key that no other test uses."""
    name: str = request.node.name
    return name[:128]


def run_client(server: ServerProcess, example: str) -> list[str]:
    """What the example's own client prints."""
    done = run(sys.executable, "-m", f"examples.{example}.client", address=server.address)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()
