"""A timer that is not durable yet fires nothing, whatever wakes the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from holdfast import Client
from holdfast_server.app import Server
from holdfast_server.config import load
from tests.server import timer_actors
from tests.server.probe import until
from tests.server.test_output_gate import HeldStore
from tests.server.timer_actors import Alarm, heard, registry


@pytest.fixture
async def store() -> AsyncIterator[HeldStore]:
    store = HeldStore()
    yield store
    store.let_go()


async def test_a_timer_does_not_fire_before_the_turn_that_set_it_is_synced(
    store: HeldStore,
) -> None:
    timer_actors.clear()
    server = Server(registry, load({}, data="unused", grpc="127.0.0.1:0"), store)
    await server.start()
    async with Client(f"127.0.0.1:{server.port}") as client:
        first, second = (client.get_or_create(Alarm, [key]) for key in ("a", "b"))
        await second.note()
        await first.after(0.3, "look")
        store.hold()
        setting = asyncio.create_task(second.after(0, "look"))
        await store.reached()
        # The first one's time makes the index be read, with the second one in it.
        await until(lambda: server.node.timers.in_flight == 2)
        for _ in range(50):
            await asyncio.sleep(0)
        assert heard == []
        assert not setting.done()
        store.let_go()
        await setting
        await until(lambda: len(heard) == 2)
        assert sorted(heard) == ["look 0", "look 1"]
    store.let_go()
    await server.stop()
    timer_actors.clear()
