"""/actors: what RivetKit's clients ask before they talk to an actor."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.gateway.browser import Answer, Browser
from tests.server.stage import Stage

PUT = {"runner_name_selector": "default", "crash_policy": "sleep"}


async def make(browser: Browser, method: str = "PUT", **body: Any) -> Answer:
    return await browser.ask(method, "/actors?namespace=default", data=json.dumps({**PUT, **body}))


async def test_get_or_create_makes_an_actor_once(browser: Browser) -> None:
    first = (await make(browser, name="counter", key="a/b")).json
    second = (await make(browser, name="counter", key="a/b")).json

    assert (first["created"], second["created"]) == (True, False)
    assert second["actor"] == first["actor"]
    actor = first["actor"]
    assert (actor["name"], actor["key"], actor["namespace_id"]) == ("counter", "a/b", "default")
    assert actor["connectable_ts"] == actor["create_ts"] > 1_700_000_000_000
    assert actor["destroy_ts"] is None


async def test_a_busy_actor_is_found_without_waiting(browser: Browser, stage: Stage) -> None:
    made = (await make(browser, name="waiter", key="a")).json["actor"]
    busy = asyncio.create_task(browser.act("waiter", "a", "wait", "busy"))
    await stage.reached("busy")

    found = (await make(browser, name="waiter", key="a")).json

    assert (found["created"], found["actor"]) == (False, made)
    stage.let("busy")
    await busy


async def test_create_refuses_a_key_that_is_taken(browser: Browser) -> None:
    made = await make(browser, "POST", name="counter", key="a")
    again = await make(browser, "POST", name="counter", key="a")

    assert (made.status, "created" in made.json) == (200, False)
    assert (again.status, again.error) == (409, "actor.duplicate_key")
    assert again.json["metadata"]["actor_id"] == made.json["actor"]["actor_id"]


@pytest.mark.parametrize("key", [None, "/"])
async def test_an_actor_without_a_key(browser: Browser, key: str | None) -> None:
    assert (await make(browser, name="counter", key=key)).json["actor"]["key"] == "/"


async def test_input_is_cbor_in_base64(browser: Browser) -> None:
    given = base64.b64encode(b"\xa1\x65start\x18\x28").decode()

    await make(browser, name="counter", key="i", input=given)

    assert await browser.result("counter", "i", "value") == 40


async def test_actors_are_found_by_id_by_key_and_by_name(browser: Browser) -> None:
    ids = [await browser.actor_id("counter", key) for key in ("a", "b", "c/d")]

    async def found(query: str) -> list[str]:
        answer = await browser.get(f"/actors?namespace=default&{query}")
        assert answer.status == 200, answer.body
        return [actor["actor_id"] for actor in answer.json["actors"]]

    assert await found(f"actor_ids={ids[0]},{ids[2]}") == [ids[0], ids[2]]
    assert await found(f"actor_ids={ids[1]}%2C{'a' * 26}%2Cnope") == [ids[1]]
    assert await found("actor_ids=") == []
    assert await found("name=counter&key=c%2Fd") == [ids[2]]
    assert await found("name=counter&key=c/d") == [ids[2]]
    assert await found("name=counter&key=nope") == []
    assert await found("name=counter") == ids
    assert await found("name=door") == []


async def test_a_plus_in_a_key_is_a_plus(browser: Browser) -> None:
    await make(browser, name="counter", key="a+b")

    assert (await browser.get("/actors?name=counter&key=a+b")).json["actors"]
    assert not (await browser.get("/actors?name=counter&key=a%20b")).json["actors"]


async def test_a_list_has_pages(browser: Browser) -> None:
    ids = [await browser.actor_id("counter", key) for key in "abcde"]
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await browser.get(f"/actors?name=counter&limit=2&cursor={cursor}")).json
        found += [actor["actor_id"] for actor in page["actors"]]
        cursor = page["pagination"]["cursor"]

    assert found == ids


async def test_destroy_takes_the_actor_away(browser: Browser) -> None:
    actor_id = await browser.actor_id("counter", "a")

    gone = await browser.ask("DELETE", f"/actors/{actor_id}?namespace=default")

    assert (gone.status, gone.json) == (200, {})
    assert (await browser.get(f"/actors?actor_ids={actor_id}")).json == {"actors": []}
    again = await browser.ask("DELETE", f"/actors/{actor_id}")
    assert (again.status, again.error) == (404, "actor.not_found")
    assert await browser.actor_id("counter", "a") != actor_id


async def test_names_are_those_of_the_registry(browser: Browser) -> None:
    names = (await browser.get("/actors/names?namespace=default")).json["names"]

    assert names == {
        name: {"metadata": {}} for name in ("counter", "door", "needy", "site", "waiter")
    }


async def test_kv_of_an_actor(browser: Browser) -> None:
    data = base64.b64encode(b"\x00\xff").decode()
    await browser.result("counter", "a", "put", "k/1", ["$Uint8Array", data])
    actor_id = await browser.actor_id("counter", "a")

    async def value(key: bytes) -> Any:
        name = quote(base64.b64encode(key).decode(), safe="")
        return (await browser.get(f"/actors/{actor_id}/kv/keys/{name}")).json["value"]

    assert await value(b"k/1") == data
    assert await value(b"\x03") is None


LONG = "x" * 129


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "request.invalid"),
        (b"{", 400, "request.invalid"),
        (b"[]", 400, "request.invalid"),
        (b"\xff", 400, "request.invalid"),
        (b"[" * 100_000, 400, "request.invalid"),
        (b"{}", 400, "request.invalid"),
        (b'{"name":1}', 400, "request.invalid"),
        (b'{"name":""}', 400, "request.invalid"),
        (b'{"name":"../x"}', 400, "request.invalid"),
        (b'{"name":"nobody"}', 404, "actor.name_not_found"),
        (b'{"name":"counter","key":["a"]}', 400, "request.invalid"),
        (b'{"name":"counter","key":"a\\\\"}', 400, "request.invalid"),
        (b'{"name":"counter","key":"a\\\\x"}', 400, "request.invalid"),
        (b'{"name":"counter","key":"\\ud800"}', 400, "request.invalid"),
        (b'{"name":"counter","key":"%s"}' % LONG.encode(), 400, "request.invalid"),
        (b'{"name":"counter","key":"%s"}' % ("/".join("a" * 33)).encode(), 400, "request.invalid"),
        (b'{"name":"counter","input":1}', 400, "request.invalid"),
        (b'{"name":"counter","input":"*"}', 400, "request.invalid"),
        (b'{"name":"counter","input":"/w=="}', 400, "request.invalid"),
        (b'{"name":"counter","input":"YWE="}', 400, "actor.invalid_input"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_a_body_that_makes_no_sense_is_refused(
    browser: Browser, method: str, body: bytes, status: int, error: str
) -> None:
    answer = await browser.ask(method, "/actors?namespace=default", data=body)

    assert (answer.status, answer.error) == (status, error)
    assert not (await browser.get("/actors?name=counter")).json["actors"]


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ("", 400, "request.invalid"),
        ("key=a", 400, "request.invalid"),
        ("name=counter&name=door", 400, "request.invalid"),
        ("name=counter&actor_ids=x", 400, "request.invalid"),
        ("name=%ff", 400, "request.invalid"),
        ("name=%2", 400, "request.invalid"),
        ("name=nobody", 404, "actor.name_not_found"),
        ("name=counter&namespace=nope", 404, "namespace.not_found"),
        ("actor_ids=x&namespace=nope", 404, "namespace.not_found"),
        ("actor_ids=" + ",".join(["x"] * 33), 400, "request.invalid"),
        ("name=counter&limit=0", 400, "request.invalid"),
        ("name=counter&limit=1001", 400, "request.invalid"),
        ("name=counter&limit=-1", 400, "request.invalid"),
        ("name=counter&limit=99999999999999999999", 400, "request.invalid"),
        ("name=counter&limit=x", 400, "request.invalid"),
        ("name=counter&cursor=zz", 400, "request.invalid"),
        ("name=counter&cursor=00", 400, "request.invalid"),
        ("name=counter&key=a%5C", 400, "request.invalid"),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(
    browser: Browser, query: str, status: int, error: str
) -> None:
    answer = await browser.get(f"/actors?{query}")

    assert (answer.status, answer.error) == (status, error)


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("PATCH", "/actors", "guard.no_route"),
        ("DELETE", "/actors", "guard.no_route"),
        ("GET", "/actors/", "guard.no_route"),
        ("GET", "/actors/names/x", "guard.no_route"),
        ("POST", "/actors/names", "guard.no_route"),
        ("DELETE", "/actors/%ff", "request.invalid"),
        ("DELETE", "/actors/nope", "actor.not_found"),
        ("GET", "/actors/nope/kv/keys/AA", "actor.not_found"),
        ("GET", "/actors/nope/kv/keys/*", "request.invalid"),
    ],
)
async def test_other_paths_lead_nowhere(
    browser: Browser, method: str, path: str, error: str
) -> None:
    assert (await browser.ask(method, path)).error == error
