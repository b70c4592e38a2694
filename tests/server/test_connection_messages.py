"""What an actor sends to one connection: to whom, in which order, and what is kept of it."""

from __future__ import annotations

import asyncio

import pytest

from holdfast_server.app import Server
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.events import Message
from holdfast_server.core.values import Encoding
from holdfast_server.runtime.readers import Link
from holdfast_server.store.keys import Kind, kind_range
from tests.server.conftest import Start
from tests.server.held_store import HeldStore
from tests.server.peers import TestPeer, attach, call_on, rejected, resume, several
from tests.server.probe import until
from tests.server.rooms import registry
from tests.server.stage import Stage


@pytest.fixture
async def server(start: Start) -> Server:
    return (await start(registry))[0]


def stored(server: Server, kind: Kind) -> int:
    start, end = kind_range(kind)
    return len(server.node.scan(start, end, limit=100_000, reverse=False))


async def until_stored(server: Server, kind: Kind, count: int) -> None:
    """Wait until there are `count` rows of a kind.

    Reads of the store, one after another, would keep the thread that syncs from running.
    """
    while stored(server, kind) != count:  # noqa: ASYNC110 - nothing in the server signals it
        await asyncio.sleep(0.001)


async def conn_id(server: Server, peer: TestPeer) -> str:
    found: str = (await call_on(server, peer, "whose"))[0]
    return found


async def test_a_message_goes_to_its_connection_alone_in_order_and_numbered(
    server: Server,
) -> None:
    ada, bob = await several(server, 2, "hall", "a")
    ada_id, bob_id = await conn_id(server, ada), await conn_id(server, bob)
    await call_on(server, bob, "tell", ada_id, "text", ["one", "two"])
    await call_on(server, bob, "tell", bob_id, "text", ["other"])
    await call_on(server, bob, "tell", ada_id, "text", ["three"])
    assert ada.said == [("text", "one"), ("text", "two"), ("text", "three")]
    assert ada.numbers == [(1, 0), (2, 1), (3, 2)]
    assert bob.said == [("text", "other")]
    assert bob.numbers == [(1, 0)]


async def test_messages_come_in_the_encoding_asked_for(server: Server) -> None:
    ada = await attach(server, "hall", "a", encoding=Encoding.JSON)
    await call_on(server, ada, "tell_all", "hi")
    assert ada.messages[0].args == (Encoding.JSON, b'["hi"]')


async def test_a_failed_turn_sends_nothing(server: Server) -> None:
    ada = await attach(server, "hall", "a")
    assert await rejected(call_on(server, ada, "tell_and_fail", "lost")) == "user.refused"
    await call_on(server, ada, "tell_all", "kept")
    assert ada.said == [("text", "kept")]
    assert ada.numbers == [(1, 0)]


async def test_nothing_is_sent_before_it_is_durable(start: Start) -> None:
    store = HeldStore()
    server, _ = await start(registry, store=store)
    ada = await attach(server, "hall", "a")
    store.hold()
    telling = asyncio.create_task(call_on(server, ada, "tell_all", "hi"))
    await store.reached()
    assert ada.said == []
    store.let_go()
    await telling
    assert ada.said == [("text", "hi")]


async def test_messages_precede_the_reply_and_a_commit_in_the_middle_sends(
    server: Server, stage: Stage
) -> None:
    ada = await attach(server, "hall", "a")
    telling = asyncio.create_task(call_on(server, ada, "tell_midway", "early"))
    await stage.reached("committed")
    assert ada.said == [("text", "early")]
    stage.let("committed")
    await telling


async def test_without_credit_messages_wait_in_the_store(server: Server) -> None:
    ada = await attach(server, "hall", "a", window_bytes=1)
    for text in ("one", "two", "three"):
        await call_on(server, ada, "tell_all", text)
    assert ada.said == [("text", "one")]
    ada.open_link.grant(ada.messages[0].size)
    assert ada.said == [("text", "one"), ("text", "two")]
    ada.open_link.grant(1000)
    assert ada.said[2:] == [("text", "three")]
    assert ada.numbers == [(1, 0), (2, 1), (3, 2)]
    await call_on(server, ada, "tell_all", "four")
    assert ada.said[3:] == [("text", "four")]


async def test_a_resume_sends_what_did_not_arrive(server: Server) -> None:
    ada = await attach(server, "hall", "a")
    for text in ("one", "two"):
        await call_on(server, ada, "tell_all", text)
    ada.open_link.detach()
    await call_on(server, ada, "tell_all", "three")
    again = await resume(server, ada, received=1)
    assert again.heard == ["connected", ("text", "two"), ("text", "three")]
    assert again.numbers == [(2, 1), (3, 2)]
    await call_on(server, again, "tell_all", "four")
    assert again.said[2:] == [("text", "four")]


async def test_a_client_that_gives_credit_at_once_gets_each_message_once(server: Server) -> None:
    class Eager(TestPeer):
        def message(self, link: Link, message: Message) -> None:
            super().message(link, message)
            link.grant(message.size)

    ada = await attach(server, "hall", "a")
    ada.open_link.detach()
    for number in range(150):
        await call_on(server, ada, "tell_all", str(number))
    again = await resume(server, ada, peer=Eager(), window_bytes=1)
    assert [message.number for message in again.messages] == list(range(1, 151))


async def test_a_message_that_the_encoding_cannot_carry_is_a_gap(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    ada = await attach(server, "hall", "a", encoding=Encoding.JSON)
    bob = await attach(server, "hall", "a")
    own = await conn_id(server, ada)
    await call_on(server, bob, "tell", own, "text", [1])
    await call_on(server, bob, "tell_map", own)
    await call_on(server, bob, "tell", own, "text", [2])
    assert ada.numbers == [(1, 0), (3, 2)]
    assert "a message of default/hall/['a']" in caplog.text


async def test_a_number_that_was_never_sent_is_refused(server: Server) -> None:
    ada = await attach(server, "hall", "a")
    ada.open_link.detach()
    assert await rejected(resume(server, ada, received=7)) == "connection.not_found"


async def test_acknowledged_messages_are_deleted_and_numbers_go_on(server: Server) -> None:
    ada = await attach(server, "hall", "a")
    for text in "abc":
        await call_on(server, ada, "tell_all", text)
    assert stored(server, Kind.MESSAGE) == 3
    ada.open_link.acknowledge(3)
    await call_on(server, ada, "tell_all", "d")
    assert stored(server, Kind.MESSAGE) == 1
    ada.open_link.acknowledge(4)
    server.node.catalog.evict(ada.open_link.address)
    await call_on(server, ada, "tell_all", "e")
    assert ada.numbers[-1] == (5, 4)


async def test_what_nobody_acknowledges_is_bounded_and_the_gap_shows(start: Start) -> None:
    server, _ = await start(registry, connection_messages_max=3)
    ada = await attach(server, "hall", "a")
    ada.open_link.detach()
    for number in range(10):
        await call_on(server, ada, "tell_all", str(number))
    assert stored(server, Kind.MESSAGE) == 3
    again = await resume(server, ada)
    assert again.said == [("text", "7"), ("text", "8"), ("text", "9")]
    assert again.numbers[0] == (8, 7)


async def test_the_bytes_of_messages_are_bounded(start: Start) -> None:
    server, _ = await start(registry, connection_messages_bytes_max=10_000)
    ada = await attach(server, "hall", "a")
    ada.open_link.detach()
    for number in range(10):
        await call_on(server, ada, "tell_all", f"{number}" + "x" * 3000)
    again = await resume(server, ada)
    assert [text[0] for _, text in again.said] == ["7", "8", "9"]


async def test_a_message_that_is_too_large_fails_the_turn(start: Start) -> None:
    server, _ = await start(registry, event_bytes_max=1000, turn_events_max=5)
    ada = await attach(server, "hall", "a")
    with pytest.raises(HoldfastError) as caught:
        await call_on(server, ada, "tell_all", "x" * 1001)
    assert (caught.value.group, caught.value.code) == ("events", "too_large")
    own = await conn_id(server, ada)
    many = call_on(server, ada, "tell", own, "text", list("abcdef"))
    assert await rejected(many) == "events.too_large"
    assert ada.said == []


async def test_an_ephemeral_message_reaches_whoever_is_there(server: Server) -> None:
    ada, bob, eve = await several(server, 3, "hall", "a")
    eve.open_link.detach()
    await call_on(server, ada, "whisper", "psst")
    await call_on(server, ada, "whisper_now", "hush")
    assert ada.said == bob.said == [("whisper", "psst"), ("whisper", "hush")]
    assert ada.numbers == [(0, 0), (0, 0)]
    again = await resume(server, eve)
    assert again.said == []
    assert stored(server, Kind.MESSAGE) == 0


async def test_a_read_only_action_sends_ephemeral_messages_only(server: Server) -> None:
    ada = await attach(server, "hall", "a")
    attempt = call_on(server, ada, "whisper_now", "hush", False)
    assert await rejected(attempt) == "action.read_only"


async def test_a_thousand_connections_are_told_in_one_batch(server: Server) -> None:
    peers = await several(server, 1000, "hall", "a")
    before = server.node.committer.submitted
    assert await call_on(server, peers[0], "tell_all", "hi") == 1000
    assert server.node.committer.submitted == before + 1
    assert all(peer.said == [("text", "hi")] for peer in peers)
    assert stored(server, Kind.MESSAGE) == 1000


async def test_messages_survive_a_restart(start: Start) -> None:
    server, _ = await start(registry)
    ada = await attach(server, "hall", "a")
    ada.open_link.detach()
    await call_on(server, ada, "tell_all", "one")
    await server.stop()
    server, _ = await start(registry)
    await call_on(server, ada, "tell_all", "two")
    again = await resume(server, ada)
    assert again.heard == ["connected", ("text", "one"), ("text", "two")]
    assert again.numbers == [(1, 0), (2, 1)]


async def test_messages_of_a_commit_that_failed_are_not_sent(start: Start) -> None:
    store = HeldStore()
    server, _ = await start(registry, store=store)
    ada = await attach(server, "hall", "a")
    await call_on(server, ada, "tell_all", "one")
    store.fail_next("write")
    assert await rejected(call_on(server, ada, "tell_all", "lost")) == "store.commit_unknown"
    await until(lambda: not server.node.committer.failed)
    await call_on(server, ada, "tell_all", "two")
    assert ada.said == [("text", "one"), ("text", "two")]
    assert ada.numbers == [(1, 0), (2, 1)]


async def test_an_action_on_a_thread_sends_too(server: Server) -> None:
    ada, bob = await several(server, 2, "hall", "a")
    assert await call_on(server, ada, "tell_from_thread", "hi") == 2
    assert ada.said == bob.said == [("text", "hi")]
    assert await call_on(server, ada, "me") == ["threaded", []]


async def test_work_outside_a_turn_still_has_its_connection(server: Server, stage: Stage) -> None:
    ada = await attach(server, "hall", "a")
    await call_on(server, ada, "tell_later", "hi")
    stage.let("later")
    await stage.reached("told")
    assert ada.said == [("text", "nobody: hi")]


async def test_one_transport_that_fails_does_not_keep_others_from_hearing(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(TestPeer):
        def message(self, link: Link, message: Message) -> None:
            raise RuntimeError("broken")

    await attach(server, "hall", "a", peer=Broken())
    ada = await attach(server, "hall", "a")
    await call_on(server, ada, "tell_all", "hi")
    assert ada.said == [("text", "hi")]
    assert "broken" in caplog.text


async def test_messages_cannot_be_protobuf(server: Server) -> None:
    attempt = attach(server, "hall", "a", encoding=Encoding.PROTOBUF)
    assert await rejected(attempt) == "encoding.invalid"
