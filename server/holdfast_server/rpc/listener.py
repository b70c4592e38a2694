"""The gRPC servers of one process: the public one, and the admin one beside it.

Both have the same TLS files and tokens. Health and reflection are on both;
AdminService, and channelz, which shows every connection, are on the admin server only.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import grpc
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from holdfast.v1 import (
    actor_service_pb2,
    actor_service_pb2_grpc,
    admin_service_pb2,
    admin_service_pb2_grpc,
    dead_letter_service_pb2,
    dead_letter_service_pb2_grpc,
    event_service_pb2,
    event_service_pb2_grpc,
    kv_service_pb2,
    kv_service_pb2_grpc,
    schedule_service_pb2,
    schedule_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
)
from holdfast_server.core.limits import Limits
from holdfast_server.core.tally import Sample
from holdfast_server.core.tokens import Tokens
from holdfast_server.rpc import health
from holdfast_server.rpc.actor_service import ActorService
from holdfast_server.rpc.admin_service import AdminService, TakeBackup
from holdfast_server.rpc.auth import (
    Holds,
    Identify,
    TokenCheck,
    anonymous,
    by_certificate,
    by_token,
)
from holdfast_server.rpc.convert import Converter
from holdfast_server.rpc.dead_letter_service import DeadLetterService
from holdfast_server.rpc.event_service import EventService
from holdfast_server.rpc.guard import abort
from holdfast_server.rpc.interceptors.tracing import TracingInterceptor
from holdfast_server.rpc.kv_service import KvService
from holdfast_server.rpc.procedures import DirectProcedures
from holdfast_server.rpc.schedule_service import ScheduleService
from holdfast_server.rpc.session.service import SessionService
from holdfast_server.rpc.session.shared import Shared
from holdfast_server.runtime.calls import Calls
from holdfast_server.runtime.node import Node
from holdfast_server.telemetry.observer import RpcObserver

log = logging.getLogger("holdfast.rpc")

SERVICES: Final = (
    actor_service_pb2.DESCRIPTOR.services_by_name["ActorService"].full_name,
    kv_service_pb2.DESCRIPTOR.services_by_name["KvService"].full_name,
    dead_letter_service_pb2.DESCRIPTOR.services_by_name["DeadLetterService"].full_name,
    event_service_pb2.DESCRIPTOR.services_by_name["EventService"].full_name,
    session_service_pb2.DESCRIPTOR.services_by_name["SessionService"].full_name,
    schedule_service_pb2.DESCRIPTOR.services_by_name["ScheduleService"].full_name,
)
_ADMIN: Final = admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name
_CHANNELZ: Final = "grpc.channelz.v1.Channelz"
_MESSAGE_EXTRA: Final = 1 << 20
# What a frame of a session may have, at the least.
_FRAME_BYTES: Final = 4 << 20
# Open streams that are not ours to end, like those of reflection.
_GRACE_S: Final = 0.2
# Calls that have arrived while the loop was busy: more than a flood, less than the memory.
_PENDING_MAX: Final = 50_000


class TlsMaterial(Protocol):
    """PEM contents; `client_ca` makes client certificates required."""

    @property
    def certificate(self) -> bytes: ...
    @property
    def key(self) -> bytes: ...
    @property
    def client_ca(self) -> bytes | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may connect. `tls` gives what is in force now, and is asked at each handshake."""

    tokens: Tokens
    tls: Callable[[], TlsMaterial | None]
    # Whether tokens are checked at all: they may change, but not come and go.
    checked: bool


class BindError(Exception):
    """gRPC cannot listen at an address."""


class Listener:
    """The gRPC servers over one node."""

    def __init__(
        self,
        node: Node,
        *,
        limits: Limits,
        namespaces: frozenset[str],
        access: Access,
        reflect: bool,
        backup: TakeBackup,
        interceptors: Sequence[Any] = (),
        rpcs: RpcObserver | None = None,
    ) -> None:
        self._access = access
        message = max(limits.payload_bytes_max, limits.input_bytes_max) + _MESSAGE_EXTRA
        self._size = max(message, _FRAME_BYTES)
        self._servers: list[grpc.aio.Server] = []
        self._loop = node.loop
        self.calls = Calls(node.loop, node.stopwatch)
        self._checks: list[TokenCheck] = []
        if access.checked:
            holds = Holds(access.tokens, self.calls, node.loop)
            self._checks.append(TokenCheck(access.tokens, holds, abort))
        self._interceptors = [*self._checks, *interceptors]
        self.health = health.Health(SERVICES, limits.health_watches_max)
        converter = self._converter(node, limits, namespaces)
        self._actors = ActorService(node, converter, limits, self.calls)
        self._kv = KvService(node, converter, limits, self.calls)
        self._events = EventService(node, converter, self.calls)
        self._letters = DeadLetterService(node, converter, limits, self.calls)
        self.sessions = SessionService(
            Shared(
                node,
                converter,
                limits,
                self.calls,
                message_bytes_max=message,
                tokens=access.tokens if access.checked else None,
                rpcs=rpcs,
            )
        )
        self._schedules = ScheduleService(node, converter, limits, self.calls)
        self._admin = AdminService(node, converter, self.calls, backup)
        self._reflect = reflect

    @property
    def message_bytes_max(self) -> int:
        """The size of a message; gRPC itself refuses a larger one."""
        return self._size

    def samples(self) -> Iterator[Sample]:
        """What a scrape is told of it."""
        for name, tally in self.calls.rpcs.items():
            yield Sample("holdfast_rpc_duration_seconds", tally.durations.copy(), (name,))
            for status, count in tally.errors.items():
                yield Sample("holdfast_rpc_errors_total", count, (name, status))
        yield Sample("holdfast_rpcs_in_progress", len(self.calls))
        yield Sample("holdfast_serving", int(not self.health.reason))
        yield Sample("holdfast_sessions", self.sessions.open)
        yield Sample("holdfast_session_unsent_bytes", self.sessions.unsent_bytes)

    def register(self, server: grpc.aio.Server) -> None:
        """Add the public services to a server."""
        actor_service_pb2_grpc.add_ActorServiceServicer_to_server(self._actors, server)
        kv_service_pb2_grpc.add_KvServiceServicer_to_server(self._kv, server)
        dead_letter_service_pb2_grpc.add_DeadLetterServiceServicer_to_server(self._letters, server)
        event_service_pb2_grpc.add_EventServiceServicer_to_server(self._events, server)
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(self.sessions, server)
        schedule_service_pb2_grpc.add_ScheduleServiceServicer_to_server(self._schedules, server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        if self._reflect:
            names = [*SERVICES, health.NAME, reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, server)

    def procedures(self, observer: RpcObserver | None) -> DirectProcedures:
        """The public RPCs for a front beside gRPC, whose calls `observer` hears of."""
        interceptors: list[Any] = list(self._checks)
        if observer is not None:
            interceptors.append(TracingInterceptor(observer))
        return DirectProcedures(
            self.register,
            [*SERVICES, health.NAME],
            interceptors,
            message_bytes_max=self._size,
            loop=self._loop,
        )

    async def start(self, address: str) -> int:
        """Serve the public port; the port's number."""
        server = self._server()
        self.register(server)
        return await self._open(server, address)

    async def start_admin(self, address: str) -> int:
        """Serve the admin port; the port's number."""
        server = self._server()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(self._admin, server)
        channelz.add_channelz_servicer(server)
        names = [_ADMIN, health.NAME, _CHANNELZ, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, server)
        return await self._open(server, address)

    def drain(self) -> None:
        """Take nothing new, and say so."""
        self.health.stop("the server is draining")
        self.calls.draining = True
        self.sessions.drain()

    def end_streams(self) -> None:
        """Streams go on to their next item and end there."""
        self.calls.end_streams()
        self.sessions.streams_end()

    async def stop(self) -> None:
        """Close the ports and what is still open on them."""
        await self.sessions.close()
        self.health.close()
        servers, self._servers = self._servers, []
        for server in servers:
            await server.stop(_GRACE_S)

    def _server(self) -> grpc.aio.Server:
        return grpc.aio.server(
            interceptors=self._interceptors,
            options=[
                ("grpc.max_receive_message_length", self._size),
                ("grpc.max_send_message_length", self._size),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                # Its own answer to more calls than it has begun is a bare CANCELLED, which
                # no client retries; ours has the reason, and says when to try again.
                ("grpc.server.max_pending_requests", _PENDING_MAX),
                ("grpc.server.max_pending_requests_hard_limit", _PENDING_MAX),
                ("grpc.so_reuseport", 0),
                ("grpc.enable_channelz", 1),
            ],
        )

    async def _open(self, server: grpc.aio.Server, address: str) -> int:
        credentials = self._credentials()
        try:
            if credentials is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            with contextlib.suppress(Exception):
                await server.stop(None)
            raise BindError(str(error)) from None
        self._servers.append(server)
        await server.start()
        return port

    def _credentials(self) -> grpc.ServerCredentials | None:
        material = self._access.tls()
        if material is None:
            return None
        return grpc.dynamic_ssl_server_credentials(
            _certificates(material),
            self._current_certificates,
            require_client_authentication=material.client_ca is not None,
        )

    def _current_certificates(self) -> Any:
        material = self._access.tls()
        return _certificates(material) if material is not None else None

    def _converter(self, node: Node, limits: Limits, namespaces: frozenset[str]) -> Converter:
        material = self._access.tls()
        identify: Identify = anonymous
        if self._access.checked:
            identify = by_token
        elif material is not None and material.client_ca is not None:
            identify = by_certificate
        return Converter(limits, namespaces, identify, node.loop.time)


def _certificates(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate)], root_certificates=material.client_ca
    )
