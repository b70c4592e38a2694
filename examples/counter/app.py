"""A counter for each key: the smallest durable actor.

Serve it with `python -m examples.counter.app`, then run `python -m examples.counter.client`.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast import Actor, Context, UserError, action, setup


@dataclass
class Count:
    """What a counter remembers."""

    value: int = 0


class Counter(Actor[Count]):
    """Counts, and remembers."""

    state = Count

    @action
    async def increment(self, c: Context[Count], by: int = 1) -> int:
        """Add to the counter; the new value."""
        if by < 1:
            raise UserError("a counter only goes up", code="not_positive", metadata={"by": by})
        c.state.value += by
        return c.state.value

    @action(read_only=True)
    def value(self, c: Context[Count]) -> int:
        """The present value."""
        return c.state.value


registry = setup(use={"counter": Counter})

if __name__ == "__main__":
    registry.serve()
