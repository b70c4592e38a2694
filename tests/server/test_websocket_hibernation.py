"""Raw WebSockets that stay open while their actor sleeps."""

from __future__ import annotations

import asyncio

import pytest

from tests.server.raw_front import Front, TestSocket
from tests.server.socket_actors import registry
from tests.server.stage import stage
from tests.server.virtual import World, run


@pytest.fixture(autouse=True)
def quiet() -> None:
    stage.clear()


async def page(world: World) -> list[str]:
    found: list[str] = await world.call("page", name="nap")
    return found


async def call(world: World, action: str, *args: object) -> object:
    return await world.call(action, *args, name="nap")


async def opened(world: World, name: str) -> TestSocket:
    socket = TestSocket()
    Front(world, "nap").connect(socket, params={"name": name})
    await socket.hears(f"hello {name}")
    return socket


def awake(world: World) -> bool:
    return len(world.node.catalog) > 0


def test_the_actor_sleeps_with_its_sockets_open_and_a_message_wakes_it() -> None:
    async def body(world: World) -> None:
        socket = await opened(world, "ada")
        socket.say("one")
        await socket.hears("ada 1 one")
        await world.pass_by(60)
        assert not awake(world)
        # Its `finally` ran, but no code after the loop.
        assert stage.log == ["finally"]
        assert socket.closed is None
        socket.say("two", b"three")
        # The connection's state is what it was; no second hello, no second on_connect.
        await socket.hears("ada 2 two", "ada 3 b'three'")
        assert await page(world) == [
            "wake", "+ada", "ada one", "sleep", "wake", "ada two", "ada b'three'",
        ]  # fmt: skip
        for _ in range(3):
            await world.pass_by(60)
            assert not awake(world)
            socket.say("again")
            await world.pass_by(1)
        assert len(socket.heard) == 3

    run(registry, body)


def test_a_close_wakes_the_actor_whose_handler_sees_it() -> None:
    async def body(world: World) -> None:
        socket = await opened(world, "ada")
        await world.pass_by(60)
        socket.hang_up(4000, "enough")
        await world.pass_by(1)
        assert await page(world) == ["wake", "+ada", "sleep", "wake", "ada closed 4000", "-ada"]
        assert len(world.node.raw) == 0

    run(registry, body)


def test_a_woken_actor_reaches_the_sockets_that_still_sleep() -> None:
    async def body(world: World) -> None:
        ada, bob = await opened(world, "ada"), await opened(world, "bob")
        await world.pass_by(60)
        assert not awake(world)
        assert await call(world, "tell", "news") == ["ada", "bob"]
        await ada.hears("news")
        await bob.hears("news")
        ada.say("x")
        await ada.hears("ada 1 x")
        assert await call(world, "tell", "more") == ["ada", "bob"]
        await bob.hears("more")

    run(registry, body)


def test_what_comes_while_it_goes_to_sleep_is_handled_after_it() -> None:
    async def body(world: World) -> None:
        socket = await opened(world, "ada")
        waiting = asyncio.create_task(call(world, "wait"))
        await stage.reached("wait")
        resting = asyncio.create_task(call(world, "rest"))
        await world.pass_by(1)
        socket.say("one", "two")
        stage.let("wait")
        await asyncio.gather(waiting, resting)
        await socket.hears("ada 1 one", "ada 2 two")
        assert (await page(world)).count("ada one") == 1

    run(registry, body)


def test_a_message_in_hand_is_finished_before_the_sleep() -> None:
    async def body(world: World) -> None:
        socket = await opened(world, "ada")
        socket.say("pause")
        await stage.reached("pause")
        resting = asyncio.create_task(call(world, "rest"))
        await world.pass_by(1)
        socket.say("next")
        stage.let("pause")
        await resting
        await socket.hears("ada 1 pause", "ada 2 next")
        log = await page(world)
        assert [line for line in log if line.startswith("ada")] == ["ada pause", "ada next"]

    run(registry, body)


def test_a_failed_store_loses_no_message_of_a_hibernating_socket() -> None:
    async def body(world: World) -> None:
        socket = await opened(world, "ada")
        world.store.fail_next("sync", applied=False)
        socket.say("one", "two")
        await socket.hears("ada 1 one", "ada 2 two")
        assert socket.closed is None
        assert [line for line in await page(world) if line.startswith("ada")] == [
            "ada one",
            "ada two",
        ]

    run(registry, body)


def test_a_store_that_stays_away_closes_the_socket_that_cannot_wake_its_actor() -> None:
    async def body(world: World) -> None:
        socket = await opened(world, "ada")
        await world.pass_by(60)
        world.store.broken = True
        socket.say("one")
        await world.pass_by(5)
        # It waits with its message for the store, until there is more to do.
        assert socket.closed is None
        socket.say("two")
        assert await socket.closes() == (1011, "store.unavailable")
        world.store.broken = False
        await world.pass_by(5)
        assert "ada one" not in await page(world)

    run(registry, body)


def test_a_handler_that_raises_closes_a_hibernating_socket_too() -> None:
    async def body(world: World) -> None:
        socket = await opened(world, "ada")
        await world.pass_by(60)
        socket.say("crash")
        assert await socket.closes() == (1011, "internal.internal_error")
        await world.pass_by(1)
        assert (await page(world))[-1] == "-ada"

    run(registry, body)


def test_a_destroy_and_a_drain_close_the_sockets_that_sleep() -> None:
    async def body(world: World) -> None:
        ada = await opened(world, "ada")
        await world.pass_by(60)
        await call(world, "end")
        assert await ada.closes() == (1011, "actor.destroyed")
        bob = await opened(world, "bob")
        await world.pass_by(60)
        assert not awake(world)
        await world.node.drain()
        assert await bob.closes() == (1001, "websocket.going_away")

    run(registry, body)
