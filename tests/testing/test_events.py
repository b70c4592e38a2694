"""What actors tell, collected."""

from __future__ import annotations

import asyncio

from holdfast.testing import blocking_harness, harness
from tests.testing.actors import Counter, registry


async def test_events_are_collected_through_a_crash() -> None:
    async with harness(registry) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        await counter.tell("before")
        seen = await h.events(counter)
        words = await h.events(counter, "told", from_sequence=1)
        await counter.tell("one")
        await h.crash()
        with h.faults.crash_after_commit(counter):
            await counter.tell("two")
        await h.advance(minutes=1)

        assert [(event.name, event.args) for event in seen] == [
            ("told", ("one",)),
            ("number", (2,)),
            ("told", ("two",)),
            ("number", (3,)),
        ]
        assert [event.args for event in words] == [("before",), ("one",), ("two",)]
        assert [event.sequence for event in words] == [1, 3, 5]


async def test_a_reader_that_stops_while_it_waits_leaves_nothing_running() -> None:
    async with harness(registry) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        await counter.tell("one")
        items = h.client.get_or_create("counter", ["a"]).events("told", from_sequence=1)
        assert (await anext(items)).args == ("one",)
        await h.settle()
        await items.aclose()
        await h.settle()

        assert [task for task in asyncio.all_tasks() if "Queue.get" in repr(task)] == []


def test_events_are_collected_in_plain_functions() -> None:
    with blocking_harness(registry) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        seen = h.events(counter, "number")
        counter.tell("x")
        h.settle()
        assert [event.args for event in seen] == [(1,)]
