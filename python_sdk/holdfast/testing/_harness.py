"""The harness: the real runtime in the test's own event loop, with a clock the test owns.

A harness belongs to the loop on which it was started. Its client, `now` and the faults
work from then on; `advance`, `settle`, `crash`, `restart` and `evict` are for the test
alone, never for an actor, which would wait for itself. What the harness holds (the
loop's methods, the server, a temporary directory) it gives back at its end.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

from holdfast._handle import ActorHandle
from holdfast.actor_connection import ActorConnection
from holdfast.events import DeliveredEvent
from holdfast.fetch import RawTransport
from holdfast.registry import Registry, server_entry
from holdfast.testing._client import ClockedTransport, HarnessClient
from holdfast.testing._durations import aware, microseconds
from holdfast.testing._loop import Domain, LoopHub, current_domain
from holdfast.testing._time import TestTime
from holdfast.testing.errors import HarnessError
from holdfast.testing.faults import Faults

R = TypeVar("R")

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
IO_WAIT_S: Final = 0.05


class World(Protocol):
    """The server's side, found by its entry point."""

    channel: Any
    raw: RawTransport
    crashes: int
    opened: int

    @property
    def address(self) -> str: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def crash(self) -> None: ...
    async def restart(self) -> None: ...
    async def up(self) -> None: ...
    async def evict(
        self, name: str, key: tuple[str, ...], actor_id: str, namespace: str
    ) -> None: ...


class Harness:
    """A server under test; see the module's docstring and `harness`."""

    def __init__(
        self,
        registry: Registry,
        *,
        store: str = "memory",
        seed: int = 0,
        start: datetime = START,
        grpc: bool = False,
        auto_advance: bool = True,
        io_wait_s: float = IO_WAIT_S,
        **config: Any,
    ) -> None:
        if not isinstance(registry, Registry):
            raise TypeError(
                f"a harness is of a registry, what setup(use={{...}}) gives, not of "
                f"{type(registry).__name__}"
            )
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise TypeError(f"seed is an integer, not {type(seed).__name__}")
        if not isinstance(grpc, bool):
            raise TypeError("grpc is True or False: a harness chooses its own port")
        self.registry: Registry = registry
        self.seed: int = seed
        self.faults: Faults = Faults()
        """Faults to arm; see `holdfast.testing.faults`."""
        self.random: random.Random = random.Random(f"holdfast {seed} test")
        """Random numbers for the test itself, by the harness's seed."""
        self.logs: list[logging.LogRecord] = []
        """What the server and the actors have logged, in order."""
        self._options = {"store": store, "seed": seed, "grpc": grpc, "settings": config}
        self._start_at = aware("start", start)
        self._auto = auto_advance
        self._io_wait_s = microseconds(io_wait_s, {}) / 1e6
        self._grpc = grpc
        self._transport = ClockedTransport(self)
        self.channel: Any = None
        self._ended = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hub: LoopHub
        self._time: TestTime
        self._world: World
        self._client_domain: Domain
        self._starting: asyncio.Task[None] | None = None
        self._readers: set[asyncio.Task[None]] = set()
        self._collector = _Collector(self)
        self.client: HarnessClient = HarnessClient(self._transport)
        """A client of the server under test."""
        if grpc:
            self.faults.over_wire()
        self._check_options()

    # Time

    def now(self) -> datetime:
        """The wall clock of server and actors, in UTC: what `c.now()` gives."""
        if self._loop is None:
            return self._start_at
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self._time.wall_us())

    async def advance(self, delta: timedelta | float | None = None, **units: float) -> None:
        """Move the clock forward, and run everything that is due on the way, in order.

        `delta` is a timedelta or seconds; or say weeks, days, hours, minutes, seconds,
        milliseconds. Each timer runs at its own time, and the next one when all that it
        set off is at rest. Returns at rest too: every actor waits for a call, for a later
        time, or for something of the test's own.
        """
        delta_us = microseconds(delta, _known(units))
        await self._usable()
        await self._time.advance(delta_us)

    async def advance_to(self, moment: datetime) -> None:
        """`advance` until the wall clock shows `moment`, an aware datetime."""
        wanted = aware("moment", moment)
        await self._usable()
        await self.advance(wanted - self.now())

    async def settle(self) -> None:
        """Wait until all is at rest; the clock stands still."""
        await self._usable()
        await self._time.advance(0)

    async def step_wall(self, delta: timedelta | float | None = None, **units: float) -> None:
        """Set the wall clock forward or back by this, as an operator or NTP would.

        The loop's time, by which everything sleeps, does not move.
        """
        delta_us = microseconds(delta, _known(units), signed=True)
        await self._usable()
        self._time.step_wall(delta_us)
        await self._time.advance(0)

    async def events(
        self, actor: Any, *names: str, from_sequence: int | None = None
    ) -> list[DeliveredEvent]:
        """The events of an actor, told by a handle or a connection, of these names or of all.

        The list grows as they come, from now on or from a number; `settle` to have them
        all. It goes on through crashes, with no event missing and none twice. Those of a
        connection are what its client may hear.
        """
        source = actor
        if not isinstance(actor, ActorConnection):
            source = getattr(actor, "_handle", actor)
        if not isinstance(source, (ActorHandle, ActorConnection)):
            raise TypeError(f"events takes a handle of an actor, not {type(actor).__name__}")
        await self._usable()
        seen: list[DeliveredEvent] = []
        items = self.inside(lambda: source.events(*names, from_sequence=from_sequence))

        async def collect() -> None:
            async for event in items:
                seen.append(event)

        assert self._loop is not None
        task = self._loop.create_task(collect(), context=self._client_domain.context())
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)
        await self._time.advance(0)
        if task.done():
            # It was refused.
            task.result()
        return seen

    # The life of server and actors

    async def crash(self) -> None:
        """Kill the server as a power cut would, and start it again on the same store.

        Whatever was in memory is gone, and so are writes that were not synced. Calls under
        way fail, and the client tries them again.
        """
        await self._usable()
        await self.run(self._world.crash, "crash()")

    async def restart(self) -> None:
        """Drain and stop the server, then start it again on the same store."""
        await self._usable()
        await self.run(self._world.restart, "restart()")

    async def evict(self, actor: Any) -> None:
        """Put an actor, told by a handle of it, out of memory: its next call wakes it.

        `on_sleep` runs before, if it has one.
        """
        handle = getattr(actor, "_handle", actor)
        if not isinstance(handle, ActorHandle):
            raise TypeError(f"evict takes a handle of an actor, not {type(actor).__name__}")
        await self._usable()
        target, namespace = handle._target, handle._client.namespace
        await self._time.advance(0)
        await self.run(
            lambda: self._world.evict(target.name, target.key, target.actor_id or "", namespace),
            "evict()",
        )
        await self._time.advance(0)

    @property
    def crashes(self) -> int:
        """How often the server has died, by `crash` or by a fault."""
        return 0 if self._loop is None else self._world.crashes

    @property
    def address(self) -> str:
        """ "host:port" of the server; only with grpc=True, once it has started."""
        if not self._grpc or self._loop is None or self._ended:
            raise HarnessError("only a running harness(..., grpc=True) has an address")
        return self._world.address

    # Start and end

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise HarnessError("a harness is entered once: make another one")
        await self._start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close(check=exc_type is None)

    async def close(self, *, check: bool = True) -> None:
        """Stop the server and give everything back; with `check`, raise FaultNotHitError
        for a fault that was armed and never happened."""
        if self._ended:
            return
        if self._loop is None:
            self._ended = True
            if check:
                self.faults.check()
            return
        self._check_place()
        self._ended = True
        try:
            await self.run(self._transport.end, "closing connections")
            await self.run(self._world.stop, "stopping the server")
        finally:
            self._release()
        if check:
            self.faults.check()

    def end_from_outside(self, *, check: bool = True) -> None:
        """`close`, where no loop runs: on the harness's own, if that can still run."""
        if self._loop is not None and not self._ended and self._loop.is_closed():
            self._ended = True
            self._release()
        elif self._loop is not None and not self._ended:
            self._loop.run_until_complete(self.close(check=check))
        if check:
            self.faults.check()

    # For the client

    async def ready(self) -> None:
        """Start the harness when it has not started."""
        if self._loop is None and not self._ended:
            await self._start()
        self._check_place()
        if self._starting is not None and current_domain() is None:
            await asyncio.shield(self._starting)

    def check(self) -> None:
        """Refuse a harness that has ended, or is another loop's."""
        if self._loop is not None or self._ended:
            self._check_place()

    async def raw(self) -> RawTransport:
        """What carries raw requests to the server; starts the harness."""
        await self.ready()
        return self._world.raw

    def inside(self, run: Callable[..., R], *args: Any) -> R:
        """Run a plain function in the client's domain."""
        return self._client_domain.context().run(run, *args)

    def draws(self) -> random.Random:
        """The client's random numbers: its id, and how long it backs off."""
        return random.Random(f"holdfast {self.seed} client {self._world.opened}")

    async def run(self, run: Callable[[], Coroutine[Any, Any, R]], what: str) -> R:
        """Run a coroutine in the client's domain, and move the clock as it needs."""
        return await self._time.wait_for(run(), self._client_domain, what)

    def _check_options(self) -> None:
        # A setting that is wrong is told where the harness is made.
        server_entry("testing")(self.registry, **self._options, faults=self.faults, time=None)

    async def _start(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise HarnessError(
                "a harness runs on asyncio, and no asyncio loop runs here: with anyio, let the "
                "fixture anyio_backend return 'asyncio'"
            ) from None
        self._loop = loop
        self._hub = LoopHub.acquire(loop)
        self._time = TestTime(self._hub, self._start_at, self._io_wait_s)
        self._time.auto = self._auto
        self._time.real_io = self._grpc
        self._client_domain = Domain(self._time)
        self._world = server_entry("testing")(
            self.registry, **self._options, faults=self.faults, time=self._time
        )
        self._collector.begin()
        self._starting = loop.create_task(self.run(self._world.start, "starting the server"))
        try:
            await asyncio.shield(self._starting)
            self.channel = self._open_channel()
        except BaseException:
            self._starting.cancel()
            self._ended = True
            self._release()
            raise
        self._starting = None

    def _open_channel(self) -> Any:
        if not self._grpc:
            return self._world.channel
        from holdfast._channel import open_channel

        return open_channel(self._world.address, False)

    def _release(self) -> None:
        self._collector.end()
        self._time.close()
        for task in self._client_domain.end():
            task.cancel()
        self._hub.release()

    async def _usable(self) -> None:
        """Started, not ended, and asked by the test on its own loop."""
        if current_domain() is not None:
            raise HarnessError(
                "the harness is the test's: an actor that used it would wait for itself"
            )
        await self.ready()
        await self._world.up()

    def _check_place(self) -> None:
        if self._ended:
            raise HarnessError("the harness has ended: use it inside its `async with` block")
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not self._loop:
            raise HarnessError(
                "a harness belongs to the event loop, and the thread, on which it was started"
            )


class _Collector(logging.Handler):
    """Puts what is logged below "holdfast" into a harness's `logs`."""

    def __init__(self, harness: Harness) -> None:
        super().__init__()
        self._harness = harness
        self._logger = logging.getLogger("holdfast")
        self._level = logging.NOTSET

    def begin(self) -> None:
        self._level = self._logger.level
        if self._logger.getEffectiveLevel() > logging.INFO:
            self._logger.setLevel(logging.INFO)
        self._logger.addHandler(self)

    def end(self) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)

    def emit(self, record: logging.LogRecord) -> None:
        domain = current_domain()
        # With two harnesses at once, each has its own; a dead server's last words are none.
        if domain is not None and domain.alive and domain.time is self._harness._time:
            self._harness.logs.append(record)


def _known(units: dict[str, float]) -> dict[str, float]:
    allowed = ("weeks", "days", "hours", "minutes", "seconds", "milliseconds")
    for unit in units:
        if unit not in allowed:
            raise TypeError(f"there is no unit {unit!r}: {', '.join(allowed)}")
    return units


def harness(
    registry: Registry,
    *,
    store: str = "memory",
    seed: int = 0,
    start: datetime = START,
    grpc: bool = False,
    auto_advance: bool = True,
    io_wait_s: float = IO_WAIT_S,
    **config: Any,
) -> Harness:
    """The real runtime with the actors of `registry`, for a test:

        async with harness(registry) as h:
            cart = h.client.get_or_create(Cart, ["ada"])
            await cart.add("book")
            await h.advance(days=30)

    `store` is "memory", or "rocksdb" for a temporary directory (`data=...` for one that
    stays). `seed` decides every id and every random number, so that two runs are alike.
    `start` is the first moment of the wall clock. With `grpc` calls go over a real
    connection on loopback, to `h.address`. While the test awaits a call, and nothing else
    is left to do, the clock moves to the next timer by itself; not with `auto_advance`
    False. Once an actor has opened a socket or a process of its own, whatever it waits for
    there must come within `io_wait_s` real seconds, or the clock goes on. `config` are
    settings of the server by name, which win over those of `setup`.

    Raises HoldfastError without the server installed (`holdfast[server]`), TypeError or
    ValueError for an argument that cannot be one.
    """
    return Harness(
        registry,
        store=store,
        seed=seed,
        start=start,
        grpc=grpc,
        auto_advance=auto_advance,
        io_wait_s=io_wait_s,
        **config,
    )


__all__ = ["Harness", "harness"]
