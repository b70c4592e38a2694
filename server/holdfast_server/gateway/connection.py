"""A connection of a RivetKit client, and the WebSocket that it speaks on.

Init is the first frame, once the connection is open and durable; a client that is not let
in is told why by an Error of no action, and by the close. Actions run beside each other and
are answered as they end; a subscription is made before the next frame is read, so that what
is sent after it finds it there. A client that closes, or is lost, ends its connection: these
clients open a new one rather than go on with it. Calls under way go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from aiohttp import WSMsgType

from holdfast_server.core import errors
from holdfast_server.core.call import Call, Target
from holdfast_server.core.checks import check_size
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.events import Connect, Event, SlowReader, Subscribe
from holdfast_server.core.ids import format_actor_id
from holdfast_server.gateway.failures import Failure, failure_of
from holdfast_server.gateway.guard import Lease, namespace_of
from holdfast_server.gateway.values import metadata_value, refused
from holdfast_server.gateway.websocket import Frame, Outgoing, WebSocket, close_after
from holdfast_server.gateway.wire import (
    FAILED,
    NORMAL,
    RESULT_ENCODING,
    TAGGED_VERSION,
    ActionRequest,
    ActionResponse,
    Codec,
    Error,
    Init,
    SubscriptionRequest,
    WireError,
)
from holdfast_server.gateway.wire import Event as EventMessage
from holdfast_server.runtime.calls import told
from holdfast_server.runtime.links import hang_up

if TYPE_CHECKING:
    from holdfast_server.core.events import Delivery, Message
    from holdfast_server.core.trace import TraceContext
    from holdfast_server.core.values import Value
    from holdfast_server.gateway.desk import Desk
    from holdfast_server.gateway.exchange import Exchange
    from holdfast_server.gateway.websocket import Sockets
    from holdfast_server.runtime.readers import Link, Subscription

log = logging.getLogger("holdfast.gateway")

_SESSION_BYTES: Final = 16


class EventFrames:
    """The last event in each encoding, so that it is encoded once for all who get it."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[Codec, tuple[Event, Frame]] = {}

    def frame(self, codec: Codec, event: Event) -> Frame:
        """The frame of an event."""
        last = self._last.get(codec)
        if last is not None and last[0] is event:
            return last[1]
        frame = codec.encode_to_client(EventMessage(event.name, event.args))
        self._last[codec] = event, frame
        return frame


class EventReader:
    """One event that a client subscribes to."""

    __slots__ = ("_connection", "name", "subscription")

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self.name = name
        self.subscription: Subscription | None = None

    def deliver(self, subscription: Subscription, delivery: Delivery) -> None:
        self._connection.event(subscription, delivery.event)

    def moved(self, subscription: Subscription) -> None:
        """These clients know of no cursors."""

    def ended(self, subscription: Subscription, error: HoldfastError) -> None:
        self._connection.subscription_ended(self, error)


class Connection:
    """One connection, and the Peer that its actor speaks to."""

    def __init__(
        self,
        desk: Desk,
        sockets: Sockets,
        frames: EventFrames,
        exchange: Exchange,
        socket: WebSocket,
        codec: Codec,
        tokens: Sequence[str | None],
    ) -> None:
        """`tokens` are those that its client has shown."""
        self._lease = Lease(
            desk.guard, tokens, "connect", exchange.auth, exchange.http.transport, self._refused
        )
        self._desk = desk
        self._sockets = sockets
        self._frames = frames
        self._exchange = exchange
        self._socket = socket
        self._codec = codec
        self._out = Outgoing(socket, exchange)
        self._link: Link | None = None
        self._trace: TraceContext = exchange.trace
        self._events: dict[str, EventReader] = {}
        self._calls = 0
        self._draining = False
        # The close that is on its way.
        self._ending: asyncio.Task[None] | None = None

    async def run(self, target: Target, params: Value | None) -> None:
        """Open the connection and serve it to its end."""
        writer = asyncio.create_task(self._out.run())
        self._sockets.add(self)
        self._lease.namespace = namespace_of(target)
        try:
            if await self._open(target, params):
                await self._read()
            if self._ending is not None:
                await asyncio.shield(self._ending)
        finally:
            self._sockets.discard(self)
            self._lease.close()
            writer.cancel()
            self._leave()

    def drain(self) -> None:
        """Close when what is under way has been answered."""
        self._draining = True
        self._end_when_quiet()

    def recheck(self) -> None:
        """Other tokens are accepted: close if its own is not, or allows it no more."""
        self._lease.recheck()

    def _refused(self, error: HoldfastError) -> None:
        self._fail(failure_of(error))

    async def _open(self, target: Target, params: Value | None) -> bool:
        desk = self._desk
        request = Connect(
            target=target,
            params=params,
            session=desk.node.environment.secret_bytes(_SESSION_BYTES),
            encoding=RESULT_ENCODING,
            trace=self._trace,
            auth=self._lease.identity,
        )
        task: asyncio.Task[object] | None = None
        try:
            task = desk.calls.enter()
            await desk.node.connect(request, self)
        except (asyncio.CancelledError, Exception) as error:
            failure = desk.calls.failure_of(error, task)
            if isinstance(error, asyncio.CancelledError) and failure.reason is errors.CANCELLED:
                raise
            self._fail(failure_of(failure, opening=True), told_first=True)
            return False
        finally:
            desk.calls.leave(task)
        return self._ending is None

    def _leave(self) -> None:
        """The client has gone, or is about to."""
        for reader in self._events.values():
            if reader.subscription is not None:
                reader.subscription.close()
        self._events.clear()
        link, self._link = self._link, None
        if link is None:
            return
        if self._desk.calls.draining:
            # Nothing ends a connection any more; the next start finds its row.
            link.detach()
        else:
            self._sockets.spawn(hang_up(link))

    # The client's side

    async def _read(self) -> None:
        async for message in self._socket:
            if self._ending is not None:
                # What was sent before the client heard of the close.
                continue
            if message.type is WSMsgType.TEXT or message.type is WSMsgType.BINARY:
                await self._receive(message.data)
                await self._out.room()

    async def _receive(self, data: bytes | str) -> None:
        try:
            message = self._codec.decode_to_server(data)
        except WireError as error:
            self._fail(failure_of(refused(error, "message")))
            return
        if message.version >= TAGGED_VERSION:
            self._codec = self._codec.for_tagged()
        if isinstance(message, SubscriptionRequest):
            await self._subscribe(message.event_name, message.subscribe)
        else:
            self._begin(message)

    def _begin(self, request: ActionRequest) -> None:
        limits = self._exchange.limits
        try:
            if request.refused is not None:
                raise refused(request.refused, "args")
            check_size("args", len(request.args.data), limits.payload_bytes_max)
            if self._calls >= limits.websocket_calls_max:
                raise HoldfastError(
                    errors.SERVER_OVERLOADED,
                    f"the connection has {limits.websocket_calls_max} actions under way",
                    metadata={"limit": "websocket_calls_max"},
                )
        except HoldfastError as error:
            self._say(self._error(failure_of(error), request.id))
            return
        self._calls += 1
        self._sockets.spawn(self._act(request))

    async def _act(self, request: ActionRequest) -> None:
        desk, link = self._desk, self._link
        task: asyncio.Task[object] | None = None
        try:
            task = desk.calls.enter()
            if link is None:
                raise HoldfastError(errors.CONNECTION_NOT_FOUND)
            call = Call(
                target=Target(address=link.address),
                action=request.name,
                args=request.args,
                accept=RESULT_ENCODING,
                connection=link.connection_id,
                trace=self._trace,
                auth=self._lease.identity,
            )
            answer = await desk.node.invoke(call)
            frame = self._codec.encode_to_client(ActionResponse(request.id, answer.value))
        except (asyncio.CancelledError, Exception) as error:
            failure = failure_of(desk.calls.failure_of(error, task))
            frame = self._codec.encode_to_client(self._error(failure, request.id))
        finally:
            desk.calls.leave(task)
        self._out.put(frame)
        self._calls -= 1
        self._end_when_quiet()

    async def _subscribe(self, name: str, wanted: bool) -> None:
        reader = self._events.get(name)
        if not wanted:
            if reader is not None:
                del self._events[name]
                if reader.subscription is not None:
                    reader.subscription.close()
            return
        link, limit = self._link, self._exchange.limits.event_names_max
        if reader is not None or link is None:
            return
        try:
            if len(self._events) >= limit:
                raise invalid("eventName", f"is one of more than {limit}", limit=limit)
            reader = self._events[name] = EventReader(self, name)
            request = Subscribe(
                target=Target(address=link.address),
                names=frozenset({name}),
                encoding=RESULT_ENCODING,
                slow_reader=SlowReader.END,
                connection=link.connection_id,
                auth=self._lease.identity,
            )
            subscription = await self._desk.node.subscribe(request, reader)
        except Exception as error:
            self._events.pop(name, None)
            self._say(self._error(failure_of(told(error)), None))
            return
        if self._events.get(name) is reader:
            reader.subscription = subscription
        else:
            subscription.close()

    # The actor's side

    async def opening(self, link: Link) -> None:
        """A client subscribes once it has heard Init, so there is nothing to do."""

    def connected(self, link: Link) -> None:
        """It is open."""
        self._link = link
        actor_id, connection_id = map(format_actor_id, (link.actor_id, link.connection_id))
        self._say(Init(actor_id, connection_id))

    def message(self, link: Link, message: Message) -> None:
        """A message of the actor to this connection."""
        frame = self._codec.encode_to_client(EventMessage(message.name, message.args))
        self._out.put(frame, link, message.size)
        if message.number:
            # These clients tell nothing of what they have handled.
            link.acknowledge(message.number)

    def closed(self, link: Link, error: HoldfastError | None, reason: str) -> None:
        """It is over."""
        self._link = None
        if error is None:
            self._end(NORMAL, reason)
        else:
            self._fail(failure_of(error))

    def event(self, subscription: Subscription, event: Event) -> None:
        """An event that the client subscribes to."""
        self._out.put(self._frames.frame(self._codec, event), subscription, event.size)

    def subscription_ended(self, reader: EventReader, error: HoldfastError) -> None:
        """A subscription is over, and with it what the client relies on."""
        if self._events.get(reader.name) is reader:
            del self._events[reader.name]
        # The end of its connection says so itself.
        if error.reason.reason not in errors.CONNECTION_GONE:
            self._fail(failure_of(error))

    # Saying

    def _say(self, message: Init | Error) -> None:
        self._out.put(self._codec.encode_to_client(message))

    def _error(self, failure: Failure, action_id: int | None) -> Error:
        metadata = metadata_value(failure)
        return Error(failure.group, failure.code, failure.message, metadata, action_id)

    def _fail(self, failure: Failure, *, told_first: bool = False) -> None:
        """Close for a failure; clients that try again by themselves show no reason."""
        if self._ending is None:
            if told_first and not failure.retried:
                self._say(self._error(failure, None))
            self._end(FAILED, failure.close_reason(self._exchange.ray))

    def _end(self, code: int, reason: str) -> None:
        if self._ending is None:
            closing = close_after(self._socket, self._out, code, reason)
            self._ending = self._sockets.spawn(closing)

    def _end_when_quiet(self) -> None:
        if self._draining and not self._calls:
            self._fail(failure_of(HoldfastError(errors.SERVER_DRAINING)))
