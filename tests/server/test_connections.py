"""Opening and ending connections: the order of hooks, rejections, who sees whom."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast_server.app import Server
from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.values import Encoding, Value
from tests.server.conftest import Start
from tests.server.held_store import HeldStore
from tests.server.peers import TestPeer, attach, call_on, rejected, several
from tests.server.probe import activation_of, until
from tests.server.rooms import registry
from tests.server.stage import Stage


@pytest.fixture
async def server(start: Start) -> Server:
    return (await start(registry, hook_timeout_s=0.5))[0]


async def test_hooks_run_in_order_and_the_client_hears_of_them_after_the_commit(
    server: Server, stage: Stage
) -> None:
    peer = await attach(server, "room", "a", params={"name": "ada"})
    assert stage.log == [
        "before ada conns=0 conn=None",
        "create ada conns=0",
        "connect ada conns=1 True",
    ]
    assert peer.heard == ["opening", "connected", ("welcome", "ada")]
    assert await call_on(server, peer, "log") == ["+ada"]
    await peer.open_link.disconnect("done")
    assert stage.log[3:] == ["disconnect ada conns=0 False"]
    assert peer.heard[3:] == ["closed"]
    assert peer.end == (None, "done")


@pytest.mark.parametrize("where", ["before", "create"])
async def test_a_client_that_is_not_let_in_yet_is_not_seen(
    server: Server, stage: Stage, where: str
) -> None:
    await attach(server, "room", "a", params={"name": "ada"})
    params = {"name": "eve", "pause": where}
    waiting = asyncio.create_task(attach(server, "room", "a", params=params))
    await stage.reached(where)
    bob = await attach(server, "room", "a", params={"name": "bob"})
    assert stage.log[-1] == "connect bob conns=2 True"
    assert "+eve" not in await call_on(server, bob, "log")
    stage.let(where)
    await waiting
    assert stage.log[-1] == "connect eve conns=3 True"


@pytest.mark.parametrize("where", ["before", "create", "connect"])
@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("user", "user.refused"),
        ("bug", "internal.internal_error"),
        ("pause", "connection.hook_failed"),
    ],
)
async def test_what_a_hook_raises_rejects_the_client_and_leaves_no_trace(
    server: Server, stage: Stage, where: str, how: str, code: str
) -> None:
    ada = await attach(server, "room", "a", params={"name": "ada"})
    params = {"name": "eve", "pause": where} if how == "pause" else {"name": "eve", where: how}
    peer = TestPeer()
    assert await rejected(attach(server, "room", "a", params=params, peer=peer)) == code
    assert await call_on(server, ada, "log") == ["+ada"]
    assert "connected" not in peer.heard
    assert not peer.messages
    assert peer.end is None
    assert not [line for line in stage.log if line.startswith("disconnect")]
    bob = await attach(server, "room", "a", params={"name": "bob"})
    assert stage.log[-1] == "connect bob conns=2 True"
    await bob.open_link.disconnect("")


async def test_a_user_error_reaches_the_client_as_it_is(server: Server) -> None:
    with pytest.raises(HoldfastError) as caught:
        await attach(server, "room", "a", params={"create": "user"})
    assert caught.value.user_metadata_json == b'{"at":"create"}'


async def test_what_the_transport_refuses_is_a_rejection_too(server: Server, stage: Stage) -> None:
    class Refusing(TestPeer):
        async def opening(self, link: Any) -> None:
            raise HoldfastError(errors.SUBSCRIPTION_FORBIDDEN)

    attempt = attach(server, "room", "a", params={"name": "ada"}, peer=Refusing())
    assert await rejected(attempt) == "events.subscription_forbidden"
    assert stage.log[-1] == "create ada conns=0"


async def test_params_reach_the_hooks_and_stay_with_the_connection(server: Server) -> None:
    peer = await attach(server, "hall", "a", params={"n": [1, {"x": None}]})
    conn_id, params, there, count = await call_on(server, peer, "whose")
    assert params == {"n": [1, {"x": None}]}
    assert (there, count, len(conn_id)) == (True, 1, 26)
    bare = await attach(server, "hall", "a")
    assert (await call_on(server, bare, "whose"))[1] == {}


async def test_malformed_params_are_refused(server: Server) -> None:
    for encoding, data in ((Encoding.JSON, b"{"), (Encoding.MSGPACK, b"\xc1")):
        attempt = attach(server, "hall", "a", params=Value(encoding, data))
        assert await rejected(attempt) == "payload.malformed"


async def test_a_state_that_cannot_be_stored_rejects_the_client(server: Server) -> None:
    big = attach(server, "room", "a", params={"big": 70_000})
    assert await rejected(big) == "state.too_large"
    odd = attach(server, "room", "a", params={"odd": 1})
    with pytest.raises(HoldfastError) as caught:
        await odd
    assert caught.value.metadata["path"] == "conn_state.name"


async def test_every_connection_has_an_id_and_a_state_of_its_own(server: Server) -> None:
    peers = await several(server, 20, "hall", "a")
    assert len({peer.open_link.connection_id for peer in peers}) == 20
    await call_on(server, peers[3], "rename", "ada")
    names = await call_on(server, peers[0], "names")
    assert sorted(names) == ["ada", *["nobody"] * 19]


async def test_connections_are_looked_up_by_id(server: Server) -> None:
    ada, bob = await several(server, 2, "hall", "a")
    bob_id = (await call_on(server, bob, "whose"))[0]
    assert await call_on(server, ada, "look_up", bob_id) == [True, True, True, True]
    assert await call_on(server, ada, "look_up", "a" * 26) == [False, False, True, False]
    assert await call_on(server, ada, "look_up", "no id") == [False, False, True, False]
    assert await call_on(server, ada, "others") == [bob_id]


async def test_the_number_of_connections_is_bounded(start: Start) -> None:
    server, _ = await start(registry, connections_max=2)
    peers = await several(server, 2, "hall", "a")
    assert await rejected(attach(server, "hall", "a")) == "connection.too_many"
    await attach(server, "hall", "b")
    await peers[0].open_link.disconnect("")
    await attach(server, "hall", "a")


async def test_a_call_on_a_connection_that_is_over_is_refused(server: Server) -> None:
    peer = await attach(server, "hall", "a")
    await peer.open_link.disconnect("")
    assert await rejected(call_on(server, peer, "me")) == "connection.not_found"


async def test_an_actor_that_sleeps_keeps_its_connections(server: Server) -> None:
    peer = await attach(server, "hall", "a", params={"n": 1})
    await call_on(server, peer, "rename", "ada")
    assert server.node.catalog.evict(peer.open_link.address)
    assert await call_on(server, peer, "me") == ["ada", []]
    assert (await call_on(server, peer, "whose"))[1:] == [{"n": 1}, True, 1]
    await peer.open_link.disconnect("")
    assert server.node.catalog.evict(peer.open_link.address)
    assert (await rejected(call_on(server, peer, "me"))) == "connection.not_found"


async def test_a_client_that_gives_up_while_it_connects_is_not_left_behind(
    server: Server, stage: Stage
) -> None:
    ada = await attach(server, "room", "a", params={"name": "ada"})
    params = {"name": "eve", "pause": "connect"}
    waiting = asyncio.create_task(attach(server, "room", "a", params=params))
    await stage.reached("connect")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await call_on(server, ada, "log") == ["+ada"]
    assert len(server.node.links) == 1


async def test_a_client_that_gives_up_once_its_turn_is_over_is_disconnected(
    start: Start, stage: Stage
) -> None:
    store = HeldStore()
    server, _ = await start(registry, store=store)
    await (await attach(server, "room", "a")).open_link.disconnect("")
    store.hold()
    peer = TestPeer()
    waiting = asyncio.create_task(attach(server, "room", "a", params={"name": "eve"}, peer=peer))
    await store.reached()
    await until(lambda: len(server.node.links))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    store.let_go()
    await until(lambda: "disconnect eve conns=0 False" in stage.log)
    ada = await attach(server, "room", "a", params={"name": "ada"})
    assert stage.log[-1] == "connect ada conns=1 True"
    assert peer.heard == ["opening"]
    await ada.open_link.disconnect("")


async def test_the_turn_that_opens_a_connection_commits_at_its_end(server: Server) -> None:
    peer = TestPeer()
    attempt = attach(server, "room", "a", params={"name": "ada", "commit": 1}, peer=peer)
    assert await rejected(attempt) == "actor.no_turn"
    assert peer.heard == ["opening"]


async def test_a_connection_keeps_its_actor_awake_only_where_the_class_says_so(
    server: Server,
) -> None:
    await attach(server, "sleeper", "a")
    waker = await attach(server, "waker", "a")
    await until(lambda: activation_of(server, "sleeper", "a") is None)
    assert activation_of(server, "waker", "a") is not None
    waker.open_link.detach()
    await until(lambda: activation_of(server, "waker", "a") is None)


async def test_the_deadline_of_a_connect_is_kept(server: Server, stage: Stage) -> None:
    late = attach(server, "room", "a", deadline=server.node.loop.time() - 1)
    assert await rejected(late) == "action.timed_out"
    assert stage.log == []
    soon = {"deadline": server.node.loop.time() + 0.05}
    slow = attach(server, "room", "a", params={"pause": "connect"}, **soon)
    assert await rejected(slow) == "action.timed_out"
    ada = await attach(server, "room", "a", params={"name": "ada"})
    assert await call_on(server, ada, "log") == ["+ada"]
