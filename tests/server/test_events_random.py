"""Readers of every kind over a random history: nothing is lost, nothing comes twice."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from holdfast_server.app import Server
from holdfast_server.core.events import Delivery, SlowReader, Subscribe
from holdfast_server.runtime.audience import Subscriber
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Connect, Start
from tests.server.event_actors import registry
from tests.server.probe import until
from tests.server.test_events_slow import ROOM, TARGET, Slow

NAMES = "abcd"


class Reader(Slow):
    """Checks, as it reads, what every reader may rely on."""

    def __init__(self, names: frozenset[str], slow: SlowReader, start: int) -> None:
        super().__init__()
        self.names = names
        self.slow = slow
        self.start = start
        self.place = start
        self.spared = 0
        self.heard: list[tuple[int, str, Any]] = []
        self.subscription: Subscriber | None = None

    def deliver(self, _: Any, delivery: Delivery) -> None:
        event = delivery.event
        assert self.subscription is not None
        assert not self.names or event.name in self.names
        assert delivery.previous == (self.place if event.sequence else 0)
        if event.sequence:
            assert event.sequence > self.place
            self.place = event.sequence
            self.heard.append((event.sequence, event.name, json.loads(event.args.data)[0]))
        self.spared += delivery.conflated
        assert not delivery.conflated or self.slow is SlowReader.CONFLATE

    def moved(self, subscription: Any) -> None:
        self.place = subscription.cursor.sequence


async def subscribed(server: Server, random: Random, last: int) -> Reader:
    names = frozenset(random.sample(NAMES, random.randrange(4)))
    slow = random.choice(list(SlowReader))
    start = random.choice([None, random.randrange(1, last + 2)])
    reader = Reader(names, slow, last if start is None else start - 1)
    request = Subscribe(
        target=TARGET,
        names=names,
        start=start,
        slow_reader=slow,
        encoding=1,
        window_bytes=random.choice([1, 20, 100_000]),
    )
    reader.subscription = await server.node.subscribe(request, reader)
    return reader


@pytest.mark.parametrize("seed", range(12))
async def test_every_reader_gets_what_is_its_own(start: Start, connect: Connect, seed: int) -> None:
    server, _ = await start(registry, store=MemoryStore())
    wire, random = connect(server), Random(seed)
    history: list[tuple[int, str, int]] = []
    readers: list[Reader] = []
    await wire.invoke(ROOM, "hint", "a")
    for step in range(150):
        kind = random.random()
        if kind < 0.5:
            name = random.choice(NAMES)
            await wire.invoke(ROOM, "emit", name, step)
            history.append((len(history) + 1, name, step))
        elif kind < 0.6:
            await wire.invoke(ROOM, "hint", "hint", -1)
        elif kind < 0.7 and len(readers) < 12:
            readers.append(await subscribed(server, random, len(history)))
        elif readers:
            subscription = random.choice(readers).subscription
            assert subscription is not None
            subscription.grant(random.choice([1, 10, 100]))
    for reader in readers:
        assert reader.subscription is not None
        reader.subscription.grant(1_000_000)
    await until(lambda: all(r.subscription and r.subscription.ready for r in readers))
    assert len(readers) > 3
    for reader in readers:
        wanted = [
            event
            for event in history
            if event[0] > reader.start and (not reader.names or event[1] in reader.names)
        ]
        if reader.slow is SlowReader.END:
            assert reader.heard == wanted
        else:
            assert set(reader.heard) <= set(wanted)
            assert len(reader.heard) + reader.spared >= len(wanted)
            assert {name: number for number, name, _ in reader.heard} == {
                name: number for number, name, _ in wanted
            }
