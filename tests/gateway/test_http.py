"""What the gateway answers over plain HTTP: its own pages, actions, errors."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from holdfast_server.telemetry.observer import ObservedTurn, Observer
from tests.gateway.browser import Browser, get_only, get_or_create
from tests.gateway.conftest import Start
from tests.gateway.raw import line_to, request
from tests.server.probe import until
from tests.server.stage import Stage

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_health_and_metadata_are_what_clients_look_for(browser: Browser) -> None:
    for base in ("", "/api/rivet"):
        health = await browser.get(f"{base}/health")
        assert (health.status, health.json["status"], health.json["runtime"]) == (
            200,
            "ok",
            "rivetkit",
        )
        metadata = (await browser.get(f"{base}/metadata?namespace=default")).json
        assert metadata["runtime"] == "rivetkit"
        assert isinstance(metadata["version"], str)
        assert metadata["actorNames"]["counter"] == {"metadata": {}}
        assert not metadata.get("clientEndpoint")
        assert (await browser.get(base + "/")).status == 200


async def test_an_action_by_name_and_key(browser: Browser) -> None:
    path = f"/gateway/counter/action/increment?{get_or_create('curl')}"
    assert (await browser.ask("POST", path)).json == {"output": 1}
    assert await browser.result("counter", "a", "increment", 5) == 5
    assert await browser.result("counter", "a", "increment") == 6
    assert await browser.result("counter", "b", "value") == 0


async def test_the_three_ways_of_naming_an_actor_reach_the_same(browser: Browser) -> None:
    await browser.result("counter", "a,b", "increment", 7)
    actor_id = await browser.actor_id("counter", "a/b")
    body = json.dumps({"args": []})

    for path, headers in (
        (f"/gateway/{actor_id}/action/value", {}),
        (f"/gateway/counter/action/value?{get_only('a,b')}", {}),
        ("/action/value", {"x-rivet-target": "actor", "x-rivet-actor": actor_id}),
    ):
        for base in ("", "/api/rivet"):
            answer = await browser.ask("POST", base + path, data=body, headers=headers)
            assert (answer.status, answer.json) == (200, {"output": 7})


async def test_the_result_of_nothing_is_null(browser: Browser) -> None:
    answer = await browser.act("counter", "a", "echo")

    assert answer.json == {"output": None}


@pytest.mark.parametrize(
    ("encoding", "content_type"), [(None, "application/json"), ("json", "application/json")]
)
async def test_the_encoding_is_that_of_the_header(
    browser: Browser, encoding: str | None, content_type: str
) -> None:
    headers = {} if encoding is None else {"x-rivet-encoding": encoding}

    answer = await browser.act("counter", "a", "value", headers=headers)

    assert answer.headers["content-type"] == content_type


async def test_input_makes_the_actor_once(browser: Browser) -> None:
    # CBOR {"start": 40} in base64url.
    path = f"/gateway/counter/action/value?{get_or_create('i', input='oWVzdGFydBgo')}"

    for _ in range(2):
        answer = await browser.ask("POST", path, data='{"args":[]}')
        assert answer.json == {"output": 40}


async def test_params_reach_the_hooks_in_any_alphabet(browser: Browser) -> None:
    path = f"/gateway/door/action/me?{get_or_create('a')}"

    async with line_to(browser.server) as line:
        for name in ("zo\xeb", "zo\xeb".encode().decode("latin-1")):
            header = f'X-Rivet-Conn-Params: {{"name":"{name}"}}'
            await line.send(request("POST", path, header, body=b'{"args":[]}'))
            status, _, body = await line.response()
            assert (status, json.loads(body)) == (200, {"output": "zo\xeb"})


# Errors


async def test_the_error_of_a_user_is_told_as_it_is(browser: Browser) -> None:
    answer = await browser.act("counter", "a", "fail")

    assert (answer.status, answer.error) == (400, "user.closed")
    assert answer.json["message"] == "not today"
    assert answer.json["metadata"] == {"until": [1, None]}


async def test_what_is_no_callers_concern_stays_inside(browser: Browser) -> None:
    answer = await browser.act("counter", "a", "crash")

    assert (answer.status, answer.error) == (500, "internal.internal_error")
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("POST", f"/gateway/counter/action/nope?{get_or_create('a')}", 404, "action.not_found"),
        ("POST", f"/gateway/nobody/action/x?{get_or_create('a')}", 404, "actor.name_not_found"),
        ("POST", f"/gateway/counter/action/value?{get_only('nope')}", 404, "actor.not_found"),
        ("POST", "/gateway/nope/action/value", 404, "actor.not_found"),
        ("POST", f"/gateway/{'a' * 26}/action/value", 404, "actor.not_found"),
        ("POST", f"/gateway/counter/queue/mail?{get_or_create('a')}", 404, "queue.not_found"),
        ("POST", f"/gateway/counter/action/?{get_or_create('a')}", 400, "request.invalid"),
        ("GET", f"/gateway/counter/action/value?{get_or_create('a')}", 405, "guard.no_route"),
        ("GET", f"/gateway/counter/queue/mail?{get_or_create('a')}", 405, "guard.no_route"),
        ("GET", "/nope", 404, "guard.no_route"),
        ("GET", "/gateway/", 404, "guard.no_route"),
        ("POST", "/gateway//action/value", 404, "guard.no_route"),
        ("GET", "/api/rivetto/health", 404, "guard.no_route"),
        ("PUT", "/health", 405, "guard.no_route"),
    ],
)
async def test_what_is_not_there_has_an_error_of_its_own(
    browser: Browser, method: str, path: str, status: int, error: str
) -> None:
    answer = await browser.ask(method, path, data=b'{"args":[]}' if method == "POST" else None)

    assert (answer.status, answer.error) == (status, error)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{", "payload.malformed"),
        (b"[1]", "payload.malformed"),
        (b"\xff\xfe", "payload.malformed"),
        (b'{"args":[["$BigInt","x"]]}', "payload.malformed"),
        (b'{"args":[["$Nope",1]]}', "payload.malformed"),
        (b'{"args":' + b"[" * 5000 + b"]" * 5000 + b"}", "payload.malformed"),
        (b'{"args":[1,2,3]}', "action.invalid_argument"),
        (b'{"args":["x"]}', "action.invalid_argument"),
    ],
)
async def test_a_body_that_is_none_is_refused(browser: Browser, body: bytes, error: str) -> None:
    path = f"/gateway/counter/action/increment?{get_or_create('a')}"

    answer = await browser.ask("POST", path, data=body)

    assert (answer.status, answer.error) == (400, error)
    assert await browser.result("counter", "a", "value") == 0


async def test_an_unknown_encoding_and_bad_params_are_refused(browser: Browser) -> None:
    unknown = await browser.act("counter", "a", "value", headers={"x-rivet-encoding": "xml"})
    assert (unknown.status, unknown.error) == (400, "encoding.invalid")

    for params in ("{", "nope", "[" * 3000):
        answer = await browser.act("door", "a", "me", headers={"x-rivet-conn-params": params})
        assert (answer.status, answer.error) == (400, "request.invalid")
    long = await browser.act("door", "a", "me", headers={"x-rivet-conn-params": f'"{"x" * 5000}"'})
    assert (long.status, long.error) == (413, "message.incoming_too_long")


async def test_who_is_not_let_in_is_told_why(browser: Browser) -> None:
    headers = {"x-rivet-conn-params": '{"banned":true}'}

    answer = await browser.act("door", "a", "me", headers=headers)

    assert (answer.status, answer.error) == (400, "user.banned")
    assert answer.json["metadata"] == {"for": "ever"}


# What goes with every request


async def test_the_ray_is_the_callers_or_a_new_one(browser: Browser) -> None:
    mine = await browser.get("/nope", headers={"x-rivet-ray-id": "my-ray_1"})
    assert mine.headers["x-rivet-ray-id"] == "my-ray_1"

    rays = {(await browser.get("/health")).headers["x-rivet-ray-id"] for _ in range(3)}
    forged = await browser.get("/health", headers={"x-rivet-ray-id": "x y"})
    assert len(rays | {forged.headers["x-rivet-ray-id"]}) == 4


class Traces(Observer):
    """Where turns come from."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def turn_began(self, turn: ObservedTurn) -> None:
        self.seen.append(turn.trace.trace_id)


async def test_the_trace_of_the_caller_is_that_of_the_turn(
    start: Start, session: aiohttp.ClientSession
) -> None:
    traces = Traces()
    browser = Browser(session, await start(observer=traces))
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}

    await browser.result("counter", "a", "value", headers=headers)
    await browser.result("counter", "a", "value")

    assert set(traces.seen[:-1]) == {TRACE}
    assert traces.seen[-1] == ""


async def test_whoever_hangs_up_cancels(browser: Browser, stage: Stage) -> None:
    call = asyncio.ensure_future(browser.result("waiter", "a", "wait", "x"))
    await stage.reached("x")

    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    calls = browser.server.listener.calls
    await until(lambda: not calls._tasks)
