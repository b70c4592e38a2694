"""The composition root: puts store, runtime and rpc together and runs them."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from holdfast.registry import Registry
from holdfast.v1 import (
    actor_service_pb2,
    actor_service_pb2_grpc,
    dead_letter_service_pb2,
    dead_letter_service_pb2_grpc,
    kv_service_pb2,
    kv_service_pb2_grpc,
)
from holdfast_server.config import Config, load
from holdfast_server.rpc.actor_service import ActorService
from holdfast_server.rpc.convert import Converter
from holdfast_server.rpc.dead_letter_service import DeadLetterService
from holdfast_server.rpc.interceptors.tracing import TracingInterceptor
from holdfast_server.rpc.kv_service import KvService
from holdfast_server.runtime.environment import Environment
from holdfast_server.runtime.node import Node
from holdfast_server.runtime.runners.local import LocalRunner, current_fields
from holdfast_server.store.api import Store
from holdfast_server.store.rocks import RocksStore
from holdfast_server.telemetry.logging import configure
from holdfast_server.telemetry.observer import SILENT
from holdfast_server.telemetry.tracing import open_tracing

if TYPE_CHECKING:
    from holdfast_server.telemetry.provider import Tracing

log = logging.getLogger("holdfast.server")


class SystemClock:
    """The machine's wall clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class SystemThreads:
    """One committer thread and a bounded pool for plain actions."""

    def __init__(self, action_threads_max: int) -> None:
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="holdfast-committer")
        self._actions = ThreadPoolExecutor(action_threads_max, thread_name_prefix="holdfast-action")

    def sync(self, work: Callable[[], None]) -> Future[None]:
        return self._committer.submit(work)

    def action(self, work: Callable[[], Any]) -> Future[Any]:
        return self._actions.submit(work)

    def close(self) -> None:
        self._committer.shutdown()
        self._actions.shutdown(wait=False, cancel_futures=True)


class Server:
    """One server process: start, then stop."""

    def __init__(self, registry: Registry, config: Config, store: Store | None = None) -> None:
        self.config = config
        self._registry = registry
        self._store = store
        self.port = 0
        self.tracing: Tracing | None = None

    async def start(self) -> None:
        config = self.config
        self._threads = SystemThreads(config.limits.action_threads_max)
        environment = Environment(
            clock=SystemClock(),
            random=random.SystemRandom(),
            secret_bytes=secrets.token_bytes,
            threads=self._threads,
        )
        self.tracing = open_tracing(os.environ, keys=config.trace_keys)
        if self._store is None:
            self._store = RocksStore(config.data)
        self.node = Node(
            store=self._store,
            environment=environment,
            limits=config.limits,
            namespaces=config.namespaces,
            loop=asyncio.get_running_loop(),
            observer=SILENT if self.tracing is None else self.tracing.observer,
        )
        self.node.start(LocalRunner(self._registry.types, self.node))
        await self._start_grpc()

    async def _start_grpc(self) -> None:
        config = self.config
        size = config.limits.input_bytes_max + (1 << 20)
        observing = [] if self.tracing is None else [TracingInterceptor(self.tracing.rpcs)]
        self._grpc = grpc.aio.server(
            interceptors=observing,
            options=[
                ("grpc.max_receive_message_length", size),
                ("grpc.max_send_message_length", size),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.so_reuseport", 0),
            ],
        )
        converter = Converter(config.limits, config.namespaces)
        actors = ActorService(self.node, converter, config.limits)
        actor_service_pb2_grpc.add_ActorServiceServicer_to_server(actors, self._grpc)
        kv = KvService(self.node, converter, config.limits)
        kv_service_pb2_grpc.add_KvServiceServicer_to_server(kv, self._grpc)
        letters = DeadLetterService(self.node, converter, config.limits)
        dead_letter_service_pb2_grpc.add_DeadLetterServiceServicer_to_server(letters, self._grpc)
        self._health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        services = [
            actor_service_pb2.DESCRIPTOR.services_by_name["ActorService"].full_name,
            kv_service_pb2.DESCRIPTOR.services_by_name["KvService"].full_name,
            dead_letter_service_pb2.DESCRIPTOR.services_by_name["DeadLetterService"].full_name,
        ]
        for name in ("", *services):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        if config.reflection:
            names = [*services, "grpc.health.v1.Health", reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, self._grpc)
        self.port = self._grpc.add_insecure_port(config.grpc)
        if self.tracing is not None:
            self.tracing.rpcs.listens(config.grpc.rpartition(":")[0].strip("[]"), self.port)
        await self._grpc.start()
        log.info("serving gRPC on %s", config.grpc)

    async def stop(self) -> None:
        """Drain: NOT_SERVING, finish turns, sync, close, send the last spans."""
        await self._health.enter_graceful_shutdown()
        await self.node.drain()
        await self._grpc.stop(1.0)
        assert self._store is not None
        self._store.close()
        self._threads.close()
        if self.tracing is not None:
            await self.tracing.close(self.config.limits.trace_flush_timeout_s)


async def run(registry: Registry, config: Config) -> None:
    """Serve until SIGTERM or SIGINT; a second signal exits at once."""
    server = Server(registry, config)
    await server.start()
    if server.tracing is not None:
        server.tracing.share()
    print(f"Holdfast serves gRPC on {config.grpc}, data in {config.data}", flush=True)
    stopped = asyncio.Event()

    def on_signal() -> None:
        if stopped.is_set():
            os._exit(1)
        stopped.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    await stopped.wait()
    await server.stop()


def serve(registry: Registry, **flags: Any) -> None:
    """Run a server in this process until it is told to stop."""
    config = load(os.environ, **flags)
    configure(config.log_format, config.log_level, current_fields)
    asyncio.run(run(registry, config))
