"""What was told is durable: no event leaves before its sync, none is taken back, also where
the store fails, and numbers that may have been given again are another incarnation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from holdfast.v1 import event_pb2
from holdfast_server.app import Server
from holdfast_server.store.faults import FaultyStore
from holdfast_server.store.memory import MemoryStore
from holdfast_server.store.verify import verify
from tests.server.conftest import Connect, Start
from tests.server.event_actors import registry
from tests.server.listening import Listener, listen
from tests.server.outcomes import wire_refusal
from tests.server.probe import activation_of, until
from tests.server.restartable import RestartableServer, server_process
from tests.server.stage import Stage
from tests.server.test_output_gate import HeldStore
from tests.server.wire import Wire, target

ROOM = target("room", "r")
QUICK = target("quick", "q")


@pytest.fixture
async def store() -> AsyncIterator[HeldStore]:
    store = HeldStore()
    yield store
    store.broken = False
    store.let_go()


@pytest.fixture
async def server(start: Start, store: HeldStore) -> Server:
    return (await start(registry, store=store, store_reopen_s=0.01))[0]


@pytest.fixture
def wire(server: Server, connect: Connect) -> Wire:
    return connect(server)


async def read_first(reader: Listener) -> None:
    await reader.rpc.read()
    await reader.rpc.read()


async def test_an_event_does_not_leave_before_its_sync(wire: Wire, store: HeldStore) -> None:
    reader = await listen(wire, ROOM)
    store.hold()
    said = asyncio.create_task(wire.invoke(ROOM, "say", "a"))
    await store.reached()
    # A hint that waits for no sync goes the way to the reader that the event would go.
    pointed = asyncio.create_task(wire.invoke(ROOM, "point", 1))
    assert await reader.take(1) == [(0, "cursor", [1])]
    assert not said.done()
    store.let_go()
    assert await reader.take(1) == [(1, "said", ["a"])]
    await asyncio.gather(said, pointed)


async def test_a_subscription_starts_with_what_is_durable(wire: Wire, store: HeldStore) -> None:
    await wire.invoke(target("room", "quiet"), "say", "a")
    await wire.invoke(ROOM, "say", "a")
    store.hold()
    said = asyncio.create_task(wire.invoke(ROOM, "say", "b"))
    await store.reached()
    coming = [
        asyncio.create_task(listen(wire, ROOM)),
        asyncio.create_task(listen(wire, ROOM, from_sequence=1)),
        asyncio.create_task(wire_refusal(listen(wire, ROOM, from_sequence=9))),
    ]
    for _ in range(3):
        await wire.invoke(target("room", "quiet"), "point", 1)
    assert not any(each.done() for each in coming)
    store.let_go()
    await said
    now, everything, _ = await asyncio.gather(*coming)
    await wire.invoke(ROOM, "say", "c")
    assert await now.take(1) == [(3, "said", ["c"])]
    assert [line for _, _, (line,) in await everything.take(3)] == ["a", "b", "c"]


@pytest.mark.parametrize("kept", [None, 0])
async def test_a_failed_store_takes_no_event_back_and_subscriptions_go_on(
    wire: Wire, store: HeldStore, kept: int | None
) -> None:
    reader = await listen(wire, ROOM)
    await wire.invoke(ROOM, "say", "a")
    store.unsynced_kept = kept
    store.fail_next("sync", applied=kept is None)
    assert (await wire_refusal(wire.invoke(ROOM, "say", "b"))).reason == "COMMIT_UNKNOWN"
    await wire.invoke(ROOM, "say", "c")
    # What was not acknowledged is told if it is there after all, and only then.
    lines = ["a", "b", "c"] if kept is None else ["a", "c"]
    expected = [(number, "said", [line]) for number, line in enumerate(lines, 1)]
    assert await reader.take(len(lines)) == expected
    again = await listen(wire, ROOM, from_sequence=1)
    assert await again.take(len(lines)) == expected


async def test_a_destroy_of_unknown_outcome_ends_subscriptions_if_it_took_place(
    wire: Wire, store: HeldStore
) -> None:
    reader = await listen(wire, ROOM)
    store.fail_next("sync", applied=True)
    assert (await wire_refusal(wire.invoke(ROOM, "bye"))).reason == "COMMIT_UNKNOWN"
    assert (await reader.refusal()).reason == "ACTOR_DESTROYED"


async def test_the_first_buffered_event_of_an_epoch_waits_for_its_sync(
    wire: Wire, store: HeldStore
) -> None:
    """That numbers may be lost must be known before one leaves."""
    reader = await listen(wire, QUICK)
    store.hold()
    said = asyncio.create_task(wire.invoke(QUICK, "say", "a"))
    await store.reached()
    hinted = asyncio.create_task(wire.invoke(QUICK, "point"))
    assert await reader.take(1) == [(0, "cursor", [])]
    assert not said.done()
    store.let_go()
    assert await reader.take(1) == [(1, "said", ["a"])]
    await asyncio.gather(said, hinted)


async def test_a_buffered_event_leaves_unsynced_and_in_order(
    server: Server, wire: Wire, store: HeldStore
) -> None:
    reader = await listen(wire, QUICK)
    await wire.invoke(QUICK, "say", "a")
    store.hold()
    await wire.invoke(QUICK, "say", "b")
    assert await reader.take(2) == [(1, "said", ["a"]), (2, "said", ["b"])]
    # One that waits for its sync holds up those after it.
    surely = asyncio.create_task(wire.invoke(QUICK, "surely", "c"))
    activation = activation_of(server, "quick", "q")
    assert activation is not None
    await until(lambda: activation.event_log is not None and activation.event_log.last == 3)
    after = asyncio.create_task(wire.invoke(QUICK, "say", "d"))
    await until(lambda: activation.event_log is not None and activation.event_log.last == 4)
    assert not surely.done()
    assert not after.done()
    store.let_go()
    assert await reader.take(2) == [(3, "said", ["c"]), (4, "said", ["d"])]
    await asyncio.gather(surely, after)


async def test_numbers_of_a_buffered_actor_that_were_lost_are_another_incarnation(
    wire: Wire, store: HeldStore
) -> None:
    reader = await listen(wire, QUICK)
    await wire.invoke(QUICK, "say", "a")
    store.hold()
    store.unsynced_kept = 0
    store.fail_next("sync")
    await wire.invoke(QUICK, "say", "lost")
    assert await reader.take(2) == [(1, "said", ["a"]), (2, "said", ["lost"])]
    store.let_go()
    assert (await reader.refusal()).reason == "CURSOR_STALE"
    await wire.invoke(QUICK, "say", "b")
    stale = await wire_refusal(read_first(Listener(wire, QUICK, after=reader.cursor)))
    assert (stale.reason, stale.metadata["incarnation"]) == ("CURSOR_STALE", "2")
    again = await listen(wire, QUICK, from_sequence=1)
    assert again.cursor.incarnation == 2
    assert [line for _, _, (line,) in await again.take(2)] == ["a", "b"]


async def test_an_orderly_stop_keeps_the_incarnation_of_a_buffered_actor(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    cursors = []
    for line in "ab":
        server, _ = await start(registry)
        wire = connect(server)
        reader = await listen(wire, QUICK)
        await wire.invoke(QUICK, "say", line)
        await reader.take(1)
        cursors.append(reader.cursor)
        await server.stop()
    assert [(each.incarnation, each.sequence) for each in cursors] == [(1, 1), (1, 2)]
    assert verify(tmp_path / "data") == []


def channel_to(server: RestartableServer) -> grpc.aio.Channel:
    """A channel with connections of its own: those that gRPC shares are slow to try again."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.insecure_channel(server.address, options=options)


async def test_a_kill_loses_no_event_that_was_told_and_a_reader_resumes(tmp_path: Path) -> None:
    async with server_process("tests.server.event_actors:registry", tmp_path) as server:
        cursors: dict[str, event_pb2.EventCursor] = {}
        for name, last in (("room", 3), ("quick", 3)):
            async with channel_to(server) as channel:
                wire = Wire(channel)
                reader = await listen(wire, target(name, "k"))
                for line in "abc":
                    await wire.invoke(target(name, "k"), "say", line)
                assert [number for number, _, _ in await reader.take(last)] == [1, 2, 3]
                cursors[name] = reader.cursor
        cursors["room"].sequence = 1
        await server.kill()
        await server.start()
        async with channel_to(server) as channel:
            wire = Wire(channel)
            await wire.invoke(target("room", "k"), "say", "d")
            resumed = await listen(wire, target("room", "k"), after=cursors["room"])
            assert [line for _, _, (line,) in await resumed.take(3)] == ["b", "c", "d"]
            # Of a buffered actor nobody knows which of its numbers were lost.
            stale = Listener(wire, target("quick", "k"), after=cursors["quick"])
            assert (await wire_refusal(read_first(stale))).reason == "CURSOR_STALE"
            again = await listen(wire, target("quick", "k"))
            assert again.cursor.incarnation == 2
        await server.stop()
    assert verify(tmp_path) == []


async def say_until_it_ends(wire: Wire, caller: str, acknowledged: list[str]) -> None:
    """Calls without keys, one after the other, until one fails."""
    with suppress(grpc.aio.AioRpcError):
        for number in range(10_000):
            line = f"{caller}{number}"
            await wire.invoke(target("room", "k"), "say", line)
            acknowledged.append(line)


async def read_until_it_ends(reader: Listener, heard: dict[int, str], enough: int) -> None:
    with suppress(grpc.aio.AioRpcError):
        while len(heard) < enough:
            ((number, _, (line,)),) = await reader.take(1)
            assert heard.setdefault(number, line) == line


async def test_kills_under_load_take_back_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    """Whatever was heard or acknowledged before a kill is in the log after it, once."""
    heard: dict[int, str] = {}
    acknowledged: list[str] = []
    async with server_process("tests.server.event_actors:registry", tmp_path) as server:
        cursor = None
        for life in range(3):
            async with channel_to(server) as channel:
                wire, before = Wire(channel), len(heard)
                start = {} if cursor is None else {"after": cursor}
                reader = await listen(wire, target("room", "k"), **start)
                callers = [
                    asyncio.create_task(say_until_it_ends(wire, f"{life}-{name}-", acknowledged))
                    for name in "abcd"
                ]
                await read_until_it_ends(reader, heard, before + 100)
                await server.kill()
                await asyncio.gather(*callers)
                # What had arrived by then was told too.
                await read_until_it_ends(reader, heard, before + 10_000)
                cursor = reader.cursor
            await server.start()
        async with channel_to(server) as channel:
            wire = Wire(channel)
            rest = await listen(wire, target("room", "k"), after=cursor)
            await wire.invoke(target("room", "k"), "say", "last")
            while heard.get(max(heard)) != "last":
                ((number, _, (line,)),) = await rest.take(1)
                assert number == max(heard) + 1
                heard[number] = line
            kept = await listen(wire, target("room", "k"), from_sequence=1)
            stored = {number: line for number, _, (line,) in await kept.take(len(heard))}
        await server.stop()
    assert stored == heard
    assert sorted(stored) == list(range(1, len(stored) + 1))
    lines = list(stored.values())
    assert len(set(lines)) == len(lines)
    assert set(acknowledged) <= set(lines)
    assert verify(tmp_path) == []


async def test_a_drain_ends_subscriptions_after_the_last_event(
    start: Start, connect: Connect, stage: Stage
) -> None:
    server, _ = await start(registry, store=FaultyStore(MemoryStore()))
    wire = connect(server)
    reader = await listen(wire, ROOM)
    running = asyncio.create_task(wire.invoke(ROOM, "slowly", "a"))
    await stage.reached("a")
    stopping = asyncio.create_task(server.stop())
    await until(lambda: server.node.draining)
    assert (await wire_refusal(read_first(Listener(wire, ROOM)))).reason == "SERVER_DRAINING"
    stage.let("a")
    await running
    assert [line for _, _, (line,) in await reader.take(2)] == ["a begins", "a ends"]
    ended = await reader.refusal()
    assert (ended.status, ended.reason) == ("UNAVAILABLE", "SERVER_DRAINING")
    await stopping
