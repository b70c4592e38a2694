"""The bank of the example: it charges once for each key, as real payment services do.

A real one is called over a network and may be down, or may take the money while its
answer is lost. This one keeps everything in memory, and does what it is told to.
"""

from __future__ import annotations

from typing import Protocol


class Declined(Exception):
    """The customer's bank says no; to ask again at once is no use."""


class Payments(Protocol):
    """Takes money."""

    async def charge(self, key: str, customer: str, cents: int) -> str:
        """Take money, once for each `key`; the number of the receipt. Raises Declined."""
        ...


class PretendPayments:
    """Takes everybody's money but that of those in `declines`."""

    def __init__(self) -> None:
        self.declines: set[str] = set()
        self.taken: dict[str, tuple[str, int]] = {}
        self.calls = 0
        # How many of the next calls fail before, and after, the money is taken.
        self.down = 0
        self.answers_lost = 0

    async def charge(self, key: str, customer: str, cents: int) -> str:
        self.calls += 1
        if self.down > 0:
            self.down -= 1
            raise ConnectionError("the bank cannot be reached")
        if customer in self.declines:
            raise Declined
        self.taken.setdefault(key, (customer, cents))
        if self.answers_lost > 0:
            self.answers_lost -= 1
            raise ConnectionError("the bank did not answer")
        return f"receipt-{len(self.taken)}"

    def total(self, customer: str) -> int:
        """What a customer has paid."""
        return sum(cents for who, cents in self.taken.values() if who == customer)
