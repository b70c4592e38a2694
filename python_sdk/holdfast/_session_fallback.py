"""A subscription over EventService, for a server or a client without sessions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from holdfast._authorization import Authorization
from holdfast._feed import WINDOW_BYTES, Feed
from holdfast._messages import actor_target, encoding
from holdfast._session_events import cursor_of
from holdfast._session_streams import local_error
from holdfast._status import to_actor_error
from holdfast._transport import Cursor, Subscribe
from holdfast.errors import HoldfastError
from holdfast.v1 import event_pb2, event_service_pb2

if TYPE_CHECKING:
    from holdfast._grpc import GrpcTransport


class RpcSubscription:
    """Carries one feed by one task, which stops reading while too much is unread."""

    def __init__(self, transport: GrpcTransport, request: Subscribe, feed: Feed) -> None:
        self._transport = transport
        self._request = request
        self._feed = feed
        self._task: asyncio.Task[None] | None = None
        self._drained = asyncio.Event()
        self._delays = transport.backoff()
        self._authorization = Authorization(transport.tokens)

    def open(self) -> None:
        """Subscribe, from where the feed stands."""
        self.close()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        """Unsubscribe."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._task = None

    def grant(self, count: int) -> None:
        """This many bytes were taken."""
        if self._feed.pending < WINDOW_BYTES:
            self._drained.set()

    def pause(self) -> float:
        """Seconds until the next try of what failed for a while."""
        return self._delays.next()

    async def _run(self) -> None:
        feed = self._feed
        try:
            await self._read()
        except grpc.aio.AioRpcError as failed:
            feed.refused(to_actor_error(self._authorization.passing(failed)), None)
        except HoldfastError as failed:
            feed.failed(failed)

    async def _read(self) -> None:
        feed = self._feed
        try:
            rpc = await self._transport.subscribe_events(self._message(), self._authorization)
            async for answer in rpc:
                self._delays = self._transport.backoff()
                for event in answer.events:
                    feed.take(event)
                if answer.HasField("cursor"):
                    feed.stands(cursor_of(answer.cursor))
                while feed.pending >= WINDOW_BYTES:
                    self._drained.clear()
                    await self._drained.wait()
            error = local_error(grpc.StatusCode.UNAVAILABLE, "the subscription has ended")
            feed.refused(to_actor_error(error), None)
        except asyncio.CancelledError:
            # A channel that is closed cancels what is open on it.
            self._transport.check_cancelled()
            raise

    def _message(self) -> event_service_pb2.SubscribeEventsRequest:
        request, start = self._request, self._feed.start
        message = event_service_pb2.SubscribeEventsRequest(
            namespace=request.namespace,
            target=actor_target(request.target),
            names=request.names,
            accept_encoding=encoding(request.encoding),
            slow_reader=event_pb2.SlowReader.ValueType(request.slow_reader),
        )
        if isinstance(start, Cursor):
            message.after.CopyFrom(event_pb2.EventCursor(**start._asdict()))
        elif start is not None:
            message.from_sequence = start
        return message


__all__ = ["RpcSubscription"]
