"""Calls without a connection: they have one for their own length."""

from __future__ import annotations

import pytest

from holdfast import ActorError, Client
from holdfast_server.app import Server
from holdfast_server.store.keys import Kind
from tests.server.conftest import Start
from tests.server.outcomes import code_of, refused
from tests.server.peers import attach
from tests.server.probe import until
from tests.server.rooms import Hall, Plain, Room, registry
from tests.server.stage import Stage
from tests.server.test_connection_messages import stored


@pytest.fixture
async def started(start: Start) -> tuple[Server, Client]:
    return await start(registry, hook_timeout_s=0.5)


VISIT = [
    "before ada conns=0 conn=None",
    "create ada conns=0",
    "connect ada conns=1 True",
    "disconnect ada conns=1 True",
]


async def test_each_call_runs_the_hooks_once_in_one_batch(
    started: tuple[Server, Client], stage: Stage
) -> None:
    server, client = started
    room = client.get_or_create(Room, ["a"], params={"name": "ada"})
    assert await room.log() == ["+ada"]
    assert stage.log == VISIT
    before = server.node.committer.submitted
    assert await room.log() == ["+ada", "-ada", "+ada"]
    assert stage.log == VISIT * 2
    assert server.node.committer.submitted == before + 1
    assert stored(server, Kind.CONNECTION) == stored(server, Kind.MESSAGE) == 0


async def test_params_of_options_and_of_each_way_to_get_a_handle(
    started: tuple[Server, Client], stage: Stage
) -> None:
    _, client = started
    made = await client.create(Room, ["a"], params={"name": "create"})
    await made.log()
    await client.get(Room, ["a"], params={"name": "get"}).log()
    await client.get_for_id(Room, await made.resolve(), params={"name": "id"}).log()
    await client.get(Room, ["a"]).with_options(params={"name": "options"}).log()
    log = await client.get(Room, ["a"]).log()
    assert log == [
        *("+create", "-create", "+get", "-get", "+id", "-id", "+options", "-options"),
        "+nobody",
    ]


@pytest.mark.parametrize("where", ["before", "create", "connect", "disconnect"])
@pytest.mark.parametrize(
    ("how", "code"), [("user", "user.refused"), ("bug", "internal.internal_error")]
)
async def test_a_hook_that_raises_fails_the_call_and_leaves_no_trace(
    started: tuple[Server, Client], where: str, how: str, code: str
) -> None:
    _, client = started
    room = client.get_or_create(Room, ["a"], params={"name": "eve", where: how})
    assert await code_of(room.log()) == code
    assert await room.with_options(params={"name": "ada"}).log() == ["+ada"]


async def test_a_hook_that_takes_too_long_fails_the_call(
    started: tuple[Server, Client], stage: Stage
) -> None:
    _, client = started
    room = client.get_or_create(Room, ["a"], params={"pause": "connect"})
    error = await refused(room.log())
    assert (error.group, error.code) == ("connection", "hook_failed")
    assert error.metadata is not None
    assert error.metadata["hook"] == "on_connect"


async def test_a_failed_action_undoes_what_the_hooks_did(
    started: tuple[Server, Client], stage: Stage
) -> None:
    _, client = started
    room = client.get_or_create(Room, ["a"], params={"name": "ada"})
    assert await code_of(room.fail()) == "user.refused"
    assert not [line for line in stage.log if line.startswith("disconnect")]
    assert await room.log() == ["+ada"]


async def test_a_retry_with_the_same_key_runs_no_hooks(
    started: tuple[Server, Client], stage: Stage
) -> None:
    _, client = started
    room = client.get_or_create(Room, ["a"], params={"name": "ada"})
    keyed = room.with_options(idempotency_key="k")
    assert await keyed.log() == await keyed.log() == ["+ada"]
    assert stage.log == VISIT


async def test_a_rejection_is_remembered_under_its_key(
    started: tuple[Server, Client], stage: Stage
) -> None:
    _, client = started
    room = client.get_or_create(Room, ["a"], params={"name": "ada", "create": "user"})
    keyed = room.with_options(idempotency_key="k")
    assert await code_of(keyed.log()) == "user.refused"
    seen = list(stage.log)
    assert await code_of(keyed.log()) == "user.refused"
    assert stage.log == seen


async def test_hooks_of_a_read_only_action_are_a_turn_of_their_own(
    started: tuple[Server, Client], stage: Stage
) -> None:
    _, client = started
    room = client.get_or_create(Room, ["a"], params={"name": "ada"})
    assert await room.peek() == ["+ada", "-ada"]
    assert stage.log == VISIT
    rejected = room.with_options(params={"name": "eve", "connect": "user"})
    assert await code_of(rejected.peek()) == "user.refused"


async def test_a_streaming_action_connects_first_and_disconnects_last(
    started: tuple[Server, Client], stage: Stage
) -> None:
    _, client = started
    room = client.get_or_create(Room, ["a"], params={"name": "ada"})
    assert [item async for item in room.count_to(2)] == [0, 1]
    assert stage.log == VISIT
    assert await room.log() == ["+ada", "0 ada", "1 ada", "end", "-ada", "+ada"]


async def test_a_stream_that_its_reader_leaves_disconnects(
    started: tuple[Server, Client], stage: Stage
) -> None:
    _, client = started
    room = client.get_or_create(Room, ["a"], params={"name": "ada"})
    async for _ in room.count_to(5):
        break
    await until(lambda: stage.log[-1].startswith("disconnect"))
    assert stage.log == VISIT
    assert (await room.log())[-2:] == ["-ada", "+ada"]


async def test_a_stream_that_a_hook_rejects_leaves_no_trace(
    started: tuple[Server, Client], stage: Stage
) -> None:
    _, client = started
    room = client.get_or_create(Room, ["a"], params={"name": "eve", "connect": "user"})
    with pytest.raises(ActorError):
        async for _ in room.count_to(5):
            pass
    assert await room.with_options(params={"name": "ada"}).log() == ["+ada"]


async def test_a_read_only_stream_has_its_hooks_before_it(
    started: tuple[Server, Client], stage: Stage
) -> None:
    _, client = started
    room = client.get_or_create(Room, ["a"], params={"name": "ada"})
    assert [item async for item in room.read_to(2)] == [0, 1]
    assert stage.log == VISIT


async def test_params_are_bounded(started: tuple[Server, Client]) -> None:
    _, client = started
    room = client.get_or_create(Room, ["a"], params={"name": "x" * 5000})
    error = await refused(room.log())
    assert (error.group, error.code) == ("message", "incoming_too_long")
    assert error.metadata is not None
    assert (error.metadata["field"], error.metadata["limit"]) == ("params", "4096")


async def test_without_hooks_a_connection_is_made_when_it_is_asked_for(
    started: tuple[Server, Client],
) -> None:
    server, client = started
    hall = client.get_or_create(Hall, ["a"], params={"n": 1})
    first, second = await hall.whose(), await hall.whose()
    assert first[1:] == second[1:] == [{"n": 1}, True, 1]
    assert first[0] != second[0]
    assert await hall.me() == ["nobody", []]
    await hall.rename("ada")
    assert await hall.me() == ["nobody", []]
    peer = await attach(server, "hall", "a")
    assert (await hall.whose())[3] == 2
    await hall.tell_all("hi")
    assert peer.said == [("text", "hi")]


async def test_a_class_that_knows_no_connections_writes_nothing_of_them(
    started: tuple[Server, Client],
) -> None:
    server, client = started
    plain = client.get_or_create(Plain, ["a"], params={"name": "ada"})
    before = server.node.committer.submitted
    await plain.add("x")
    await plain.add("y")
    assert server.node.committer.submitted == before + 3
    assert stored(server, Kind.CONNECTION) == 0
    error = await refused(plain.state_of_conn())
    assert error.metadata is not None
    assert error.metadata["what"] == "conn_state"


async def test_a_send_has_no_connection(started: tuple[Server, Client], stage: Stage) -> None:
    _, client = started
    plain = client.get_or_create(Plain, ["a"])
    await plain.send_on("x")
    while not (log := await plain.log()):
        pass
    assert log == ["x None"]


async def test_a_call_of_another_actor_is_a_client_too(
    started: tuple[Server, Client], stage: Stage
) -> None:
    _, client = started
    plain = client.get_or_create(Plain, ["a"])
    assert await plain.call_room({"name": "ada"}) == ["+ada"]
    assert stage.log == VISIT
    assert await plain.call_room(None) == ["+ada", "-ada", "+nobody"]
    assert await code_of(plain.call_room({"name": "eve", "before": "user"})) == "user.refused"
    error = await refused(plain.call_room({"name": "x" * 5000}))
    assert (error.group, error.code) == ("message", "incoming_too_long")
