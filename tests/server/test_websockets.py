"""Raw WebSockets: a turn for each message, what is committed, and how they close."""

from __future__ import annotations

import asyncio

import pytest

from holdfast_server.core.errors import HoldfastError
from tests.server.raw_front import Front, TestSocket
from tests.server.socket_actors import registry
from tests.server.stage import stage
from tests.server.virtual import World, run


@pytest.fixture(autouse=True)
def quiet() -> None:
    stage.clear()


async def page(world: World, name: str = "line") -> list[str]:
    found: list[str] = await world.call("page", name=name)
    return found


async def call(world: World, action: str, *args: object) -> object:
    return await world.call(action, *args, name="line")


async def opened(world: World, target: str = "/", **options: object) -> TestSocket:
    """A socket whose handler has said hello."""
    socket = TestSocket()
    Front(world, "line").connect(socket, target, **options)  # type: ignore[arg-type]
    await socket.hears("hello")
    return socket


def test_text_and_binary_are_answered_and_what_they_changed_is_kept_while_it_is_open() -> None:
    async def body(world: World) -> None:
        socket = await opened(world)
        assert socket.accepted is None
        socket.say("ä", b"\x00\xff", "")
        await socket.hears("ä", b"\x00\xff", "")
        world.crash()
        assert await page(world) == ["ä", "b'\\x00\\xff'", ""]

    run(registry, body)


def test_the_handler_sees_the_close_in_a_turn_of_its_own() -> None:
    async def body(world: World) -> None:
        socket = await opened(world)
        socket.say("a")
        socket.hang_up(4321, "later")
        await world.pass_by(1)
        assert await page(world) == ["a", "closed 4321 later"]
        assert socket.closed is None
        broken = await opened(world)
        broken.hang_up()
        await world.pass_by(1)
        assert (await page(world))[2:] == ["closed 1006"]

    run(registry, body)


def test_a_handler_closes_with_its_code_behind_what_it_sent() -> None:
    async def body(world: World) -> None:
        socket = await opened(world)
        socket.say("close")
        assert await socket.closes() == (4001, "done")
        assert socket.heard == ["bye"]
        await world.pass_by(1)
        assert await page(world) == ["close", "closed 4001 done"]

    run(registry, body)


def test_a_handler_that_returns_closes_with_1000() -> None:
    async def body(world: World) -> None:
        socket = TestSocket()
        task = Front(world, "line").connect(socket, "/quiet")
        assert await socket.closes() == (1000, "")
        await task
        assert len(world.node.raw) == 0

    run(registry, body)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("refuse", "user.refused"),
        ("crash", "internal.internal_error"),
        ("two tasks", "actor.no_turn"),
    ],
)
def test_a_handler_that_raises_closes_with_1011_and_its_turn_is_undone(
    message: str, reason: str
) -> None:
    async def body(world: World) -> None:
        socket = await opened(world)
        socket.say("kept", message)
        if message == "two tasks":
            await world.pass_by(1)
            socket.say("x")
        assert await socket.closes() == (1011, reason)
        assert socket.heard[0] == "kept"
        assert (await page(world))[:1] == ["kept"]
        assert message not in await page(world) or message == "two tasks"

    run(registry, body)


def test_who_may_not_come_in_is_told_why_by_a_close() -> None:
    async def body(world: World) -> None:
        for name, params, reason in (
            ("deaf", None, "handler.websocket_not_defined"),
            ("nap", {"name": "mallory"}, "user.denied"),
            ("absent", None, "actor.name_not_found"),
        ):
            socket = TestSocket()
            task = Front(world, name).connect(socket, params=params)
            assert await socket.closes() == (1011, reason)
            await task
        assert len(world.node.raw) == 0

    run(registry, body)


def test_no_more_sockets_are_open_than_may_be() -> None:
    async def body(world: World) -> None:
        first = await opened(world)
        second = TestSocket()
        Front(world, "line").connect(second, key="b")
        assert await second.closes() == (1011, "server.overloaded")
        first.hang_up()
        await world.pass_by(1)
        await opened(world, key="b")

    run(registry, body, websockets_max=1)


def test_a_subprotocol_of_the_client_is_chosen() -> None:
    async def body(world: World) -> None:
        socket = await opened(world, "/chosen", subprotocols=("one", "two"))
        assert socket.accepted == "two"
        other = TestSocket()
        Front(world, "line").connect(other, "/chosen", subprotocols=("one",))
        assert await other.closes() == (1011, "internal.internal_error")

    run(registry, body)


def test_nothing_leaves_before_the_commit_is_synced() -> None:
    async def body(world: World) -> None:
        socket = await opened(world)
        world.store.fail_next("sync", applied=False)
        socket.say("lost")
        assert await socket.closes() == (1011, "store.commit_unknown")
        assert socket.heard == []
        assert await page(world) == []

    run(registry, body)


def test_any_turn_of_the_actor_sends_and_a_failed_one_sends_nothing() -> None:
    async def body(world: World) -> None:
        sockets = [await opened(world) for _ in range(3)]
        assert await call(world, "tell", "one") == 3
        with pytest.raises(HoldfastError):
            await call(world, "tell", "two", True)
        sockets[0].say("all")
        for socket in sockets[1:]:
            await socket.hears("one", "all of 3")
        await sockets[0].hears("one")
        await call(world, "tell_later", "three")
        stage.let("later")
        for socket in sockets:
            await socket.hears("three")
        await call(world, "hang_up")
        for socket in sockets:
            assert await socket.closes() == (4000, "everybody out")
        await world.pass_by(1)
        assert await call(world, "tell", "four") == 0

    run(registry, body)


def test_the_actor_is_free_while_its_sockets_are_open() -> None:
    async def body(world: World) -> None:
        socket = await opened(world)
        assert await call(world, "tell", "x") == 1
        await socket.hears("x")
        socket.say("pause")
        await stage.reached("pause")
        telling = asyncio.create_task(call(world, "tell", "y"))
        await world.pass_by(1)
        # A message is a turn, and turns of an actor exclude each other.
        assert socket.heard == []
        stage.let("pause")
        await telling
        await socket.hears("y")

    run(registry, body)


def test_a_turn_that_takes_too_long_closes_the_socket_and_a_wait_does_not() -> None:
    async def body(world: World) -> None:
        socket = await opened(world)
        await world.pass_by(600)
        socket.say("pause")
        began = world.loop.time()
        assert await socket.closes() == (1011, "action.timed_out")
        assert world.loop.time() == began + 5
        assert await page(world) == []

    run(registry, body)


def test_a_task_of_the_handler_may_receive_for_it() -> None:
    async def body(world: World) -> None:
        socket = await opened(world)
        socket.say("timed", "in time")
        await socket.hears("in time")
        socket.say("timed")
        await world.pass_by(3)
        assert await socket.closes() == (1011, "internal.internal_error")

    run(registry, body)


def test_a_client_that_does_not_read_gets_no_answers_and_is_not_read() -> None:
    async def body(world: World) -> None:
        socket = await opened(world)
        socket.open.clear()
        socket.say(*(f"{number:0100}" for number in range(40)))
        await world.pass_by(1)
        # 500 bytes of answers and 500 of messages wait here, the rest with the client.
        assert socket.reads < 15
        assert len(await page(world)) < 8
        # The actor is free meanwhile.
        socket.open.set()
        await world.pass_by(1)
        assert len(socket.heard) == 40
        assert socket.closed is None

    run(
        registry,
        body,
        websocket_send_bytes_max=500,
        websocket_receive_bytes_max=500,
        websocket_stall_s=30.0,
    )


def test_a_client_that_reads_too_slowly_for_what_others_send_is_closed_with_1013() -> None:
    async def body(world: World) -> None:
        slow, quick = await opened(world), await opened(world)
        slow.open.clear()
        for _ in range(12):
            await call(world, "tell", "x" * 100)
            await world.pass_by(0.1)
        assert await slow.closes() == (1013, "websocket.too_slow")
        assert len(quick.heard) == 12
        assert await call(world, "tell", "y") == 1

    run(registry, body, websocket_send_bytes_max=500)


def test_a_client_that_takes_nothing_for_too_long_is_closed_with_1013() -> None:
    async def body(world: World) -> None:
        socket = await opened(world)
        socket.open.clear()
        socket.say("x")
        began = world.loop.time()
        assert await socket.closes() == (1013, "websocket.too_slow")
        assert world.loop.time() == began + 10

    run(registry, body, websocket_stall_s=10.0)


def test_messages_have_a_limit_in_both_directions() -> None:
    async def body(world: World) -> None:
        socket = await opened(world)
        socket.say("ä" * 501)
        assert await socket.closes() == (1009, "message.incoming_too_long")
        other = await opened(world)
        other.say("large")
        assert await other.closes() == (1011, "message.outgoing_too_long")

    run(registry, body, websocket_message_bytes_max=1001)


def test_a_handler_sends_more_than_a_turn_may_by_draining() -> None:
    async def body(world: World) -> None:
        socket = await opened(world)
        socket.say("many")
        await socket.hears(*[b"x" * 400] * 5)
        assert socket.closed is None

    run(registry, body, turn_bytes_max=1000, websocket_send_bytes_max=500)


def test_the_end_of_its_own_socket_is_no_failure_of_a_handler() -> None:
    async def body(world: World) -> None:
        socket = TestSocket()
        Front(world, "raising").connect(socket)
        socket.say("a")
        socket.hang_up(1001, "tab closed")
        await world.pass_by(1)
        assert await page(world, "raising") == ["a", "1001 tab closed"]

    run(registry, body)


def test_a_front_that_ends_is_a_connection_that_broke() -> None:
    async def body(world: World) -> None:
        socket = TestSocket()
        task = Front(world, "line").connect(socket)
        await socket.hears("hello")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await world.pass_by(1)
        assert await page(world) == ["closed 1006"]
        assert len(world.node.raw) == 0

    run(registry, body)


def test_a_client_that_goes_while_its_message_is_handled_does_not_undo_it() -> None:
    async def body(world: World) -> None:
        socket = await opened(world)
        socket.say("pause")
        await stage.reached("pause")
        socket.hang_up()
        await world.pass_by(1)
        stage.let("pause")
        await world.pass_by(1)
        assert await page(world) == ["pause", "closed 1006"]

    run(registry, body)


def test_an_open_socket_keeps_its_actor_awake_and_a_sleep_closes_it() -> None:
    async def body(world: World) -> None:
        socket = await opened(world)
        await world.pass_by(600)
        assert await call(world, "tell", "still here") == 1
        await socket.hears("still here")
        await call(world, "rest")
        assert await socket.closes() == (1001, "websocket.going_away")
        await world.pass_by(1)
        assert await page(world) == ["closed 1001 websocket.going_away"]

    run(registry, body)


def test_a_destroy_closes_sockets_once_it_is_durable() -> None:
    async def body(world: World) -> None:
        socket = await opened(world)
        await call(world, "end")
        assert await socket.closes() == (1011, "actor.destroyed")
        assert await page(world) == []

    run(registry, body)


def test_a_drain_closes_sockets_with_1001_and_takes_no_new_one() -> None:
    async def body(world: World) -> None:
        socket = await opened(world)
        drain = asyncio.create_task(world.node.drain())
        assert await socket.closes() == (1001, "websocket.going_away")
        late = TestSocket()
        Front(world, "line").connect(late)
        assert await late.closes() == (1001, "websocket.going_away")
        await drain

    run(registry, body)
