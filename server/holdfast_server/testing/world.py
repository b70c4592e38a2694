"""A server under test and the disk that outlives it: started, stopped, killed, started again.

Each life of the server has a domain of its own, so that its tasks and timers end with
it, and its own plug to the disk, so that nothing a dead one still does has an effect.
A server that a fault has killed starts again by itself.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from holdfast.registry import Registry
from holdfast.testing._loop import Domain
from holdfast.testing._time import TestTime
from holdfast.testing.errors import HarnessError
from holdfast.testing.faults import Faults
from holdfast_server.config import Config, load
from holdfast_server.core.call import Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import Address, parse_actor_id, scope_of
from holdfast_server.rpc.direct import Handlers
from holdfast_server.runtime.environment import Environment
from holdfast_server.server import Server
from holdfast_server.settings import ConfigError
from holdfast_server.store.faults import FaultyStore
from holdfast_server.store.memory import MemoryStore
from holdfast_server.store.rocks import RocksStore
from holdfast_server.testing.channel import InProcessChannel, broken
from holdfast_server.testing.parts import (
    FaultObserver,
    PluggedStore,
    TestClock,
    TestThreads,
    seeded,
)
from holdfast_server.testing.raw import InProcessRaw
from holdfast_server.testing.wire import Server as WireServer
from holdfast_server.testing.wire import Wire

STORES = ("memory", "rocksdb")
# The longest time that a setting may have.
_NEVER_S = 10 * 365 * 86_400
# Settings of what a harness has not: ports, callers to tell apart, the process.
_NOT_HERE = frozenset(
    {
        *("admin", "grpc", "http", "insecure", "log_format", "log_level", "loop", "metrics"),
        "reflection",
        *("tls_cert", "tls_client_ca", "tls_key", "token", "token_file"),
    }
)


class World:
    """One server under test. Its coroutines run in a domain of the test clock."""

    def __init__(
        self,
        registry: Registry,
        config: Config,
        *,
        store: str,
        seed: int,
        grpc: bool,
        faults: Faults,
        time: TestTime,
    ) -> None:
        self._registry = registry
        self._config = config
        self._store = store
        self._grpc = grpc
        self._faults = faults
        self._time = time
        self._loop = time.hub.loop
        # For what is neither the server nor the test: starting and stopping.
        self._domain = Domain(time)
        self._seed = seed
        # One seed again on a directory that was used must not give the ids that are there.
        self.opened = 0
        self._random: random.Random
        self._secrets: random.Random
        self._wire = Wire(faults)
        self.channel = InProcessChannel(self._wire)
        self.raw = InProcessRaw(self._wire)
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._disk: FaultyStore
        self._life: Life | None = None
        self._dead: list[Life] = []
        self._starting: asyncio.Task[None] | None = None
        # How often the server has died.
        self.crashes = 0

    @property
    def address(self) -> str:
        """Where the server listens, with grpc=True."""
        return str(self._config.grpc_address)

    async def start(self) -> None:
        """Open the disk and start the server."""
        self._disk = FaultyStore(self._open())
        self.opened = self._disk.epoch
        self._random = seeded(self._seed, f"actors {self.opened}")
        self._secrets = seeded(self._seed, f"ids {self.opened}")
        await self._begin()

    async def stop(self) -> None:
        """Stop the server and close the disk."""
        try:
            await self._up()
            await self._end()
        finally:
            self._disk.close()
            if self._directory is not None:
                self._directory.cleanup()
            self._domain.end()

    async def restart(self) -> None:
        """Drain and stop the server, and start it again on the same disk."""
        await self._up()
        await self._end()
        self._disk.unsynced_kept = None
        self._disk.reopen()
        await self._begin()

    async def crash(self) -> None:
        """Kill the server, and start it again on what its disk has kept."""
        await self._up()
        self._die()
        await self._up()

    async def evict(self, name: str, key: tuple[str, ...], actor_id: str, namespace: str) -> None:
        """Put an actor out of memory."""
        life = await self._up()
        await self._in(life, self._evict(life, name, key, actor_id, namespace))

    async def up(self) -> None:
        """Wait until a server that has died runs again."""
        await self._up()

    async def _evict(
        self, life: Life, name: str, key: tuple[str, ...], actor_id: str, namespace: str
    ) -> None:
        catalog = life.server.node.catalog
        address = Address(namespace, name, key)
        try:
            if actor_id:
                target = Target(actor_id=parse_actor_id(actor_id), namespace=namespace)
                address = catalog.address_of(target)
            life.server.node.runner.info(address.name)
        except HoldfastError as error:
            raise HarnessError(f"evict: {error}") from None
        activation = catalog.find_scope(scope_of(address))
        if activation is not None and activation.users:
            raise HarnessError(f"evict: {address} is busy; its calls have to end first")
        # One with an on_sleep, or with work of its own, leaves when that is over.
        catalog.evict(address)

    # Lives

    async def _up(self) -> Life:
        while self._starting is not None:
            await asyncio.wait([self._starting])
            if self._starting is not None and self._starting.done():
                starting, self._starting = self._starting, None
                starting.result()
        if self._life is None:
            raise HarnessError("the server is not running")
        return self._life

    async def _begin(self) -> None:
        for dead in self._dead:
            # Its port is wanted again.
            await dead.server.listener.stop()
        self._dead.clear()
        life = Life(self._time, self._disk, self._faults)
        life.server = Server(
            self._registry,
            self._config,
            life.plug,
            environment=Environment(
                clock=TestClock(self._time),
                stopwatch=lambda: self._time.seconds,
                random=self._random,
                secret_bytes=self._secrets.randbytes,
                threads=TestThreads(
                    self._time.hub, self._faults, self._config.limits.action_threads_max
                ),
                context=life.domain.context,
            ),
            observer=FaultObserver(self._faults, lambda: self._killed(life)),
            listens=self._grpc,
        )
        # Sends that wait are taken up at the start already, and faults may hit them.
        self._life = life
        try:
            await self._in(life, life.server.start())
        except asyncio.CancelledError:
            if self._life is life:
                raise
            return
        if self._grpc:
            # A server that starts again is found where it was.
            assert self._config.grpc_address is not None
            grpc = self._config.grpc_address._replace(port=life.server.port)
            self._config = replace(self._config, grpc=str(grpc))
        handlers = Handlers()
        life.server.listener.register(handlers)  # type: ignore[arg-type]
        self._wire.server = WireServer(
            life.server.node, handlers, life.domain, life.server.listener.message_bytes_max
        )

    async def _end(self) -> None:
        life, self._life = self._life, None
        assert life is not None
        wire, self._wire.server = self._wire.server, None
        await self._in(life, life.server.stop())
        if wire is not None:
            for rpc in list(wire.rpcs.values()):
                rpc.end(broken("the server has stopped"))
        await _ended(life.domain.end())

    def _killed(self, life: Life) -> None:
        """A fault kills a server, unless it is dead already."""
        if life is self._life:
            self._die()

    def _die(self) -> None:
        """The server is gone from one moment to the next, and is started again."""
        life, self._life = self._life, None
        wire, self._wire.server = self._wire.server, None
        assert life is not None
        self.crashes += 1
        life.plug.unplug()
        life.server.node.closed = True
        life.server.node.catalog.drop_all()
        life.domain.end()
        if wire is not None:
            for rpc in list(wire.rpcs.values()):
                rpc.end(broken("the connection broke: the server died"))
        if self._grpc:
            self._dead.append(life)
            # gRPC would still send what a handler that goes on gives it.
            cut = life.server.listener.calls.cut()
            self._loop.create_task(cut, context=self._domain.context())
        # What was not synced is lost, as in a power cut.
        self._disk.unsynced_kept = 0
        self._disk.reopen()
        self._starting = self._loop.create_task(self._begin(), context=self._domain.context())

    async def _in(self, life: Life, run: Any) -> None:
        """Run a coroutine as the server's own."""
        await self._loop.create_task(run, context=life.domain.context())

    def _open(self) -> Any:
        if self._store == "memory":
            return MemoryStore()
        if str(self._config.data) == str(Config().data):
            self._directory = tempfile.TemporaryDirectory(prefix="holdfast-test-")
            return RocksStore(Path(self._directory.name))
        return RocksStore(self._config.data)


class Life:
    """One life of the server."""

    server: Server

    def __init__(self, time: TestTime, disk: FaultyStore, faults: Faults) -> None:
        self.domain = Domain(time)
        self.plug = PluggedStore(disk, faults)


async def _ended(tasks: list[asyncio.Task[Any]]) -> None:
    if tasks:
        await asyncio.wait(tasks)


def _config(registry: Registry, settings: dict[str, Any], store: str, grpc: bool) -> Config:
    for name in sorted(_NOT_HERE & settings.keys()):
        raise ValueError(f"a harness has no use for the setting {name!r}: leave it out")
    if store == "memory" and "data" in settings:
        raise ValueError("data is for store='rocksdb': a store in memory has no directory")
    own = {name: value for name, value in registry.config.items() if name not in _NOT_HERE}
    own.pop("data", None)
    others = dict.fromkeys(("admin", "http", "metrics"), "off")
    listening = {"grpc": "127.0.0.1:0", **others} if grpc else {}
    # A client of the harness does not ping, since it cannot vanish unseen; and the watchdog
    # compares its thread with the loop's time.
    defaults = {"commit_wait_s": 0.0, "session_idle_s": _NEVER_S, "loop_block_warn_s": 0.0}
    return load({}, **{**defaults, **own, **settings, **listening})


def open_world(
    registry: Registry,
    *,
    store: str,
    grpc: bool,
    settings: dict[str, Any],
    time: TestTime | None,
    seed: int,
    faults: Faults,
) -> World | None:
    """The server's side of a harness; what the entry point `testing` gives.

    Without `time` the arguments are only checked. Raises ValueError for one that is wrong.
    """
    if store not in STORES:
        raise ValueError(f"there is no store {store!r}: {' or '.join(map(repr, STORES))}")
    try:
        config = _config(registry, settings, store, grpc)
    except ConfigError as error:
        raise ValueError(str(error).replace("setup(", "harness(")) from None
    if time is None:
        return None
    return World(registry, config, store=store, seed=seed, grpc=grpc, faults=faults, time=time)
