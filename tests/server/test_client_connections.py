"""A client's connections to a real server: the face, refusals, cuts, kills, many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast import ActorError, Client, HoldfastError, blocking
from holdfast.actor_connection import ActorConnection
from holdfast_server.app import Server
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Start
from tests.server.cutting import Proxy, proxied
from tests.server.live_actors import Line, Salon, registry
from tests.server.probe import sessions_of, until
from tests.server.restartable import server_process

SALONS = "tests.server.live_actors:registry"


class Diary:
    """What a connection tells its callbacks, in order."""

    def __init__(self, connection: ActorConnection[Any]) -> None:
        self.said: list[str] = []
        self.errors: list[Exception] = []
        connection.on_status_change(self.said.append)
        connection.on_open(lambda: self.said.append("OPEN"))
        connection.on_close(lambda: self.said.append("CLOSE"))
        connection.on_error(self._error)

    def _error(self, error: Exception) -> None:
        self.said.append("ERROR")
        self.errors.append(error)


@pytest.fixture
async def server(start: Start, request: pytest.FixtureRequest) -> Server:
    settings = getattr(request, "param", {})
    return (await start(registry, store=MemoryStore(), **settings))[0]


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with Client(f"127.0.0.1:{server.port}") as client:
        yield client


@asynccontextmanager
async def behind_proxy(server: Server) -> AsyncIterator[tuple[Proxy, Client]]:
    """A client whose stream the test cuts."""
    async with (
        proxied(f"127.0.0.1:{server.port}") as proxy,
        Client(proxy.address, timeout=None) as client,
    ):
        yield proxy, client


async def soon(condition: Any) -> None:
    """The condition holds, of another process too; the test's own timeout ends the wait."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


# The face


async def test_a_guest_hears_speaks_and_leaves(client: Client) -> None:
    salon = client.get_or_create(Salon, ["a"])
    heard: list[Any] = []
    connection = salon.connect(params={"name": "ada"})
    diary = Diary(connection)
    assert (connection.status, connection.connection_id, connection.actor_id) == (
        "idle",
        None,
        None,
    )
    # Part of the opening: they hear what on_connect says.
    connection.on("welcome", lambda name: heard.append(("welcome", name)))
    connection.on("joined", lambda name: heard.append(("joined", name)))
    connection.once("line", lambda line: heard.append(("once", line.text)))
    async with connection as conn:
        remove = conn.on("line", lambda line: heard.append(line))
        events = conn.events("line", "joined", from_sequence=1)
        assert await conn.say("one") == 1
        assert await conn.say("two") == 2
        remove()
        assert await conn.say("three") == 3
        assert await conn.whisper("ada", "psst") == 1
        conn.on("whisper", heard.append)
        assert await conn.whisper("ada", "psst!") == 1
        assert [item async for item in conn.count(3)] == ["ada0", "ada1", "ada2"]
        assert await conn.with_options(timeout=5.0, idempotency_key="k").say("four") == 4
        assert await conn.with_options(idempotency_key="k").say("four") == 4
        assert await conn.action("say", "five") == 5
        found = [await anext(events) for _ in range(6)]
        assert connection.actor_id == await salon.resolve()
        assert (found[0].name, found[0].args) == ("joined", ("ada",))
        assert [event.args[0] for event in found[1:]] == [
            Line(number + 2, "ada", text)
            for number, text in enumerate(["one", "two", "three", "four", "five"])
        ]
    assert heard == [
        ("welcome", "ada"),
        ("joined", "ada"),
        ("once", "one"),
        Line(2, "ada", "one"),
        Line(3, "ada", "two"),
        "psst!",
    ]
    assert diary.said == ["connecting", "connected", "OPEN", "closed", "CLOSE"]
    assert await salon.lines() == ["+ada", "one", "two", "three", "four", "five", "-ada"]
    with pytest.raises(HoldfastError, match="the connection is closed"):
        await conn.say("late")
    with pytest.raises(StopAsyncIteration):
        await anext(events)


async def test_a_rejected_guest_is_told_why_and_leaves_no_trace(client: Client) -> None:
    salon = client.get_or_create(Salon, ["a"])
    connection = salon.connect({"name": "eve"})
    diary = Diary(connection)
    heard: list[str] = []
    connection.on("joined", heard.append)
    with pytest.raises(ActorError) as caught:
        async with connection as conn:
            await conn.say("let me in")
    assert (caught.value.group, caught.value.code) == ("user", "forbidden")
    assert caught.value.metadata == {"name": "eve"}
    assert diary.said == ["connecting", "closed", "ERROR", "CLOSE"]
    with pytest.raises(ActorError, match="not you"):
        async with salon.connect({"name": "eve"}):
            pass
    assert await salon.lines() == []
    assert heard == []


async def test_a_guest_who_is_sent_away(client: Client) -> None:
    salon = client.get_or_create(Salon, ["a"])
    connection = salon.connect({"name": "ada"})
    diary = Diary(connection)
    async with connection as conn:
        events = conn.events("line", from_sequence=1)
        await conn.say("last words")
        await salon.dismiss("ada", "enough")
        assert (await anext(events)).args[0].text == "last words"
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        with pytest.raises(HoldfastError, match="the connection is closed"):
            await conn.say("wait")
    assert diary.said == ["connecting", "connected", "OPEN", "closed", "CLOSE"]


async def test_what_an_actor_refuses_on_a_connection_is_an_actor_error(client: Client) -> None:
    async with client.get_or_create(Salon, ["a"]).connect({"name": "ada"}) as conn:
        untyped: Any = conn
        with pytest.raises(ActorError) as caught:
            await untyped.action("absent")
        assert caught.value.reason == "ACTION_NOT_FOUND"
        with pytest.raises(ActorError) as caught:
            await untyped.say(1)
        assert caught.value.metadata == {"argument": "text"}
        assert await conn.say("still here") == 1


async def test_hundreds_of_connections_share_one_stream(server: Server, client: Client) -> None:
    async with AsyncExitStack() as stack:
        conns = [
            await stack.enter_async_context(
                client.get_or_create(Salon, [str(number)]).connect({"name": f"guest{number}"})
            )
            for number in range(200)
        ]
        heard: list[str] = []
        for conn in conns:
            conn.on("line", lambda line: heard.append(line.guest))
        assert await asyncio.gather(*(conn.say("hello") for conn in conns)) == [1] * 200
        assert len(sessions_of(server)) == 1
        assert sorted(heard) == sorted(f"guest{number}" for number in range(200))
    assert await client.get(Salon, ["7"]).lines() == ["+guest7", "hello", "-guest7"]


# Through faults


async def test_a_connection_goes_on_after_a_cut(server: Server, client: Client) -> None:
    salon = client.get_or_create(Salon, ["a"])
    heard: list[str] = []
    whispered: list[str] = []
    async with behind_proxy(server) as (proxy, away):
        connection = away.get_or_create(Salon, ["a"]).connect({"name": "ada"})
        diary = Diary(connection)
        connection.on("line", lambda line: heard.append(line.text))
        connection.on("whisper", whispered.append)
        async with connection as conn:
            await conn.say("before")
            first = connection.connection_id
            for number in range(3):
                proxy.closed = True
                proxy.cut()
                await until(lambda: connection.status == "disconnected")
                async with salon.connect({"name": f"bob{number}"}) as bob:
                    await bob.say(f"away {number}")
                    assert await bob.whisper("ada", f"psst {number}") == 1
                # It waits for the connection.
                waiting = asyncio.create_task(conn.say(f"sent while away {number}"))
                await asyncio.sleep(0)
                proxy.closed = False
                assert await waiting == number + 2
            assert connection.connection_id == first
        lines = await salon.lines()
    assert diary.said == [
        *("connecting", "connected", "OPEN"),
        *("disconnected", "connected") * 3,
        *("closed", "CLOSE"),
    ]
    assert [line for line in lines if "ada" in line] == ["+ada", "-ada"]
    assert heard == [line for line in lines if line[0] not in "+-"]
    assert whispered == ["psst 0", "psst 1", "psst 2"]


@pytest.mark.parametrize("server", [{"connection_grace_s": 0.05}], indirect=True)
async def test_after_its_grace_a_connection_is_opened_anew(server: Server, client: Client) -> None:
    salon = client.get_or_create(Salon, ["a"])
    heard: list[str] = []
    asked: list[str] = []

    async def params() -> dict[str, str]:
        asked.append(f"ada{len(asked) + 1}")
        return {"name": asked[-1]}

    async with behind_proxy(server) as (proxy, away):
        connection = away.get_or_create(Salon, ["a"]).connect(params)
        diary = Diary(connection)
        connection.on("line", lambda line: heard.append(line.text))
        async with connection as conn:
            await conn.say("before")
            first = connection.connection_id
            events = conn.events("line", "joined", "left")
            assert await conn.say("subscribed") == 2
            proxy.closed = True
            proxy.cut()
            while "-ada1" not in await salon.lines():  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            async with salon.connect({"name": "bob"}) as bob:
                await bob.say("meanwhile")
            proxy.closed = False
            # It is another connection, whose state is new.
            assert await conn.say("after") == 1
            assert connection.connection_id != first
            texts = [
                (e.name, getattr(e.args[0], "text", e.args[0]))
                for e in [await anext(events) for _ in range(7)]
            ]
    assert diary.said == [
        *("connecting", "connected", "OPEN", "disconnected", "connecting", "connected", "OPEN"),
        *("closed", "CLOSE"),
    ]
    assert asked == ["ada1", "ada2"]
    assert heard == ["before", "subscribed", "meanwhile", "after"]
    assert texts == [
        ("line", "subscribed"),
        ("left", "ada1"),
        ("joined", "bob"),
        ("line", "meanwhile"),
        ("left", "bob"),
        ("joined", "ada2"),
        ("line", "after"),
    ]


async def test_a_connection_survives_the_death_of_its_server(tmp_path: Path) -> None:
    async with (
        server_process(SALONS, tmp_path / "data") as server,
        Client(server.address, timeout=None) as client,
    ):
        salon = client.get_or_create(Salon, ["a"])
        heard: list[str] = []
        whispered: list[str] = []
        connection = salon.connect({"name": "ada"})
        diary = Diary(connection)
        connection.on("line", lambda line: heard.append(line.text))
        connection.on("whisper", whispered.append)
        async with connection as conn:
            assert await conn.say("before") == 1
            await conn.whisper("ada", "psst")
            first = connection.connection_id
            await server.kill()
            await soon(lambda: connection.status == "disconnected")
            waiting = [asyncio.create_task(conn.say(f"away {number}")) for number in range(20)]
            await server.start()
            # Its state was kept, and each call took effect once.
            assert sorted(await asyncio.gather(*waiting)) == list(range(2, 22))
            await conn.whisper("ada", "psst again")
            assert connection.connection_id == first
            await soon(lambda: len(heard) == 21 and len(whispered) == 2)
        lines = await salon.lines()
    assert diary.said == [
        *("connecting", "connected", "OPEN", "disconnected", "connected"),
        *("closed", "CLOSE"),
    ]
    assert lines == ["+ada", *heard, "-ada"]
    assert sorted(heard[1:]) == sorted(f"away {number}" for number in range(20))
    assert whispered == ["psst", "psst again"]


# Without an event loop


async def test_the_blocking_twin(tmp_path: Path) -> None:
    async with server_process(SALONS, tmp_path / "data") as server:
        loop = asyncio.get_running_loop()

        def kill() -> None:
            asyncio.run_coroutine_threadsafe(server.kill(), loop).result()
            asyncio.run_coroutine_threadsafe(server.start(), loop).result()

        def body() -> None:
            with blocking.Client(server.address, timeout=None) as client:
                salon = client.get_or_create(Salon, ["a"])
                heard: list[Any] = []
                said: list[str] = []
                connection = salon.connect({"name": "ada"})
                connection.on_status_change(said.append)
                connection.on_open(lambda: said.append("OPEN"))
                connection.on_close(lambda: said.append("CLOSE"))
                connection.on("welcome", heard.append)
                with connection as conn:
                    conn.once("line", lambda line: heard.append(line.text))
                    # A listener may use the client: it is on a thread of its own.
                    conn.on("line", lambda line: heard.append(len(salon.call(Salon.lines))))
                    events = conn.events("line")
                    assert conn.call(Salon.say, "one") == 1
                    assert conn.say("two") == 2
                    first = connection.connection_id
                    kill()
                    assert conn.say("three") == 3
                    assert connection.connection_id == first
                    assert [next(events).args[0].text for _ in range(3)] == ["one", "two", "three"]
                    assert list(conn.call(Salon.count, 2)) == ["ada0", "ada1"]
                assert heard[:2] == ["ada", "one"]
                assert [status for status in said if status != "disconnected"] == [
                    *("connecting", "connected", "OPEN", "connected", "closed", "CLOSE")
                ]
                with pytest.raises(HoldfastError, match="the connection is closed"):
                    conn.say("late")
                with pytest.raises(ActorError, match="not you"), salon.connect({"name": "eve"}):
                    pass
                assert salon.call(Salon.lines) == ["+ada", "one", "two", "three", "-ada"]

        await asyncio.to_thread(body)
