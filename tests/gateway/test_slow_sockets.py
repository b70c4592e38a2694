"""Clients of connections that read too slowly, or not at all."""

from __future__ import annotations

import asyncio

import aiohttp

from tests.gateway.browser import Browser
from tests.gateway.conftest import Start


async def test_a_client_without_credit_gets_everything_in_order(
    start: Start, session: aiohttp.ClientSession
) -> None:
    browser = Browser(session, await start(subscription_window_bytes=1000))
    talk = await browser.talk("counter", "a")
    await talk.subscribe("flood")
    assert await talk.result(0, "value") == 0

    await browser.result("counter", "a", "flood", 500, 1500)

    for number in range(500):
        name, args = (await talk.receive())["Event"].values()
        assert (name, args[0]) == ("flood", number)
    await talk.leave()


async def test_a_client_that_takes_nothing_is_cut_off(
    start: Start, session: aiohttp.ClientSession
) -> None:
    server = await start(websocket_stall_s=0.05, websocket_send_bytes_max=1 << 20)
    browser = Browser(session, server)
    talk = await browser.talk("counter", "a")
    await talk.subscribe("flood")
    transport = talk.socket._response.connection.transport  # type: ignore[union-attr]
    assert await talk.result(0, "value") == 0
    transport.pause_reading()

    gateway = server.gateway
    assert gateway is not None
    while len(gateway.sockets):
        await browser.result("counter", "a", "flood", 100, 10_000)
        await asyncio.sleep(0)

    assert await browser.result("counter", "a", "value") == 0
    transport.abort()


async def test_a_client_that_lags_too_far_behind_is_told(
    start: Start, session: aiohttp.ClientSession
) -> None:
    server = await start(subscription_lag_max=10, subscription_window_bytes=1000)
    browser = Browser(session, server)
    talk = await browser.talk("counter", "a")
    await talk.subscribe("flood")
    assert await talk.result(0, "value") == 0

    await browser.result("counter", "a", "flood", 1000, 100)

    frames = [await talk.socket.receive() for _ in range(1000)]
    code = next(frame.data for frame in frames if frame.type is aiohttp.WSMsgType.CLOSE)
    reason = next(str(frame.extra) for frame in frames if frame.type is aiohttp.WSMsgType.CLOSE)
    assert (code, reason.partition("#")[0]) == (1011, "events.subscriber_too_slow")
