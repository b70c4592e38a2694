"""The transport over a network: grpc.aio and the generated stubs.

Retried, always with the same idempotency key and within the caller's deadline: what the
service config beside the protos names, UNAVAILABLE, and RESOURCE_EXHAUSTED where the
answer carries RetryInfo. A stream is retried only while it has given no item. gRPC's own
retries are off: they know neither the deadline of all tries nor when a key ends.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final, NoReturn, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from holdfast._authorization import Authorization
from holdfast._channel import FORKED, close_channel, open_channel
from holdfast._feed import Carrier, Feed
from holdfast._messages import actor_info, actor_key, actor_target, encoded, encoding, payload
from holdfast._retry import Backoff, Sequence
from holdfast._status import to_actor_error
from holdfast._token import Tokens, TokenSource
from holdfast._trace import RpcObserver, trace_headers
from holdfast._transport import ActorInfo, Call, Encoded, Lifecycle, ListQuery, Reply, Subscribe
from holdfast.errors import ActorError, HoldfastError
from holdfast.tls import TlsConfig
from holdfast.v1 import actor_pb2, actor_service_pb2, event_service_pb2, kv_service_pb2
from holdfast.v1.actor_service_pb2_grpc import ActorServiceStub
from holdfast.v1.admin_service_pb2_grpc import AdminServiceStub
from holdfast.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from holdfast.v1.event_service_pb2_grpc import EventServiceStub
from holdfast.v1.kv_service_pb2_grpc import KvServiceStub
from holdfast.v1.schedule_service_pb2_grpc import ScheduleServiceStub

T = TypeVar("T")
Describe = actor_service_pb2.DescribeActorsResponse

_HEALTH_NAME_MAX: Final = 127
_SERVING: Final = b"\x08\x01"

LOOKUP_PATIENCE_S: Final = 2.0
_LOOKUP: Final = ("errors resolving", "DNS resolution failed", "lookup failed")


class Closed:
    """In the place of what a closed client had: whatever is called of it is refused."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        return _refuse


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise HoldfastError("the client is closed")


_CLOSED: Final = Closed()


class GrpcTransport:
    """A `Transport` over one channel, for the event loop on which it was made."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        token: TokenSource = None,
        sequence: Sequence | None = None,
        backoff: Callable[[], Backoff] = Backoff,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._channel: Any = channel
        self._loop = asyncio.get_running_loop()
        self.time: Callable[[], float] = self._loop.time
        self._pid = os.getpid()
        self.tokens: Tokens = Tokens(token, changed=self._token_changed)
        self._sequence = Sequence() if sequence is None else sequence
        self._backoff = backoff
        self._sleep = sleep
        self._closed = False
        self.observer: RpcObserver | None = None
        self.connected: bool = False
        self._actors: Any = ActorServiceStub(channel)
        self._kv: Any = KvServiceStub(channel)
        self._events: Any = EventServiceStub(channel)
        self._letters: Any = DeadLetterServiceStub(channel)
        self._schedules: Any = ScheduleServiceStub(channel)
        self._admin: Any = AdminServiceStub(channel)

    async def invoke(self, call: Call) -> Reply:
        """Run an action and return its result."""
        return await self._invoke(call, self._unary)

    async def _invoke(
        self, call: Call, run: Callable[..., Awaitable[Any]], number: int = 0
    ) -> Reply:
        with self._keyed(call.idempotency_key, number) as key:
            request = actor_service_pb2.InvokeActionRequest(
                namespace=call.namespace,
                target=actor_target(call.target),
                action=call.action,
                args=payload(call.args),
                kwargs=payload(call.kwargs),
                accept_encoding=encoding(call.accept),
                params=payload(call.params),
                **key,
            )
            answer: actor_service_pb2.InvokeActionResponse = await run(
                self._actors.InvokeAction, request, call.timeout
            )
        return Reply(encoded(answer.result), answer.actor_id, answer.durability, answer.replayed)

    def stream(self, call: Call) -> AsyncGenerator[Encoded, None]:
        """Run a streaming action; closing the iterator cancels it."""
        items = self._stream(call)
        if self.observer is None:
            return items
        return self.observer.stream(actor_service_pb2.StreamActionRequest, items)

    async def _stream(self, call: Call, number: int = 0) -> AsyncGenerator[Encoded, None]:
        with self._keyed(call.idempotency_key, number) as key:
            request = actor_service_pb2.StreamActionRequest(
                namespace=call.namespace,
                target=actor_target(call.target),
                action=call.action,
                args=payload(call.args),
                kwargs=payload(call.kwargs),
                accept_encoding=encoding(call.accept),
                params=payload(call.params),
                **key,
            )
            self.check_usable()
            tries = Tries(self, call.timeout)
            while True:
                started = False
                rpc: Any = None
                try:
                    metadata = await tries.metadata()
                    rpc = self._actors.StreamAction(
                        request, timeout=tries.remaining(), metadata=metadata
                    )
                    async for answer in rpc:
                        started = self.connected = True
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
                    if rpc is not None:
                        rpc.cancel()

    async def create(self, request: Lifecycle) -> ActorInfo:
        """Create an actor."""
        with self._keyed(request.idempotency_key) as key:
            message = actor_service_pb2.CreateActorRequest(
                namespace=request.namespace,
                actor=actor_key(request.target),
                input=payload(request.target.input),
                **key,
            )
            answer: actor_service_pb2.CreateActorResponse = await self._unary(
                self._actors.CreateActor, message, request.timeout
            )
        return actor_info(answer.actor)

    async def get_or_create(self, request: Lifecycle) -> tuple[ActorInfo, bool]:
        """The actor, and whether this request created it."""
        with self._keyed(request.idempotency_key) as key:
            message = actor_service_pb2.GetOrCreateActorRequest(
                namespace=request.namespace,
                actor=actor_key(request.target),
                input=payload(request.target.input),
                **key,
            )
            answer: actor_service_pb2.GetOrCreateActorResponse = await self._unary(
                self._actors.GetOrCreateActor, message, request.timeout
            )
        return actor_info(answer.actor), answer.created

    async def get(self, request: Lifecycle) -> ActorInfo:
        """The actor by id, or by name and key."""
        target = request.target
        message = actor_service_pb2.GetActorRequest(
            namespace=request.namespace,
            actor_id=target.actor_id or "",
            actor=None if target.actor_id is not None else actor_key(target),
        )
        answer: actor_service_pb2.GetActorResponse = await self._unary(
            self._actors.GetActor, message, request.timeout
        )
        return actor_info(answer.actor)

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
        return [actor_info(actor) for actor in answer.actors], answer.next_page_token

    async def destroy(self, request: Lifecycle) -> str:
        """Destroy an actor; returns its id."""
        with self._keyed(request.idempotency_key) as key:
            message = actor_service_pb2.DestroyActorRequest(
                namespace=request.namespace, target=actor_target(request.target), **key
            )
            answer: actor_service_pb2.DestroyActorResponse = await self._unary(
                self._actors.DestroyActor, message, request.timeout
            )
        return answer.actor_id

    async def describe(self, namespace: str, name: str, timeout: float | None) -> Describe:
        """The registered class `name`, or all when it is empty."""
        request = actor_service_pb2.DescribeActorsRequest(namespace=namespace, name=name)
        answer: Describe = await self._unary(self._actors.DescribeActors, request, timeout)
        return answer

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

    def subscription(self, request: Subscribe, feed: Feed) -> Carrier:
        """What carries the events of an actor to a feed."""
        from holdfast._session_fallback import RpcSubscription

        self.check_usable()
        return RpcSubscription(self, request, feed)

    async def subscribe_events(
        self, request: event_service_pb2.SubscribeEventsRequest, authorization: Authorization
    ) -> Any:
        """The RPC that streams events."""
        self.check_usable()
        metadata = [*trace_headers(), *await authorization.headers()]
        return self._events.SubscribeEvents(request, metadata=metadata)

    async def dead_letters(self, method: str, request: Message, timeout: float | None) -> Any:
        """The answer of a method of DeadLetterService."""
        return await self._unary(getattr(self._letters, method), request, timeout)

    async def schedules(self, method: str, request: Message, timeout: float | None) -> Any:
        """The answer of a method of ScheduleService; RunScheduleNow gets its number."""
        if "client_sequence" not in request.DESCRIPTOR.fields_by_name:
            return await self._unary(getattr(self._schedules, method), request, timeout)
        with self._keyed(None) as key:
            numbered: Any = request
            numbered.client_sequence.CopyFrom(key["client_sequence"])
            return await self._unary(getattr(self._schedules, method), numbered, timeout)

    async def admin(self, method: str, request: Message, timeout: float | None) -> Any:
        """The answer of a method of AdminService, from a client of the admin port."""
        return await self._unary(getattr(self._admin, method), request, timeout)

    async def health(self, service: str, timeout: float | None) -> tuple[bool, str]:
        """Whether the server serves, and why not, by grpc.health.v1; one try."""
        # The two messages are one field each; the package that has them is the server's.
        name = service.encode("utf-8")
        if len(name) > _HEALTH_NAME_MAX:
            raise HoldfastError("the name of a service has at most 127 bytes")
        request = b"\n" + bytes([len(name)]) + name if name else b""
        check: Any = self._channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            headers = await Authorization(self.tokens).headers(timeout)
            call = check(request, timeout=timeout, metadata=[*trace_headers(), *headers])
            answer = await call
        except grpc.aio.AioRpcError as error:
            failure = to_actor_error(error)
            if failure.reason == "DEADLINE_EXCEEDED" and not self.ready():
                failure = unreachable(timeout, None)
            raise failure from error
        reasons = [v for k, v in await call.trailing_metadata() if k == "holdfast-reason"]
        return answer == _SERVING, str(reasons[0]) if reasons else ""

    async def close(self) -> None:
        """Close the channel; calls under way fail with a HoldfastError."""
        self._closed = True
        self.tokens.forget()
        channel = self._channel
        if self.can_wait and channel is not _CLOSED:
            self._forget()
            await close_channel(channel)

    def _forget(self) -> None:
        # Whatever still refers to a closed client must not keep its channel: gRPC's thread
        # would go on, which a fork does not survive.
        self._channel = self._actors = self._kv = self._events = _CLOSED
        self._letters = self._schedules = self._admin = _CLOSED

    @property
    def can_wait(self) -> bool:
        """Whether what it began can be waited for: not on another loop, nor after a fork."""
        return self._pid == os.getpid() and self._loop is asyncio.get_running_loop()

    @contextmanager
    def _keyed(self, own: str | None, number: int = 0) -> Iterator[dict[str, Any]]:
        # The fields that make a request idempotent: the caller's own key, or a number,
        # which is a new one where none is in flight for the call.
        if own is not None:
            yield {"idempotency_key": own}
            return
        with nullcontext(number) if number else self._sequence.number() as number:
            yield {
                "client_sequence": actor_pb2.ClientSequence(
                    client_id=self._sequence.client_id,
                    number=number,
                    acknowledged_below=self._sequence.acknowledged_below,
                )
            }

    def _token_changed(self, token: str) -> None:
        """There is another token."""

    async def _unary(
        self, method: Callable[..., Awaitable[T]], request: Message, timeout: float | None
    ) -> T:
        run = self._try(method, request, timeout)
        return await (run if self.observer is None else self.observer.unary(type(request), run))

    async def _try(
        self, method: Callable[..., Awaitable[T]], request: Message, timeout: float | None
    ) -> T:
        self.check_usable()
        tries = Tries(self, timeout)
        while True:
            try:
                metadata = await tries.metadata()
                answer = await method(request, timeout=tries.remaining(), metadata=metadata)
            except grpc.aio.AioRpcError as error:
                await tries.again(error)
            except asyncio.CancelledError:
                self.check_cancelled()
                raise
            else:
                self.connected = True
                return answer

    async def pause(self, seconds: float) -> None:
        """Wait between two tries."""
        await self._sleep(seconds)
        self.check_usable()

    def backoff(self) -> Backoff:
        """The delays of one call."""
        return self._backoff()

    def ready(self) -> bool:
        """Whether the channel has a connection now."""
        channel = self._channel
        return channel is not _CLOSED and channel.get_state() is grpc.ChannelConnectivity.READY

    def check_usable(self) -> None:
        """Refuse what would hang: a closed channel, another event loop, a forked process."""
        if self._closed:
            raise HoldfastError("the client is closed")
        try:
            if asyncio.get_running_loop() is self._loop:
                return
        except RuntimeError:
            pass  # a forked process has no running loop, even inside a coroutine
        if self._pid != os.getpid():
            raise HoldfastError(FORKED)
        raise HoldfastError(
            "a client belongs to the event loop that first used it: make one client for each "
            "asyncio.run, or use holdfast.blocking.Client, which any thread may use"
        )

    def check_cancelled(self) -> None:
        """Closing the channel cancels its calls; the tasks that wait for them are not."""
        task = asyncio.current_task()
        if self._closed and (task is None or not task.cancelling()):
            raise HoldfastError("the client is closed")


class Tries:
    """The tries of one call: one deadline, one backoff."""

    __slots__ = (
        "_authorization", "_backoff", "_deadline", "_failure", "_time", "_timeout", "_transport",
    )  # fmt: skip

    def __init__(
        self, transport: GrpcTransport, timeout: float | None, began: float | None = None
    ) -> None:
        self._transport = transport
        self._authorization = Authorization(transport.tokens)
        # To look for the running loop would cost a system call.
        self._time = transport.time
        self._timeout = timeout
        # From when the call began, in the loop's time: now, if not told otherwise.
        began = self._time() if began is None else began
        self._deadline = None if timeout is None else began + timeout
        self._backoff: Backoff | None = None
        self._failure: ActorError | None = None

    def remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return None if self._deadline is None else max(self._deadline - self._time(), 0.0)

    async def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of the next try; raises AioRpcError where there is no token."""
        return (*trace_headers(), *await self._authorization.headers(self.remaining()))

    async def again(
        self, error: grpc.aio.AioRpcError, *, allowed: bool = True, also: str = ""
    ) -> None:
        """Wait until the call may be tried again, or raise what it failed with; `also` is
        one more reason to try again."""
        failure = to_actor_error(self._authorization.passing(error))
        if failure.reason == "DEADLINE_EXCEEDED" and not self._transport.ready():
            # The time went into connecting: say what is wrong, not how it showed.
            raise unreachable(self._timeout, self._failure) from error
        passes = failure.retryable or (also and failure.reason == also)
        if not (passes and allowed) or self._hopeless(failure):
            raise failure from error
        if self._backoff is None:
            self._backoff = self._transport.backoff()
        delay = self._backoff.next(failure.retry_after_s)
        remaining = self.remaining()
        if remaining is not None and delay >= remaining:
            raise failure from error
        self._failure = failure
        if self._transport.observer is not None:
            self._transport.observer.retried(failure, delay)
        await self._transport.pause(delay)

    def _hopeless(self, failure: ActorError) -> bool:
        # A name that was never resolved is a wrong name, once a passing fault had its time.
        never = not self._transport.connected and any(part in failure.message for part in _LOOKUP)
        if not never or self._backoff is None:
            return False
        return self._backoff.spent_s >= LOOKUP_PATIENCE_S


def unreachable(timeout: float | None, last: ActorError | None) -> ActorError:
    """The error of a deadline that went into connecting; `last` says how that failed."""
    limit = "" if timeout is None else f" within {timeout:g} s"
    return ActorError(
        group="server",
        code="unavailable",
        message=f"no connection to the server{limit}{f': {last.message}' if last else ''}",
        reason="UNAVAILABLE",
        retryable=True,
        status="UNAVAILABLE",
    )


__all__ = ["GrpcTransport", "TlsConfig", "open_channel"]
