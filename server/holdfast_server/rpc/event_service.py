"""holdfast.v1.EventService over the runtime."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from holdfast.v1 import event_service_pb2, event_service_pb2_grpc
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.events import Delivery, Subscribe
from holdfast_server.core.roles import check_subscribe
from holdfast_server.core.values import Encoding
from holdfast_server.rpc.convert import Converter
from holdfast_server.rpc.events import cursor_of, event_of, slow_reader_of, start_of
from holdfast_server.rpc.guard import Context, reading
from holdfast_server.rpc.trace import trace_of
from holdfast_server.runtime.calls import Calls
from holdfast_server.runtime.node import Node

if TYPE_CHECKING:
    from holdfast_server.runtime.readers import Subscription

pb = event_service_pb2

# What one answer holds at most: events, and bytes of all but its last.
_EVENTS_MAX = 256
_BYTES_MAX = 1 << 20


class EventService(event_service_pb2_grpc.EventServiceServicer):
    """Streams the events of actors."""

    def __init__(self, node: Node, converter: Converter, calls: Calls) -> None:
        self.calls = calls
        self._node = node
        self._convert = converter

    @reading
    async def SubscribeEvents(
        self, request: pb.SubscribeEventsRequest, context: Context
    ) -> AsyncGenerator[pb.SubscribeEventsResponse, None]:
        feed = Feed()
        subscription = await self._node.subscribe(self._request(request, context), feed)
        try:
            cursor = subscription.cursor
            yield pb.SubscribeEventsResponse(cursor=cursor_of(cursor))
            while True:
                deliveries = await feed.next()
                # The write of the answer before has ended: the reader keeps pace with this.
                place = cursor.sequence
                if not feed.empty:
                    place = max([place, *(each.event.sequence for each in deliveries)])
                    cursor = cursor._replace(sequence=place)
                else:
                    cursor = subscription.cursor
                yield pb.SubscribeEventsResponse(
                    events=[event_of(each) for each in deliveries], cursor=cursor_of(cursor)
                )
                subscription.grant(sum(each.event.size for each in deliveries))
        finally:
            subscription.close()

    def _request(self, request: pb.SubscribeEventsRequest, context: Context) -> Subscribe:
        encoding = self._convert.accept(request.accept_encoding) or Encoding.MSGPACK
        target, auth = (
            self._convert.target(request.namespace, request.target),
            self._convert.identity(context),
        )
        check_subscribe(auth, creates=target.create)
        return Subscribe(
            target=target,
            names=frozenset(request.names),
            start=start_of(request),
            encoding=encoding,
            slow_reader=slow_reader_of(request),
            deadline=self._convert.deadline(context),
            trace=trace_of(context),
            auth=auth,
        )


class Feed:
    """The Reader of one stream: what its next answers hold, bounded by the credit."""

    def __init__(self) -> None:
        self._deliveries: deque[Delivery] = deque()
        self._moved = False
        self._error: HoldfastError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def empty(self) -> bool:
        """Whether everything delivered was taken."""
        return not self._deliveries

    def deliver(self, _: Subscription, delivery: Delivery) -> None:
        self._deliveries.append(delivery)
        self._wake()

    def moved(self, _: Subscription) -> None:
        self._moved = True
        self._wake()

    def ended(self, _: Subscription, error: HoldfastError) -> None:
        self._error = error
        self._wake()

    async def next(self) -> list[Delivery]:
        """What is ready, once something is; raises what the subscription ended with, when
        everything before it was taken."""
        if not self._deliveries and not self._moved and self._error is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if not self._deliveries and not self._moved and self._error is not None:
            raise self._error
        taken: list[Delivery] = []
        size = 0
        while self._deliveries and len(taken) < _EVENTS_MAX and size < _BYTES_MAX:
            delivery = self._deliveries.popleft()
            taken.append(delivery)
            size += delivery.event.size
        self._moved = False
        return taken

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
