"""A page without a library, served by the gateway: fetch, EventSource, WebSocket."""

from __future__ import annotations

import pytest

from tests.browser.chromium import Chromium
from tests.browser.server import Server

SCRIPT = "plain.mjs"


@pytest.mark.parametrize("scenario", ["actions"])
def test_scenario(chromium: Chromium, server: Server, own: str, scenario: str) -> None:
    given = {"url": server.url, "page": server.page(), "key": scenario}
    chromium.run(SCRIPT, scenario, given)
