"""One browser for all tests of a process, and servers for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.chromium import Chromium, need_browser
from tests.browser.server import Server


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """The browser; without one a test is skipped, or fails if CI=true."""
    need_browser()
    with Chromium() as chromium:
        yield chromium


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, chromium: Chromium) -> Iterator[Server]:
    """A server that is shared: tests use keys of their own, and leave it running."""
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def own(request: pytest.FixtureRequest) -> str:
    """A part of a key that no other test uses."""
    name: str = request.node.name
    return name
