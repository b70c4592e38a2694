"""Streaming actions: one turn per item, and the mailbox free in between.

Each step holds the actor, runs the handler up to its next `yield`, commits what
changed and lets the item out once that is durable. Items are not stored: with
an idempotency key the first commit stores "started", and a retry is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from holdfast_server.core import errors
from holdfast_server.core.call import Call
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.replies import Verdict
from holdfast_server.core.values import Value
from holdfast_server.runtime.activation import Activation, ReplyWriter, mode_of, origin_of
from holdfast_server.runtime.keyed import StoredReply, table_of
from holdfast_server.runtime.runners.api import ActionInfo, StreamRun
from holdfast_server.runtime.turn import Turn
from holdfast_server.store.api import Batch


async def stream_action(
    activation: Activation, call: Call, action: ActionInfo
) -> AsyncGenerator[Value, None]:
    """The items of a streaming action."""
    reply = _claim(activation, call)
    stream: StreamRun | None = None
    ended = False
    try:
        while True:
            turn = _turn(activation, call, action)
            async with activation.holding(turn, origin_of(call)):
                if stream is None:
                    activation.check_target(call)
                    await activation.ensure_started(call.target.create, call.target.input)
                    assert activation.instance is not None
                    stream = activation.instance.open_stream(call)
                    turn.actor_id = activation.actor_id
                    if reply is not None:
                        started = Batch()
                        reply.put_started(started, turn.actor_id)
                        activation.commit(started, turn)
                elif activation.instance is None:
                    raise HoldfastError(errors.ACTOR_DESTROYED)
                item, durable = await _step(activation, stream, turn, action)
            await durable
            if item is None:
                ended = True
                return
            yield item
    finally:
        if stream is not None and not ended:
            await _close(activation, stream, _turn(activation, call, action))


async def _step(
    activation: Activation, stream: StreamRun, turn: Turn, action: ActionInfo
) -> tuple[Value | None, asyncio.Future[object]]:
    instance = activation.instance
    assert instance is not None
    try:
        async with asyncio.timeout_at(turn.deadline) as timer:
            item = await stream.step(turn)
    except TimeoutError:
        instance.rollback()
        if timer.expired():
            raise HoldfastError(errors.DEADLINE_EXCEEDED) from None
        raise
    except BaseException:
        instance.rollback()
        raise
    durable = await activation.finish(turn, item, buffered=action.buffered)
    return item, durable  # type: ignore[return-value]


async def _close(activation: Activation, stream: StreamRun, turn: Turn) -> None:
    """The reader has gone: let the handler's `finally` run, as a turn."""
    turn.deadline = activation.node.loop.time() + activation.node.limits.hook_timeout_s
    async with activation.holding(turn, None):
        instance = activation.instance
        try:
            async with asyncio.timeout_at(turn.deadline):
                await stream.close(turn)
        except BaseException:
            if instance is not None:
                instance.rollback()
            raise
        if instance is not None and instance is activation.instance:
            await activation.finish(turn, None)


def _turn(activation: Activation, call: Call, action: ActionInfo) -> Turn:
    deadline = activation.node.loop.time() + action.timeout_s
    if call.deadline is not None:
        deadline = min(deadline, call.deadline)
    return Turn(activation, mode_of(action), deadline, call.traceparent)


def _claim(activation: Activation, call: Call) -> ReplyWriter | None:
    """Refuse the key of a stream that took effect; else its writer."""
    key = call.key
    if key is None:
        return None
    activation.node.reply_sweep.hear(key)
    limits = activation.node.limits
    verdict = table_of(activation).judge(
        key, rows_max=limits.replies_max, bytes_max=limits.replies_bytes_max
    )
    if verdict is Verdict.FULL:
        raise HoldfastError(errors.IDEMPOTENCY_TABLE_FULL)
    if verdict is not Verdict.RUN:
        expired = verdict is Verdict.EXPIRED
        raise HoldfastError(errors.IDEMPOTENCY_KEY_EXPIRED if expired else errors.TURN_INTERRUPTED)
    return StoredReply(activation, key, call.fingerprint())
