"""Connections and subscriptions that an actor's code holds to other actors of its server.

To the SDK each is what a stream of a session is, to the runtime it is a Peer or a Reader;
between the two everything is put on the loop, so that no listener runs while an actor's
commit is being released. They live in memory only: each has a task among the background
work of the activation, and ends when that is told to stop. Without a network nothing is
resumed. What ends for a fault that passes is opened anew by the SDK.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast import _transport as wire
from holdfast import errors as sdk
from holdfast._connection_core import ConnectionCore
from holdfast._feed import WINDOW_BYTES, Buffer, Feed, StopReading
from holdfast._retry import Backoff
from holdfast_server.core.errors import CONNECTION_GONE, HoldfastError
from holdfast_server.core.events import Connect, Cursor, SlowReader, Subscribe
from holdfast_server.core.ids import format_actor_id, parse_actor_id
from holdfast_server.core.values import Value
from holdfast_server.runtime.background import Work
from holdfast_server.runtime.links import hang_up
from holdfast_server.runtime.runners.local.current import passed_on
from holdfast_server.runtime.runners.local.failure import actor_error

if TYPE_CHECKING:
    from holdfast_server.core.events import Delivery, Message
    from holdfast_server.runtime.background import Background
    from holdfast_server.runtime.readers import Link, Subscription
    from holdfast_server.runtime.runners.local.transport import InProcessTransport

log = logging.getLogger("holdfast.actor")

_SESSION_BYTES = 16


class Outgoing:
    """What both have: a place on the loop, and an end with the activation."""

    def __init__(self, transport: InProcessTransport) -> None:
        self.transport = transport
        self.node = transport.node
        self._context = contextvars.copy_context()
        self._guard: asyncio.Future[Any] | None = None
        self._released = False

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Call a function of the SDK's on the loop, in the order of these calls."""
        self.node.loop.call_soon(function, *args, context=self._context)

    def pause(self) -> float:
        """Seconds until the next try of what failed for a while."""
        return Backoff(self.node.environment.random.random).next()

    def hold(self, stopped: Callable[[], None]) -> None:
        """Live with the activation from now on; `stopped` is called when that stops. Raises
        ActorError where it is over, or has too much of this already."""
        self._released = False
        if self._guard is None:
            try:
                background = self.transport.background()
                self._guard = background.add(
                    self._until_stopped(background, stopped), Work.WAIT_UNTIL
                )
            except HoldfastError as error:
                raise actor_error(error) from None

    def release(self) -> None:
        """It is over."""
        self._released = True
        guard, self._guard = self._guard, None
        if guard is not None and guard is not asyncio.current_task(self.node.loop):
            guard.cancel()

    async def _until_stopped(self, background: Background, stopped: Callable[[], None]) -> None:
        try:
            await background.aborted.wait()
        finally:
            if not self._released and not self.node.closed:
                stopped()


class OutgoingConnection(Outgoing):
    """A connection; the SDK's stream and the runtime's Peer."""

    def __init__(
        self, transport: InProcessTransport, request: wire.Connect, core: ConnectionCore
    ) -> None:
        super().__init__(transport)
        self._request = request
        self._core = core
        self._opening: asyncio.Task[None] | None = None
        self._waiting: list[OutgoingSubscription] = []
        self._received = 0
        self.link: Link | None = None
        # Whether it is open, or being opened.
        self.begun: bool = False

    # The SDK's side

    def open(self, params: wire.Encoded | None) -> None:
        """Open a new connection. Raises ActorError for what could not be one."""
        self.hold(self._stopped)
        transport, node = self.transport, self.node
        turn = transport.turn
        request = Connect(
            target=transport.target(self._request.target),
            params=transport.params(params),
            session=node.environment.secret_bytes(_SESSION_BYTES),
            encoding=self._request.encoding,
            window_bytes=WINDOW_BYTES,
            deadline=transport.deadline(turn, self._request.timeout),
            trace=passed_on(turn),
            origin=turn,
            caller=transport.activation,
        )
        self.begun, self._received = True, 0
        self._opening = node.loop.create_task(self._open(request))

    async def close(self) -> None:
        """Disconnect; outside a turn, wait until `on_disconnect` has run."""
        ended = self._end()
        if ended is None or self.transport.turn is not None:
            # Inside one the other actor may be waiting for this one.
            return
        try:
            async with asyncio.timeout(self.node.limits.hook_timeout_s):
                await ended
        except TimeoutError:
            pass

    def handled(self, number: int, size: int) -> None:
        """A message was handled."""
        if self.link is not None:
            if number:
                self.link.acknowledge(number)
            self.link.grant(size)

    def begin(self, subscription: OutgoingSubscription) -> None:
        """Start a subscription now, or once the connection is there."""
        if self.link is not None:
            subscription.begin(self.link)
        else:
            self._waiting.append(subscription)

    def _end(self) -> asyncio.Future[None] | None:
        # Done when it is disconnected; None where nothing was open.
        self.release()
        self.begun = False
        self._waiting.clear()
        opening, self._opening = self._opening, None
        if opening is not None and opening is not asyncio.current_task(self.node.loop):
            opening.cancel()
        link, self.link = self.link, None
        if link is None:
            return None
        ended = self.node.loop.create_future()
        self.node.links.spawn(_disconnect(link, ended))
        return ended

    def _stopped(self) -> None:
        self._end()
        self._core.closed(None, "the actor has left memory")

    async def _open(self, request: Connect) -> None:
        try:
            await self.transport.earlier_turns()
            await self.node.connect(request, self)
        except HoldfastError as error:
            self._failed(actor_error(error))
        except sdk.ActorError as error:
            self._failed(error)
        finally:
            self._opening = None

    def _failed(self, error: sdk.ActorError) -> None:
        self.begun, self.link = False, None
        if error.retryable and not self.node.draining:
            self.post(self._core.lost, error)
        else:
            self.release()
            self.post(self._core.closed, error, error.message)

    # The other actor's side

    async def opening(self, link: Link) -> None:
        """Let in: what was subscribed to comes before on_connect."""
        for subscription in self._waiting[:]:
            await subscription.start(link, early=True)

    def connected(self, link: Link) -> None:
        """It is open."""
        if not self.begun:
            self.node.links.spawn(_disconnect(link, self.node.loop.create_future()))
            return
        self.link = link
        self.post(
            self._core.opened,
            format_actor_id(link.connection_id),
            format_actor_id(link.actor_id),
        )
        waiting, self._waiting = self._waiting, []
        for subscription in waiting:
            subscription.begin(link)

    def message(self, link: Link, message: Message) -> None:
        """A message of the other actor."""
        number, at = message.number, self._received
        if number:
            self._received = number
        missed = at if number and message.previous > at else None
        args = wire.Encoded(message.args.encoding, message.args.data)
        self.post(self._core.message, message.name, args, number, missed)

    def closed(self, link: Link, error: HoldfastError | None, reason: str) -> None:
        """It is over."""
        if error is not None:
            self._failed(actor_error(error))
            return
        self.begun, self.link = False, None
        self.release()
        self.post(self._core.closed, None, reason)


class OutgoingSubscription(Outgoing):
    """A subscription; what carries a feed, and the runtime's Reader."""

    def __init__(
        self,
        transport: InProcessTransport,
        request: wire.Subscribe,
        feed: Feed,
        connection: OutgoingConnection | None,
    ) -> None:
        super().__init__(transport)
        self._request = request
        self._feed = feed
        self._connection = connection
        self._starting: asyncio.Task[None] | None = None
        self._subscription: Subscription | None = None
        # What came while its connection was being opened, which may still be rejected.
        self._early: list[Arrival] | None = None

    # The SDK's side

    def open(self) -> None:
        """Subscribe, from where the feed stands."""
        if self._connection is not None:
            self._connection.begin(self)
            return
        try:
            self.hold(self._stopped)
        except sdk.ActorError as error:
            self.post(self._feed.failed, error)
            return
        self.begin(None)

    def close(self) -> None:
        """Unsubscribe."""
        self.release()
        if self._starting is not None:
            self._starting.cancel()
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()

    def grant(self, count: int) -> None:
        """This many bytes were taken."""
        if self._subscription is not None:
            self._subscription.grant(count)

    def _stopped(self) -> None:
        self._feed.close()
        if isinstance(self._feed.sink, Buffer):
            self._feed.sink.failed(StopReading())

    def begin(self, link: Link | None) -> None:
        """Start, or tell what came while its connection was being opened."""
        early, self._early = self._early, None
        if early is None:
            self._starting = self.node.loop.create_task(self.start(link))
        for arrival in early or ():
            self.post(self._feed.take, arrival)

    async def start(self, link: Link | None, *, early: bool = False) -> None:
        """Start it; of a connection, where one is given."""
        if self._feed.closed:
            return
        if early:
            self._early = []
        try:
            request = self._subscribe(link)
            if link is None:
                await self.transport.earlier_turns()
            self._subscription = subscription = await self.node.subscribe(request, self)
        except HoldfastError as error:
            self._refused(actor_error(error), None)
        except sdk.ActorError as error:
            self._refused(error, None)
        else:
            self.post(self._feed.stands, _cursor_of(subscription.cursor))
        finally:
            self._starting = None

    def _subscribe(self, link: Link | None) -> Subscribe:
        asked, start = self._request, self._feed.start
        cursor: int | Cursor | None
        if isinstance(start, wire.Cursor):
            cursor = Cursor(parse_actor_id(start.actor_id), start.incarnation, start.sequence)
        else:
            cursor = start
        return Subscribe(
            target=self.transport.target(asked.target),
            names=frozenset(asked.names),
            start=cursor,
            encoding=asked.encoding,
            slow_reader=SlowReader(asked.slow_reader or SlowReader.END),
            window_bytes=max(WINDOW_BYTES - self._feed.pending, 1),
            connection=None if link is None else link.connection_id,
        )

    def _refused(self, error: sdk.ActorError, cursor: wire.Cursor | None) -> None:
        self._subscription, self._early = None, None
        if self._connection is not None and error.reason in CONNECTION_GONE:
            # That of the feed is over, or being opened anew.
            self._feed.parked = True
        else:
            self.post(self._feed.refused, error, cursor)

    # The other actor's side

    def deliver(self, subscription: Subscription, delivery: Delivery) -> None:
        """An event."""
        event = delivery.event
        arrival = Arrival(
            event.name, event.args, event.sequence, delivery.previous, delivery.conflated
        )
        if self._early is not None:
            self._early.append(arrival)
        else:
            self.post(self._feed.take, arrival)

    def moved(self, subscription: Subscription) -> None:
        """Its cursor went on."""
        if self._early is None:
            self.post(self._feed.stands, _cursor_of(subscription.cursor))

    def ended(self, subscription: Subscription, error: HoldfastError) -> None:
        """It is over."""
        self._refused(actor_error(error), _cursor_of(subscription.cursor))


class Arrival(NamedTuple):
    """An event as a feed takes it."""

    name: str
    args: Value
    sequence: int
    previous_sequence: int
    conflated: int


def _cursor_of(cursor: Cursor) -> wire.Cursor:
    return wire.Cursor(format_actor_id(cursor.actor_id), cursor.incarnation, cursor.sequence)


async def _disconnect(link: Link, ended: asyncio.Future[None]) -> None:
    try:
        error = await hang_up(link)
        if error is not None:
            log.warning("a connection to %s ends later: %s", link.address, error)
    finally:
        if not ended.done():
            ended.set_result(None)


__all__ = ["OutgoingConnection", "OutgoingSubscription"]
