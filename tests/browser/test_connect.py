"""Connect's client for pages in a browser, with no proxy before the gateway."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.browser.chromium import CLIENTS, PAGES, Chromium, bundle
from tests.browser.conftest import Pages
from tests.browser.server import Server
from tests.gateway.clients import need_clients
from tests.gateway.test_rpc_clients import write_descriptors


@pytest.mark.parametrize("binary", [False, True], ids=["json", "proto"])
def test_calls_and_streams_from_a_page_of_another_origin(
    chromium: Chromium, server: Server, elsewhere: Pages, tmp_path: Path, binary: bool
) -> None:
    need_clients()
    descriptors = tmp_path / "descriptors"
    write_descriptors(descriptors)
    given = {
        "elsewhere": elsewhere.url("app.example"),
        "script": str(bundle(PAGES / "connect.js", CLIENTS / "connect") / "page.js"),
        "descriptors": base64.b64encode(descriptors.read_bytes()).decode(),
        "url": server.url,
        "binary": binary,
        "key": f"connect {binary}",
    }
    chromium.run("connect.mjs", "calls", given)
