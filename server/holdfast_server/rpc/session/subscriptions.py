"""Subscriptions as streams of a session: events as they come, bounded by credit."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.call import Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.events import Cursor
from holdfast_server.rpc.events import cursor_of
from holdfast_server.rpc.session.streams import Fed, Kind
from holdfast_server.runtime.calls import told
from holdfast_server.runtime.deadline import Expiring

if TYPE_CHECKING:
    from holdfast_server.core.events import Delivery, Subscribe
    from holdfast_server.rpc.session.session import Session
    from holdfast_server.runtime.readers import Link, Subscription


class SubscriptionStream(Fed):
    """A subscription, and the Reader that it is told to.

    One that is made while its connection is being opened is early: its place among the
    actor's events is taken, and nothing is said until the connection is open, since its
    client may still be rejected. What it is told meanwhile, bounded by its credit, is
    unsaid until then, and until the session has room.
    """

    __slots__ = (
        "_callers",
        "_early",
        "_place",
        "_request",
        "_session",
        "_standing",
        "_subscription",
        "_task",
        "_unsaid",
    )
    kind = Kind.SUBSCRIPTION

    def __init__(self, number: int, session: Session, request: Subscribe) -> None:
        super().__init__(number)
        self._session = session
        self._request = request
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None
        # Whether its connection may still be rejected.
        self._early = False
        self._unsaid: deque[Delivery | Cursor] = deque()
        # Place in the outbox of what it said last.
        self._place = 0
        # Calls to its actor that came after it, and wait until it stands.
        self._callers: list[asyncio.Future[None]] = []
        # Whether they may go on.
        self._standing = False

    @property
    def started(self) -> bool:
        """Whether it is, or was, there."""
        return self._subscription is not None

    @property
    def target(self) -> Target:
        """Whom it is of."""
        return self._request.target

    def begin(self, link: Link | None = None) -> None:
        """Start it, for a connection if it is of one."""
        session = self._session
        session.subscribing[self.number] = self
        self._of(link)
        self._task = session.shared.node.loop.create_task(self._begun())

    def _of(self, link: Link | None) -> None:
        if link is not None:
            request = self._request
            request.target, request.connection = Target(address=link.address), link.connection_id

    async def _begun(self) -> None:
        try:
            await self._start(early=False)
        finally:
            self._settle()

    async def start_early(self, link: Link) -> None:
        """Start it for a connection that is being opened; a failure ends it."""
        self._of(link)
        await self._start(early=True)

    async def settled(self, deadline: float | None) -> None:
        """Wait until it stands, or has failed, or is not wanted any more."""
        if self.number not in self._session.subscribing:
            return
        # Each wakes the next, and what comes meanwhile waits behind: calls keep their order.
        turn = self._session.shared.node.loop.create_future()
        self._callers.append(turn)
        try:
            async with Expiring(deadline):
                await turn
        finally:
            self._callers.remove(turn)
            if self._standing:
                self._wake()

    def _settle(self) -> None:
        self._standing = True
        self._wake()

    def _wake(self) -> None:
        if not self._callers:
            self._session.subscribing.pop(self.number, None)
        elif not self._callers[0].done():
            self._callers[0].set_result(None)

    async def _start(self, *, early: bool) -> None:
        session, request = self._session, self._request
        if not self._open:
            return
        try:
            subscription = await session.shared.node.subscribe(request, self)
        except asyncio.CancelledError:
            reason = errors.CONNECTION_NOT_FOUND if early else errors.CANCELLED
            self.refuse(HoldfastError(reason))
            raise
        except Exception as error:
            self.refuse(told(error))
            return
        if not self._open:
            subscription.close()
            return
        self._subscription = subscription
        self._early = early
        self._tell(subscription.cursor)
        self.feed_from(subscription)

    def open(self) -> None:
        """The connection of an early one is open."""
        self._early = False
        self._say_on()

    def release(self) -> None:
        if not self._early:
            self._say_on()
        if self._early or not self._unsaid:
            super().release()

    def _say_on(self) -> None:
        """Say what waits, while there is room."""
        while self._unsaid and self._open and not self._session.full:
            self._say(self._unsaid.popleft())

    @property
    def _open(self) -> bool:
        session = self._session
        return not session.over and session.streams.get(self.number) is self

    def _tell(self, what: Delivery | Cursor) -> None:
        if self._early or self._unsaid:
            self._unsaid.append(what)
        elif not self._session.over:
            self._say(what)

    def _say(self, what: Delivery | Cursor) -> None:
        session, outbox = self._session, self._session.outbox
        if isinstance(what, Cursor):
            outbox.open(self.number, 0).subscribed.cursor.CopyFrom(cursor_of(what))
            self._place = outbox.place
        else:
            self._place = outbox.event(self.number, what, after=self._place)
            session.fed(self.number)

    @property
    def _said(self) -> Cursor | None:
        """The cursor behind what was said, when it goes on from there."""
        if self._subscription is None:
            return None
        cursor = self._subscription.cursor
        for each in self._unsaid:
            if isinstance(each, Cursor):
                return each
            if each.event.sequence:
                return cursor._replace(sequence=each.previous)
        return cursor

    def refuse(self, error: HoldfastError) -> None:
        """It never started."""
        self._session.failed(self.number, error, known=True)

    # The client's side

    def cancel(self) -> None:
        cursor = self._said
        if self._subscription is not None:
            self._subscription.close()
        self._session.ended(self.number, cursor=cursor)
        self._settle()

    def broken(self) -> None:
        self._settle()
        if self._subscription is not None:
            self._subscription.close()

    # The actor's side

    def deliver(self, _: Subscription, delivery: Delivery) -> None:
        """An event."""
        self._tell(delivery)

    def moved(self, subscription: Subscription) -> None:
        """Its cursor went on."""
        self._tell(subscription.cursor)

    def ended(self, _: Subscription, error: HoldfastError) -> None:
        """The server ended it."""
        if self._early:
            # Its connection was rejected, which says why.
            self.refuse(HoldfastError(errors.CONNECTION_NOT_FOUND))
            return
        self._session.failed(self.number, error, cursor=self._said, known=True)
