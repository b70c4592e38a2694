"""The gateway as an ASGI application of a server that speaks HTTP/2: a browser streams the
bodies of requests over nothing else, and RivetKit's client 2.3.19 streams its actions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chromium import Chromium
from tests.browser.test_react import page_of
from tests.server.process import ROOT, Process
from tests.server_process import free_port

TLS = ROOT / "tests" / "server" / "tls"
APP = """
from tests.browser.actors import registry

app = registry.asgi(data="data", grpc="off", admin="off")
"""


@pytest.fixture
def url(tmp_path: Path, chromium: Chromium) -> Iterator[str]:
    (tmp_path / "application.py").write_text(APP)
    address = f"127.0.0.1:{free_port()}"
    files = ["--certfile", str(TLS / "server.pem"), "--keyfile", str(TLS / "server.key")]
    command = ["-m", "hypercorn", "--bind", address, *files, "application:app"]
    with Process(command, tmp_path, PYTHONPATH=f"{ROOT}:{tmp_path}") as server:
        server.wait_for("Running on")
        yield f"https://{address}"
        assert server.stop() == 0


def test_a_client_that_streams_its_requests_calls_actions(chromium: Chromium, url: str) -> None:
    given = {"url": url, "script": str(page_of("2.3.19") / "page.js")}
    chromium.run("react.mjs", "overHttp2", given)
