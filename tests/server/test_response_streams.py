"""Answers in parts: a turn for each, and event streams that any turn sends to."""

from __future__ import annotations

import asyncio

import pytest

from holdfast_server.core.errors import HoldfastError
from tests.server.raw_front import Front, TestExchange
from tests.server.stage import stage
from tests.server.virtual import World, run
from tests.server.web_actors import registry


@pytest.fixture(autouse=True)
def quiet() -> None:
    stage.clear()


async def page(world: World) -> list[object]:
    found: list[object] = await world.call("page", name="web")
    return found


async def call(world: World, action: str, *args: object) -> object:
    return await world.call(action, *args, name="web")


async def refused(task: asyncio.Task[None]) -> str:
    with pytest.raises(HoldfastError) as caught:
        await task
    return f"{caught.value.group}.{caught.value.code}"


def test_each_part_is_committed_before_it_leaves_and_the_actor_is_free_between() -> None:
    async def body(world: World) -> None:
        front, exchange = Front(world), TestExchange()
        exchange.open.clear()
        task = front.request(exchange, "GET", "/count", length=0)
        # Nobody reads, not even the status: the actor waits for no reader.
        assert await call(world, "add", 10) == 10
        exchange.open.set()
        await task
        assert (exchange.status, exchange.sent) == (200, [b"0 ", b"1 ", b"2 "])
        assert exchange.header("content-type") == "text/x-numbers"
        assert exchange.header("content-length") is None
        assert await page(world) == [13, ["closed"]]

    run(registry, body)


def test_a_part_whose_commit_fails_does_not_leave() -> None:
    async def body(world: World) -> None:
        exchange = TestExchange()
        task = Front(world).request(exchange, "GET", "/count", length=0)
        await exchange.until(1)
        world.store.fail_next("sync", applied=False)
        assert await refused(task) == "store.commit_unknown"
        assert exchange.sent == [b"0 "]

    run(registry, body)


def test_a_handler_that_fails_on_the_way_cuts_the_answer_and_undoes_its_last_turn() -> None:
    async def body(world: World) -> None:
        exchange = TestExchange()
        task = Front(world).request(exchange, "GET", "/half", length=0)
        assert await refused(task) == "internal.internal_error"
        assert (exchange.status, exchange.sent) == (200, [b"half"])
        assert (await page(world))[0] == 1

    run(registry, body)


def test_a_reader_that_leaves_ends_the_generator_in_a_turn() -> None:
    async def body(world: World) -> None:
        exchange = TestExchange()
        exchange.open.clear()
        task = Front(world).request(exchange, "GET", "/count", length=0)
        await world.pass_by(1)
        exchange.leave()
        assert await refused(task) == "action.cancelled"
        assert exchange.sent == []
        # It had not begun, or its `finally` ran.
        assert await page(world) == [0, []]
        exchange = TestExchange()
        task = Front(world).request(exchange, "GET", "/count", length=0)
        await exchange.until(1)
        exchange.leave()
        assert await refused(task) == "action.cancelled"
        assert (await page(world))[1] == ["closed"]

    run(registry, body)


def test_a_front_that_is_cancelled_ends_the_generator_in_a_turn() -> None:
    async def body(world: World) -> None:
        exchange = TestExchange()
        task = Front(world).request(exchange, "GET", "/count", length=0)
        await exchange.until(1)
        exchange.open.clear()
        await world.pass_by(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await page(world))[1] == ["closed"]

    run(registry, body)


def test_an_answer_may_be_made_of_the_request_as_that_comes() -> None:
    async def body(world: World) -> None:
        exchange = TestExchange(ended=False)
        task = Front(world).request(exchange, "POST", "/upper")
        for count, part in enumerate((b"ab", b"cd"), 1):
            exchange.give(part)
            await exchange.until(count)
        assert exchange.sent == [b"AB", b"CD"]
        exchange.end()
        await task
        assert await page(world) == [0, ["ab", "cd"]]

    run(registry, body)


def test_events_of_a_generator_have_the_format_of_server_sent_events() -> None:
    async def body(world: World) -> None:
        answer = await Front(world).get("/events")
        assert answer.header("content-type") == "text/event-stream; charset=utf-8"
        assert answer.sent == [b"data: one\ndata: two\n\n", b'data: {"n":1}\n\n']

    run(registry, body)


def test_any_turn_sends_to_an_event_stream_and_a_failed_one_sends_nothing() -> None:
    async def body(world: World) -> None:
        front, exchange = Front(world), TestExchange()
        task = front.request(exchange, "GET", "/follow", length=0)
        await world.pass_by(1)
        assert exchange.status == 200
        assert await call(world, "tell", "a") == 1
        with pytest.raises(HoldfastError):
            await call(world, "tell", "b", True)
        await call(world, "tell", {"c": 1})
        await exchange.until(2)
        assert exchange.sent == [b"data: a\n\n", b'data: {"c":1}\n\n']
        # Silence is filled, so that proxies do not cut it.
        await world.pass_by(31)
        assert exchange.sent[2:] == [b":\n\n"] * 2
        # It keeps the actor awake, without a turn.
        await world.pass_by(300)
        assert await call(world, "tell", "d") == 1
        await call(world, "finish")
        await task
        assert exchange.sent[-1] == b"data: d\n\n"
        assert await call(world, "tell", "e") == 0

    run(registry, body)


def test_what_is_sent_leaves_after_the_commit_only() -> None:
    async def body(world: World) -> None:
        exchange = TestExchange()
        task = Front(world).request(exchange, "GET", "/follow", length=0)
        await world.pass_by(1)
        world.store.fail_next("sync", applied=False)
        with pytest.raises(HoldfastError):
            await call(world, "add", 1)
        # The stream was in memory that is not true any more: it ends.
        await task
        assert exchange.sent == []

    run(registry, body)


def test_a_follower_that_does_not_read_is_cut_and_holds_up_nobody() -> None:
    async def body(world: World) -> None:
        front, slow, quick = Front(world), TestExchange(), TestExchange()
        tasks = [front.request(each, "GET", "/follow", length=0) for each in (slow, quick)]
        await world.pass_by(1)
        slow.open.clear()
        for _ in range(12):
            await call(world, "tell", "x" * 100)
        await quick.until(12)
        # The next turn finds it closed.
        assert await call(world, "tell", "y") == 1
        slow.open.set()
        await tasks[0]
        assert len(slow.sent) < 12
        await call(world, "finish")
        await tasks[1]

    run(registry, body, event_stream_bytes_max=500)


def test_a_follower_that_leaves_is_closed() -> None:
    async def body(world: World) -> None:
        exchange = TestExchange()
        task = Front(world).request(exchange, "GET", "/follow", length=0)
        await world.pass_by(1)
        exchange.leave()
        await call(world, "tell", "x")
        assert await refused(task) == "action.cancelled"
        assert await call(world, "tell", "y") == 0

    run(registry, body)


@pytest.mark.parametrize("how", ["sleep", "destroy", "drain"])
def test_an_event_stream_ends_well_with_its_actor(how: str) -> None:
    async def body(world: World) -> None:
        front, exchange = Front(world), TestExchange()
        task = front.request(exchange, "GET", "/follow", length=0)
        await world.pass_by(1)
        if how == "sleep":
            await call(world, "rest")
        elif how == "destroy":
            await front.get("/destroy")
        else:
            await world.node.drain()
        await task
        assert exchange.status == 200

    run(registry, body)


def test_a_drain_lets_a_stream_go_on_for_a_while_and_then_ends_it_between_parts() -> None:
    async def body(world: World) -> None:
        exchange = TestExchange(ended=False)
        task = Front(world).request(exchange, "POST", "/upper")
        exchange.give(b"a")
        await exchange.until(1)
        drain = asyncio.create_task(world.node.drain())
        await world.pass_by(5)
        exchange.give(b"b")
        await exchange.until(2)
        await world.pass_by(6)
        exchange.give(b"c")
        assert await refused(task) == "server.draining"
        await drain
        assert exchange.sent == [b"A", b"B"]

    run(registry, body, drain_streams_s=10.0)
