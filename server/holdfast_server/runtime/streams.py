"""Streaming actions: one turn per item, and the mailbox free in between.

Each step holds the actor, runs the handler up to its next `yield`, commits what
changed and lets the item out once that is durable. Items are not stored: with
an idempotency key the first step that changes something stores "started", and
a retry is then refused; a stream that changed nothing runs again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from holdfast_server.core import errors
from holdfast_server.core.call import Answer, Call
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.mailbox import Mode
from holdfast_server.core.values import Durability, Value
from holdfast_server.runtime.activation import Activation
from holdfast_server.runtime.connections import Conn, conn_of
from holdfast_server.runtime.deadline import run_until
from holdfast_server.runtime.execution import (
    check_target,
    connection_of,
    fail,
    finish,
    make_turn,
    mode_of,
    origin_of,
    settle,
    visits,
)
from holdfast_server.runtime.keyed import claim_key
from holdfast_server.runtime.runners.api import ActionInfo, Instance, StreamRun
from holdfast_server.runtime.turn import ReplyWriter, Turn
from holdfast_server.runtime.visiting import enter, has_hooks

log = logging.getLogger("holdfast.actor")


async def stream_action(
    activation: Activation, call: Call, action: ActionInfo
) -> AsyncGenerator[Value, None]:
    """The items of a streaming action."""
    claim = None
    if call.key is not None and not action.read_only:
        claim = await claim_key(activation, call)
    if isinstance(claim, Answer):
        # Only a call that answers once leaves a result under its key.
        raise HoldfastError(errors.IDEMPOTENCY_KEY_REUSED)
    stream = _Stream(activation, call, action, claim)
    try:
        # A reader that leaves early has the handler ended before it goes on.
        async with aclosing(stream.items()) as items:
            async for item in items:
                yield item
    finally:
        if claim is not None:
            claim.end(None)


class _Stream:
    """One streaming action under way."""

    def __init__(
        self,
        activation: Activation,
        call: Call,
        action: ActionInfo,
        reply: ReplyWriter | None,
    ) -> None:
        self._activation = activation
        self._call = call
        self._action = action
        self._reply = reply
        self._origin = origin_of(call)
        self._run: StreamRun | None = None
        self._instance: Instance | None = None
        # Its connection, which all its turns share; connections whose state an earlier
        # step used, since the handler may have kept it.
        self._conn: Conn | Call | None = None
        self._used: dict[bytes, Conn] = {}
        # Whether the hooks run in its turns; whether on_connect has, and on_disconnect
        # has not.
        self._visits = visits(activation, call) and not action.read_only
        self._inside = False

    async def items(self) -> AsyncGenerator[Value, None]:
        if has_hooks(self._activation, self._call):
            self._conn = await enter(self._activation, self._call, self._action, self._reply)
        try:
            while True:
                item, durable = await self._next()
                await durable
                if item is None:
                    return
                yield item
        finally:
            if self._run is not None and (self._inside or not self._run.ended):
                await self._close(self._run)

    async def _next(self) -> tuple[Value | None, asyncio.Future[Durability]]:
        activation = self._activation
        turn = make_turn(activation, self._call, self._action)
        turn.streams = True
        # After the first step something has run, also where this one cannot begin.
        turn.instance = self._instance
        try:
            async with activation.holding(turn, self._origin):
                if self._run is None:
                    await self._open(turn)
                elif activation.instance is not self._instance:
                    raise HoldfastError(errors.ACTOR_DESTROYED)
                turn.begin(self._instance, activation.actor_id, self._reply)
                self._begin(turn)
                item = await self._step(turn)
                durable = await finish(activation, turn, item, buffered=self._action.buffered)
                self._inside = self._visits and item is not None
        except HoldfastError as error:
            await settle(activation, turn, error, self._reply)
            raise
        finally:
            if turn.committed:
                # Its key has been used up.
                self._reply = None
        return item, durable

    async def _open(self, turn: Turn) -> None:
        activation, target = self._activation, self._call.target
        check_target(activation, self._call)
        await activation.ensure_started(
            turn, self._origin, create=target.create, value=target.input, reply=self._reply
        )
        self._instance = activation.instance
        assert self._instance is not None
        self._run = self._instance.open_stream(self._call)

    def _begin(self, turn: Turn) -> None:
        turn.conn = self._conn or connection_of(self._activation, self._call)
        if self._used and turn.mode is not Mode.READ_ONLY:
            turn.connections.used.update(self._used)

    async def _step(self, turn: Turn) -> Value | None:
        assert self._run is not None
        step = self._visit_step if self._visits else self._run.step
        try:
            return await run_until(step(turn), turn.deadline)
        except BaseException as error:
            fail(self._activation, turn, error)
            raise
        finally:
            self._conn = turn.conn
            if turn.changes is not None:
                self._used = turn.changes.used

    async def _visit_step(self, turn: Turn) -> Value | None:
        """A step between the hooks of the stream's own connection."""
        conn, run = conn_of(turn), self._run
        assert turn.instance is not None
        assert conn is not None
        assert run is not None
        if not self._inside:
            await turn.instance.on_connect(turn, conn)
        item = await run.step(turn)
        if item is None:
            self._inside = False
            await turn.instance.on_disconnect(turn, conn)
        return item

    async def _close(self, run: StreamRun) -> None:
        """The reader has gone: let the handler's `finally` run, as a turn.

        Nobody waits for what becomes of it, so that a failure is only logged: it
        must not take the place of the error that the stream ended with.
        """
        activation = self._activation
        call, deadline = self._call, activation.node.loop.time()
        deadline += activation.node.limits.hook_timeout_s
        turn = Turn(activation, mode_of(self._action), deadline, call.action, call.trace)
        turn.auth = call.auth
        closed = False
        try:
            async with activation.holding(turn, None):
                if activation.instance is self._instance:
                    turn.begin(self._instance, activation.actor_id)
                    turn.conn = self._conn
                    closed = True
                    await self._close_in(turn, run)
        except HoldfastError as error:
            log.warning(
                "the end of stream %s of %s: %s", self._call.action, activation.address, error
            )
        finally:
            if not closed and not run.ended:
                await run.close(None)

    async def _close_in(self, turn: Turn, run: StreamRun) -> None:
        async def close() -> None:
            if not run.ended:
                await run.close(turn)
            if self._inside:
                conn = conn_of(turn)
                assert turn.instance is not None
                assert conn is not None
                await turn.instance.on_disconnect(turn, conn)

        try:
            await run_until(close(), turn.deadline)
        except BaseException as error:
            fail(self._activation, turn, error)
            raise
        await finish(self._activation, turn, None, buffered=self._action.buffered)
