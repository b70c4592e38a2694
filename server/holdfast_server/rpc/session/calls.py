"""Calls as streams of a session: one that answers once, and one that answers with items.

One with nothing to wait for runs where it is read; any other has a task, since a handler
may wait for what it likes. None overtakes another of its session: while a task has yet to
take its first step, in which its call comes to the mailbox, the next ones have tasks too.
A call goes on when its
session breaks and its answer is dropped: its client asks again by the same key. A
streaming call ends then, since nobody could read its items.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from holdfast_server.core import errors
from holdfast_server.core.call import Answer, Call, Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.rpc.session.streams import Kind, Stream
from holdfast_server.runtime.calls import ends_here
from holdfast_server.runtime.deadline import Expiring

if TYPE_CHECKING:
    from holdfast_server.rpc.session.connections import ConnectionStream
    from holdfast_server.rpc.session.session import Session
    from holdfast_server.telemetry.observer import RpcSpan


# A member costs less by a name of its own (see `core.mailbox`).
_CALL: Final = Kind.CALL


class CallStream(Stream):
    """A call that answers once."""

    __slots__ = ("_begun", "_call", "_cancelled", "_connection", "_session", "_task")
    kind = Kind.CALL
    method = "/holdfast.v1.ActorService/InvokeAction"

    def __init__(
        self, number: int, session: Session, call: Call, connection: ConnectionStream | None
    ) -> None:
        super().__init__(number)
        self._session = session
        self._call = call
        # The one that it is made on.
        self._connection = connection
        self._begun = False
        self._cancelled = False
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Run it."""
        session = self._session
        shared = session.shared
        if self._connection is None and not session.unbegun and not session.subscribing:
            calls = shared.calls
            if self.kind is _CALL and shared.rpcs is None and not calls.draining:
                calls.enter_without_task(self)
                if shared.node.direct.run(self._call, self):
                    return
                calls.leave_without_task(self)
        session.unbegun += 1
        self._task = shared.node.loop.create_task(self._run())

    def cancel(self) -> None:
        # A task that is cancelled before its first step never gets to answer.
        self._cancelled = True
        if self._task is None:
            self.cut(HoldfastError(errors.CANCELLED))
        elif self._begun:
            self._task.cancel()

    def answered(self, answer: Answer) -> None:
        self._session.shared.calls.leave_without_task(self)
        self._session.result(self.number, answer)

    def ended_with(self, error: BaseException) -> None:
        self.cut(self._session.shared.calls.failure_of(error, None))

    def cut(self, error: HoldfastError) -> None:
        session = self._session
        session.shared.calls.leave_without_task(self)
        session.failed(self.number, error, once=self._call.key is not None, known=True)

    async def _run(self) -> None:
        shared, call, failure = self._session.shared, self._call, None
        self._begun = True
        self._session.unbegun -= 1
        span = shared.begin_span(self.method, call.trace, self._session.peer)
        if span is not None:
            call.trace = span.trace
        answer: Answer | None = None
        task = None
        try:
            if self._cancelled:
                raise HoldfastError(errors.CANCELLED)
            task = shared.calls.enter()
            if self._connection is not None:
                link = await self._connection.link(call.deadline)
                call.target, call.connection = Target(address=link.address), link.connection_id
            if self._session.subscribing:
                await self._session.subscribed(self.number, call.target, call.deadline)
            answer = await self._answer()
        except (asyncio.CancelledError, Exception) as error:
            failure = shared.calls.failure_of(error, task)
        finally:
            shared.calls.leave(task)
        if span is not None:
            _end_span(span, failure, answer)
        if failure is not None:
            self._session.failed(self.number, failure, once=call.key is not None)
        elif answer is not None:
            self._session.result(self.number, answer)
        else:
            self._session.ended(self.number)

    async def _answer(self) -> Answer | None:
        """Do what was asked; None when it has said all."""
        return await self._session.shared.node.invoke(self._call)


class ItemStream(CallStream):
    """A streaming call: an item while there is credit, and none is made without."""

    __slots__ = ("_between", "_credit", "_draining", "_more")
    kind = Kind.STREAMING
    method = "/holdfast.v1.ActorService/StreamAction"

    def __init__(
        self,
        number: int,
        session: Session,
        call: Call,
        connection: ConnectionStream | None,
        window: int,
    ) -> None:
        super().__init__(number, session, call, connection)
        self._credit = window
        # Whether it waits for its client, and not for its actor.
        self._between = False
        self._draining = False
        self._more: asyncio.Future[Any] | None = None

    def credit(self, count: int) -> None:
        self._credit += count
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    def broken(self) -> None:
        self.cancel()

    def streams_end(self) -> None:
        if self._between and self._task is not None:
            self._draining = True
            self._task.cancel()

    async def _answer(self) -> Answer | None:
        session, calls = self._session, self._session.shared.calls
        async with aclosing(session.shared.node.stream(self._call)) as items:
            async for item in items:
                try:
                    # Of those that wait for room each looks again after the one before it.
                    await self._client(session.has_room())
                finally:
                    # What has been made is said, however it ends.
                    self._credit -= len(item.data)
                    session.item(self.number, item)
                calls.check_stream()
                if self._credit <= 0:
                    await self._client(self._credited())
        return None

    async def _client(self, ready: Awaitable[None]) -> None:
        """Wait for the client, between two items."""
        calls, task = self._session.shared.calls, self._task
        self._between = True
        try:
            async with Expiring(self._call.deadline):
                await ready
        except asyncio.CancelledError:
            if self._draining and task is not None:
                task.uncancel()
            elif calls.was_cut(task) is None:
                raise
            raise ends_here() from None
        finally:
            self._between = False

    async def _credited(self) -> None:
        loop = self._session.shared.node.loop
        while self._credit <= 0:
            self._more = loop.create_future()
            await self._more


def _end_span(span: RpcSpan, failure: HoldfastError | None, answer: Answer | None) -> None:
    if failure is not None:
        span.ended(failure.reason.status)
    else:
        span.ended("OK", replayed=answer is not None and answer.replayed)
