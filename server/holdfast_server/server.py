"""One server: store, runtime, rpc and gateway put together, started and drained."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
import socket
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

from holdfast.registry import Registry
from holdfast_server.addresses import HostPort, bind, why_not_free
from holdfast_server.config import AUTO, SETTINGS, Config
from holdfast_server.core.origins import Origins
from holdfast_server.core.tally import Sample
from holdfast_server.gateway.desk import Desk
from holdfast_server.gateway.gateway import Gateway
from holdfast_server.gateway.guard import Guard
from holdfast_server.gateway.operations import OperationsPort
from holdfast_server.process.backups import Backups
from holdfast_server.process.failures import StartError
from holdfast_server.process.loop_lag import LoopLag
from holdfast_server.process.security import Security
from holdfast_server.process.system import SystemClock, SystemThreads
from holdfast_server.process.watchdog import Watchdog
from holdfast_server.rpc.interceptors.tracing import TracingInterceptor
from holdfast_server.rpc.listener import Access, BindError, Listener
from holdfast_server.runtime.environment import Environment
from holdfast_server.runtime.figures import samples_of as node_samples
from holdfast_server.runtime.node import Node
from holdfast_server.runtime.runners.local import LocalRunner, current_fields
from holdfast_server.store.api import Store
from holdfast_server.store.rocks import RocksStore
from holdfast_server.telemetry.observer import SILENT, Observer
from holdfast_server.telemetry.signals import Signals, open_signals
from holdfast_server.telemetry.tracing import open_tracing

if TYPE_CHECKING:
    from holdfast_server.telemetry.provider import Tracing

log = logging.getLogger("holdfast.server")


class _Addresses(NamedTuple):
    """Where to listen; None where nothing is."""

    grpc: HostPort | None
    admin: HostPort | None
    http: HostPort | None
    metrics: HostPort | None


class Server:
    """One server process: start, then stop."""

    def __init__(
        self,
        registry: Registry,
        config: Config,
        store: Store | None = None,
        *,
        environment: Environment | None = None,
        observer: Observer | None = None,
        listens: bool = True,
        http: Sequence[socket.socket] | None = None,
    ) -> None:
        """`store`, `environment` and `observer` replace those of the machine; with `listens`
        False there are neither ports nor threads, and calls come in another way. `http` are
        sockets that listen for the gateway; by default it binds its own."""
        self.config = config
        self._given = environment
        self._observer = observer
        self._listens = listens
        self._http = http
        self._registry = registry
        self._store = store
        # 0 while gRPC does not listen.
        self.port = 0
        # 0 while there is no admin server.
        self.admin_port = 0
        # 0 while there is no gateway.
        self.http_port = 0
        # 0 while there is no server for operators.
        self.metrics_port = 0
        self.gateway: Gateway | None = None
        self._operations: OperationsPort | None = None
        self.tracing: Tracing | None = None
        self._signals: Signals | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Read the files that the settings name; ConfigError when one is wrong."""
        Security(self.config)

    async def start(self) -> None:
        """Open the data and serve; what stands in the way is one of `failures.EXPLAINED`."""
        config, limits = self.config, self.config.limits
        async with contextlib.AsyncExitStack() as undo:
            self.security = Security(config)
            addresses = self._addresses() if self._listens else None
            if self._observer is None:
                self.tracing = open_tracing(os.environ, keys=config.trace_keys)
                self._signals = open_signals(
                    os.environ, samples=self.samples, context=current_fields
                )
            undo.push_async_callback(self._close_tracing)
            self._threads = SystemThreads(limits.action_threads_max)
            undo.callback(self._threads.close)
            if addresses is not None and addresses.http is not None:
                # Connections wait from now on; a client that is refused gives up for good.
                await self._open_gateway(addresses.http)
                undo.push_async_callback(self._close_gateway)
            if self._store is None:
                self._store = self._open_store()
            undo.callback(self._store.close)
            self.node = Node(
                store=self._store,
                environment=self._environment(),
                limits=limits,
                namespaces=config.namespaces,
                loop=asyncio.get_running_loop(),
                on_store_change=self._on_store_change,
                observer=self._observer_in_use(),
            )
            undo.callback(setattr, self.node, "closed", True)
            self.listener = Listener(
                self.node,
                limits=limits,
                namespaces=config.namespaces,
                access=Access(
                    tokens=self.security.tokens,
                    tls=lambda: self.security.tls,
                    checked=config.checked,
                ),
                reflect=config.reflection,
                backup=Backups(self._store, config.data, config.backup_dir).take,
                interceptors=self._interceptors(),
                rpcs=None if self.tracing is None else self.tracing.rpcs,
            )
            undo.push_async_callback(self.listener.stop)
            self.node.start(LocalRunner(self._registry.types, self.node))
            self._watchdog = Watchdog(limits.loop_block_warn_s)
            self._loop_lag = LoopLag(self.node.stopwatch)
            if addresses is not None:
                await self._listen(addresses)
                self._start_gateway()
                if addresses.metrics is not None:
                    await self._open_operations(addresses.metrics)
                    undo.push_async_callback(self._close_operations)
                self._watchdog.start()
                self._loop_lag.start()
            if self._signals is not None:
                self._signals.start()
            undo.pop_all()

    def _open_store(self) -> Store:
        limits = self.config.limits
        return RocksStore(
            self.config.data,
            block_cache_bytes=limits.block_cache_bytes_max,
            write_buffer_bytes=limits.write_buffer_bytes_max,
            open_files_max=limits.open_files_max,
            wal_bytes_max=limits.wal_bytes_max,
        )

    async def stop(self) -> None:
        """Drain: NOT_SERVING, refuse new calls, finish or cut running ones, sync, close,
        send the last spans.

        Whoever asks again waits for the same drain.
        """
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        listener = self.listener
        listener.drain()
        if self.gateway is not None:
            self.gateway.drain()
        ending = asyncio.get_running_loop().call_later(
            self.config.limits.drain_streams_s, listener.end_streams
        )
        try:
            await self.node.drain(listener.calls.cut)
        finally:
            ending.cancel()
        await listener.stop()
        self._watchdog.stop()
        self._loop_lag.stop()
        assert self._store is not None
        try:
            self._store.close()
        finally:
            self._threads.close()
            await self._close_operations()
            # The last to go, so that whoever comes is told to wait.
            await self._close_gateway()
            await self._close_tracing()

    def reload(self) -> None:
        """Read the tokens and the TLS files again; what is wrong is logged and changes
        nothing."""
        self.security.reload()
        fronts = [each for each in (self.gateway, self._operations) if each is not None]
        if fronts and self.security.tls is not None:
            self._renewing = asyncio.create_task(self._renew(fronts))

    async def _renew(self, fronts: Sequence[Gateway | OperationsPort]) -> None:
        try:
            for each in fronts:
                await each.renew_tls()
        except OSError as error:
            log.error("SIGHUP: the HTTP ports keep their TLS files: %s", error)

    async def _open_gateway(self, address: HostPort) -> None:
        security = self.security
        gateway = Gateway(
            self.config.limits,
            secret_bytes=secrets.token_bytes,
            # On a Unix socket there is nobody to hide from.
            tls=lambda: None if security.tls is None or self._unix else security.tls.context,
            access_log=self.config.access_log,
        )
        try:
            self.http_port = await gateway.open(self._http or bind(address))
        except OSError as error:
            reason = error.strerror or error
            if self.config.http != AUTO:
                raise StartError(f"cannot listen on {address}: {reason}") from None
            # Another process took it between the look and the bind.
            log.warning("no gateway, as %s cannot be used: %s", address, reason)
        else:
            self.gateway = gateway

    def _start_gateway(self) -> None:
        config, address = self.config, self.config.http_address
        if self.gateway is None or address is None:
            return
        if self.tracing is not None and self.http_port:
            self.tracing.connect_rpcs.listens(address.host, self.http_port)
        self.gateway.start(
            Desk(
                node=self.node,
                limits=config.limits,
                namespaces=config.namespaces,
                calls=self.listener.calls,
                guard=self._guard(config.cors_origins, address),
                version=version("holdfast"),
                procedures=self.listener.procedures(
                    None if self.tracing is None else self.tracing.connect_rpcs
                ),
            )
        )

    def _guard(self, pages: frozenset[str], address: HostPort) -> Guard:
        checked = self.config.checked
        origins = Origins(pages, checked=checked, loopback=address.loopback)
        return Guard(origins, self.security.tokens if checked else None)

    async def _open_operations(self, address: HostPort) -> None:
        security = self.security
        port = OperationsPort(
            self.config.limits,
            self._guard(frozenset(), address),
            samples=self.samples,
            reason=lambda: self.listener.health.reason,
            tls=lambda: None if security.tls is None else security.tls.context,
        )
        try:
            self.metrics_port = await port.open(bind(address))
        except OSError as error:
            reason = error.strerror or error
            if self.config.metrics != AUTO:
                raise StartError(f"cannot listen on {address}: {reason}") from None
            # Another process took it between the look and the bind.
            log.warning("no metrics, as %s cannot be used: %s", address, reason)
        else:
            self._operations = port

    async def _close_operations(self) -> None:
        port, self._operations = self._operations, None
        if port is not None:
            await port.close()

    def samples(self) -> list[Sample]:
        """All numbers that a scrape is told, as they are now."""
        found = [
            Sample("holdfast_info", 1, (version("holdfast"),)),
            *self.listener.samples(),
            *node_samples(self.node),
            Sample("holdfast_action_threads_busy", self._threads.running),
            Sample("holdfast_loop_lag_seconds", self._loop_lag.lags.copy()),
            Sample("holdfast_loop_blocked_total", self._watchdog.blocked),
        ]
        if self.gateway is not None:
            found += self.gateway.samples()
        return found

    @property
    def _unix(self) -> bool:
        return any(each.family == socket.AF_UNIX for each in self._http or ())

    async def _close_gateway(self) -> None:
        gateway, self.gateway = self.gateway, None
        if gateway is not None:
            await gateway.close()

    async def _close_tracing(self) -> None:
        timeout_s = self.config.limits.trace_flush_timeout_s
        outlets = [each for each in (self.tracing, self._signals) if each is not None]
        await asyncio.gather(*(each.close(timeout_s) for each in outlets))

    def _interceptors(self) -> list[TracingInterceptor]:
        return [] if self.tracing is None else [TracingInterceptor(self.tracing.rpcs)]

    @property
    def threads_busy(self) -> bool:
        """Whether actors' code still runs on threads, which nothing can stop."""
        return self._threads.busy

    def _observer_in_use(self) -> Observer:
        if self._observer is not None:
            return self._observer
        return SILENT if self.tracing is None else self.tracing.observer

    def _environment(self) -> Environment:
        if self._given is not None:
            return self._given
        return Environment(
            clock=SystemClock(),
            stopwatch=time.monotonic,
            random=random.SystemRandom(),
            secret_bytes=secrets.token_bytes,
            threads=self._threads,
        )

    def _addresses(self) -> _Addresses:
        """Where to listen, known to be free; before anything is opened or written."""
        config = self.config
        return _Addresses(
            _if_free("grpc", "gRPC", config.grpc_address, optional=False),
            _if_free("admin", "admin server", config.admin_address, optional=config.admin == AUTO),
            self._http_address(),
            _if_free("metrics", "metrics", config.metrics_address, optional=config.metrics == AUTO),
        )

    def _http_address(self) -> HostPort | None:
        address = self.config.http_address
        if self._http is not None:
            return address if self._http else None
        return _if_free("http", "gateway", address, optional=self.config.http == AUTO)

    async def _listen(self, addresses: _Addresses) -> None:
        public, admin = addresses.grpc, addresses.admin
        try:
            if public is not None:
                self.port = await self.listener.start(str(public))
                if self.tracing is not None:
                    self.tracing.rpcs.listens(public.host, self.port)
        except BindError as error:
            raise StartError(f"cannot listen: {error}") from None
        if admin is None:
            return
        try:
            self.admin_port = await self.listener.start_admin(str(admin))
        except BindError as error:
            if self.config.admin != AUTO:
                raise StartError(f"cannot listen: {error}") from None
            # Another process took it between the look and the bind.
            log.warning("no admin server, as %s cannot be used: %s", admin, error)

    def _on_store_change(self, reason: str) -> None:
        self.listener.health.set(reason)


def _if_free(
    setting: str, what: str, address: HostPort | None, *, optional: bool
) -> HostPort | None:
    """The address if nobody has it; without it, if it is optional, there is no `what`."""
    reason = why_not_free(address) if address is not None else ""
    if not reason:
        return address
    if not optional:
        raise StartError(f"{SETTINGS[setting].flag}: cannot listen on {address}: {reason}")
    log.warning("no %s, as %s cannot be used: %s", what, address, reason)
    return None
