"""The HTTP port for operators: who may ask, and for what."""

from __future__ import annotations

import asyncio
import socket

import pytest

from holdfast_server.config import ConfigError, load
from holdfast_server.process.failures import StartError
from tests.telemetry.conftest import Start
from tests.telemetry.scraping import get, url

TOKEN = "mF_9.B5f-4.1JqM"


async def test_probes_say_yes_and_anything_else_is_not_found(start: Start) -> None:
    server, _ = await start()
    assert await get(server, "/healthz") == (200, "text/plain; charset=utf-8", "ok\n")
    assert (await get(server, "/readyz"))[0] == 200
    assert (await get(server, "/metrics", "HEAD"))[::2] == (200, "")
    assert (await get(server, "/"))[0] == 404
    assert (await get(server, "/metrics/more"))[0] == 404
    for path in ("/metrics", "/healthz", "/readyz"):
        assert (await get(server, path, "POST"))[0] == 405


async def test_metrics_want_a_token_where_one_is_configured(start: Start) -> None:
    server, _ = await start(token=TOKEN)
    assert (await get(server))[0] == 401
    assert (await get(server, authorization="Bearer wrong"))[0] == 401
    assert (await get(server, authorization=f"Bearer {TOKEN}"))[0] == 200
    assert (await get(server, "/readyz"))[0] == 200
    assert (await get(server, "/healthz"))[0] == 200


async def test_web_pages_and_foreign_names_are_refused(start: Start) -> None:
    server, _ = await start(cors_origins="https://app.example.com")
    # A page that may use the gateway has no business here either.
    for headers in ({"origin": "https://app.example.com"}, {"host": "rebound.example.com"}):
        status, _, text = await get(server, **headers)
        assert status == 403, text
        assert "holdfast_" not in text


async def test_a_drain_is_seen_before_the_port_closes(start: Start) -> None:
    server, _ = await start()
    server.listener.drain()
    assert (await get(server, "/readyz"))[0] == 503
    assert (await get(server, "/healthz"))[0] == 200
    where = url(server)
    await server.stop()
    host, port = where.removeprefix("http://").removesuffix("/metrics").split(":")
    with pytest.raises(OSError):
        await asyncio.open_connection(host, int(port))


async def test_it_can_be_off(start: Start) -> None:
    server, _ = await start(metrics="off")
    assert server.metrics_port == 0
    assert server.samples()


async def test_a_port_that_is_taken_is_an_error_only_where_it_was_asked_for(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StartError, match=r"--metrics: cannot listen on .* in use"):
            await start(metrics=address)


def test_addresses_that_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"--metrics: 0\.0\.0\.0:6431 can be reached"):
        load({}, metrics="0.0.0.0:6431")
    with pytest.raises(ConfigError, match=r"--metrics: .* is that of --admin"):
        load({}, metrics="127.0.0.1:6432")
    with pytest.raises(ConfigError, match="is not HOST:PORT"):
        load({}, metrics="6431")
