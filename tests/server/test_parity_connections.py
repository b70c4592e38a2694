"""What the driver suite of RivetKit asks of connections; see tests/PARITY.md."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfast import Actor, Connection, Context, UserError, action, setup
from holdfast_server.app import Server
from tests.server.conftest import Start
from tests.server.outcomes import code_of, refused
from tests.server.probe import until
from tests.server.sleepers import asleep, until_calls_wait
from tests.server.stage import Stage, stage, tasks

LIMIT = 100_000


@dataclass
class Log:
    lines: list[str] = field(default_factory=list)


@dataclass
class Guest:
    name: str
    visits: int = 0


class Lounge(Actor[Log, Guest]):
    """Tells what its connections do, to them and to the stage."""

    state = Log

    async def on_wake(self, c: Context[Log, Guest]) -> None:
        stage.log.append("wake")

    async def on_before_connect(self, c: Context[Log, Guest], params: dict[str, Any]) -> None:
        stage.log.append(f"before {params.get('name')}")
        if params.get("fail"):
            raise ValueError("mine")

    async def create_conn_state(self, c: Context[Log, Guest], params: dict[str, Any]) -> Guest:
        if params.get("refuse"):
            raise UserError("not you", code="refused", metadata={"hint": ["ask"]})
        return Guest(params.get("name", "nobody"))

    async def on_connect(self, c: Context[Log, Guest], conn: Connection[Guest]) -> None:
        stage.log.append(f"connect {conn.state.name}")
        conn.send("hello", conn.id)
        c.broadcast("joined", conn.state.name)

    async def on_disconnect(self, c: Context[Log, Guest], conn: Connection[Guest]) -> None:
        stage.log.append(f"disconnect {conn.state.name}")
        c.broadcast("left", conn.state.name)

    async def on_sleep(self, c: Context[Log, Guest]) -> None:
        stage.log.append("sleep")
        stage.mark("sleeping")
        if stage.kept.get("slowly"):
            await stage.pause("asleep")

    def on_state_change(self, c: Context[Log, Guest], state: Log) -> None:
        stage.log.append("changed")

    async def on_destroy(self, c: Context[Log, Guest]) -> None:
        stage.log.append("destroy")

    @action
    async def say(self, c: Context[Log, Guest], text: str) -> int:
        c.state.lines.append(text)
        c.broadcast("said", text)
        return len(c.state.lines)

    @action
    async def who(self, c: Context[Log, Guest]) -> list[Any]:
        c.conn.state.visits += 1
        return [c.conn.id, c.conn.params, c.conn.state.name, c.conn.state.visits]

    @action
    async def look(self, c: Context[Log, Guest]) -> int:
        return len(c.conns)

    @action
    async def take(self, c: Context[Log, Guest], text: str) -> int:
        return len(text)

    @action
    async def give(self, c: Context[Log, Guest], length: int) -> str:
        return "x" * length

    @action
    async def refuse(self, c: Context[Log, Guest]) -> None:
        raise UserError("no", code="no", metadata={"at": {"most": 3}})

    @action
    async def doze(self, c: Context[Log, Guest]) -> None:
        c.sleep()

    @action
    async def finish(self, c: Context[Log, Guest]) -> str:
        c.destroy()
        return "bye"


registry = setup(use={"lounge": Lounge})


@pytest.fixture
async def server_and_client(start: Start, stage: Stage) -> tuple[Server, Any]:
    return await start(registry, payload_bytes_max=LIMIT)


@pytest.fixture
async def client(server_and_client: tuple[Server, Any]) -> Any:
    return server_and_client[1]


async def test_every_way_to_a_handle_connects_to_the_same_actor(client: Any, stage: Stage) -> None:
    made = await client.create(Lounge, ["a"])
    actor_id = await made.resolve()
    handles = [
        client.get(Lounge, ["a"]),
        client.get_for_id(Lounge, actor_id),
        client.get_or_create(Lounge, ["a"]),
        made,
    ]
    said: list[str] = []
    async with AsyncExitStack() as entered:
        connections = []
        for handle in handles:
            connection = handle.connect()
            assert (connection.status, connection.actor_id) == ("idle", None)
            conn = await entered.enter_async_context(connection)
            conn.on("said", said.append)
            assert connection.status == "connecting"
            await connection.ready()
            assert (connection.status, connection.actor_id) == ("connected", actor_id)
            connections.append(conn)

        # Results and events come on the same connection, and each hears each event.
        assert [await conn.say("x") for conn in connections] == [1, 2, 3, 4]
        await until(lambda: len(said) == 16)
        assert len({(await conn.who())[0] for conn in connections}) == 4
    assert [connection.status for connection in connections] == ["closed"] * 4


async def test_each_hook_runs_once_for_a_connection(client: Any, stage: Stage) -> None:
    await client.create(Lounge, ["a"])
    assert stage.log == ["wake", "changed"]
    async with client.get(Lounge, ["a"]).connect({"name": "ada"}) as ada:
        await ada.look()
        await ada.look()
    await until(lambda: "disconnect ada" in stage.log)

    assert stage.log[2:] == ["before ada", "connect ada", "disconnect ada"]


async def test_a_connection_that_changes_nothing_tells_nobody_of_a_change(
    client: Any, stage: Stage
) -> None:
    await client.create(Lounge, ["a"])
    stage.log.clear()
    async with client.get(Lounge, ["a"]).connect() as conn:
        await conn.look()
    await until(lambda: "disconnect nobody" in stage.log)
    assert "changed" not in stage.log

    async with client.get(Lounge, ["a"]).connect() as conn:
        await conn.say("x")
    assert stage.log.count("changed") == 1


async def test_what_on_connect_says_is_heard_by_listeners_of_the_first_moment(
    client: Any, stage: Stage
) -> None:
    heard: list[Any] = []
    async with client.get_or_create(Lounge, ["a"]).connect({"name": "ada"}) as conn:
        conn.on("hello", heard.append)
        conn.on("joined", heard.append)
        me = (await conn.who())[0]
        await until(lambda: len(heard) == 2)

    assert sorted(heard) == sorted([me, "ada"])


async def test_each_connection_has_its_own_params_and_state(client: Any, stage: Stage) -> None:
    lounge = client.get_or_create(Lounge, ["a"], params={"name": "of the handle"})
    async with (
        lounge.connect({"name": "ada"}) as ada,
        lounge.connect({"name": "bob"}) as bob,
        lounge.connect() as other,
    ):
        for visits in (1, 2):
            assert (await ada.who())[1:] == [{"name": "ada"}, "ada", visits]
        assert (await bob.who())[1:] == [{"name": "bob"}, "bob", 1]
        assert (await other.who())[1:] == [{"name": "of the handle"}, "of the handle", 1]


async def test_params_of_a_function_are_asked_for_until_it_gives_them(
    client: Any, stage: Stage
) -> None:
    asked: list[int] = []
    errors: list[Exception] = []

    async def params() -> dict[str, str]:
        asked.append(1)
        if len(asked) in (1, 2):
            raise RuntimeError("no token")
        return {"name": f"of call {len(asked)}"}

    connection = client.get_or_create(Lounge, ["a"]).connect(params)
    connection.on_error(errors.append)
    async with connection as conn:
        assert (await conn.who())[2] == "of call 3"
    async with client.get(Lounge, ["a"]).connect(params) as conn:
        assert (await conn.who())[2] == "of call 4"

    # However often it fails, the client is told once.
    assert [str(error) for error in errors] == ["no token"]


async def test_hooks_of_the_client_are_all_called_and_can_be_removed(
    client: Any, stage: Stage
) -> None:
    said: list[str] = []
    connection = client.get_or_create(Lounge, ["a"]).connect()
    removed = []
    for hook in ("on_open", "on_close"):
        for name in ("first", "removed", "second"):
            remove = getattr(connection, hook)(lambda said_=f"{hook} {name}": said.append(said_))
            if name == "removed":
                removed.append(remove)
    statuses: list[str] = []
    of_all: list[str] = []
    connection.on_status_change(of_all.append)
    removed.append(connection.on_status_change(statuses.append))
    async with connection as conn:
        removed[0]()
        await conn.look()
        assert connection.status == "connected"
        removed[1]()
        removed[2]()

    assert said == ["on_open first", "on_open second", "on_close first", "on_close second"]
    assert statuses == ["connecting", "connected"]
    assert of_all == ["connecting", "connected", "closed"]


async def test_what_is_too_large_fails_alone(client: Any, stage: Stage) -> None:
    async with client.get_or_create(Lounge, ["a"]).connect() as conn:
        assert await conn.take("x" * 48_000) == 48_000
        assert len(await conn.give(LIMIT - 100)) == LIMIT - 100

        others = asyncio.gather(*(conn.look() for _ in range(5)))
        assert await code_of(conn.take("x" * (LIMIT + 1))) == "message.incoming_too_long"
        assert await code_of(conn.give(LIMIT + 1)) == "message.outgoing_too_long"

        assert await others == [1] * 5
        assert await conn.look() == 1


async def test_a_rejection_reaches_the_client_as_the_hook_said_it(
    client: Any, stage: Stage
) -> None:
    lounge = client.get_or_create(Lounge, ["a"])

    async def enter(params: dict[str, Any]) -> None:
        async with lounge.connect(params) as conn:
            await conn.look()

    error = await refused(enter({"refuse": True}))
    assert (error.group, error.code, error.message) == ("user", "refused", "not you")
    assert error.metadata == {"hint": ["ask"]}
    assert await code_of(enter({"fail": True})) == "internal.internal_error"
    # Nobody was let in, so that nobody has left.
    assert not [line for line in stage.log if line.startswith(("connect", "disconnect"))]


async def test_the_error_of_an_action_keeps_its_metadata(client: Any, stage: Stage) -> None:
    async with client.get_or_create(Lounge, ["a"]).connect() as conn:
        error = await refused(conn.refuse())

    assert (error.group, error.code, error.message) == ("user", "no", "no")
    assert error.metadata == {"at": {"most": 3}}


@pytest.mark.parametrize("again", ["create", "get_or_create"])
async def test_a_destroyed_actor_starts_afresh_for_whoever_held_the_old_one(
    client: Any, stage: Stage, again: str
) -> None:
    any_time, only_if = client.get_or_create(Lounge, ["a"]), client.get(Lounge, ["a"])
    ended: list[str] = []
    connection = any_time.connect()
    connection.on_error(lambda error: ended.append(f"{error.group}.{error.code}"))
    async with connection as conn:
        assert await conn.say("x") == 1
        old = await only_if.resolve()
        assert await conn.finish() == "bye"
        await until(lambda: connection.status == "closed")
    assert stage.log.count("destroy") == 1
    assert ended == ["actor.destroyed"]
    assert await code_of(only_if.look()) == "actor.not_found"
    assert await code_of(client.get_for_id(Lounge, old).look()) == "actor.not_found"

    if again == "create":
        await client.create(Lounge, ["a"])

    # Handles name a key: those that knew the old actor reach the new one, connected or not.
    assert await any_time.say("fresh") == 1
    assert await only_if.say("again") == 2
    async with any_time.connect() as conn:
        assert await conn.say("on a connection") == 3
        assert await only_if.resolve() != old


async def test_a_connection_goes_on_through_sleeps_as_if_nothing_had_been(
    server_and_client: tuple[Server, Any], stage: Stage
) -> None:
    server, client = server_and_client
    opened: list[int] = []
    statuses: list[str] = []
    heard: list[str] = []
    connection = client.get_or_create(Lounge, ["a"]).connect({"name": "ada"})
    connection.on_open(lambda: opened.append(1))
    async with connection as conn:
        conn.on("said", heard.append)
        me = await conn.who()
        connection.on_status_change(statuses.append)
        for visit in (2, 3):
            await conn.doze()
            await asleep(server, "lounge", "a")
            assert await conn.who() == [*me[:3], visit]
            await conn.say(str(visit))
        await until(lambda: heard == ["2", "3"])
        assert stage.log.count("wake") == 3
        assert stage.log.count("sleep") == 2
        assert stage.log.count("connect ada") == 1
        assert "disconnect ada" not in stage.log
        assert (opened, statuses) == ([1], [])


async def test_calls_and_connections_that_come_during_on_sleep_wait_for_the_next_life(
    server_and_client: tuple[Server, Any], stage: Stage
) -> None:
    server, client = server_and_client
    lounge = client.get_or_create(Lounge, ["a"])
    async with lounge.connect({"name": "ada"}) as ada:
        await ada.look()
        stage.kept["slowly"] = True
        await ada.doze()
        await stage.reached("sleeping")
        newcomer = lounge.connect({"name": "bob"})
        calling = asyncio.create_task(ada.say("during the sleep"))
        async with tasks(calling), newcomer as bob:
            await until_calls_wait(server, 2, "lounge", "a")
            assert not calling.done()
            assert newcomer.status == "connecting"
            assert "before bob" not in stage.log

            stage.kept["slowly"] = False
            stage.let("asleep")

            assert await calling == 1
            assert await bob.look() == 2
        assert await ada.say("once") == 2
    assert stage.log[stage.log.index("sleep") + 1] == "wake"
    assert stage.log.count("connect bob") == 1
