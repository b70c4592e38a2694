"""Readers that read too slowly: ended with where to resume, or told the latest only."""

from __future__ import annotations

import gc
import json
from typing import Any

import pytest

from holdfast_server.app import Server
from holdfast_server.core.call import Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.events import Delivery, SlowReader, Subscribe
from holdfast_server.core.ids import Address
from holdfast_server.runtime.audience import Subscriber
from holdfast_server.runtime.readers import Subscription
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Connect, Start
from tests.server.event_actors import registry
from tests.server.listening import CONFLATE, listen
from tests.server.probe import until
from tests.server.wire import Wire, target

ROOM = target("room", "r")
TARGET = Target(address=Address("default", "room", ("r",)), create=True)


@pytest.fixture
async def server(start: Start, request: pytest.FixtureRequest) -> Server:
    settings = getattr(request, "param", {})
    return (await start(registry, store=MemoryStore(), **settings))[0]


@pytest.fixture
def wire(server: Server, connect: Connect) -> Wire:
    return connect(server)


class Slow:
    """A Reader that says itself when it has taken something."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.moves = 0
        self.error: HoldfastError | None = None

    def deliver(self, _: Subscription, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    def moved(self, _: Subscription) -> None:
        self.moves += 1

    def ended(self, _: Subscription, error: HoldfastError) -> None:
        self.error = error

    def take(self) -> list[tuple[int, int, int, Any]]:
        """What came since: number, the one before, conflated, first argument."""
        taken, self.deliveries = self.deliveries, []
        return [
            (each.event.sequence, each.previous, each.conflated, json.loads(each.event.args.data))
            for each in taken
        ]


async def subscribed(server: Server, slow: SlowReader, **fields: Any) -> tuple[Slow, Subscriber]:
    """A slow reader with credit for one event."""
    fields = {"encoding": 1, "window_bytes": 1, **fields}
    reader = Slow()
    request = Subscribe(target=TARGET, slow_reader=slow, **fields)
    return reader, await server.node.subscribe(request, reader)


async def settled(subscription: Subscriber, credit: int = 0) -> None:
    """Grant and let what that sets off happen."""
    if credit:
        subscription.grant(credit)
    await until(lambda: not subscription._pumped)


async def test_a_reader_without_credit_reads_on_from_the_log(server: Server, wire: Wire) -> None:
    reader, subscription = await subscribed(server, SlowReader.END)
    await wire.invoke(ROOM, "emit", "said", "a")
    # Less than it owes.
    await settled(subscription, -subscription.credit)
    for line in "bcd":
        await wire.invoke(ROOM, "emit", "said", line)
    assert reader.take() == [(1, 0, 0, ["a"])]
    await settled(subscription, 1)
    assert reader.take() == [(2, 1, 0, ["b"])]
    await settled(subscription, 10_000)
    assert reader.take() == [(3, 2, 0, ["c"]), (4, 3, 0, ["d"])]
    await wire.invoke(ROOM, "emit", "said", "e")
    assert reader.take() == [(5, 4, 0, ["e"])]


async def test_an_ephemeral_event_is_dropped_for_a_slow_reader(server: Server, wire: Wire) -> None:
    reader, subscription = await subscribed(server, SlowReader.END)
    await wire.invoke(ROOM, "emit", "said", "a")
    await wire.invoke(ROOM, "hint", "typing", True)
    assert server.node.audiences.dropped == 1
    await wire.invoke(ROOM, "emit", "said", "b")
    await wire.invoke(ROOM, "hint", "typing", True)
    assert server.node.audiences.dropped == 2
    await settled(subscription, 10_000)
    assert reader.take() == [(1, 0, 0, ["a"]), (2, 1, 0, ["b"])]


@pytest.mark.parametrize("server", [{"subscription_lag_max": 3}], indirect=True)
async def test_a_reader_that_lags_too_far_is_ended_and_told_where_to_resume(
    server: Server, wire: Wire
) -> None:
    reader, subscription = await subscribed(server, SlowReader.END)
    for line in "abcd":
        await wire.invoke(ROOM, "emit", "said", line)
    assert reader.error is None
    await wire.invoke(ROOM, "emit", "said", "e")
    assert reader.error is not None
    assert reader.error.reason.reason == "SUBSCRIBER_TOO_SLOW"
    assert reader.error.metadata["sequence"] == "1"
    assert reader.error.metadata["incarnation"] == "1"
    assert server.node.audiences.ended == 1
    assert len(server.node.audiences) == 0
    again = Slow()
    await server.node.subscribe(
        Subscribe(target=TARGET, start=subscription.cursor, encoding=1), again
    )
    await until(lambda: len(again.deliveries) == 4)
    assert [number for number, *_ in again.take()] == [2, 3, 4, 5]


@pytest.mark.parametrize("server", [{"events_max": 2}], indirect=True)
async def test_a_reader_whose_next_event_is_gone_is_ended(server: Server, wire: Wire) -> None:
    reader, subscription = await subscribed(server, SlowReader.END)
    for line in "abcd":
        await wire.invoke(ROOM, "emit", "said", line)
    await settled(subscription, 10_000)
    assert reader.error is not None
    assert reader.error.reason.reason == "EVENTS_TRIMMED"
    assert reader.error.metadata["oldest_sequence"] == "3"


async def test_one_that_conflates_gets_the_latest_of_each_name(server: Server, wire: Wire) -> None:
    reader, subscription = await subscribed(server, SlowReader.CONFLATE)
    for name, value in (("x", 0), ("x", 1), ("y", 1), ("x", 2), ("z", 1)):
        await wire.invoke(ROOM, "emit", name, value)
    await wire.invoke(ROOM, "hint", "z", 2)
    assert reader.take() == [(1, 0, 0, [0])]
    await settled(subscription, 10_000)
    assert reader.take() == [(3, 1, 2, [1]), (4, 3, 0, [2]), (0, 0, 0, [2])]
    assert server.node.audiences.conflated == 2
    assert subscription.cursor.sequence == 4
    await wire.invoke(ROOM, "emit", "x", 3)
    assert reader.take() == [(6, 4, 0, [3])]


@pytest.mark.parametrize("server", [{"event_names_max": 2}], indirect=True)
async def test_no_more_names_wait_than_the_limit_says(server: Server, wire: Wire) -> None:
    reader, subscription = await subscribed(server, SlowReader.CONFLATE)
    for name in "abcd":
        await wire.invoke(ROOM, "emit", name, name)
    await settled(subscription, 10_000)
    assert reader.take() == [(1, 0, 0, ["a"]), (3, 1, 1, ["c"]), (4, 3, 0, ["d"])]


async def test_one_that_conflates_catches_up_with_the_latest_too(
    server: Server, wire: Wire
) -> None:
    await wire.invoke(ROOM, "many", 1000)
    await wire.invoke(ROOM, "emit", "other", 1)
    reader, subscription = await subscribed(server, SlowReader.CONFLATE, start=1)
    await until(lambda: len(subscription.waiting or ()) == 2)
    assert reader.take() == [(1, 0, 0, [0, ""])]
    assert subscription.cursor.sequence == 1
    await settled(subscription, 10_000)
    assert reader.take() == [(1000, 1, 998, [999, ""]), (1001, 1000, 0, [1])]


async def test_readers_that_stand_alike_share_one_delivery(server: Server, wire: Wire) -> None:
    readers = [(await subscribed(server, SlowReader.END))[0] for _ in range(3)]
    other, _ = await subscribed(server, SlowReader.END, encoding=2)
    await wire.invoke(ROOM, "emit", "said", "a")
    shared = readers[0].deliveries[0]
    assert all(reader.deliveries[0] is shared for reader in readers)
    assert other.deliveries[0].event is not shared.event


async def test_a_reader_that_goes_leaves_nothing(server: Server, wire: Wire) -> None:
    reader = await listen(wire, ROOM)
    assert len(server.node.audiences) == 1
    reader.leave()
    await until(lambda: len(server.node.audiences) == 0)


async def test_a_reader_that_does_not_read_costs_a_bounded_memory(
    server: Server, wire: Wire
) -> None:
    """It is sent what fits into its window and into the buffers on the way, no more."""
    stuck = await listen(wire, ROOM)
    latest = await listen(wire, ROOM, slow_reader=CONFLATE)
    for number in range(80):
        await wire.invoke(ROOM, "big", 100_000 + number)
    gc.collect()
    held = [each for each in gc.get_objects() if isinstance(each, Delivery)]
    assert sum(each.event.size for each in held) < 4_000_000
    # One hears the gap, the other is spared it.
    sizes = []
    while not sizes or sizes[-1] != 100_079:
        event = await latest.next()
        sizes.append(len(json.loads(event.args.data)[0]))
    assert len(sizes) < 80
    refusal = await stuck.refusal()
    assert refusal.reason == "EVENTS_TRIMMED"
    assert int(refusal.metadata["oldest_sequence"]) > stuck.cursor.sequence + 1
