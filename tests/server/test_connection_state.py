"""The state of a connection: made, changed with a turn, undone with it, kept."""

from __future__ import annotations

import asyncio

import pytest

from holdfast_server.app import Server
from holdfast_server.core.call import Call, Target
from holdfast_server.core.errors import HoldfastError
from tests.server.conftest import Start
from tests.server.peers import attach, call_on, encoded, rejected
from tests.server.rooms import registry
from tests.server.stage import Stage


@pytest.fixture
async def server(start: Start) -> Server:
    return (await start(registry))[0]


async def test_a_change_is_committed_with_its_turn(server: Server) -> None:
    ada, bob = await attach(server, "hall", "a"), await attach(server, "hall", "a")
    await call_on(server, ada, "rename", "ada")
    assert await call_on(server, ada, "me") == ["ada", []]
    assert await call_on(server, bob, "me") == ["nobody", []]
    await call_on(server, ada, "rename", "ada", "replace")
    assert await call_on(server, ada, "me") == ["ada", ["replaced"]]


async def test_a_failed_turn_undoes_its_change(server: Server) -> None:
    ada = await attach(server, "hall", "a")
    await call_on(server, ada, "rename", "ada")
    assert await rejected(call_on(server, ada, "rename", "eve", "fail")) == "user.refused"
    assert await call_on(server, ada, "me") == ["ada", []]


async def test_what_cannot_be_stored_fails_the_turn_and_is_named(server: Server) -> None:
    ada = await attach(server, "hall", "a")
    with pytest.raises(HoldfastError) as caught:
        await call_on(server, ada, "rename", "x" * 70_000)
    assert caught.value.code == "too_large"
    assert caught.value.metadata["limit"] == str(64 << 10)
    with pytest.raises(HoldfastError) as caught:
        await call_on(server, ada, "rename", "eve", "odd")
    assert caught.value.metadata["path"] == "conn_state.name"
    assert await call_on(server, ada, "me") == ["nobody", []]


async def test_a_read_only_action_sees_states_and_changes_none(server: Server) -> None:
    ada = await attach(server, "hall", "a")
    await call_on(server, ada, "rename", "ada")
    assert await call_on(server, ada, "names_now") == ["ada"]
    assert await rejected(call_on(server, ada, "cheat")) == "action.read_only"
    assert await call_on(server, ada, "me") == ["ada", []]


async def test_a_class_without_a_connection_state_says_so(server: Server) -> None:
    peer = await attach(server, "plain", "a")
    with pytest.raises(HoldfastError) as caught:
        await call_on(server, peer, "state_of_conn")
    assert caught.value.reason.reason == "NOT_ENABLED"
    assert caught.value.metadata["what"] == "conn_state"


async def test_states_survive_a_restart(start: Start) -> None:
    server, _ = await start(registry)
    ada = await attach(server, "hall", "a", params={"n": 1})
    await call_on(server, ada, "rename", "ada")
    await server.stop()
    again, _ = await start(registry)
    assert await call_on(again, ada, "me") == ["ada", []]
    assert await call_on(again, ada, "names") == ["ada"]
    assert (await call_on(again, ada, "whose"))[1:] == [{"n": 1}, True, 1]


async def test_many_turns_change_many_states(server: Server) -> None:
    peers = await asyncio.gather(*(attach(server, "hall", "a") for _ in range(30)))
    await asyncio.gather(
        *(call_on(server, peer, "rename", f"n{i}") for i, peer in enumerate(peers))
    )
    names = await call_on(server, peers[0], "names")
    assert sorted(names) == sorted(f"n{i}" for i in range(30))


async def test_interleaved_turns_share_a_state(server: Server, stage: Stage) -> None:
    ada = await attach(server, "hall", "a")
    one = asyncio.create_task(call_on(server, ada, "note", "one"))
    two = asyncio.create_task(call_on(server, ada, "note", "two"))
    stage.let("one begins", "two begins")
    await stage.reached("one")
    await stage.reached("two")
    stage.let("two")
    await two
    stage.let("one")
    await one
    server.node.catalog.evict(ada.open_link.address)
    assert sorted((await call_on(server, ada, "me"))[1]) == ["one", "two"]


async def test_a_failed_interleaved_turn_leaves_the_state_as_it_is(
    server: Server, stage: Stage
) -> None:
    ada = await attach(server, "hall", "a")
    stage.let("one begins", "one")
    assert await rejected(call_on(server, ada, "note", "one", "fail")) == "user.refused"
    server.node.catalog.evict(ada.open_link.address)
    assert await call_on(server, ada, "me") == ["nobody", ["one"]]


async def test_a_stream_keeps_the_state_between_its_steps(server: Server) -> None:
    ada = await attach(server, "hall", "a")
    link = ada.open_link
    call = Call(
        target=Target(actor_id=link.actor_id),
        action="note_steps",
        args=encoded([3]),
        connection=link.connection_id,
    )
    items = [item async for item in server.node.stream(call)]
    assert len(items) == 3
    server.node.catalog.evict(link.address)
    assert await call_on(server, ada, "me") == ["nobody", ["0", "1", "2"]]
