"""The gRPC transport with calls over a session, where the server offers sessions.

Whatever a call gives or fails with is what it would over a unary RPC, with the same
retries, deadline, cancellation and observers. A server without sessions is noticed at
the first call and asked once; calls too large for a session go beside it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, aclosing, nullcontext
from functools import partial
from typing import Any, Protocol

import grpc
import grpc.aio

from holdfast._authorization import Authorization
from holdfast._feed import Carrier, Feed
from holdfast._grpc import Closed, GrpcTransport, Tries
from holdfast._session import Session, Unoffered
from holdfast._session_calls import (
    CallStream,
    Deadlines,
    Invocation,
    Iteration,
    Watched,
    call_size,
)
from holdfast._session_connections import Peer, SessionConnection
from holdfast._session_events import SessionSubscription
from holdfast._session_link import HANDSHAKE_S, PING_S
from holdfast._session_streams import Stream
from holdfast._token import NoToken
from holdfast._transport import Call, Connect, Encoded, Reply, Subscribe
from holdfast.errors import HoldfastError
from holdfast.v1 import actor_service_pb2
from holdfast.v1.session_service_pb2_grpc import SessionServiceStub

log = logging.getLogger("holdfast")


class Connected(Protocol):
    """A connection on which calls are made."""

    async def usable(self, timeout: float | None) -> Stream:
        """Its stream, once it is open."""
        ...


class SessionTransport(GrpcTransport):
    """See the module."""

    ping_s: float = PING_S

    def __init__(self, channel: grpc.aio.Channel, **options: Any) -> None:
        # One for each namespace; a client has one namespace, so it is one.
        self._by_namespace: dict[str, Session] = {}
        super().__init__(channel, **options)
        self._sessions: Any = SessionServiceStub(channel)
        self._deadlines = Deadlines(self._drop)
        self._looking: asyncio.Task[None] | None = None

    def session(self, namespace: str) -> Session:
        """The session, open or not."""
        found = self._by_namespace.get(namespace)
        if found is None:
            authorization = Authorization(self.tokens)

            async def connect() -> Any:
                self.check_usable()
                metadata = await authorization.headers(HANDSHAKE_S)
                return self._sessions.OpenSession(metadata=metadata)

            found = self._by_namespace[namespace] = Session(
                connect,
                client_id=self._sequence.client_id,
                namespace=namespace,
                backoff=self._backoff,
                opened=self._session_opened,
                ping_s=self.ping_s,
                passing=authorization.passing,
                beat=self._look_for_token,
            )
        return found

    async def invoke(self, call: Call) -> Reply:
        """Run an action and return its result."""
        if self._beside(call):
            return await super().invoke(call)
        # As `invoke_on` does it, but in place: nearly every call comes this way.
        run = self._invoke_on(call, None)
        if self.observer is None:
            return await run
        return await self.observer.unary(actor_service_pb2.InvokeActionRequest, run)

    def stream(self, call: Call) -> AsyncGenerator[Encoded, None]:
        """Run a streaming action; closing the iterator cancels it."""
        return super().stream(call) if self._beside(call) else self.iterate_on(call, None)

    async def invoke_on(self, call: Call, connection: Connected | None) -> Reply:
        """Run an action over the session, on a connection if one is given."""
        run = self._invoke_on(call, connection)
        if self.observer is None:
            return await run
        return await self.observer.unary(actor_service_pb2.InvokeActionRequest, run)

    async def _invoke_on(self, call: Call, connection: Connected | None) -> Reply:
        self.check_usable()
        session = self.session(call.namespace)
        timeout, began = call.timeout, self.time()
        tries: Tries | None = None
        with self._numbered(call) as number:
            while True:
                below = self._sequence.acknowledged_below if number else 0
                parent = None
                if connection is not None:
                    parent = await connection.usable(timeout)
                future: asyncio.Future[Reply] = self._loop.create_future()
                stream = Invocation(call, number, below, timeout, parent, future)
                try:
                    session.open(stream)
                    with self._watched(stream, timeout):
                        return await future
                except grpc.aio.AioRpcError as error:
                    if tries is None:
                        tries = Tries(self, call.timeout, began)
                    await tries.again(error, also=_elsewhere(connection))
                    timeout = tries.remaining()
                except Unoffered:
                    if connection is not None:
                        raise
                    break
                except asyncio.CancelledError:
                    session.drop(stream)
                    self.check_cancelled()
                    raise
                finally:
                    # A failure refers to this frame: a frame that refers to it too would be
                    # left to the collector, with the channel and gRPC's thread.
                    del stream, future
            # Nothing was sent; the call goes on as an RPC under its number.
            return await self._invoke(call, self._try, number)

    def iterate_on(self, call: Call, connection: Connected | None) -> AsyncGenerator[Encoded, None]:
        """Run a streaming action over the session, on a connection if one is given."""
        items = self._iterate_on(call, connection)
        if self.observer is None:
            return items
        return self.observer.stream(actor_service_pb2.StreamActionRequest, items)

    async def _iterate_on(
        self, call: Call, connection: Connected | None
    ) -> AsyncGenerator[Encoded, None]:
        self.check_usable()
        session = self.session(call.namespace)
        with self._numbered(call) as number:
            tries = Tries(self, call.timeout)
            while True:
                started = False
                below = self._sequence.acknowledged_below if number else 0
                parent = None
                if connection is not None:
                    parent = await connection.usable(tries.remaining())
                remaining = tries.remaining()
                stream = Iteration(call, number, below, remaining, parent)
                try:
                    session.open(stream)
                    with self._watched(stream, remaining):
                        while (item := await stream.next()) is not None:
                            started = True
                            yield item
                    return
                except grpc.aio.AioRpcError as error:
                    await tries.again(error, allowed=not started, also=_elsewhere(connection))
                except Unoffered:
                    if connection is not None:
                        raise
                    break
                except asyncio.CancelledError:
                    self.check_cancelled()
                    raise
                finally:
                    # A consumer that stops early must not leave the actor running.
                    session.drop(stream)
            # Nothing was sent; the call goes on as an RPC under its number.
            async with aclosing(self._stream(call, number)) as items:
                async for item in items:
                    yield item

    def connection(self, request: Connect, peer: Peer) -> SessionConnection:
        """A connection that is not yet open."""
        self.check_usable()
        return SessionConnection(self.session(request.namespace), request, peer)

    def subscription(
        self, request: Subscribe, feed: Feed, connection: Stream | None = None
    ) -> Carrier:
        """What carries a feed: of the actor, or of a connection."""
        self.check_usable()
        session = self.session(request.namespace)
        if connection is not None:
            return SessionSubscription(session, request, feed, connection=connection)
        if not session.offered:
            return super().subscription(request, feed)
        beside = partial(super().subscription, request)
        return SessionSubscription(session, request, feed, beside=beside)

    def holds(self, namespace: str, stream: Stream) -> bool:
        """Whether a lasting stream is open, or will be on the next link."""
        return self.session(namespace).holds(stream)

    async def close(self) -> None:
        """Close the channel; calls under way fail with a HoldfastError."""
        self._closed = True
        sessions = list(self._by_namespace.values())
        self._by_namespace.clear()
        looking, self._looking = self._looking, None
        if looking is not None and self.can_wait:
            looking.cancel()
            await asyncio.wait([looking])
        for session in sessions:
            session.close()
        if self.can_wait:
            for session in sessions:
                await session.closed()
        await super().close()

    def _forget(self) -> None:
        super()._forget()
        self._sessions = Closed()

    def _beside(self, call: Call) -> bool:
        session = self._by_namespace.get(call.namespace)
        if session is None:
            return False
        return not session.offered or not session.carries(call_size(call))

    def _drop(self, stream: Stream) -> None:
        for session in self._by_namespace.values():
            session.drop(stream)

    def _token_changed(self, token: str) -> None:
        for session in self._by_namespace.values():
            session.renew(token)

    def _look_for_token(self) -> None:
        if self.tokens.asks and (self._looking is None or self._looking.done()):
            self._looking = self._loop.create_task(self._ask_for_token())

    async def _ask_for_token(self) -> None:
        try:
            # What is new is told to the session.
            await self.tokens.ask()
        except (NoToken, HoldfastError) as error:
            # It is asked again, at the latest when the session must be opened anew.
            log.warning("no new token for an open session: %s", error)

    def _session_opened(self) -> None:
        self.connected = True

    def _numbered(self, call: Call) -> AbstractContextManager[int]:
        return self._sequence.number() if call.idempotency_key is None else nullcontext(0)

    def _watched(self, stream: CallStream, timeout: float | None) -> AbstractContextManager[None]:
        return Watched(self._deadlines, stream, timeout)


def _elsewhere(connection: Connected | None) -> str:
    """The reason for which a call on a connection is sent again: that the server knows the
    connection no more, for which it is opened anew. The call did not run."""
    return "" if connection is None else "CONNECTION_NOT_FOUND"


__all__ = ["SessionTransport"]
