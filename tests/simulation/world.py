"""One simulated machine: a server that dies and is started again, its disk, its network.

What is simulated is around the product: its server, runtime, session protocol and client
are the real ones, with the injected objects of a simulation.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import Any

from holdfast import Client, Registry
from holdfast._feed import Carrier
from holdfast._retry import Backoff, Sequence
from holdfast._session_link import PING_S
from holdfast._session_transport import SessionTransport
from holdfast.testing._client import HarnessTransport
from holdfast_server.config import load
from holdfast_server.core.ids import Address
from holdfast_server.runtime.environment import Environment
from holdfast_server.runtime.node import Node
from holdfast_server.server import Server
from holdfast_server.store.api import Store, StoreError
from holdfast_server.store.memory import MemoryStore
from holdfast_server.telemetry.observer import ObservedTurn, Observer
from holdfast_server.testing.channel import broken
from holdfast_server.testing.parts import PluggedStore
from holdfast_server.testing.wire import Handlers
from holdfast_server.testing.wire import Server as WireServer
from tests.server.virtual import WallClock
from tests.simulation.disk import SimDisk, SimThreads
from tests.simulation.loop import Life, SimLoop
from tests.simulation.modes import Mode
from tests.simulation.network import SimChannel, SimWire

Wrap = Callable[[Store], Store]


class RpcTransport(HarnessTransport):
    """Calls as RPCs; connections over a session."""

    ping_s = PING_S


class CallsInSession(RpcTransport):
    """Everything over a session, as the product's client does it."""

    def subscription(self, request: Any, feed: Any, connection: Any = None) -> Carrier:
        return SessionTransport.subscription(self, request, feed, connection)

    def _beside(self, call: Any) -> bool:
        return SessionTransport._beside(self, call)


class SimClient(Client):
    """The SDK's client over the simulated network."""

    def __init__(self, transport: HarnessTransport) -> None:
        super().__init__("unix:simulation", timeout=60.0)
        self._simulated = transport

    @property
    def transport(self) -> HarnessTransport:
        """What carries the calls of this client."""
        return self._simulated

    async def close(self) -> None:
        await self._simulated.end_sessions()


class Evictor(Observer):
    """Puts actors out of memory as soon as a turn has ended, and lets others go to sleep."""

    __slots__ = ("world",)

    def __init__(self, world: World) -> None:
        self.world = world

    def turn_ended(self, turn: ObservedTurn) -> None:
        self.world.loop.call_soon(self.world.evict, turn.address)


class World:
    """See the module. `seed` decides everything, `wrap` may break the store."""

    def __init__(
        self, loop: SimLoop, registry: Registry, mode: Mode, seed: str, wrap: Wrap
    ) -> None:
        self.loop = loop
        self.mode = mode
        self.clock = WallClock(loop)
        self._registry = registry
        self._seed = seed
        self._wrap = wrap
        self._config = load(
            {},
            commit_wait_s=0.0,
            loop_block_warn_s=0.0,
            data="simulated",
            **dict(mode.settings),
        )
        self.rows = MemoryStore()
        self.disk = SimDisk(self.rows, self.draws("disk"))
        self.wire = SimWire(mode.weather, self.draws("network"))
        self.channel = SimChannel(self.wire)
        self._random = self.draws("actors")
        self._secrets = self.draws("secrets")
        self._sync = self.draws("syncs")
        self.server: Server | None = None
        self._started: Server
        self._life: Life | None = None
        self._plug: PluggedStore
        self._dead: list[tuple[Life, Node]] = []
        self._clients: list[SimClient] = []

    def draws(self, purpose: str) -> random.Random:
        """Random numbers of one purpose: what one part draws changes nothing for another."""
        return random.Random(f"{self._seed} {purpose}")

    def client(self, name: str, *, session: bool) -> SimClient:
        """A new client; with `session` its calls go over one stream."""
        draws = self.draws(f"client {name}")
        made = CallsInSession if session else RpcTransport
        client = SimClient(
            made(
                self.channel,  # type: ignore[arg-type]
                sequence=Sequence(draws.randbytes(16)),
                backoff=lambda: Backoff(draws.random),
            )
        )
        self._clients.append(client)
        return client

    async def start(self) -> None:
        """Start a server on what the disk has."""
        life = Life()
        self._life = life
        self._plug = PluggedStore(self.disk, self.wire._faults)
        server = Server(
            self._registry,
            self._config,
            self._wrap(self._plug),
            environment=Environment(
                clock=self.clock,
                stopwatch=self.loop.time,
                random=self._random,
                secret_bytes=self._secrets.randbytes,
                threads=SimThreads(self.disk, self._sync, self.mode.sync_s),
                context=life.context,
            ),
            observer=Evictor(self) if self.mode.evicts else Observer(),
            listens=False,
        )
        await self.loop.create_task(server.start(), context=life.context())
        self.server = self._started = server
        handlers = Handlers()
        server.listener.register(handlers)  # type: ignore[arg-type]
        self.wire.server = WireServer(
            server.node,
            handlers,
            life,  # type: ignore[arg-type]
            server.listener.message_bytes_max,
        )

    def kill(self) -> None:
        """The server is gone from this moment to the next; unsynced writes may be."""
        self._down("the server died")

    def _down(self, why: str) -> None:
        life, self._life = self._life, None
        assert life is not None
        self.loop.kill(life)
        self._dead.append((life, self._started.node))
        self._plug.unplug()
        self.server = None
        self._disconnect(why)
        self.disk.mark = None
        self.disk.heal()
        self.disk.reopen()

    async def stop(self) -> None:
        """Drain and stop the server; it dies where its disk fails meanwhile."""
        server, life = self.server, self._life
        assert server is not None
        assert life is not None
        self.server = None
        # A disk that fails as the store is closed ends the process too.
        with contextlib.suppress(StoreError):
            await self.loop.create_task(server.stop(), context=life.context())
        self._down("the server has stopped")

    def evict(self, address: Address) -> None:
        """Put an actor out of memory, if it is there and idle."""
        if self.server is not None and not self.server.node.closed:
            self.server.node.catalog.evict(address)

    async def close(self) -> None:
        """Close the clients, then the server."""
        for client in self._clients:
            await client.close()
        await self.stop()

    async def bury(self) -> None:
        """End what is left of servers that died; it changes nothing any more."""
        if self._life is not None:
            self._down("all is over")
        for life, node in self._dead:
            node.closed = True
            await self.loop.bury(life)

    def _disconnect(self, why: str) -> None:
        server, self.wire.server = self.wire.server, None
        if server is not None:
            for rpc in list(server.rpcs.values()):
                rpc.end(broken(f"the connection broke: {why}"))


__all__ = ["SimClient", "World"]
