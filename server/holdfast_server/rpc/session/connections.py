"""Connections as streams of a session: opened, spoken on, ended by either side.

What is sent behind a connection that is still being opened, a call or a subscription,
waits for it. When the session breaks, its open connections are detached and may be
resumed; one that was not open yet is given up, since its client never knew its id.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import format_actor_id
from holdfast_server.rpc.convert import fill_payload
from holdfast_server.rpc.session.streams import Fed, Kind
from holdfast_server.runtime.deadline import Expiring
from holdfast_server.runtime.links import hang_up

if TYPE_CHECKING:
    from holdfast_server.core.events import Connect, Message
    from holdfast_server.rpc.session.session import Session
    from holdfast_server.rpc.session.subscriptions import SubscriptionStream
    from holdfast_server.runtime.readers import Link


class ConnectionStream(Fed):
    """A connection, and the Peer that its actor speaks to."""

    __slots__ = (
        "_begun",
        "_broken",
        "_callers",
        "_cancelled",
        "_link",
        "_request",
        "_session",
        "_task",
        "_waiting",
    )
    kind = Kind.CONNECTION

    def __init__(self, number: int, session: Session, request: Connect) -> None:
        super().__init__(number)
        self._session = session
        self._request = request
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._begun = self._cancelled = self._broken = False
        # Subscriptions that were sent before it was open; None once that is settled.
        self._waiting: list[SubscriptionStream] | None = []
        # Calls that were.
        self._callers: list[asyncio.Future[None]] = []

    def begin(self) -> None:
        """Open it."""
        self._task = self._session.shared.node.loop.create_task(self._open())

    @property
    def resumable(self) -> bool:
        """Whether its client may go on with it in another session."""
        return self._link is not None and not self._cancelled

    async def link(self, deadline: float | None) -> Link:
        """Wait until it is open; CONNECTION_NOT_FOUND when it will not be."""
        if self._waiting is not None:
            # Of its own, so that calls wake in order, ahead of any that comes later.
            opened = self._session.shared.node.loop.create_future()
            self._callers.append(opened)
            async with Expiring(deadline):
                await opened
        if self._link is None:
            raise HoldfastError(errors.CONNECTION_NOT_FOUND)
        return self._link

    def subscribe(self, stream: SubscriptionStream) -> None:
        """Begin a subscription now, or once the connection is there."""
        if self._link is not None:
            stream.begin(self._link)
        elif self._waiting is None:
            stream.refuse(HoldfastError(errors.CONNECTION_NOT_FOUND))
        else:
            self._waiting.append(stream)

    # The client's side

    def cancel(self) -> None:
        if self._cancelled:
            return
        self._cancelled = True
        node = self._session.shared.node
        if self._link is not None:
            self._task = node.loop.create_task(self._disconnect(self._link))
        else:
            self._give_up()

    def acknowledge(self, message: int) -> None:
        if self._link is not None:
            self._link.acknowledge(message)

    def broken(self) -> None:
        self._broken = True
        if self._cancelled:
            return
        if self._link is not None:
            self._link.detach()
        else:
            self._give_up()

    def _give_up(self) -> None:
        # A task that is cancelled before its first step never gets to say so.
        if self._begun and self._task is not None:
            self._task.cancel()

    async def _disconnect(self, link: Link) -> None:
        self.closed(link, await hang_up(link), "")

    async def _open(self) -> None:
        shared = self._session.shared
        failure: HoldfastError | None = None
        link: Link | None = None
        task: asyncio.Task[object] | None = None
        self._begun = True
        try:
            task = shared.calls.enter()
            if not (self._cancelled or self._broken):
                link = await shared.node.connect(self._request, self)
        except (asyncio.CancelledError, Exception) as error:
            failure = shared.calls.failure_of(error, task)
        finally:
            shared.calls.leave(task)
        link = self._link or link
        if link is None:
            self._over(failure or HoldfastError(errors.CANCELLED))
        elif self._cancelled or (self._broken and failure is not None):
            await self._disconnect(link)
        elif self._broken:
            link.detach()

    # The actor's side

    async def opening(self, link: Link) -> None:
        """The client was let in: what it subscribed to comes before on_connect."""
        waiting = self._waiting or []
        # Those that come meanwhile are begun when it is open.
        for stream in waiting[:]:
            await stream.start_early(link)

    def connected(self, link: Link) -> None:
        """It is open: tell the client, then what waited for it."""
        self._link = link
        if not self._session.over:
            answer = self._session.outbox.open(self.number, 0).connected
            answer.connection_id = format_actor_id(link.connection_id)
            answer.actor_id = format_actor_id(link.actor_id)
        waiting, self._waiting = self._waiting or [], None
        self._wake()
        for stream in waiting:
            if stream.started:
                stream.open()
            else:
                stream.begin(link)
        self.feed_from(link)

    def message(self, link: Link, message: Message) -> None:
        """A message of the actor."""
        session = self._session
        if session.over:
            return
        said = session.outbox.open(self.number, message.size).message
        said.name = message.name
        said.number = message.number
        said.previous_number = message.previous
        fill_payload(said.args, message.args)
        session.fed(self.number)

    def closed(self, link: Link, error: HoldfastError | None, reason: str) -> None:
        """It is over."""
        if error is not None:
            self._over(error)
            return
        self._end_waiting()
        self._session.ended(self.number, reason)

    def _over(self, error: HoldfastError) -> None:
        self._end_waiting()
        self._session.failed(self.number, error, once=True, known=True)

    def _end_waiting(self) -> None:
        waiting, self._waiting = self._waiting or [], None
        for stream in waiting:
            stream.refuse(HoldfastError(errors.CONNECTION_NOT_FOUND))
        self._link = None
        self._wake()

    def _wake(self) -> None:
        callers, self._callers = self._callers, []
        for opened in callers:
            if not opened.done():
                opened.set_result(None)
