"""How connections end: by whom, once, and what outlives a broken client or server."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

import pytest

from holdfast_server.app import Server
from holdfast_server.core.call import Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.events import Connect
from holdfast_server.store.keys import Kind
from holdfast_server.store.verify import verify
from tests.server.conftest import Start
from tests.server.held_store import HeldStore
from tests.server.peers import SESSION, TestPeer, attach, call_on, rejected, resume, several
from tests.server.probe import until, until_waiting
from tests.server.process import ROOT, Process
from tests.server.rooms import registry
from tests.server.stage import Stage
from tests.server.test_connection_messages import conn_id, stored, until_stored


@pytest.fixture
async def server(start: Start) -> Server:
    return (await start(registry))[0]


def ends(stage: Stage) -> list[str]:
    return [line for line in stage.log if line.startswith("disconnect")]


async def until_reopened(server: Server, epoch: int) -> None:
    """Wait until the store of `epoch` has failed and is open again."""
    await until(lambda: server.node.committer.epoch != epoch)


async def test_an_actor_disconnects_a_client_and_says_why(server: Server, stage: Stage) -> None:
    ada, bob = await several(server, 2, "hall", "a")
    bob_id = await conn_id(server, bob)
    assert await call_on(server, ada, "kick", bob_id, "go away", 2) == 1
    assert bob.end == (None, "go away")
    await until(lambda: ends(stage))
    assert await call_on(server, ada, "names") == ["nobody"]
    assert ends(stage) == ["disconnect nobody 1"]
    assert await rejected(call_on(server, bob, "me")) == "connection.not_found"
    await until_stored(server, Kind.CONNECTION, 1)
    await bob.open_link.disconnect("")
    assert ends(stage) == ["disconnect nobody 1"]


async def test_a_failed_turn_disconnects_nobody(server: Server, stage: Stage) -> None:
    ada = await attach(server, "hall", "a")
    own = await conn_id(server, ada)
    assert await rejected(call_on(server, ada, "kick_and_fail", own)) == "user.refused"
    assert await call_on(server, ada, "names") == ["nobody"]
    assert ada.end is None
    assert not ends(stage)


async def test_an_action_disconnects_its_own_connection(server: Server, stage: Stage) -> None:
    ada = await attach(server, "hall", "a")
    await call_on(server, ada, "leave", "enough")
    assert ada.heard == ["opening", "connected", ("text", "bye"), "closed"]
    assert ada.end == (None, "enough")
    await until_stored(server, Kind.CONNECTION, 0)
    assert ends(stage) == ["disconnect nobody 0"]
    assert stored(server, Kind.MESSAGE) == 0


async def test_on_connect_disconnects_its_own_connection(server: Server, stage: Stage) -> None:
    ada = await attach(server, "room", "a", params={"name": "ada", "kick": True})
    assert ada.heard == ["opening", "connected", ("welcome", "ada"), "closed"]
    await until(lambda: ends(stage))
    await until_stored(server, Kind.CONNECTION, 0)
    assert ends(stage) == ["disconnect ada conns=0 False"]


async def test_a_client_that_disconnects_twice_is_told_once(server: Server, stage: Stage) -> None:
    ada = await attach(server, "hall", "a")
    await asyncio.gather(ada.open_link.disconnect("x"), ada.open_link.disconnect("y"))
    await ada.open_link.disconnect("z")
    assert ends(stage) == ["disconnect nobody 0"]
    assert ada.heard == ["opening", "connected", "closed"]


async def test_a_failing_on_disconnect_is_logged_and_the_connection_goes(
    server: Server, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    ada = await attach(server, "hall", "a", params={"disconnect": "bug"})
    with caplog.at_level(logging.ERROR):
        await ada.open_link.disconnect("")
    assert "on_disconnect of default/hall/['a'] failed" in caplog.text
    assert ada.heard[-1] == "closed"
    assert stored(server, Kind.CONNECTION) == 0
    bob = await attach(server, "hall", "a")
    assert await call_on(server, bob, "log") == []
    assert ends(stage) == ["disconnect nobody 0"]


async def test_an_on_disconnect_that_takes_too_long_is_cut_off(
    start: Start, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    server, _ = await start(registry, hook_timeout_s=0.05)
    ada = await attach(server, "room", "a", params={"name": "ada", "pause": "disconnect"})
    await ada.open_link.disconnect("")
    assert "on_disconnect of default/room/['a'] took longer than 0.05 s" in caplog.text
    assert stored(server, Kind.CONNECTION) == 0
    assert ada.heard[-1] == "closed"


async def test_a_client_that_comes_back_in_time_goes_on(start: Start, stage: Stage) -> None:
    server, _ = await start(registry, connection_grace_s=600)
    ada = await attach(server, "room", "a", params={"name": "ada"})
    ada.open_link.detach()
    hooks = list(stage.log)
    again = await resume(server, ada)
    assert again.heard == ["connected"]
    assert stage.log == hooks
    assert await call_on(server, again, "log") == ["+ada"]
    ada.open_link.detach()
    await ada.open_link.disconnect("")
    assert again.end is None


async def test_a_client_that_stays_away_is_disconnected_once(start: Start, stage: Stage) -> None:
    server, _ = await start(registry, connection_grace_s=0.05)
    ada = await attach(server, "hall", "a")
    ada.open_link.detach()
    await until_stored(server, Kind.CONNECTION, 0)
    assert ends(stage) == ["disconnect nobody 0"]
    assert await rejected(resume(server, ada)) == "connection.not_found"


async def test_a_client_that_comes_back_just_before_its_end_goes_on(
    start: Start, stage: Stage
) -> None:
    server, _ = await start(registry, connection_grace_s=0.05)
    ada, bob = await several(server, 2, "hall", "a")
    busy = asyncio.create_task(call_on(server, bob, "tell_midway", "hi"))
    await stage.reached("committed")
    ada.open_link.detach()
    await until_waiting(server, 1, "hall", "a")
    again = await resume(server, ada)
    stage.let("committed")
    await busy
    assert await call_on(server, again, "names") == ["nobody", "nobody"]
    assert again.end is None
    assert not ends(stage)


async def test_only_its_own_session_goes_on_with_a_connection(server: Server) -> None:
    ada = await attach(server, "hall", "a")
    ada.open_link.detach()
    attempt = resume(server, ada, session=b"o" * 16)
    assert await rejected(attempt) == "connection.not_found"
    await resume(server, ada)


async def test_the_later_of_two_clients_of_one_connection_has_it(server: Server) -> None:
    ada = await attach(server, "hall", "a")
    again = await resume(server, ada)
    assert ada.heard[-1] == "closed: session.superseded"
    await call_on(server, again, "tell_all", "hi")
    assert again.said == [("text", "hi")]


async def test_a_connection_that_is_closing_is_not_resumed(server: Server, stage: Stage) -> None:
    ada = await attach(server, "room", "a", params={"name": "ada", "pause": "disconnect"})
    leaving = asyncio.create_task(ada.open_link.disconnect("bye"))
    await stage.reached("disconnect")
    with pytest.raises(HoldfastError) as caught:
        await resume(server, ada)
    assert (caught.value.code, caught.value.message) == ("closed", "bye")
    stage.let("disconnect")
    await leaving


async def test_a_restart_keeps_connections_for_those_who_come_back(
    start: Start, stage: Stage, tmp_path: Path
) -> None:
    server, _ = await start(registry)
    ada, bob = await several(server, 2, "hall", "a")
    await call_on(server, ada, "tell_all", "hi")
    await server.stop()
    assert ada.heard[-1] == "closed: server.draining"
    assert not ends(stage)
    assert verify(tmp_path / "data") == []
    server, _ = await start(registry, connection_grace_s=0.3)
    again = await resume(server, ada)
    assert again.heard == ["connected"]
    await until_stored(server, Kind.CONNECTION, 1)
    assert ends(stage) == ["disconnect nobody 1"]
    assert await call_on(server, again, "names") == ["nobody"]
    assert await rejected(resume(server, bob)) == "connection.not_found"


async def test_a_kill_loses_no_connection_and_each_ends_once(
    start: Start, stage: Stage, tmp_path: Path
) -> None:
    data = tmp_path / "killed"
    command = ["-m", "tests.server.connected_process", str(data)]
    with Process(command, ROOT) as process:
        line = await asyncio.to_thread(process.wait_for, "connected ")
        process.signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
    actor_id, ada_id, bob_id = map(bytes.fromhex, line.split()[1:])
    server, _ = await start(registry, data="killed", connection_grace_s=0.3)
    ada = TestPeer()
    request = Connect(target=Target(actor_id=actor_id), session=SESSION, resume=ada_id, received=1)
    await server.node.connect(request, ada)
    assert ada.heard == ["connected", ("text", "two")]
    await until_stored(server, Kind.CONNECTION, 1)
    assert ends(stage) == ["disconnect nobody 1"]
    assert await call_on(server, ada, "names") == ["ada"]
    request = Connect(target=Target(actor_id=actor_id), session=SESSION, resume=bob_id)
    assert await rejected(server.node.connect(request, TestPeer())) == "connection.not_found"


async def test_many_lost_connections_of_many_actors_end_after_a_restart(
    start: Start, stage: Stage
) -> None:
    server, _ = await start(registry)
    for key in range(10):
        await several(server, 20, "hall", str(key))
    await server.stop()
    server, _ = await start(registry, connection_grace_s=0.01)
    await until_stored(server, Kind.CONNECTION, 0)
    assert len(ends(stage)) == 200


async def test_a_connection_that_was_disconnected_ends_after_a_restart(
    start: Start, stage: Stage
) -> None:
    store = HeldStore()
    server, _ = await start(registry, store=store)
    ada, bob = await several(server, 2, "hall", "a")
    kick = call_on(server, ada, "kick", await conn_id(server, bob), "x")
    # The disconnect is durable; the turn that runs on_disconnect finds the store failed.
    store.fail_after(2)
    epoch = server.node.committer.epoch
    await kick
    await until_reopened(server, epoch)
    await until_stored(server, Kind.CONNECTION, 1)
    assert await call_on(server, ada, "names") == ["nobody"]


async def test_a_connection_whose_commit_fails_is_refused_and_leaves_nothing(
    start: Start, stage: Stage
) -> None:
    store = HeldStore()
    server, _ = await start(registry, store=store, connection_grace_s=0.05)
    ada = await attach(server, "hall", "a")
    for applied in (False, True):
        epoch = server.node.committer.epoch
        store.fail_next("sync", applied=applied)
        assert await rejected(attach(server, "hall", "a")) == "store.commit_unknown"
        await until_reopened(server, epoch)
        await until_stored(server, Kind.CONNECTION, 1)
    assert await call_on(server, ada, "names") == ["nobody"]
    await call_on(server, ada, "tell_all", "hi")
    assert ada.said == [("text", "hi")]


async def test_a_destroyed_actor_disconnects_all_its_clients(server: Server, stage: Stage) -> None:
    peers = await several(server, 1000, "hall", "a")
    await call_on(server, peers[0], "tell_all", "hi")
    await call_on(server, peers[0], "end")
    assert {peer.heard[-1] for peer in peers} == {"closed: actor.destroyed"}
    assert len(ends(stage)) == 1000
    assert ends(stage)[-1] == "disconnect nobody 0"
    assert stored(server, Kind.CONNECTION) == stored(server, Kind.MESSAGE) == 0
    assert len(server.node.links) == 0
    fresh = await attach(server, "hall", "a")
    assert await call_on(server, fresh, "names") == ["nobody"]


async def test_a_destroy_from_outside_disconnects_too(start: Start, stage: Stage) -> None:
    server, client = await start(registry)
    ada = await attach(server, "hall", "a")
    await client.destroy("hall", "a")
    assert ada.heard[-1] == "closed: actor.destroyed"
    assert ends(stage) == ["disconnect nobody 0"]
    assert await rejected(resume(server, ada)) == "actor.not_found"


async def test_a_draining_server_takes_no_connections(server: Server) -> None:
    ada = await attach(server, "hall", "a")
    await server.stop()
    assert ada.heard[-1] == "closed: server.draining"
    assert await rejected(attach(server, "hall", "a")) == "server.draining"
