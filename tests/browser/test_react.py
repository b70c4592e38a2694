"""RivetKit's hooks for React, and its client, in a browser. Hooks of 2.1.5 and 2.3.11 are what
npm has; each runs with the clients of its time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.chromium import BUILT, CLIENTS, PAGES, Chromium, bundle
from tests.browser.conftest import Pages
from tests.browser.server import Server
from tests.docs.blocks import blocks
from tests.gateway.clients import VERSIONS, need_clients

SCRIPT = "react.mjs"
SCENARIOS = (
    "actionsAndEvents",
    "errors",
    "refused",
    "enabledAndUnmounted",
    "anotherKey",
    "acrossAKill",
    "values",
    "overHttp",
    "rawFetchAndWebSocket",
    "greeting",
)
SHORT = (VERSIONS[0], VERSIONS[-1])
# What the guide tells the pages of 2.3.19 to do, so that their requests are not streamed.
WHOLE = next(block.text for block in blocks("docs/gateway.md") if block.info == "js")


every_version = pytest.mark.parametrize(
    "version",
    [
        pytest.param(version, marks=[] if version in SHORT else pytest.mark.slow)
        for version in VERSIONS
    ],
)


def page_of(version: str) -> Path:
    """The page with a version of the client."""
    need_clients()
    hooks = "2.3.11" if version.startswith("2.3") else "2.1.5"
    return bundle(PAGES / "react.jsx", BUILT / "react" / hooks, CLIENTS / version)


@every_version
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(chromium: Chromium, server: Server, version: str, scenario: str) -> None:
    given = {
        "page": server.page(page_of(version)),
        "key": f"{version} {scenario}",
        "encoding": "bare",
        "socket": "websocket" if version == "2.0.33" else "webSocket",
        "streams": WHOLE if version == "2.3.19" else None,
    }
    chromium.run(SCRIPT, scenario, given, kill=server.kill)


# Another port of this machine is allowed as it is, as that of a development server is.
@every_version
@pytest.mark.parametrize("host", ["app.example", "127.0.0.1"])
def test_a_front_end_of_another_origin(
    chromium: Chromium, server: Server, elsewhere: Pages, version: str, host: str
) -> None:
    given = {
        "elsewhere": elsewhere.url(host),
        "url": server.url,
        "script": str(page_of(version) / "page.js"),
        "key": f"{version} {host}",
    }
    chromium.run(SCRIPT, "otherOrigin", given)


def test_the_page_of_the_guide(chromium: Chromium, server: Server, tmp_path: Path) -> None:
    text = next(block.text for block in blocks("docs/gateway.md") if block.info == "jsx")
    assert "http://127.0.0.1:6420" in text
    entry = tmp_path / "guide.jsx"
    entry.write_text(text.replace("http://127.0.0.1:6420", server.url))
    page = bundle(entry, BUILT / "react" / "2.3.11")
    chromium.run(SCRIPT, "guide", {"page": server.page(page)})
