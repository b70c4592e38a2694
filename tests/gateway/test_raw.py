"""Raw HTTP and WebSockets of actors, through the gateway."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from aiohttp import WSMsgType

from tests.gateway.browser import Browser, get_only, get_or_create
from tests.gateway.conftest import Start
from tests.gateway.raw import line_to, request
from tests.server.probe import until
from tests.server.stage import Stage


def site(rest: str, more: str = "") -> str:
    """A path of the site of key a."""
    return f"/gateway/site{rest}?{get_or_create('a')}{more}"


async def test_the_actor_sees_what_was_sent(browser: Browser) -> None:
    headers = {
        "x-mine": "ü",
        "x-rivet-token": "t",
        "x-rivet-conn-params": '{"name":"ada"}',
        "content-type": "text/x",
    }
    path = site("/request/a%20b/%2F/c", "&x=%zz&y=+")

    answer = await browser.ask("PATCH", path, data=b"\x00body\xff", headers=headers)

    assert (answer.status, answer.headers["x-site"]) == (207, "mine")
    seen = answer.json
    assert (seen["method"], seen["body"], seen["who"]) == ("PATCH", "\x00body\xff", "ada")
    assert seen["url"].endswith("/a%20b/%2F/c?x=%zz&y=+")
    shown = {name.lower(): value for name, value in seen["headers"].items()}
    assert (shown["x-mine"], shown["content-type"]) == ("ü", "text/x")
    assert "x-rivet-token" not in shown


@pytest.mark.parametrize("rest", ["/request", "/request/"])
async def test_a_request_of_the_actors_root(browser: Browser, rest: str) -> None:
    assert (await browser.get(site(rest))).json["url"].endswith("/")
    actor_id = await browser.actor_id("site", "a")
    assert (await browser.get(f"/gateway/{actor_id}{rest}")).status == 207
    headers = {"x-rivet-target": "actor", "x-rivet-actor": actor_id}
    assert (await browser.get(rest, headers=headers)).status == 207


async def test_a_page_is_told_that_it_may_read(browser: Browser) -> None:
    origin = "http://localhost:1"

    answer = await browser.get(site("/request"), headers={"origin": origin})
    before = await browser.ask("OPTIONS", site("/request"), headers={"origin": origin})

    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["x-rivet-ray-id"]
    assert before.status == 204


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        (site("/request/refuse"), 400, "user.refused"),
        (f"/gateway/counter/request?{get_or_create('a')}", 404, "handler.request_not_defined"),
        (f"/gateway/site/request?{get_only('nope')}", 404, "actor.not_found"),
        (site("/requests"), 404, "guard.no_route"),
    ],
)
async def test_what_is_no_answer_of_the_actor_is_an_error_of_the_gateway(
    browser: Browser, path: str, status: int, error: str
) -> None:
    answer = await browser.get(path)

    assert (answer.status, answer.error) == (status, error)


async def test_an_answer_in_parts_comes_as_it_is_made(browser: Browser, stage: Stage) -> None:
    async with line_to(browser.server) as line:
        await line.send(request("GET", site("/request/parts")))
        head = await line.until(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head.lower()
        for number in range(3):
            assert await line.until(b";\r\n") == b"2\r\n%d;\r\n" % number
            stage.let(f"part {number}")
        assert await line.until(b"0\r\n\r\n") == b"0\r\n\r\n"

    assert await browser.result("site", "a", "names") == ["0", "1", "2"]


async def test_an_answer_that_breaks_is_not_taken_for_whole(browser: Browser) -> None:
    async with line_to(browser.server) as line:
        await line.send(request("GET", site("/request/broken")))
        answer = await line.rest()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"begun" in answer
    assert not answer.endswith(b"0\r\n\r\n")


async def test_a_reader_that_dies_ends_the_answer(browser: Browser, stage: Stage) -> None:
    calls = browser.server.listener.calls
    async with line_to(browser.server) as line:
        await line.send(request("GET", site("/request/parts")))
        await stage.reached("part 0")
        line.hang_up()
        await until(lambda: not calls._tasks)

    assert await browser.result("site", "a", "names") == ["0"]


async def test_an_upload_in_chunks(browser: Browser) -> None:
    async def body() -> object:
        for _ in range(5):
            yield b"x" * 1000

    answer = await browser.ask("POST", site("/request/upload"), data=body())

    assert answer.body == b"5000"


async def test_an_upload_whose_client_dies_leaves_nothing_behind(browser: Browser) -> None:
    calls = browser.server.listener.calls
    async with line_to(browser.server) as line:
        await line.send(request("POST", site("/request/upload"), "Content-Length: 100") + b"abc")
        await until(lambda: calls._tasks)
        line.hang_up()
        await until(lambda: not calls._tasks)


async def test_an_upload_that_stalls_is_given_up(
    start: Start, session: aiohttp.ClientSession
) -> None:
    server = await start(http_body_timeout_s=0.05)
    async with line_to(server) as line:
        await line.send(request("POST", site("/request/upload"), "Content-Length: 100") + b"abc")
        assert await line.error() == (504, "action.timed_out")


async def test_a_body_that_is_too_large_for_a_request(
    start: Start, session: aiohttp.ClientSession
) -> None:
    browser = Browser(session, await start(request_bytes_max=1000))

    answer = await browser.ask("POST", site("/request"), data=b"x" * 2000)

    assert (answer.status, answer.error) == (413, "message.incoming_too_long")


async def test_a_head_request_has_no_body(browser: Browser) -> None:
    answer = await browser.ask("HEAD", site("/request"))

    assert (answer.status, answer.body) == (207, b"")


# WebSockets


async def test_a_raw_websocket_is_the_actors_own(browser: Browser, stage: Stage) -> None:
    protocols = ("rivet", "rivet_encoding.bare", "chat")
    talk = await browser.connect(
        path=site("/websocket/x%20y", "&z=1"), protocols=protocols, params={"name": "ada"}
    )

    assert talk.socket.protocol == "rivet"
    hello = await talk.socket.receive_str()
    assert "/x%20y?z=1" in hello
    assert "chat" in hello
    assert "rivet" not in hello
    await talk.socket.send_bytes(b"\x00\xff")
    assert await talk.socket.receive_bytes() == b"\x00\xff"
    await talk.socket.send_str("ü")
    assert await talk.socket.receive_str() == "ü"
    await talk.socket.send_str("close")
    assert await talk.closed() == (4001, "bye")
    await stage.reached("socket closed")
    assert await browser.result("site", "a", "names") == ["b'\\x00\\xff'", "ü"]


async def test_the_actor_chooses_the_subprotocol_of_a_plain_page(browser: Browser) -> None:
    talk = await browser.connect(path=site("/websocket/chosen"), protocols=("other", "chat"))

    assert talk.socket.protocol == "chat"
    assert talk.socket._response.headers["x-site"] == "mine"
    await talk.leave()


async def test_a_raw_websocket_that_is_refused_says_why(browser: Browser) -> None:
    for path, reason in (
        (site("/websocket/refuse"), "user.refused"),
        (f"/gateway/counter/websocket?{get_or_create('a')}", "handler.websocket_not_defined"),
    ):
        talk = await browser.connect(path=path)
        code, told = await talk.closed()
        assert (code, told) == (1011, reason)


async def test_a_raw_websocket_whose_client_vanishes_ends(browser: Browser, stage: Stage) -> None:
    talk = await browser.connect(path=site("/websocket"))
    await talk.socket.receive_str()

    talk.socket._response.connection.transport.abort()  # type: ignore[union-attr]

    await stage.reached("socket closed")


async def test_a_raw_websocket_shows_its_token(
    start: Start, session: aiohttp.ClientSession
) -> None:
    browser = Browser(session, await start(token="s3cret"))
    refused = await browser.connect(path=site("/websocket"))
    assert await refused.closed() == (1011, "auth.unauthenticated")

    talk = await browser.connect(path=site("/websocket"), protocols=("rivet", "rivet_token.s3cret"))
    assert "s3cret" not in await talk.socket.receive_str()
    await talk.leave()


async def test_raw_websockets_go_away_when_the_server_drains(browser: Browser) -> None:
    talk = await browser.connect(path=site("/websocket"))
    await talk.socket.receive_str()

    stop = asyncio.ensure_future(browser.server.stop())

    message = await talk.socket.receive()
    assert message.type is WSMsgType.CLOSE
    assert message.data in (1001, 1011)
    await talk.socket.close()
    await stop


async def test_an_upgrade_that_is_none_is_refused_before_the_actor_hears(browser: Browser) -> None:
    headers = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "12"}

    answer = await browser.get(site("/websocket"), headers=headers)

    assert answer.status == 400
    assert json.loads(answer.body)["code"] == "invalid"
