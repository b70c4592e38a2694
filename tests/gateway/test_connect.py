"""Connections over a WebSocket, in JSON, frame by frame."""

from __future__ import annotations

import json

import aiohttp
import pytest

from tests.gateway.browser import JSON_CONNECT, Browser, answer_to, get_only
from tests.gateway.conftest import Start
from tests.server.probe import until
from tests.server.stage import Stage


async def test_init_comes_first_and_names_the_actor(browser: Browser) -> None:
    talk = await browser.connect("counter", "a")

    assert talk.socket.protocol == "rivet"
    init = (await talk.receive())["Init"]
    assert init["actorId"] == await browser.actor_id("counter", "a")
    assert init["connectionId"]
    await talk.leave()


@pytest.mark.parametrize("protocols", [(), ("rivet_encoding.json",), ("other",)])
async def test_a_client_that_offers_something_is_answered_with_it(
    browser: Browser, protocols: tuple[str, ...]
) -> None:
    talk = await browser.connect("counter", "a", protocols=protocols)

    assert talk.socket.protocol == (protocols[0] if protocols else None)
    assert "Init" in await talk.receive()
    await talk.leave()


async def test_actions_are_answered_by_their_ids(browser: Browser) -> None:
    talk = await browser.talk("counter", "a")

    assert await talk.result(0, "increment", 5) == 5
    assert await talk.result(1, "increment") == 6
    assert await talk.result(2**40, "echo", [1, None, {"a": "ü"}]) == [1, None, {"a": "ü"}]
    # Clients in Rust send plain numbers.
    await talk.send("ActionRequest", {"id": 7, "name": "value", "args": []})
    assert answer_to(7, await talk.receive()) == 6
    await talk.leave()


async def test_frames_may_be_binary(browser: Browser) -> None:
    talk = await browser.talk("counter", "a")

    body = {"tag": "ActionRequest", "val": {"id": ["$BigInt", "0"], "name": "value", "args": []}}
    await talk.socket.send_bytes(json.dumps({"body": body}).encode())

    assert answer_to(0, await talk.receive()) == 0
    await talk.leave()


async def test_actions_run_beside_each_other(browser: Browser, stage: Stage) -> None:
    talk = await browser.talk("waiter", "a")

    await talk.act(0, "wait", "x")
    await stage.reached("x")
    assert await talk.result(1, "pass_by") == "passed"
    stage.let("x")
    assert answer_to(0, await talk.receive()) == "x"
    await talk.leave()


async def test_errors_name_their_action(browser: Browser) -> None:
    talk = await browser.talk("counter", "a")

    for number, name, args, pair in (
        (0, "fail", [], ("user", "closed")),
        (1, "nope", [], ("action", "not_found")),
        (2, "crash", [], ("internal", "internal_error")),
        (3, "increment", ["x"], ("action", "invalid_argument")),
        (4, "echo", [["$Nope", 1]], ("payload", "malformed")),
    ):
        await talk.act(number, name, *args)
        error = (await talk.receive())["Error"]
        assert (error["group"], error["code"]) == pair
        assert error["actionId"] == ["$BigInt", str(number)]
        assert error["message"]
        if number == 0:
            assert error["metadata"] == {"until": [1, None]}
    assert await talk.result(5, "value") == 0
    await talk.leave()


async def test_params_make_the_state_of_a_connection(browser: Browser) -> None:
    talk = await browser.talk("door", "a", params={"name": "zoë / 100%"})

    assert (await talk.receive())["Event"]["args"] == ["zoë / 100%"]
    assert await talk.result(0, "me") == "zoë / 100%"
    await talk.leave()


async def test_who_is_not_let_in_hears_why_before_the_close(browser: Browser) -> None:
    talk = await browser.connect("door", "a", params={"banned": True})

    error = (await talk.receive())["Error"]

    assert (error["group"], error["code"], error["actionId"]) == ("user", "banned", None)
    assert error["metadata"] == {"for": "ever"}
    assert await talk.closed() == (1011, "user.banned")
    assert await browser.result("door", "a", "names") == []


# Events


async def test_events_reach_those_who_subscribe_before_the_answer(browser: Browser) -> None:
    one, two = await browser.talk("counter", "a"), await browser.talk("counter", "a")

    await one.subscribe("count")
    await one.act(0, "increment", 3)
    assert await one.receive() == {"Event": {"name": "count", "args": [3]}}
    assert answer_to(0, await one.receive()) == 3
    # The other has heard nothing.
    assert await two.result(0, "value") == 3

    await two.subscribe("count")
    await two.subscribe("count")
    assert await two.result(1, "value") == 3
    await browser.result("counter", "a", "increment")
    for talk in (one, two):
        assert await talk.receive() == {"Event": {"name": "count", "args": [4]}}

    await one.subscribe("count", False)
    await one.subscribe("never", False)
    assert await one.result(2, "increment") == 5
    assert await two.receive() == {"Event": {"name": "count", "args": [5]}}
    for talk in (one, two):
        await talk.leave()


async def test_a_message_is_for_one_connection_whatever_it_subscribes_to(browser: Browser) -> None:
    ada = await browser.talk("door", "a", params={"name": "ada"})
    assert await ada.receive() == {"Event": {"name": "hello", "args": ["ada"]}}
    await ada.subscribe("came")
    assert await ada.result(0, "me") == "ada"

    bob = await browser.talk("door", "a", params={"name": "bob"})

    assert await bob.receive() == {"Event": {"name": "hello", "args": ["bob"]}}
    assert await ada.receive() == {"Event": {"name": "came", "args": ["bob"]}}
    for talk in (ada, bob):
        await talk.leave()


async def test_more_events_than_may_be_subscribed_to(
    start: Start, session: aiohttp.ClientSession
) -> None:
    browser = Browser(session, await start(event_names_max=2))
    talk = await browser.talk("counter", "a")

    for name in ("a", "b", "count"):
        await talk.subscribe(name)

    error = (await talk.receive())["Error"]
    assert (error["group"], error["code"], error["actionId"]) == ("request", "invalid", None)
    await talk.subscribe("a", False)
    await talk.subscribe("count")
    await talk.act(0, "increment")
    assert "Event" in await talk.receive()
    await talk.leave()


# Ends


async def test_a_client_that_leaves_or_vanishes_is_told_to_the_actor(
    browser: Browser, stage: Stage
) -> None:
    leaves = await browser.talk("door", "a", params={"name": "leaves"})
    vanishes = await browser.talk("door", "a", params={"name": "vanishes"})

    await leaves.leave()
    await stage.reached("leaves left")
    transport = vanishes.socket.get_extra_info("socket")
    assert transport is not None
    vanishes.socket._response.connection.transport.abort()  # type: ignore[union-attr]
    await stage.reached("vanishes left")
    await until(lambda: not browser.server.gateway.sockets)  # type: ignore[union-attr]


async def test_an_actor_shows_a_client_out(browser: Browser, stage: Stage) -> None:
    talk = await browser.talk("door", "a", params={"name": "ada"})
    assert "Event" in await talk.receive()

    await browser.result("door", "a", "show_out", "ada")

    assert await talk.closed() == (1000, "good bye")
    await stage.reached("ada left")


async def test_a_destroyed_actor_ends_its_connections(browser: Browser) -> None:
    talk = await browser.talk("waiter", "a")

    await browser.result("waiter", "a", "stop")

    assert await talk.closed() == (1011, "actor.destroyed")


async def test_an_actor_that_is_not_there_is_waited_for_in_silence(browser: Browser) -> None:
    for path in (f"/gateway/counter/connect?{get_only('nope')}", "/gateway/nope/connect"):
        talk = await browser.connect(path=path)
        assert await talk.closed() == (1011, "actor.not_found")


async def test_the_answer_of_a_call_outlives_the_subscriptions_of_its_client(
    browser: Browser, stage: Stage
) -> None:
    talk = await browser.talk("waiter", "a")
    await talk.act(0, "wait", "x")
    await stage.reached("x")

    await talk.leave()
    stage.let("x")

    calls = browser.server.listener.calls
    await until(lambda: not calls._tasks)


# What cannot be


@pytest.mark.parametrize(
    "path",
    ["/", "/connect", "/gateway/counter/other", "/gateway/nope/action/x", "/actors", "/health"],
)
async def test_a_websocket_to_nowhere_is_accepted_and_closed(browser: Browser, path: str) -> None:
    talk = await browser.connect(path=path)

    assert await talk.closed() == (1011, "guard.no_route")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/gateway/counter/connect?rvt-method=get", "guard.query_invalid_params"),
        ("/gateway/counter/connect?rvt-key=a&rvt-key=a", "guard.query_duplicate_param"),
        ("/gateway/%ff/connect?rvt-method=get", "guard.query_invalid_percent_encoding"),
        ("/gateway/%ff/connect", "guard.no_route"),
    ],
)
async def test_a_route_that_makes_no_sense_is_the_reason_of_the_close(
    browser: Browser, path: str, reason: str
) -> None:
    talk = await browser.connect(path=path)

    assert await talk.closed() == (1011, reason)


@pytest.mark.parametrize(
    ("name", "error"), [("nobody", "actor.name_not_found"), ("..", "request.invalid")]
)
async def test_an_unknown_actor_ends_the_opening(browser: Browser, name: str, error: str) -> None:
    talk = await browser.connect(name, "a")

    told = (await talk.receive())["Error"]
    assert f"{told['group']}.{told['code']}" == error
    assert await talk.closed() == (1011, error)


async def test_an_unknown_encoding_is_told_in_json(browser: Browser) -> None:
    talk = await browser.connect("counter", "a", protocols=("rivet", "rivet_encoding.xml"))

    told = (await talk.receive())["Error"]
    assert f"{told['group']}.{told['code']}" == "encoding.invalid"
    assert await talk.closed() == (1011, "encoding.invalid")


@pytest.mark.parametrize(
    ("offered", "reason"),
    [
        ("rivet_encoding.bare", "request.invalid"),
        ("rivet_token.a, rivet_token.b", "request.invalid"),
        ("rivet_conn_params.%7B", "request.invalid"),
        ("rivet_conn_params.%ff", "request.invalid"),
        ("rivet_conn_params.", "request.invalid"),
        (f"rivet_conn_params.%22{'x' * 5000}%22", "message.incoming_too_long"),
    ],
)
async def test_an_offer_that_cannot_be_read_is_the_reason_of_the_close(
    browser: Browser, offered: str, reason: str
) -> None:
    protocols = ("rivet", "rivet_encoding.json", *offered.split(", "))

    talk = await browser.connect("counter", "a", protocols=protocols)

    assert await talk.closed() == (1011, reason)


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{",
        "null",
        "[]",
        '"x"',
        "{}",
        '{"body":null}',
        '{"body":{}}',
        '{"body":{"tag":"Nope","val":{}}}',
        '{"body":{"tag":"ActionRequest"}}',
        '{"body":{"tag":"ActionRequest","val":{"id":"x","name":"value","args":[]}}}',
        '{"body":{"tag":"ActionRequest","val":{"id":["$BigInt","-1"],"name":"value","args":[]}}}',
        '{"body":{"tag":"ActionRequest","val":{"id":1.5,"name":"value","args":[]}}}',
        '{"body":{"tag":"ActionRequest","val":{"id":1,"args":[]}}}',
        '{"body":{"tag":"ActionRequest","val":{"id":1,"name":7,"args":[]}}}',
        '{"body":{"tag":"SubscriptionRequest","val":{"eventName":"x"}}}',
        '{"body":{"tag":"SubscriptionRequest","val":{"eventName":1,"subscribe":true}}}',
        '{"body":{"tag":"Init","val":{"actorId":"x","connectionId":"y"}}}',
        '{"body":' * 3000,
        b"\x00\x01\x02",
        b"\xff\xff",
    ],
)
async def test_a_frame_that_is_none_ends_the_connection(
    browser: Browser, frame: str | bytes
) -> None:
    talk = await browser.talk("counter", "a")

    if isinstance(frame, str):
        await talk.socket.send_str(frame)
    else:
        await talk.socket.send_bytes(frame)

    assert await talk.closed() == (1011, "payload.malformed")
    assert await browser.result("counter", "a", "increment") == 1


async def test_a_message_that_is_too_long_ends_the_connection(
    start: Start, session: aiohttp.ClientSession
) -> None:
    browser = Browser(session, await start(payload_bytes_max=100_000))
    talk = await browser.talk("counter", "a")

    assert await talk.result(0, "echo", "x" * 90_000) == "x" * 90_000
    await talk.act(1, "echo", "x" * 200_000)

    assert await talk.closed() == (1011, "message.incoming_too_long")


async def test_arguments_that_are_too_long_are_refused_by_themselves(
    start: Start, session: aiohttp.ClientSession
) -> None:
    browser = Browser(session, await start(payload_bytes_max=1000))
    talk = await browser.talk("counter", "a")

    await talk.act(0, "echo", "x" * 2000)

    error = (await talk.receive())["Error"]
    assert (error["group"], error["code"]) == ("message", "incoming_too_long")
    assert await talk.result(1, "value") == 0
    over_http = await browser.act("counter", "a", "echo", "x" * 2000)
    assert (over_http.status, over_http.error) == (413, "message.incoming_too_long")
    await talk.leave()


async def test_more_actions_than_may_be_under_way(
    start: Start, session: aiohttp.ClientSession, stage: Stage
) -> None:
    browser = Browser(session, await start(websocket_calls_max=2))
    talk = await browser.talk("waiter", "a")
    for number, name in enumerate("xy"):
        await talk.act(number, "wait", name)
        await stage.reached(name)

    await talk.act(2, "pass_by")

    error = (await talk.receive())["Error"]
    assert (error["group"], error["code"]) == ("guard", "service_unavailable")
    stage.let("x", "y")
    await talk.receive()
    await talk.receive()
    assert await talk.result(3, "pass_by") == "passed"
    await talk.leave()


# Not a WebSocket after all


@pytest.mark.parametrize(
    "change",
    [
        {"sec-websocket-version": "12"},
        {"sec-websocket-key": "x"},
        {"connection": "close"},
    ],
)
async def test_an_upgrade_that_is_none_is_refused_as_a_request(
    browser: Browser, change: dict[str, str]
) -> None:
    headers = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        **change,
    }

    answer = await browser.get("/gateway/counter/connect?rvt-method=get", headers=headers)

    assert answer.status == 400


# Named in what the client offers


async def test_an_actor_named_by_its_id_alone(browser: Browser) -> None:
    actor_id = await browser.actor_id("counter", "a")
    offered = ("rivet_target.actor", f"rivet_actor.{actor_id}")

    for path, protocols in (
        (f"/gateway/{actor_id}/connect", JSON_CONNECT),
        ("/connect", (*JSON_CONNECT, *offered)),
        ("/api/rivet/connect", (*JSON_CONNECT, *offered)),
        ("/connect/websocket", (*JSON_CONNECT, *offered)),
    ):
        talk = await browser.connect(path=path, protocols=protocols)
        assert (await talk.receive())["Init"]["actorId"] == actor_id
        await talk.leave()


@pytest.mark.parametrize(
    ("offered", "reason"),
    [
        (("rivet_target.actor",), "guard.missing_actor"),
        (("rivet_target.runner", "rivet_actor.x"), "guard.target_invalid"),
        (("rivet_actor.x",), "guard.no_route"),
        (("rivet_target.actor", "rivet_actor.x"), "actor.not_found"),
    ],
)
async def test_an_offer_that_names_nobody_is_the_reason_of_the_close(
    browser: Browser, offered: tuple[str, ...], reason: str
) -> None:
    talk = await browser.connect(path="/connect", protocols=(*JSON_CONNECT, *offered))

    assert await talk.closed() == (1011, reason)
