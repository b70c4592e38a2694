"""Raw HTTP requests: what the handler sees, what the client gets, and what is committed."""

from __future__ import annotations

import asyncio
import json

import pytest

from holdfast_server.core.errors import HoldfastError
from holdfast_server.runtime.fronts import ClientGone
from tests.server.raw_front import Front, TestExchange
from tests.server.stage import stage
from tests.server.virtual import World, run
from tests.server.web_actors import registry


@pytest.fixture(autouse=True)
def quiet() -> None:
    stage.clear()


async def page(world: World, name: str = "web") -> list[object]:
    found: list[object] = await world.call("page", name=name)
    return found


async def refused(task: asyncio.Task[None]) -> str:
    with pytest.raises(HoldfastError) as caught:
        await task
    return f"{caught.value.group}.{caught.value.code}"


def test_an_answer_leaves_with_its_status_and_headers_and_what_it_changed_is_kept() -> None:
    async def body(world: World) -> None:
        front = Front(world)
        first = await front.get("/hit")
        assert (first.status, first.body) == (201, b"1")
        assert first.header("x-kind") == "hit"
        assert first.header("content-type") == "text/plain; charset=utf-8"
        assert first.header("content-length") == "1"
        assert (await front.get("/hit")).body == b"2"
        world.crash()
        assert (await page(world))[0] == 2

    run(registry, body)


def test_nothing_leaves_before_the_commit_is_synced() -> None:
    async def body(world: World) -> None:
        exchange = TestExchange()
        world.store.fail_next("sync", applied=False)
        task = Front(world).request(exchange, "GET", "/hit", length=0)
        assert await refused(task) == "store.commit_unknown"
        assert exchange.status == 0
        assert (await page(world))[0] == 0

    run(registry, body)


def test_the_handler_sees_method_url_path_query_and_headers() -> None:
    async def body(world: World) -> None:
        front = Front(world)
        target = "/where/caf%C3%A9%2Fbar?a=1&a=2&b=x+y"
        headers = (("Host", "example.org"), ("X-Two", "1"), ("x-two", "2"))
        said = json.loads((await front.get(target, "PATCH", headers=headers)).body)
        assert said == {
            "method": "PATCH",
            "url": f"http://example.org{target}",
            "path": "/where/café/bar",
            "query": {"a": "1", "b": "x y"},
            "all": ["1", "2"],
            "raw": "a=1&a=2&b=x+y",
        }
        assert json.loads((await front.get("/where", "PURGE")).body)["method"] == "PURGE"

    run(registry, body)


@pytest.mark.parametrize("data", [b"", b"\x00\xff" * 5, b"x" * 3000])
def test_a_body_of_any_size_is_whole(data: bytes) -> None:
    async def body(world: World) -> None:
        front = Front(world)
        assert (await front.post(data, "/echo")).body == data
        parts = [data[at : at + 7] for at in range(0, len(data), 7)]
        exchange = TestExchange(*parts)
        await front.request(exchange, "POST", "/echo")
        assert exchange.body == data

    run(registry, body, request_buffer_bytes=100)


def test_a_head_gets_the_length_and_no_body() -> None:
    async def body(world: World) -> None:
        front = Front(world)
        answer = await front.get("/hit", "HEAD")
        assert (answer.header("content-length"), answer.sent) == ("1", [])
        streamed = await front.get("/count", "HEAD")
        assert (streamed.status, streamed.sent) == (200, [])
        assert streamed.header("content-length") is None

    run(registry, body)


@pytest.mark.parametrize(
    ("target", "data", "code"),
    [
        ("/json", b"{", "request.invalid"),
        ("/json", b"\xff", "request.invalid"),
        ("/json", b"[" * 100_000, "request.invalid"),
        ("/limited", b"x" * 11, "message.incoming_too_long"),
        ("/refuse", b"", "user.refused"),
        ("/crash", b"", "internal.internal_error"),
        ("/absent", b"", "internal.internal_error"),
        ("/nothing", b"", "handler.invalid_request_handler_response"),
        ("/big?size=2001", b"", "message.outgoing_too_long"),
    ],
)
def test_what_fails_is_told_and_leaves_no_trace(target: str, data: bytes, code: str) -> None:
    async def body(world: World) -> None:
        exchange = TestExchange(data)
        task = Front(world).request(exchange, "POST", target, length=len(data))
        assert await refused(task) == code
        assert exchange.status == 0
        assert await page(world) == [0, []]

    run(registry, body, response_bytes_max=2000)


def test_a_body_beyond_the_limit_is_refused_whether_its_length_is_told_or_not() -> None:
    async def body(world: World) -> None:
        front = Front(world)
        told = front.request(TestExchange(b"x" * 301), "POST", "/echo", length=301)
        assert await refused(told) == "message.incoming_too_long"
        untold = front.request(TestExchange(b"x" * 150, b"x" * 151), "POST", "/echo")
        assert await refused(untold) == "message.incoming_too_long"
        assert (await front.post(b"x" * 300, "/echo")).status == 200

    run(registry, body, request_bytes_max=300)


def test_a_class_without_the_hook_says_so_and_an_absent_actor_is_not_found() -> None:
    async def body(world: World) -> None:
        plain = Front(world, "plain")
        assert (
            await refused(plain.request(TestExchange(), length=0)) == "handler.request_not_defined"
        )
        absent = Front(world).request(TestExchange(), length=0, create=False)
        assert await refused(absent) == "actor.not_found"

    run(registry, body)


def test_a_small_body_is_read_before_the_turn_and_a_large_one_between_turns() -> None:
    async def body(world: World) -> None:
        front = Front(world)
        # The actor is free while a client is slow, whichever way its body comes.
        for length in (6, None):
            exchange = TestExchange(b"abc", ended=False)
            task = front.request(exchange, "POST", "/upload", length=length)
            assert await world.call("add", 1, name="web") == (1 if length else 2)
            exchange.give(b"def")
            exchange.end()
            await task
        assert await page(world) == [2, ["abcdef", "abc", "def"]]

    run(registry, body)


def test_each_part_of_an_upload_is_a_turn_that_commits() -> None:
    async def body(world: World) -> None:
        exchange = TestExchange(ended=False)
        task = Front(world).request(exchange, "POST", "/upload")
        for count, part in enumerate((b"one", b"two"), 1):
            exchange.give(part)
            await world.pass_by(1)
            assert len((await page(world))[1]) == count  # type: ignore[arg-type]
        world.node.catalog.drop_all()
        exchange.end()
        with pytest.raises(HoldfastError):
            await task
        assert await page(world) == [0, ["one", "two"]]

    run(registry, body)


def test_a_client_that_goes_in_its_upload_ends_the_handler_which_can_note_it() -> None:
    async def body(world: World) -> None:
        exchange = TestExchange(b"one", ended=False)
        task = Front(world).request(exchange, "POST", "/careful")
        exchange.leave()
        assert await refused(task) == "action.cancelled"
        assert await page(world) == [0, ["one", "end"]]

    run(registry, body)


def test_a_front_that_is_cancelled_ends_the_handler_too() -> None:
    async def body(world: World) -> None:
        front = Front(world)
        exchange = TestExchange(b"one", ended=False)
        task = front.request(exchange, "POST", "/careful")
        await world.pass_by(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await page(world) == [0, ["one", "end"]]
        # In the middle of a turn, that turn is undone.
        task = front.request(TestExchange(), "GET", "/wait", length=0)
        await stage.reached("wait")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stage.log == ["cancelled"]
        assert (await page(world))[0] == 0

    run(registry, body)


def test_a_deadline_ends_a_handler_and_the_time_of_a_turn_does() -> None:
    async def body(world: World) -> None:
        front = Front(world)
        began = world.loop.time()
        by_call = front.request(TestExchange(), "GET", "/wait", length=0, deadline=began + 2)
        assert await refused(by_call) == "action.timed_out"
        assert world.loop.time() == began + 2
        by_turn = front.request(TestExchange(), "GET", "/wait", length=0)
        assert await refused(by_turn) == "action.timed_out"
        assert world.loop.time() == began + 2 + 5
        # To wait for a slow client is no time of a turn.
        exchange = TestExchange(b"one", ended=False)
        task = front.request(exchange, "POST", "/upload")
        await world.pass_by(60)
        exchange.end()
        await task
        assert exchange.body == b"1"
        # But it is part of a deadline of the whole.
        late = front.request(
            TestExchange(ended=False), "POST", "/careful", deadline=world.loop.time() + 3
        )
        assert await refused(late) == "action.timed_out"
        assert await page(world) == [0, ["one", "end"]]

    run(registry, body)


def test_a_destroyed_actor_answers_and_is_gone() -> None:
    async def body(world: World) -> None:
        front = Front(world)
        await front.get("/hit")
        assert (await front.get("/destroy")).body == b"gone"
        assert (await page(world))[0] == 0

    run(registry, body)


def test_hooks_of_connections_see_a_request_and_share_its_turn() -> None:
    async def body(world: World) -> None:
        front = Front(world, "club")
        assert (await front.get("/x", params={"name": "ada"})).body == b"ada"
        assert (await page(world, "club"))[1] == ["+ada", "/x of ada", "-ada"]
        failed = front.request(TestExchange(), "GET", "/fail", length=0, params={"name": "bob"})
        assert await refused(failed) == "user.user_error"
        kept_out = front.request(TestExchange(), "GET", "/x", length=0, params={"name": "mallory"})
        assert await refused(kept_out) == "user.denied"
        assert len((await page(world, "club"))[1]) == 3  # type: ignore[arg-type]
        streamed = await front.get("/parts", params={"name": "eve"})
        assert streamed.sent == [b"1", b"2"]
        assert (await page(world, "club"))[1][3:] == ["+eve", "/parts of eve", "-eve"]  # type: ignore[index]

    run(registry, body)


def test_who_leaves_in_the_middle_of_an_answer_is_disconnected_once() -> None:
    async def body(world: World) -> None:
        exchange = TestExchange()
        exchange.open.clear()
        task = Front(world, "club").request(
            exchange, "GET", "/parts", length=0, params={"name": "eve"}
        )
        await world.pass_by(0.1)
        exchange.leave()
        assert await refused(task) == "action.cancelled"
        assert (await page(world, "club"))[1] == ["+eve", "/parts of eve", "-eve"]

    run(registry, body)


def test_a_sleeping_actor_is_woken_and_one_that_goes_to_sleep_is_waited_for() -> None:
    async def body(world: World) -> None:
        front = Front(world)
        await front.get("/hit")
        await world.pass_by(60)
        assert (await front.get("/hit")).body == b"2"
        await world.call("rest", name="web")
        assert (await front.get("/hit")).body == b"3"

    run(registry, body)


def test_a_draining_server_takes_no_request() -> None:
    async def body(world: World) -> None:
        front = Front(world)
        running = front.request(TestExchange(), "GET", "/wait", length=0)
        await stage.reached("wait")
        drain = asyncio.create_task(world.node.drain())
        await world.pass_by(0.01)
        assert await refused(front.request(TestExchange(), length=0)) == "server.draining"
        stage.let("wait")
        await running
        await drain

    run(registry, body)


def test_a_front_that_cannot_send_the_answer_is_told_that_its_client_has_gone() -> None:
    async def body(world: World) -> None:
        exchange = TestExchange()
        exchange.gone = True
        task = Front(world).request(exchange, "GET", "/hit", length=0)
        assert await refused(task) == "action.cancelled"
        # It had committed before.
        assert (await page(world))[0] == 1
        with pytest.raises(ClientGone):
            await exchange.send(b"x") if exchange.status else await exchange.start(200, ())

    run(registry, body)
