"""The transport over a network: grpc.aio and the generated stubs.

Retried, always with the same idempotency key and within the caller's deadline:
UNAVAILABLE, and RESOURCE_EXHAUSTED when the answer carries RetryInfo. A stream
is retried only while it has given no item. gRPC's own retries are off.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from holdfast._retry import Backoff, Sequence
from holdfast._trace import RpcObserver, trace_headers
from holdfast._transport import ActorInfo, Call, Encoded, Lifecycle, ListQuery, Reply, Target
from holdfast.errors import ActorError, HoldfastError
from holdfast.tls import TlsConfig
from holdfast.v1 import actor_pb2, actor_service_pb2, kv_service_pb2, payload_pb2
from holdfast.v1.actor_service_pb2_grpc import ActorServiceStub
from holdfast.v1.kv_service_pb2_grpc import KvServiceStub

DOMAIN: Final = "holdfast.dev"
STATUS_KEY: Final = "grpc-status-details-bin"
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024

OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
)

# What a status means when no server of ours described it: group, code.
_BARE: Final[dict[str, tuple[str, str]]] = {
    "UNAVAILABLE": ("server", "unavailable"),
    "DEADLINE_EXCEEDED": ("action", "timed_out"),
    "CANCELLED": ("action", "cancelled"),
    "UNAUTHENTICATED": ("auth", "unauthenticated"),
    "PERMISSION_DENIED": ("auth", "forbidden"),
}

_HEALTH_NAME_MAX: Final = 127
_SERVING: Final = b"\x08\x01"

T = TypeVar("T")


def _pem(source: bytes | str | Path | None) -> bytes | None:
    return source if source is None or isinstance(source, bytes) else Path(source).read_bytes()


def open_channel(address: str, tls: bool | TlsConfig) -> grpc.aio.Channel:
    """A channel to `address`; connects when first used."""
    options: list[tuple[str, Any]] = list(OPTIONS)
    if tls is False:
        return grpc.aio.insecure_channel(address, options=options)
    config = TlsConfig() if tls is True else tls
    if config.server_name is not None:
        options.append(("grpc.ssl_target_name_override", config.server_name))
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_pem(config.ca),
        private_key=_pem(config.key),
        certificate_chain=_pem(config.certificate),
    )
    return grpc.aio.secure_channel(address, credentials, options=options)


def _status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_KEY and isinstance(value, bytes):
            try:
                status.ParseFromString(value)
            except ProtobufDecodeError:
                return status_pb2.Status()
    return status


def _metadata(info: error_details_pb2.ErrorInfo) -> dict[str, Any] | None:
    found: dict[str, Any] = {
        key: value for key, value in info.metadata.items() if key not in ("group", "code")
    }
    text = found.pop("metadata_json", None)
    if text is not None:
        # What the actor's code gave its UserError: it is returned as it was.
        try:
            decoded = json.loads(text)
        except ValueError:
            decoded = None
        return decoded if isinstance(decoded, dict) else {"metadata_json": text}
    return found or None


def to_actor_error(error: grpc.aio.AioRpcError) -> ActorError:
    """The ActorError that a failed RPC stands for."""
    name = error.code().name
    info: error_details_pb2.ErrorInfo | None = None
    retry_after_s: float | None = None
    for detail in _status(error).details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            candidate = error_details_pb2.ErrorInfo()
            detail.Unpack(candidate)
            info = candidate if candidate.domain == DOMAIN else info
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    group, code = _BARE.get(name, ("rpc", name.lower()))
    retryable = name == "UNAVAILABLE" or (
        name == "RESOURCE_EXHAUSTED" and retry_after_s is not None
    )
    return ActorError(
        group=info.metadata.get("group", group) if info is not None else group,
        code=info.metadata.get("code", code) if info is not None else code,
        message=error.details() or code,
        metadata=_metadata(info) if info is not None else None,
        reason=info.reason if info is not None else name,
        retryable=retryable,
        retry_after_s=retry_after_s,
    )


def _unreachable() -> ActorError:
    return ActorError(
        group="server",
        code="unavailable",
        message="no connection to the server within the deadline",
        metadata=None,
        reason="UNAVAILABLE",
        retryable=True,
    )


def _payload(value: Encoded | None) -> payload_pb2.Payload | None:
    if value is None:
        return None
    return payload_pb2.Payload(encoding=_encoding(value.encoding), data=value.data)


def _encoding(number: int) -> payload_pb2.PayloadEncoding.ValueType:
    return payload_pb2.PayloadEncoding.ValueType(number)


def _encoded(payload: payload_pb2.Payload) -> Encoded | None:
    return Encoded(payload.encoding, payload.data) if payload.encoding else None


def _key(target: Target) -> actor_pb2.ActorKey:
    return actor_pb2.ActorKey(name=target.name, key=target.key)


def _target(target: Target) -> actor_pb2.ActorTarget:
    if target.actor_id is not None:
        return actor_pb2.ActorTarget(actor_id=target.actor_id)
    if target.create:
        return actor_pb2.ActorTarget(get_or_create=_key(target), input=_payload(target.input))
    return actor_pb2.ActorTarget(get=_key(target))


def _info(actor: actor_pb2.Actor) -> ActorInfo:
    created = actor.created_at.ToDatetime(UTC) if actor.HasField("created_at") else None
    return ActorInfo(actor.actor_id, actor.name, tuple(actor.key), actor.namespace, created)


class GrpcTransport:
    """A `Transport` over one channel. Used from one event loop only."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        token: str | None = None,
        sequence: Sequence | None = None,
        backoff: Callable[[], Backoff] = Backoff,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._channel = channel
        self._token = token
        self._sequence = Sequence() if sequence is None else sequence
        self._backoff = backoff
        self._sleep = sleep
        self._closed = False
        self.observer: RpcObserver | None = None
        self._actors: Any = ActorServiceStub(channel)
        self._kv: Any = KvServiceStub(channel)

    async def invoke(self, call: Call) -> Reply:
        """Run an action and return its result."""
        with self._keyed(call.idempotency_key) as key:
            request = actor_service_pb2.InvokeActionRequest(
                namespace=call.namespace,
                target=_target(call.target),
                action=call.action,
                args=_payload(call.args),
                kwargs=_payload(call.kwargs),
                accept_encoding=_encoding(call.accept),
                **key,
            )
            answer: actor_service_pb2.InvokeActionResponse = await self._unary(
                self._actors.InvokeAction, request, call.timeout
            )
        return Reply(_encoded(answer.result), answer.actor_id, answer.durability, answer.replayed)

    def stream(self, call: Call) -> AsyncGenerator[Encoded, None]:
        """Run a streaming action; closing the iterator cancels it."""
        items = self._stream(call)
        if self.observer is None:
            return items
        return self.observer.stream(actor_service_pb2.StreamActionRequest, items)

    async def _stream(self, call: Call) -> AsyncGenerator[Encoded, None]:
        with self._keyed(call.idempotency_key) as key:
            request = actor_service_pb2.StreamActionRequest(
                namespace=call.namespace,
                target=_target(call.target),
                action=call.action,
                args=_payload(call.args),
                kwargs=_payload(call.kwargs),
                accept_encoding=_encoding(call.accept),
                **key,
            )
            tries = _Tries(self, call.timeout)
            while True:
                started = False
                self.check_open()
                rpc = self._actors.StreamAction(
                    request, timeout=tries.remaining(), metadata=self._metadata()
                )
                try:
                    async for answer in rpc:
                        started = True
                        for item in answer.items:
                            yield Encoded(item.encoding, item.data)
                    return
                except grpc.aio.AioRpcError as error:
                    await tries.again(error, allowed=not started)
                except asyncio.CancelledError:
                    self.check_cancelled()
                    raise
                finally:
                    # A consumer that stops early must not leave the actor running.
                    rpc.cancel()

    async def create(self, request: Lifecycle) -> ActorInfo:
        """Create an actor."""
        with self._keyed(request.idempotency_key) as key:
            message = actor_service_pb2.CreateActorRequest(
                namespace=request.namespace,
                actor=_key(request.target),
                input=_payload(request.target.input),
                **key,
            )
            answer: actor_service_pb2.CreateActorResponse = await self._unary(
                self._actors.CreateActor, message, request.timeout
            )
        return _info(answer.actor)

    async def get_or_create(self, request: Lifecycle) -> tuple[ActorInfo, bool]:
        """The actor, and whether this request created it."""
        with self._keyed(request.idempotency_key) as key:
            message = actor_service_pb2.GetOrCreateActorRequest(
                namespace=request.namespace,
                actor=_key(request.target),
                input=_payload(request.target.input),
                **key,
            )
            answer: actor_service_pb2.GetOrCreateActorResponse = await self._unary(
                self._actors.GetOrCreateActor, message, request.timeout
            )
        return _info(answer.actor), answer.created

    async def get(self, request: Lifecycle) -> ActorInfo:
        """The actor by id, or by name and key."""
        target = request.target
        message = actor_service_pb2.GetActorRequest(
            namespace=request.namespace,
            actor_id=target.actor_id or "",
            actor=None if target.actor_id is not None else _key(target),
        )
        answer: actor_service_pb2.GetActorResponse = await self._unary(
            self._actors.GetActor, message, request.timeout
        )
        return _info(answer.actor)

    async def list_actors(self, query: ListQuery) -> tuple[list[ActorInfo], str]:
        """A page of actors and the token of the next."""
        message = actor_service_pb2.ListActorsRequest(
            namespace=query.namespace,
            name=query.name,
            key_prefix=query.key_prefix,
            page_size=query.page_size,
            page_token=query.page_token,
        )
        answer: actor_service_pb2.ListActorsResponse = await self._unary(
            self._actors.ListActors, message, query.timeout
        )
        return [_info(actor) for actor in answer.actors], answer.next_page_token

    async def destroy(self, request: Lifecycle) -> str:
        """Destroy an actor; returns its id."""
        with self._keyed(request.idempotency_key) as key:
            message = actor_service_pb2.DestroyActorRequest(
                namespace=request.namespace, target=_target(request.target), **key
            )
            answer: actor_service_pb2.DestroyActorResponse = await self._unary(
                self._actors.DestroyActor, message, request.timeout
            )
        return answer.actor_id

    async def kv_get(
        self, request: kv_service_pb2.GetKvEntriesRequest, timeout: float | None
    ) -> kv_service_pb2.GetKvEntriesResponse:
        """Entries of an actor's KV by key."""
        answer: kv_service_pb2.GetKvEntriesResponse = await self._unary(
            self._kv.GetKvEntries, request, timeout
        )
        return answer

    async def kv_list(
        self, request: kv_service_pb2.ListKvEntriesRequest, timeout: float | None
    ) -> kv_service_pb2.ListKvEntriesResponse:
        """A page of an actor's KV entries."""
        answer: kv_service_pb2.ListKvEntriesResponse = await self._unary(
            self._kv.ListKvEntries, request, timeout
        )
        return answer

    async def health(self, service: str, timeout: float | None) -> tuple[bool, str]:
        """Whether the server serves, and why not, by grpc.health.v1; one try."""
        # The two messages are one field each; the package that has them is the server's.
        name = service.encode("utf-8")
        if len(name) > _HEALTH_NAME_MAX:
            raise HoldfastError("the name of a service has at most 127 bytes")
        request = b"\n" + bytes([len(name)]) + name if name else b""
        check: Any = self._channel.unary_unary("/grpc.health.v1.Health/Check")
        call = check(request, timeout=timeout, metadata=self._metadata())
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise _unreachable() from error
            raise to_actor_error(error) from error
        reasons = [v for k, v in await call.trailing_metadata() if k == "holdfast-reason"]
        return answer == _SERVING, str(reasons[0]) if reasons else ""

    async def close(self) -> None:
        """Close the channel; calls under way fail with a HoldfastError."""
        self._closed = True
        await self._channel.close()

    @contextmanager
    def _keyed(self, own: str | None) -> Iterator[dict[str, Any]]:
        # The fields that make a request idempotent: the caller's own key, or a number.
        if own is not None:
            yield {"idempotency_key": own}
            return
        with self._sequence.number() as number:
            yield {
                "client_sequence": actor_pb2.ClientSequence(
                    client_id=self._sequence.client_id,
                    number=number,
                    acknowledged_below=self._sequence.acknowledged_below,
                )
            }

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        metadata = trace_headers()
        if self._token is not None:
            metadata.append(("authorization", f"Bearer {self._token}"))
        return tuple(metadata)

    async def _unary(
        self, method: Callable[..., Awaitable[T]], request: Message, timeout: float | None
    ) -> T:
        run = self._try(method, request, timeout)
        return await (run if self.observer is None else self.observer.unary(type(request), run))

    async def _try(
        self, method: Callable[..., Awaitable[T]], request: Message, timeout: float | None
    ) -> T:
        tries = _Tries(self, timeout)
        while True:
            self.check_open()
            try:
                return await method(request, timeout=tries.remaining(), metadata=self._metadata())
            except grpc.aio.AioRpcError as error:
                await tries.again(error)
            except asyncio.CancelledError:
                self.check_cancelled()
                raise

    def check_open(self) -> None:
        """Refuse to use a closed channel."""
        if self._closed:
            raise HoldfastError("the client is closed")

    def check_cancelled(self) -> None:
        """Closing the channel cancels its calls; the tasks that wait for them are not."""
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            self.check_open()


class _Tries:
    # The tries of one call: one deadline, one backoff.

    def __init__(self, transport: GrpcTransport, timeout: float | None) -> None:
        self._transport = transport
        self._backoff = transport._backoff()
        self._time = asyncio.get_running_loop().time
        self._deadline = None if timeout is None else self._time() + timeout

    def remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return None if self._deadline is None else max(self._deadline - self._time(), 0.0)

    async def again(self, error: grpc.aio.AioRpcError, *, allowed: bool = True) -> None:
        """Wait until the call may be tried again, or raise what it failed with."""
        failure = to_actor_error(error)
        if failure.reason == "DEADLINE_EXCEEDED" and not self._connected():
            # The time went into connecting: say what is wrong, not how it showed.
            failure = _unreachable()
        elif failure.retryable and allowed:
            delay = self._backoff.next(failure.retry_after_s)
            remaining = self.remaining()
            if remaining is None or delay < remaining:
                if self._transport.observer is not None:
                    self._transport.observer.retried(failure, delay)
                await self._transport._sleep(delay)
                return
        raise failure from error

    def _connected(self) -> bool:
        return self._transport._channel.get_state() is grpc.ChannelConnectivity.READY
