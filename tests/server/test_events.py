"""Events: numbered in the order of commits, told once they are durable, resumed without a gap."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import ActorError
from holdfast.v1 import event_pb2
from holdfast_server.app import Server
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Connect, Start
from tests.server.event_actors import registry
from tests.server.listening import listen
from tests.server.outcomes import wire_refusal
from tests.server.stage import Stage
from tests.server.wire import Wire, by_id, result, target

ROOM = target("room", "r")


@pytest.fixture
async def server(start: Start) -> Server:
    return (await start(registry, store=MemoryStore()))[0]


@pytest.fixture
def wire(server: Server, connect: Connect) -> Wire:
    return connect(server)


async def test_events_are_numbered_from_one_in_the_order_of_commits(wire: Wire) -> None:
    reader = await listen(wire, ROOM)
    assert reader.cursor.sequence == 0
    await wire.invoke(ROOM, "say", "a", "b")
    await wire.invoke(ROOM, "say", "c")
    assert await reader.take(3) == [(1, "said", ["a"]), (2, "said", ["b"]), (3, "said", ["c"])]
    assert reader.cursor.sequence == 3
    assert reader.cursor.incarnation == 1


async def test_a_failed_turn_emits_nothing(wire: Wire) -> None:
    reader = await listen(wire, ROOM)
    assert (await wire_refusal(wire.invoke(ROOM, "fail", "lost"))).reason == "USER_ERROR"
    await wire.invoke(ROOM, "say", "kept")
    assert await reader.take(1) == [(1, "said", ["kept"])]


async def test_what_is_broadcast_is_what_it_was_at_the_broadcast(wire: Wire) -> None:
    reader = await listen(wire, ROOM)
    await wire.invoke(ROOM, "mutate")
    assert await reader.take(1) == [(1, "said", [["before"]])]


async def test_a_commit_in_the_middle_emits_what_came_before_it(wire: Wire, stage: Stage) -> None:
    reader = await listen(wire, ROOM)
    call = asyncio.create_task(wire_refusal(wire.invoke(ROOM, "half", "told", "lost")))
    await stage.reached("half")
    assert await reader.take(1) == [(1, "said", ["told"])]
    stage.let("half")
    assert (await call).reason == "USER_ERROR"
    await wire.invoke(ROOM, "halves", "first", "second")
    assert await reader.take(2) == [(2, "said", ["first"]), (3, "said", ["second"])]
    await wire.invoke(ROOM, "say", "next")
    assert await reader.take(1) == [(4, "said", ["next"])]


async def test_a_streaming_action_emits_with_each_step(wire: Wire) -> None:
    reader = await listen(wire, ROOM)
    items = wire.stream(ROOM, "steps", "a", "b")
    for number, line in enumerate(("a", "b"), 1):
        assert await anext(items) == line
        assert await reader.take(1) == [(number, "said", [line])]
    assert [item async for item in items] == []


async def test_interleaved_turns_emit_what_is_their_own(wire: Wire, stage: Stage) -> None:
    reader = await listen(wire, ROOM)
    first = asyncio.create_task(wire.invoke(ROOM, "slowly", "a"))
    await stage.reached("a")
    second = asyncio.create_task(wire.invoke(ROOM, "slowly", "b"))
    await stage.reached("b")
    stage.let("b")
    await second
    assert await reader.take(2) == [(1, "said", ["b begins"]), (2, "said", ["b ends"])]
    stage.let("a")
    await first
    assert await reader.take(2) == [(3, "said", ["a begins"]), (4, "said", ["a ends"])]


async def test_turns_of_hooks_threads_and_tasks_emit_too(wire: Wire, stage: Stage) -> None:
    greeter = target("greeter", "g")
    await wire.invoke(greeter, "touch")
    reader = await listen(wire, greeter, from_sequence=1)
    assert [name for _, name, _ in await reader.take(3)] == ["created", "woke", "touched"]

    reader = await listen(wire, ROOM)
    await wire.invoke(ROOM, "from_thread", "thread")
    await wire.invoke(ROOM, "later", "task")
    assert await reader.take(2) == [(1, "said", ["thread"]), (2, "said", ["task"])]


async def test_events_of_a_turn_precede_its_reply(server: Server, wire: Wire) -> None:
    """Both travel on one connection, and what was written first arrives first."""
    reader = await listen(wire, ROOM)
    for number in range(1, 20):
        answered = asyncio.create_task(wire.invoke(ROOM, "say", "x"))
        told = asyncio.create_task(reader.next())
        done, _ = await asyncio.wait({answered, told}, return_when=asyncio.FIRST_COMPLETED)
        assert told in done
        assert (await told).sequence == result(await answered) == number


async def test_a_retry_replays_its_answer_and_emits_nothing_again(wire: Wire) -> None:
    reader = await listen(wire, ROOM)
    for _ in range(2):
        answer = await wire.invoke(ROOM, "say", "once", idempotency_key="k")
    assert answer.replayed
    await wire.invoke(ROOM, "say", "twice")
    assert await reader.take(2) == [(1, "said", ["once"]), (2, "said", ["twice"])]


async def test_ephemeral_events_have_no_number_and_are_not_kept(wire: Wire) -> None:
    reader = await listen(wire, ROOM)
    await wire.invoke(ROOM, "hint", "typing", True)
    await wire.invoke(ROOM, "both", "a")
    await wire.invoke(ROOM, "point", 7)
    assert await reader.take(4) == [
        (0, "typing", [True]),
        (0, "typing", [False]),
        (1, "said", ["a"]),
        (0, "cursor", [7]),
    ]
    late = await listen(wire, ROOM, from_sequence=1)
    await wire.invoke(ROOM, "say", "b")
    assert await late.take(2) == [(1, "said", ["a"]), (2, "said", ["b"])]


async def test_a_read_only_turn_emits_ephemeral_events_only(wire: Wire) -> None:
    await wire.invoke(ROOM, "say", "a")
    assert (await wire_refusal(wire.invoke(ROOM, "whisper", "b"))).reason == "READ_ONLY"


async def test_a_filter_leaves_other_names_out_and_names_the_event_before(wire: Wire) -> None:
    reader = await listen(wire, ROOM, names=["b", "b"])
    for name in "abacb":
        await wire.invoke(ROOM, "emit", name)
    second = [await reader.next() for _ in range(2)]
    assert [(event.sequence, event.previous_sequence) for event in second] == [(2, 0), (5, 2)]


async def test_a_reader_is_moved_past_many_events_of_other_names(wire: Wire) -> None:
    reader = await listen(wire, ROOM, names=["never"])
    await wire.invoke(ROOM, "many", 300)
    assert await reader.read()
    assert reader.cursor.sequence == 256
    behind = await listen(wire, ROOM, names=["never"], from_sequence=1)
    assert await behind.read()
    assert behind.cursor.sequence == 256


@pytest.mark.parametrize("encoding", [1, 2, 3])
async def test_each_reader_has_its_own_encoding(wire: Wire, encoding: int) -> None:
    as_json = await listen(wire, ROOM)
    other = await listen(wire, ROOM, accept_encoding=encoding)
    await wire.invoke(ROOM, "say", "a")
    stored = await listen(wire, ROOM, accept_encoding=encoding, from_sequence=1)
    live, replayed = await other.next(), await stored.next()
    assert live.args == replayed.args
    assert live.args.encoding == encoding
    assert live.args.data == {1: b'["a"]', 2: b"\x91\xa1a", 3: b"\x81\x61a"}[encoding]
    assert await as_json.take(1) == [(1, "said", ["a"])]


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        (1, b'[5,[7],"1180591620717411303424"]'),
        (2, b"\x93\x05\x91\x07\xb61180591620717411303424"),
        (3, b"\x83\x05\x81\x07\xc2I\x40" + bytes(8)),
    ],
)
async def test_what_only_javascript_tells_apart_is_plain_to_others(
    wire: Wire, encoding: int, data: bytes
) -> None:
    reader = await listen(wire, ROOM, accept_encoding=encoding)
    answer = await wire.invoke(ROOM, "mark", accept_encoding=encoding)
    assert answer.result.data == data
    stored = await listen(wire, ROOM, accept_encoding=encoding, from_sequence=1)
    live, replayed = await reader.next(), await stored.next()
    assert live.args == replayed.args
    assert (live.args.encoding, live.args.data) == (encoding, data)


async def test_the_encoding_of_javascript_is_none_that_clients_may_ask_for(wire: Wire) -> None:
    refused = await wire_refusal(wire.invoke(ROOM, "mark", accept_encoding=64))
    assert refused.reason == "ENCODING_INVALID"


async def test_duplicate_subscriptions_get_everything_each(wire: Wire) -> None:
    readers = [await listen(wire, ROOM) for _ in range(3)]
    await wire.invoke(ROOM, "say", "a")
    for reader in readers:
        assert await reader.take(1) == [(1, "said", ["a"])]


async def test_a_thousand_subscribers_all_hear_everything(wire: Wire) -> None:
    readers = await asyncio.gather(*(listen(wire, ROOM) for _ in range(1000)))
    await wire.invoke(ROOM, "say", "a", "b")
    heard = await asyncio.gather(*(reader.take(2) for reader in readers))
    assert heard == [[(1, "said", ["a"]), (2, "said", ["b"])]] * 1000
    for reader in readers:
        reader.leave()


async def test_events_that_are_ready_together_come_in_one_answer(wire: Wire) -> None:
    reader = await listen(wire, ROOM)
    await wire.invoke(ROOM, "many", 600)
    assert [event[0] for event in await reader.take(600)] == list(range(1, 601))
    assert reader.answers <= 5


async def test_subscribing_wakes_no_actor_and_creates_one_only_if_told(
    server: Server, wire: Wire
) -> None:
    refusal = await wire_refusal(listen(wire, target("room", "new", create=False)))
    assert refusal.reason == "ACTOR_NOT_FOUND"
    reader = await listen(wire, target("room", "new"))
    await listen(wire, target("room", "new", create=False))
    await wire.invoke(target("room", "new"), "say", "a")
    assert await reader.take(1) == [(1, "said", ["a"])]


async def test_an_unknown_actor_is_not_found(wire: Wire) -> None:
    unknown = by_id("a" * 26)
    assert (await wire_refusal(listen(wire, unknown))).reason == "ACTOR_NOT_FOUND"
    assert (await wire_refusal(listen(wire, target("nothing", "r")))).reason == (
        "ACTOR_NAME_NOT_FOUND"
    )


async def test_an_event_outside_a_turn_is_refused(wire: Wire, stage: Stage) -> None:
    await wire.invoke(ROOM, "too_late", "lost")
    with pytest.raises(ActorError) as caught:
        await stage.kept["task"]  # type: ignore[misc]
    assert caught.value.code == "no_turn"


async def test_the_way_to_treat_a_slow_reader_must_be_one_of_them(wire: Wire) -> None:
    refusal = await wire_refusal(listen(wire, ROOM, slow_reader=7))
    assert refusal.reason == "REQUEST_INVALID"
    reader = await listen(wire, ROOM, slow_reader=event_pb2.SLOW_READER_CONFLATE)
    await wire.invoke(ROOM, "say", "a")
    assert await reader.take(1) == [(1, "said", ["a"])]
