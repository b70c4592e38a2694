"""The gateway while the server starts, drains and stops."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

import aiohttp
import pytest

from holdfast_server.addresses import HostPort, bind
from holdfast_server.app import Server
from holdfast_server.config import Config, load
from holdfast_server.gateway.gateway import Gateway
from holdfast_server.process.failures import StartError
from holdfast_server.store.memory import MemoryStore
from tests.gateway.actors import registry
from tests.gateway.browser import Browser, Talk, answer_to, get_or_create
from tests.gateway.conftest import Start
from tests.server.probe import until
from tests.server.stage import Stage, tasks

UNAVAILABLE = (1011, "guard.service_unavailable")


async def test_whoever_comes_before_the_start_is_told_to_come_again(
    session: aiohttp.ClientSession,
) -> None:
    limits = load({}, store_wait_s=0.01).limits
    gateway = Gateway(limits, secret_bytes=bytes, tls=lambda: None, access_log=False)
    port = await gateway.open(bind(HostPort("127.0.0.1", 0)))
    try:
        async with session.get(f"http://127.0.0.1:{port}/actors") as response:
            assert response.status == 503
            assert response.headers["retry-after"] == "1"
            assert (await response.json())["code"] == "service_unavailable"
        url = f"ws://127.0.0.1:{port}/gateway/x/connect"
        talk = Talk(await session.ws_connect(url, protocols=("rivet",), autoclose=False))
        assert talk.socket.protocol == "rivet"
        assert await talk.closed() == UNAVAILABLE
    finally:
        await gateway.close()


async def test_whoever_comes_just_before_the_start_is_answered_after_it(
    browser: Browser, session: aiohttp.ClientSession
) -> None:
    running = browser.server.gateway
    assert running is not None
    assert running._router is not None
    gateway = Gateway(load({}).limits, secret_bytes=bytes, tls=lambda: None, access_log=False)
    port = await gateway.open(bind(HostPort("127.0.0.1", 0)))
    try:
        early = asyncio.ensure_future(session.get(f"http://127.0.0.1:{port}/actors/names"))
        await until(lambda: gateway.open_connections == 1)
        gateway.start(running._router.desk)
        async with await early as response:
            assert response.status == 200
    finally:
        await gateway.close()


async def test_a_drain_answers_what_is_under_way_and_refuses_the_rest(
    browser: Browser, stage: Stage
) -> None:
    server = browser.server
    call = asyncio.ensure_future(browser.result("waiter", "a", "wait", "http"))
    talk = await browser.talk("waiter", "a")
    await talk.act(0, "wait", "socket")
    await stage.reached("http")
    await stage.reached("socket")
    quiet = await browser.talk("waiter", "a")

    async with tasks(stop := asyncio.ensure_future(server.stop())):
        # A client without calls is sent on at once.
        assert await quiet.closed() == UNAVAILABLE
        refused = await browser.act("waiter", "a", "pass_by")
        assert (refused.status, refused.error) == (503, "guard.service_unavailable")
        assert refused.headers["retry-after"] == "1"
        late = await browser.connect("waiter", "a")
        assert await late.closed() == UNAVAILABLE
        health = await browser.get("/health")
        assert (health.status, health.json["status"]) == (503, "unavailable")
        # Without it clients would wait for ever.
        assert (await browser.get("/metadata")).status == 200

        stage.let("http", "socket")
        assert await call == "http"
        assert answer_to(0, await talk.receive()) == "socket"
        assert await talk.closed() == UNAVAILABLE
        await stop
    assert len(server.gateway.sockets if server.gateway else ()) == 0


async def test_what_does_not_end_is_cut_and_told_that_its_outcome_is_unknown(
    start: Start, session: aiohttp.ClientSession, stage: Stage
) -> None:
    browser = Browser(session, await start(drain_timeout_s=0.1))
    call = asyncio.ensure_future(browser.act("waiter", "a", "wait", "http"))
    talk = await browser.talk("waiter", "a")
    await talk.act(0, "wait", "socket")
    await stage.reached("http")
    await stage.reached("socket")

    async with tasks(stop := asyncio.ensure_future(browser.server.stop())):
        answer = await call
        assert (answer.status, answer.error) == (500, "store.commit_unknown")
        assert "retry-after" not in answer.headers
        error = (await talk.receive())["Error"]
        assert (error["group"], error["code"]) == ("store", "commit_unknown")
        assert await talk.closed() == UNAVAILABLE
        await stop


async def test_connections_of_a_drained_server_end_when_their_time_is_over(
    start: Start, session: aiohttp.ClientSession, stage: Stage
) -> None:
    browser = Browser(session, await start(on_disk=True))
    talk = await browser.talk("door", "a", params={"name": "ada"})
    assert "Event" in await talk.receive()

    async with tasks(stop := asyncio.ensure_future(browser.server.stop())):
        assert await talk.closed() == UNAVAILABLE
        await stop
    assert not stage.is_reached("ada left")

    await start(on_disk=True, connection_grace_s=0.05)
    await stage.reached("ada left")


async def test_a_port_that_is_taken_stops_the_start_unless_it_was_not_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {"grpc": "127.0.0.1:0", "admin": "off", "data": str(tmp_path / "x")}
        asked = load({}, http=f"127.0.0.1:{port}", **settings)
        with pytest.raises(StartError, match=f"--http: cannot listen on 127.0.0.1:{port}"):
            await Server(registry, asked, MemoryStore()).start()

        address = asked.http_address
        monkeypatch.setattr(Config, "http_address", property(lambda _: address))
        server = Server(registry, load({}, **settings), MemoryStore())
        with caplog.at_level(logging.WARNING):
            await server.start()
        assert server.gateway is None
        assert f"no gateway, as 127.0.0.1:{port} cannot be used" in caplog.text
        await server.stop()


async def test_the_gateway_can_be_off(start: Start) -> None:
    server = await start(http="off")

    assert (server.gateway, server.http_port) == (None, 0)


async def test_each_request_is_logged_without_its_secrets(
    start: Start, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture, stage: Stage
) -> None:
    browser = Browser(session, await start(access_log=True, token="s3cret"))
    shown = {"x-rivet-token": "s3cret"}

    with caplog.at_level(logging.INFO, "holdfast.access"):
        path = f"/gateway/counter/action/value?{get_or_create('a', token='s3cret')}"
        answer = await browser.ask("POST", path)
        await browser.ask("POST", "/gateway/x@s3cret/action/value")
        call = asyncio.ensure_future(browser.act("waiter", "a", "wait", "x", headers=shown))
        await stage.reached("x")
        call.cancel()
        await until(lambda: len(caplog.records) >= 3)

    first, second, third = (record for record in caplog.records if record.name == "holdfast.access")
    assert first.getMessage() == "POST /gateway/counter/action/value 200"
    assert vars(first)["ray_id"] == answer.headers["x-rivet-ray-id"]
    assert second.getMessage() == "POST /gateway/x@***/action/value 404"
    assert third.getMessage() == "POST /gateway/waiter/action/wait 499"
    assert "s3cret" not in caplog.text
