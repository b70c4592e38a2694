"""The course of one handler through several turns, in one task.

A raw request or WebSocket is served by one coroutine. Wherever that waits for its client
the present turn ends: it is committed, the actor is free, and the next turn begins when
there is something to go on with. At most one turn is held at a time; what the handler
does between two has none. `on_connect` is part of the first turn, `on_disconnect` of the
last.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.mailbox import Mode
from holdfast_server.core.trace import Cause
from holdfast_server.core.values import Durability
from holdfast_server.runtime.connections import Conn, conn_of
from holdfast_server.runtime.deadline import Expiring
from holdfast_server.runtime.execution import (
    check_target,
    connection_of,
    fail,
    finish,
    origin_of,
    settle,
    visits,
)
from holdfast_server.runtime.fronts import ClientGone
from holdfast_server.runtime.turn import Turn

if TYPE_CHECKING:
    from holdfast_server.core.call import Call
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.runners.api import Instance

R = TypeVar("R")

log = logging.getLogger("holdfast.actor")


class Watcher(Protocol):
    """The runner, which is told whenever the handler's turn changes."""

    def entered(self, turn: Turn) -> None:
        """The code that runs from here on belongs to `turn`."""
        ...

    def left(self, turn: Turn) -> None:
        """The code that runs from here on has no turn; `turn` is about to end."""
        ...


class Course:
    """One handler under way."""

    def __init__(
        self,
        activation: Activation,
        call: Call,
        conn: Conn | None,
        *,
        inside: bool = False,
        lasts: bool = False,
    ) -> None:
        self._activation = activation
        self._call = call
        self._origin = origin_of(call)
        self._instance: Instance | None = None
        # The connection that all its turns share; those whose state the handler may hold.
        self.conn: Conn | Call | None = conn or connection_of(activation, call)
        self._used: dict[bytes, Conn] = {}
        self._visits = visits(activation, call)
        # Whether on_connect has been committed, and on_disconnect has not.
        self.inside = inside
        # Whether it goes on for as long as the client likes.
        self._lasts = lasts
        self._limit = Expiring(None)
        self.watcher: Watcher | None = None
        self.turn: Turn | None = None
        # The client has gone: the turn that runs is for what the handler does about it.
        self.closing = False

    @property
    def instance(self) -> Instance:
        """The actor, from the first turn on."""
        assert self._instance is not None
        return self._instance

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The block is cancelled at the deadline of whichever turn it is in, which so
        ends with DEADLINE_EXCEEDED."""
        async with self._limit:
            yield

    # The turns

    async def open(self) -> None:
        """Take the first turn: the actor is started, and on_connect runs."""
        activation, target = self._activation, self._call.target
        turn = await self._hold()
        try:
            check_target(activation, self._call)
            await activation.ensure_started(
                turn, self._origin, create=target.create, value=target.input
            )
            self._instance = activation.instance
            self._enter(turn)
            if self._visits and not self.inside:
                conn = conn_of(turn)
                assert conn is not None
                await self.instance.on_connect(turn, conn)
        except BaseException as error:
            activation.failed(turn, error)
            raise

    async def begin(self) -> None:
        """Take the next turn."""
        turn = await self._hold()
        if self._activation.instance is not self._instance:
            self._release(turn)
            gone = HoldfastError(errors.ACTOR_DESTROYED)
            gone.ran = True
            raise gone
        self._enter(turn)

    async def cut(self) -> asyncio.Future[Durability]:
        """End the turn: what it did is committed."""
        turn = self._leave()
        try:
            buffered = self._activation.info.raw.buffered
            durable = await finish(self._activation, turn, None, buffered=buffered)
        except BaseException as error:
            self._activation.failed(turn, error)
            self._release(turn)
            if isinstance(error, HoldfastError):
                await settle(self._activation, turn, error, None)
            raise
        self.inside = self._visits
        self._release(turn)
        return durable

    async def between(
        self,
        wait: Callable[[asyncio.Future[Durability]], Awaitable[R]],
        *,
        ends: bool = False,
        last: bool = False,
    ) -> R:
        """End the turn, wait for something, and take the next turn with what that gave or
        raised. Where the client goes, or the task is cancelled, meanwhile, the turn that
        follows is for the handler to clean up in; not so if it `ends` with the task. When it
        is the `last` wait, there is a turn only for an on_disconnect to come."""
        durable = await self.cut()
        begins = not last or self.inside
        try:
            result = await wait(durable)
        except BaseException as error:
            cancelled = isinstance(error, asyncio.CancelledError)
            if begins and not (ends and cancelled):
                self.closing = cancelled or isinstance(error, ClientGone)
                # What happened matters more than that there is no turn to tell it in.
                with suppress(HoldfastError):
                    await self.begin()
            raise
        if begins:
            await self.begin()
        return result

    async def finish(self) -> asyncio.Future[Durability]:
        """The handler has returned: on_disconnect runs, and the last turn ends."""
        if self.turn is None:
            if not self.inside:
                done: asyncio.Future[Durability] = self._activation.node.loop.create_future()
                done.set_result(Durability.NONE)
                return done
            await self.begin()
        assert self.turn is not None
        if self._visits:
            conn = conn_of(self.turn)
            assert conn is not None
            await self.instance.on_disconnect(self.turn, conn)
        durable = await self.cut()
        self.inside = False
        return durable

    async def failed(self, error: BaseException) -> None:
        """The handler has failed: its turn is undone. Returns when the error may be told;
        raises the one to tell in its place."""
        turn = self.turn
        if turn is not None:
            self._activation.failed(turn, error)
            if turn.instance is not None and self._instance is not None:
                self._leave()
                fail(self._activation, turn, error)
            self._release(turn)
            if isinstance(error, HoldfastError):
                await settle(self._activation, turn, error, None)

    async def bow_out(self) -> None:
        """Run the on_disconnect that a handler which failed, or was cancelled, still owes,
        in the turn that it has, if it has one."""
        if not self.inside and self.turn is None:
            return
        try:
            await self.finish()
        except HoldfastError as error:
            address = self._activation.address
            log.warning("on_disconnect of a raw client of %s: %s", address, error)
            await self.failed(error)

    # One turn

    async def _hold(self) -> Turn:
        activation, call = self._activation, self._call
        node, info = activation.node, activation.info
        now = node.loop.time()
        deadline = now + (node.limits.hook_timeout_s if self.closing else info.raw.timeout_s)
        if call.deadline is not None and not self.closing:
            if call.deadline <= now:
                raise HoldfastError(errors.DEADLINE_EXCEEDED)
            deadline = min(deadline, call.deadline)
        mode = Mode.INTERLEAVED if info.interleave else Mode.EXCLUSIVE
        # Its later turns come when the client says so, which may be days after.
        first = self._instance is None
        cause = Cause.CALL if first or not self._lasts else Cause.SPAWN
        turn = Turn(activation, mode, deadline, call.action, call.trace, cause)
        turn.auth = call.auth
        # After the first turn something has run, also where this one cannot begin.
        turn.instance = self._instance
        activation.users += 1
        try:
            await activation.hold(turn, self._origin)
        except BaseException as error:
            node.catalog.leave(activation)
            if isinstance(error, HoldfastError):
                error.ran = self._instance is not None
                await settle(activation, turn, error, None)
            raise
        self.turn = turn
        return turn

    def _enter(self, turn: Turn) -> None:
        turn.begin(self._instance, self._activation.actor_id)
        turn.conn = self.conn
        if self._used:
            turn.connections.used.update(self._used)
        self._limit.move(turn.deadline)
        if self.watcher is not None:
            self.watcher.entered(turn)

    def _leave(self) -> Turn:
        turn = self.turn
        if turn is None:
            raise HoldfastError(errors.NO_TURN)
        if self.watcher is not None:
            self.watcher.left(turn)
        # Until the next turn only the client's own deadline counts.
        self._limit.move(self._call.deadline)
        self.conn = turn.conn
        if turn.changes is not None:
            self._used = turn.changes.used
        return turn

    def _release(self, turn: Turn) -> None:
        self.turn = None
        self._activation.release(turn, self._origin)
        self._activation.node.catalog.leave(self._activation)
