"""The harness in tests that are plain functions."""

from __future__ import annotations

from datetime import timedelta

from holdfast.testing import blocking_harness
from tests.testing.actors import Counter, Sleeper, Waker, registry


def test_calls_time_and_lives() -> None:
    with blocking_harness(registry, seed=3) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        waker = h.client.get_or_create(Waker, ["a"])
        start = h.now()

        assert counter.add() == 1
        assert counter.call(Counter.add, 2) == 3
        assert h.client.get_or_create(Sleeper, ["a"]).nap("x", 30) == start + timedelta(seconds=30)
        assert list(counter.up_to(3)) == [0, 1, 2]
        assert next(iter(counter.up_to(1000))) == 0

        assert waker.touch() == 1
        h.advance(minutes=2)
        assert waker.touch() == 1
        h.evict(waker)
        assert waker.touch() == 1
        h.advance_to(h.now() + timedelta(days=1))
        h.crash()
        h.restart()
        h.settle()
        h.step_wall(days=1)
        before = counter.value()
        with h.faults.drop_reply():
            counter.add()
        assert counter.value() == before + 1
        assert h.crashes == 1
        assert h.now() > start + timedelta(days=2)


def test_every_test_has_its_own_data() -> None:
    for _ in range(2):
        with blocking_harness(registry) as h:
            assert h.client.get_or_create(Counter, ["a"]).add() == 1
