"""Tests of actors on the real runtime, with a clock and faults that the test owns.

    from holdfast.testing import harness

    async with harness(registry) as h:
        counter = h.client.get_or_create(Counter, ["a"])
        await counter.add(1)
        await h.advance(days=30)

See `docs/testing.md`. pytest finds the fixtures `holdfast_client`, `holdfast_clock` and
`holdfast_harness` by themselves; they need a fixture `holdfast_registry` of yours.
"""

from holdfast.testing._blocking import BlockingHarness, blocking_harness
from holdfast.testing._harness import Harness, harness
from holdfast.testing.errors import FaultNotHitError, HarnessError
from holdfast.testing.faults import Fault, Faults

__all__ = [
    "BlockingHarness",
    "Fault",
    "FaultNotHitError",
    "Faults",
    "Harness",
    "HarnessError",
    "blocking_harness",
    "harness",
]
