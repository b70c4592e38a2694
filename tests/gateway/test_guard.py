"""Which pages, hosts and tokens the gateway lets in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from holdfast_server.core.origins import Origins
from tests.gateway.browser import JSON_CONNECT, Browser, get_or_create
from tests.gateway.conftest import Start
from tests.gateway.raw import line_to, request

HERE = "127.0.0.1:1"
ACT = f"/gateway/counter/action/increment?{get_or_create('a')}"


@pytest.mark.parametrize(
    "host", ["127.0.0.1:1", "localhost", "LOCALHOST:80", "[::1]:1", "a.localhost", "127.9.9.9"]
)
def test_without_a_token_a_host_is_of_this_machine(host: str) -> None:
    assert Origins((), checked=False, loopback=True).accepts_host(host)


@pytest.mark.parametrize(
    "host",
    [None, "", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1",
     "localhost:99999", "a b", "127.0.0.1@evil.example", "[::1", "localhost/../x"],
)  # fmt: skip
def test_any_other_host_could_be_a_name_that_a_page_gave_us(host: str | None) -> None:
    assert not Origins((), checked=False, loopback=True).accepts_host(host)


def test_on_a_network_an_address_is_nobodys_name() -> None:
    open_to_all = Origins(("https://app.example",), checked=False, loopback=False)

    assert open_to_all.accepts_host("10.0.0.1:6420")
    assert open_to_all.accepts_host("app.example")
    assert not open_to_all.accepts_host("evil.example")


@pytest.mark.parametrize(
    ("origin", "accepted"),
    [
        (None, True),
        ("http://localhost:5173", True),
        ("https://127.0.0.1", True),
        ("https://app.example", True),
        ("https://app.example:443", True),
        ("HTTPS://App.Example", True),
        ("http://app.example", False),
        ("https://app.example:8443", False),
        ("https://evil.example", False),
        ("https://app.example.evil.example", False),
        ("null", False),
        ("file://", False),
        ("", False),
        ("https://app.example/", False),
    ],
)
def test_without_a_token_a_page_is_of_this_machine_or_listed(
    origin: str | None, accepted: bool
) -> None:
    rule = Origins(("https://app.example",), checked=False, loopback=True)

    assert rule.accepts_origin(origin, HERE) is accepted


def test_with_a_token_a_page_is_listed_or_our_own() -> None:
    rule = Origins(("https://app.example",), checked=True, loopback=False)

    assert rule.accepts_host("anything.example")
    assert rule.accepts_origin("https://app.example", "api.example")
    assert rule.accepts_origin("https://api.example", "api.example")
    assert rule.accepts_origin("http://api.example:81", "api.example:81")
    for origin in ("http://localhost:5173", "https://evil.example", "http://api.example:82"):
        assert not rule.accepts_origin(origin, "api.example:81")


def test_a_star_is_any() -> None:
    rule = Origins(("*",), checked=False, loopback=True)

    assert rule.accepts_origin("https://evil.example", HERE)
    assert rule.accepts_origin("null", HERE)
    assert rule.accepts_host("evil.example")


# Over the wire


async def test_a_page_from_elsewhere_can_neither_read_nor_act(browser: Browser) -> None:
    headers = {"origin": "https://evil.example"}

    for method, path in (("POST", ACT), ("GET", "/metadata"), ("OPTIONS", ACT), ("GET", "/health")):
        answer = await browser.ask(method, path, headers=headers)
        assert (answer.status, answer.error) == (403, "auth.forbidden")
        assert "access-control-allow-origin" not in answer.headers
    talk = await browser.connect("counter", "a", headers=headers)
    assert await talk.closed() == (1011, "auth.forbidden")
    assert await browser.result("counter", "a", "value") == 0


async def test_a_name_that_was_given_to_this_machine_is_refused(browser: Browser) -> None:
    async with line_to(browser.server) as line:
        await line.send(request("POST", ACT, body=b'{"args":[]}', host="evil.example"))
        assert await line.error() == (403, "auth.forbidden")


async def test_a_page_of_this_machine_is_told_that_it_may(browser: Browser) -> None:
    origin = "http://localhost:5173"
    asked = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-rivet-encoding,content-type",
        "access-control-request-private-network": "true",
    }

    before = await browser.ask("OPTIONS", ACT, headers=asked)
    after = await browser.act("counter", "a", "fail", headers={"origin": origin})

    assert (before.status, before.body) == (204, b"")
    assert before.headers["access-control-allow-headers"] == "x-rivet-encoding,content-type"
    assert before.headers["access-control-allow-private-network"] == "true"
    assert "DELETE" in before.headers["access-control-allow-methods"]
    assert before.headers["access-control-max-age"] == "86400"
    assert after.error == "user.closed"
    for answer in (before, after):
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert "Origin" in answer.headers["vary"]
    assert "x-rivet-ray-id" in after.headers["access-control-expose-headers"]


async def test_listed_origins_may_use_it(start: Start, session: aiohttp.ClientSession) -> None:
    browser = Browser(session, await start(cors_origins="https://app.example"))

    assert (
        await browser.result("counter", "a", "value", headers={"origin": "https://app.example"})
        == 0
    )


# Tokens


@pytest.fixture
async def locked(start: Start, session: aiohttp.ClientSession) -> Browser:
    return Browser(session, await start(token="alice s3cret,bob other"))


@pytest.mark.parametrize(
    "shown",
    [
        {"authorization": "Bearer s3cret"},
        {"authorization": "bearer other"},
        {"x-rivet-token": "s3cret"},
        # The page's own use of the header does not stand in the way.
        {"authorization": "Bearer of-the-app", "x-rivet-token": "s3cret"},
    ],
)
async def test_a_token_in_a_header(locked: Browser, shown: dict[str, str]) -> None:
    assert await locked.result("counter", "a", "value", headers=shown) == 0
    assert (await locked.get("/actors/names", headers=shown)).status == 200


async def test_a_token_in_the_path_or_the_query(locked: Browser) -> None:
    by_query = f"/gateway/counter/action/value?{get_or_create('a', token='s3cret')}"
    assert (await locked.ask("POST", by_query)).json == {"output": 0}

    found = await locked.get("/actors?name=counter", headers={"x-rivet-token": "s3cret"})
    actor_id = found.json["actors"][0]["actor_id"]
    assert (await locked.ask("POST", f"/gateway/{actor_id}@s3cret/action/value")).json == {
        "output": 0
    }
    wrong = await locked.ask("POST", f"/gateway/{actor_id}@wrong/action/value")
    assert (wrong.status, wrong.error) == (401, "auth.unauthenticated")


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic s3cret"},
        {"authorization": "s3cret"},
        {"x-rivet-token": ""},
        {"x-rivet-token": "s3cret x"},
        {"x-rivet-token": "x" * 5000},
    ],
)
async def test_without_the_right_token_nothing_is_done(
    locked: Browser, shown: dict[str, str]
) -> None:
    refused: list[Any] = [
        await locked.act("counter", "a", "value", headers=shown),
        await locked.get("/actors/names", headers=shown),
        await locked.get("/actors?name=counter", headers=shown),
        await locked.ask("PUT", "/actors", data="{}", headers=shown),
        await locked.ask("DELETE", "/actors/x", headers=shown),
    ]
    for answer in refused:
        assert (answer.status, answer.error) == (401, "auth.unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_what_clients_need_first_is_told_without_a_token(locked: Browser) -> None:
    assert (await locked.get("/health")).status == 200
    assert (await locked.get("/metadata")).json["actorNames"] == {}
    shown = {"authorization": "Bearer s3cret"}
    assert "counter" in (await locked.get("/metadata", headers=shown)).json["actorNames"]
    assert (await locked.ask("OPTIONS", ACT)).status == 204


async def test_a_websocket_shows_its_token_where_it_can(locked: Browser) -> None:
    path = f"/gateway/counter/connect?{get_or_create('a', token='s3cret')}"
    for talk in (
        await locked.connect(path=path),
        await locked.connect("counter", "a", protocols=(*JSON_CONNECT, "rivet_token.s3cret")),
        await locked.connect("counter", "a", headers={"authorization": "Bearer s3cret"}),
    ):
        assert "Init" in await talk.receive()
        await talk.leave()


async def test_a_websocket_without_a_token_is_told_so(locked: Browser) -> None:
    for protocols in (JSON_CONNECT, (*JSON_CONNECT, "rivet_token.wrong")):
        talk = await locked.connect("counter", "a", protocols=protocols)
        error = (await talk.receive())["Error"]
        assert (error["group"], error["code"], error["actionId"]) == (
            "auth",
            "unauthenticated",
            None,
        )
        assert await talk.closed() == (1011, "auth.unauthenticated")


async def test_a_revoked_token_ends_its_connections(
    start: Start, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("alice one\nbob two\n")
    browser = Browser(session, await start(token_file=os.fspath(tokens)))
    alice = await browser.talk("counter", "a", headers={"x-rivet-token": "one"})
    bob = await browser.talk("counter", "a", headers={"x-rivet-token": "two"})

    tokens.write_text("bob two\n")
    browser.server.reload()

    assert await alice.closed() == (1011, "auth.unauthenticated")
    assert await bob.result(0, "value") == 0
    await bob.leave()
