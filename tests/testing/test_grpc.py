"""The same over a real connection."""

from __future__ import annotations

import pytest

from holdfast import Client
from holdfast.testing import HarnessError, harness
from tests.testing.actors import Counter, Sleeper, registry


async def test_calls_go_over_a_real_connection() -> None:
    async with harness(registry, grpc=True) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        assert await counter.add() == 1
        await h.client.get_or_create(Sleeper, ["a"]).nap("x", 2)
        async with Client(h.address) as other:
            assert await other.get(Counter, ["a"]).value() == 1


async def test_a_server_that_died_is_found_at_its_address_again() -> None:
    async with harness(registry, grpc=True) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        await counter.add()
        address = h.address
        await h.crash()
        assert await counter.add() == 2
        await h.restart()
        assert await counter.add() == 3
        assert h.address == address
        with h.faults.crash_after_commit(counter):
            assert await counter.add() == 4
        assert h.crashes == 2


async def test_faults_of_the_harnesss_own_transport_are_refused() -> None:
    async with harness(registry, grpc=True) as h:
        with pytest.raises(HarnessError, match="leave out grpc=True"):
            h.faults.drop_reply()
