"""A node on time that a test owns: no sockets, no threads, and no waiting.

The loop's time stands still while anything is ready to run, and jumps to the next timer
when nothing is. The wall clock goes with it, and can be set. `crash` forgets everything
that is not synced, and starts another node over the same store.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from datetime import UTC, datetime
from random import Random
from typing import Any, TypeVar

from holdfast import Registry
from holdfast import payload as codec
from holdfast_server.core.call import Call, Target
from holdfast_server.core.ids import Address
from holdfast_server.core.limits import Limits
from holdfast_server.core.values import Encoding, Value
from holdfast_server.runtime.environment import Environment
from holdfast_server.runtime.node import Node
from holdfast_server.runtime.runners.local import LocalRunner
from holdfast_server.store.faults import FaultyStore
from holdfast_server.store.memory import MemoryStore
from holdfast_server.store.verify import check_rows

R = TypeVar("R")

# A Monday.
START = datetime(2026, 6, 1, 12, tzinfo=UTC)


class JumpingSelector(selectors.DefaultSelector):
    """Does not wait for a timer, but goes to its time."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing will ever happen"
            self.now += max(timeout, 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time is the selector's."""

    def __init__(self, selector: JumpingSelector | None = None) -> None:
        self.selector = JumpingSelector() if selector is None else selector
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


class WallClock:
    """The loop's time, and what the clock was set ahead or back by."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return int(START.timestamp() * 1000) + round(self._loop.time() * 1000) + self.ahead_ms


class InlineThreads:
    """Blocking work at once, on the loop."""

    def sync(self, work: Callable[[], None]) -> Future[None]:
        return self.action(work)

    def action(self, work: Callable[[], Any]) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work())
        except Exception as error:
            done.set_exception(error)
        return done


class World:
    """One store and the node over it."""

    def __init__(self, registry: Registry, seed: int = 0, **limits: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock = WallClock(self.loop)
        self.rows = MemoryStore()
        self.store = FaultyStore(self.rows)
        self.store.unsynced_kept = 0
        self.registry = registry
        self.limits = Limits(**limits)
        self._random = Random(seed)
        self.node = self._node()

    def _node(self) -> Node:
        environment = Environment(
            clock=self.clock,
            random=self._random,
            secret_bytes=self._random.randbytes,
            threads=InlineThreads(),
            stopwatch=self.loop.time,
        )
        node = Node(
            store=self.store,
            environment=environment,
            limits=self.limits,
            namespaces=frozenset({"default", "other"}),
            loop=self.loop,
        )
        node.start(LocalRunner(self.registry.types, node))
        return node

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now_ms() / 1000, UTC)

    def target(self, key: str = "a", name: str = "alarm", *, create: bool = True) -> Target:
        return Target(address=Address("default", name, (key,)), create=create)

    async def call(self, action: str, *args: Any, key: str = "a", name: str = "alarm") -> Any:
        """Call an action."""
        call = Call(
            target=self.target(key, name),
            action=action,
            args=Value(Encoding.MSGPACK, codec.encode(list(args), codec.Encoding.MSGPACK)),
        )
        value = (await self.node.invoke(call)).value
        return codec.decode(value.data, codec.Encoding(value.encoding))

    async def pass_by(self, seconds: float) -> None:
        """Let time pass, with all that is due in it."""
        await asyncio.sleep(seconds)

    def set_clock(self, ahead_s: float) -> None:
        """Set the wall clock: ahead of the loop's time by so much."""
        self.clock.ahead_ms = int(ahead_s * 1000)

    def crash(self, registry: Registry | None = None) -> None:
        """End the node as a kill does, and start another."""
        self._stop()
        self.registry = registry or self.registry
        self.store.reopen()
        self.node = self._node()

    async def close(self) -> list[str]:
        """Drain; what is wrong with the rows."""
        await self.node.drain()
        return check_rows(self.rows)

    def _stop(self) -> None:
        node = self.node
        node.closed = True
        node.timers.stop()
        node.timers.cut()
        node.outbox.stop()


def run(registry: Registry, body: Callable[[World], Coroutine[Any, Any, R]], **options: Any) -> R:
    """Run a test's body in a world of its own, and check the rows that it leaves."""

    async def whole() -> R:
        world = World(registry, **options)
        result = await body(world)
        assert await world.close() == []
        return result

    loop = VirtualLoop()
    try:
        return loop.run_until_complete(whole())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
