"""One browser for all tests of a process, and servers for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.browser.chromium import Chromium, need_browser
from tests.browser.server import Server


class Pages:
    """An empty page that the gateway does not serve. To the browser every host below `.example`
    is this machine, so that it has as many origins as are wanted.
    """

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def url(self, host: str) -> str:
        """The page, at some host."""
        return f"http://{host}:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class EmptyPage(BaseHTTPRequestHandler):
    """A page with nothing on it, whatever is asked for."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b'<!doctype html><title>page</title><link rel="icon" href="data:,">')

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """The browser; without one a test is skipped, or fails if CI=true."""
    need_browser()
    with Chromium() as chromium:
        yield chromium


@pytest.fixture(scope="session")
def elsewhere() -> Iterator[Pages]:
    """Pages of other origins; the server allows `app.example`."""
    pages = Pages()
    yield pages
    pages.close()


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, chromium: Chromium, elsewhere: Pages
) -> Iterator[Server]:
    """A server that is shared: tests use keys of their own, and leave it running."""
    directory = tmp_path_factory.mktemp("server")
    with Server(directory, HOLDFAST_CORS_ORIGINS=elsewhere.url("app.example")) as server:
        yield server
