"""Subscriptions as streams of a session: events as they come, bounded by credit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.call import Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.rpc.events import cursor_of
from holdfast_server.rpc.session.streams import HELD, Kind, Stream
from holdfast_server.runtime.calls import told

if TYPE_CHECKING:
    from holdfast_server.core.events import Cursor, Delivery, Subscribe
    from holdfast_server.rpc.session.session import Session
    from holdfast_server.runtime.readers import Link, Subscription


class SubscriptionStream(Stream):
    """A subscription, and the Reader that it is told to.

    One that is made while its connection is being opened is early: its place among the
    actor's events is taken, and nothing is told until the connection is open, since its
    client may still be rejected.
    """

    __slots__ = ("_at", "_early", "_owed", "_request", "_session", "_subscription", "_task")
    kind = Kind.SUBSCRIPTION

    def __init__(self, number: int, session: Session, request: Subscribe) -> None:
        super().__init__(number)
        self._session = session
        self._request = request
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None
        # Where it started, and whether its connection may still be rejected.
        self._at: Cursor | None = None
        self._early = False
        # Credit that came before it was there.
        self._owed = 0

    @property
    def started(self) -> bool:
        """Whether it is, or was, there."""
        return self._subscription is not None

    def begin(self, link: Link | None = None) -> None:
        """Start it, for a connection if it is of one."""
        self._task = self._session.shared.node.loop.create_task(self.start(link))

    async def start(self, link: Link | None, *, early: bool = False) -> None:
        """Start it; a failure ends it."""
        session, request = self._session, self._request
        if link is not None:
            request.target, request.connection = Target(address=link.address), link.connection_id
        if session.over or session.streams.get(self.number) is not self:
            return
        self._early = early
        try:
            subscription = await session.shared.node.subscribe(request, self)
        except asyncio.CancelledError:
            reason = errors.CONNECTION_NOT_FOUND if early else errors.CANCELLED
            self.refuse(HoldfastError(reason))
            raise
        except Exception as error:
            self.refuse(told(error))
            return
        if session.over or session.streams.get(self.number) is not self:
            subscription.close()
            return
        self._subscription = subscription
        self._at = subscription.cursor
        if early:
            subscription.grant(-HELD)
        else:
            self._say(self._at)
        if self._owed:
            subscription.grant(self._owed)

    def open(self) -> None:
        """The connection of an early one is open."""
        subscription = self._subscription
        if self._early and subscription is not None and self._at is not None:
            self._early = False
            if self._session.streams.get(self.number) is self:
                self._say(self._at)
            subscription.grant(HELD)

    def _say(self, cursor: Cursor) -> None:
        if not self._session.over:
            answer = self._session.outbox.open(self.number, 0)
            answer.subscribed.cursor.CopyFrom(cursor_of(cursor))

    def refuse(self, error: HoldfastError) -> None:
        """It never started."""
        self._session.failed(self.number, error, known=True)

    # The client's side

    def cancel(self) -> None:
        cursor = None
        if self._subscription is not None:
            cursor = self._subscription.cursor
            self._subscription.close()
        self._session.ended(self.number, cursor=cursor)

    def credit(self, count: int) -> None:
        if self._subscription is not None:
            self._subscription.grant(count)
        else:
            self._owed += count

    def broken(self) -> None:
        if self._subscription is not None:
            self._subscription.close()

    # The actor's side

    def deliver(self, subscription: Subscription, delivery: Delivery) -> None:
        """An event."""
        session = self._session
        if session.over:
            return
        session.outbox.event(self.number, delivery)
        session.hold_if_full(subscription)

    def moved(self, subscription: Subscription) -> None:
        """Its cursor went on."""
        if self._early:
            self._at = subscription.cursor
        else:
            self._say(subscription.cursor)

    def ended(self, subscription: Subscription, error: HoldfastError) -> None:
        """The server ended it."""
        if self._early:
            # Its connection was rejected, which says why.
            self.refuse(HoldfastError(errors.CONNECTION_NOT_FOUND))
            return
        self._session.failed(self.number, error, cursor=subscription.cursor, known=True)
