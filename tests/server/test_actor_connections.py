"""Actors that connect to other actors: in a turn, beside turns, until they leave memory."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from holdfast import ActorError, Client
from holdfast_server.app import Server
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Start
from tests.server.live_actors import Salon
from tests.server.probe import activation_of, until
from tests.server.restartable import server_process
from tests.server.stage import Stage
from tests.server.visitor_actors import Doorman, Watcher, registry

VISITORS = "tests.server.visitor_actors:registry"


@pytest.fixture
async def server(start: Start, stage: Stage, request: pytest.FixtureRequest) -> Server:
    settings = getattr(request, "param", {})
    return (await start(registry, store=MemoryStore(), **settings))[0]


@pytest.fixture
async def client(server: Server) -> Any:
    async with Client(f"127.0.0.1:{server.port}") as client:
        yield client


async def lines_of(client: Client, key: str = "a") -> list[str]:
    return await client.get_or_create(Salon, [key]).lines()


async def test_an_actor_connects_in_a_turn(client: Client) -> None:
    watcher = client.get_or_create(Watcher, ["a"])
    assert await watcher.visit("ada", "one", "two") == [
        *("welcome ada", "joined ada", 1, "one", 2, "two", "ada0", "ada1", "closed")
    ]
    lines = await lines_of(client)
    while "-ada" not in lines:
        lines = await lines_of(client)
    assert lines == ["+ada", "one", "two", "-ada"]


async def test_an_actor_is_connected_while_it_is_awake(
    server: Server, client: Client, stage: Stage
) -> None:
    watcher = client.get_or_create(Watcher, ["a", "watches"])
    salon = client.get_or_create(Salon, ["a"])
    await watcher.entries()
    await stage.reached("watching")
    async with salon.connect({"name": "ada"}) as ada:
        await ada.say("hello")
        assert await ada.whisper("watcher", "psst") == 1
        while "hello" not in await watcher.entries():
            pass
        assert await watcher.entries() == ["watching", "hello"]
        await until(lambda: "whispered psst" in stage.log)

        # It sleeps: the connection ends, and the run handler with it.
        await watcher.nap()
        await until(lambda: activation_of(server, "watcher", "a", "watches") is None)
        assert "left" in stage.log
        while "-watcher" not in await salon.lines():
            pass
        await ada.say("missed")

        # And wakes.
        stage.clear()
        await watcher.entries()
        await stage.reached("watching")
        await ada.say("heard")
        while "heard" not in await watcher.entries():
            pass
        assert await watcher.entries() == ["watching", "hello", "watching", "heard"]


async def test_a_connection_ends_with_the_activation_that_nobody_closed_it_in(
    server: Server, client: Client
) -> None:
    watcher = client.get_or_create(Watcher, ["a"])
    assert await watcher.hold(3) == 3
    assert (await lines_of(client)) == ["+v0", "+v1", "+v2"]
    await watcher.nap()
    while len(await lines_of(client)) < 6:
        pass
    assert sorted((await lines_of(client))[3:]) == ["-v0", "-v1", "-v2"]
    assert len(server.node.links) == 0


async def test_a_destroyed_actor_leaves(client: Client) -> None:
    watcher = client.get_or_create(Watcher, ["a"])
    assert await watcher.hold(1) == 1
    await client.destroy(Watcher, ["a"])
    while "-v0" not in await lines_of(client):
        pass


async def test_an_actor_that_is_not_let_in_or_sent_away_is_told(client: Client) -> None:
    watcher = client.get_or_create(Watcher, ["a"])
    assert await watcher.refused() == "user.forbidden"
    assert await watcher.outlast() == "['here', 'the connection is closed', 'destroyed']"


@pytest.mark.parametrize("how", ["ready", "leave"])
@pytest.mark.parametrize("kind", [Watcher, Doorman])
async def test_an_actor_that_connects_to_itself_in_a_turn_is_refused_at_once(
    client: Client, kind: type[Watcher], how: str
) -> None:
    watcher = client.get_or_create(kind, ["a"])
    with pytest.raises(ActorError) as caught:
        await watcher.meet_itself(how)
    assert caught.value.reason == "CALL_CYCLE"
    assert client.name_of(kind) in caught.value.message
    assert "connected" not in (await watcher.entries())[:-2]


@pytest.mark.parametrize("kind", [Watcher, Doorman])
async def test_a_circle_through_a_connection_is_found(client: Client, kind: type[Watcher]) -> None:
    first = client.get_or_create(kind, ["first"])
    with pytest.raises(ActorError) as caught:
        await first.meet_through("second")
    assert caught.value.reason == "CALL_CYCLE"
    for name in ("first", "second"):
        assert name in caught.value.message
    assert await first.connect_to(["second"]) == "done"


async def test_events_are_read_and_heard_without_a_connection(
    server: Server, client: Client, stage: Stage
) -> None:
    watcher = client.get_or_create(Watcher, ["a"])
    salon = client.get_or_create(Salon, ["a"])
    for number in range(3):
        await salon.emit("x", number)
    assert await watcher.read(3, 1) == [["x", 1], ["x", 2], ["x", 3]]
    await watcher.listen("line")
    async with salon.connect({"name": "ada"}) as ada:
        while not stage.log:
            await ada.say("hello")
        await watcher.nap()
        await until(lambda: activation_of(server, "watcher", "a") is None)
        heard = list(stage.log)
        await ada.say("to nobody")
        assert "to nobody" not in stage.log
        assert stage.log == heard


@pytest.mark.parametrize("server", [{"events_max": 64}], indirect=True)
async def test_a_gap_is_told_to_an_actor_too(client: Client) -> None:
    salon = client.get_or_create(Salon, ["a"])
    await salon.emit_many("x", 200, 1)
    with pytest.raises(ActorError) as caught:
        await client.get_or_create(Watcher, ["a"]).read(1, 1)
    # EventsTrimmed is no business of the caller.
    assert caught.value.code == "internal_error"


@pytest.mark.parametrize("server", [{"background_tasks_max": 3}], indirect=True)
async def test_how_many_an_actor_holds_is_bounded(client: Client) -> None:
    watcher = client.get_or_create(Watcher, ["a"])
    with pytest.raises(ActorError) as caught:
        await watcher.hold(4)
    assert caught.value.code == "internal_error"
    assert await lines_of(client) == ["+v0", "+v1", "+v2"]


@pytest.mark.parametrize("what", ["connect", "events"])
async def test_a_thread_is_told_the_remedy(
    client: Client, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ActorError):
        await client.get_or_create(Watcher, ["a"]).from_thread(what)
    assert "use c.wait" in caplog.text


async def test_actors_that_are_connected_do_not_hold_up_a_drain(
    server: Server, client: Client, stage: Stage
) -> None:
    await client.get_or_create(Watcher, ["a", "watches"]).entries()
    await client.get_or_create(Watcher, ["a"]).hold(2)
    await stage.reached("watching")
    await asyncio.wait_for(server.stop(), 5)
    assert "left" in stage.log


async def test_what_a_kill_leaves_is_ended_once(tmp_path: Path) -> None:
    flags = ("--connection-grace-s", "0.3")
    async with (
        server_process(VISITORS, tmp_path / "data", *flags) as server,
        Client(server.address) as client,
    ):
        await client.get_or_create(Watcher, ["a", "watches"]).entries()
        while "watching" not in await lines_of(client):
            pass
        await server.kill()
        await server.start()
        while "-watcher" not in (lines := await lines_of(client)):
            pass
        # The salon's end of it; the watcher is back when something wakes it.
        assert lines == ["+watcher", "watching", "-watcher"]
        await client.get(Watcher, ["a", "watches"]).entries()
        while (await lines_of(client)).count("watching") < 2:
            pass
        assert await lines_of(client) == [*lines, "+watcher", "watching"]
