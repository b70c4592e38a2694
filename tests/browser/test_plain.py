"""A page without a library, served by the gateway: fetch, EventSource, WebSocket; and pages
of other origins."""

from __future__ import annotations

import pytest

from tests.browser.chromium import Chromium
from tests.browser.conftest import Pages
from tests.browser.server import Server

SCRIPT = "plain.mjs"
SCENARIOS = (
    "actions",
    "rawRequests",
    "streamByFetch",
    "eventSource",
    "rawWebSocket",
    "webSocketAcrossAKill",
)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(chromium: Chromium, server: Server, scenario: str) -> None:
    given = {"url": server.url, "page": server.page(), "key": f"plain {scenario}"}
    chromium.run(SCRIPT, scenario, given, kill=server.kill)


def test_pages_of_other_origins_need_to_be_allowed(
    chromium: Chromium, server: Server, elsewhere: Pages
) -> None:
    given = {
        "url": server.url,
        "key": "origins",
        "allowed": elsewhere.url("app.example"),
        "strange": elsewhere.url("evil.example"),
    }
    chromium.run(SCRIPT, "otherOrigins", given)


def test_a_name_of_somebody_else_that_leads_here_is_refused(
    chromium: Chromium, server: Server
) -> None:
    rebound = server.page().replace("127.0.0.1", "evil.example")
    chromium.run(SCRIPT, "rebinding", {"rebound": rebound})
