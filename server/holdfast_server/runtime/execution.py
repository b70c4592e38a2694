"""One turn of an action, from the mailbox to the durable answer.

A turn that returns hands over its effects in one batch, its stored reply among
them. One that raises leaves no trace but, for a UserError under an idempotency
key, its stored error; an interleaved one also leaves the state as it is, since
other turns have their part in it. Nothing leaves, errors included, before
everything that the turn could have seen is durable.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast_server.core import errors
from holdfast_server.core.call import Answer, Call
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.mailbox import EXCLUSIVE, INTERLEAVED, READ_ONLY, Mode
from holdfast_server.core.trace import Cause
from holdfast_server.core.values import Durability, Value
from holdfast_server.runtime import background
from holdfast_server.runtime.connections import Conn, conn_of, table_of
from holdfast_server.runtime.deadline import run_until
from holdfast_server.runtime.destruction import put_destruction
from holdfast_server.runtime.fire import Fire
from holdfast_server.runtime.turn import ReplyWriter, Turn
from holdfast_server.store import keys
from holdfast_server.store.api import Batch

if TYPE_CHECKING:
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.runners.api import ActionInfo

log = logging.getLogger("holdfast.actor")

R = TypeVar("R")

_NULL = Value(1, b"null")

# Failures that say that nothing ran.
_NOTHING_RAN = (errors.ACTOR_STOPPING, errors.STORE_UNAVAILABLE)

# Failures that tell nothing of what is stored, and so wait for no sync.
_SAW_NOTHING = frozenset(
    reason.reason
    for reason in (
        errors.ACTOR_OVERLOADED,
        errors.ACTOR_STOPPING,
        errors.CALL_CYCLE,
        errors.COMMIT_UNKNOWN,
        errors.DEADLINE_EXCEEDED,
        errors.STALE_EPOCH,
        errors.STORE_UNAVAILABLE,
    )
)


async def run_action(
    activation: Activation,
    call: Call,
    action: ActionInfo,
    reply: ReplyWriter | None,
    visitor: Conn | None = None,
) -> Answer:
    """Run an action that answers once; `reply` is where a keyed call's answer goes,
    `visitor` its short-lived connection, if that has been made."""
    turn, origin = make_turn(activation, call, action), origin_of(call)
    try:
        await activation.hold(turn, origin)
        try:
            check_target(activation, call)
            if call.sent is not None and _arrived(activation, call.sent):
                return Answer(_NULL, Durability.NONE, activation.actor_id)
            fire = call.fire if isinstance(call.fire, Fire) else None
            if fire is not None and not fire.stands(activation):
                return Answer(_NULL, Durability.NONE, activation.actor_id)
            if activation.instance is None:
                await activation.ensure_started(
                    turn, origin, create=call.target.create, value=call.target.input, reply=reply
                )
            turn.begin(activation.instance, activation.actor_id, reply, call.sent)
            turn.conn = visitor or connection_of(activation, call)
            turn.fire = fire
            value = await _invoke(activation, turn, call)
            durable = await finish(activation, turn, value, buffered=action.buffered)
        except BaseException as error:
            activation.failed(turn, error)
            raise
        finally:
            activation.release(turn, origin)
    except HoldfastError as error:
        await settle(activation, turn, error, reply)
        raise
    return Answer(value, await durable, turn.actor_id)


def make_turn(activation: Activation, call: Call, action: ActionInfo) -> Turn:
    """The turn of a call, with the earlier of its caller's and its own deadline."""
    now = activation.node.loop.time()
    deadline, own = now + action.timeout_s, call.deadline
    if own is not None:
        if own <= now:
            raise HoldfastError(errors.DEADLINE_EXCEEDED)
        if own < deadline:
            deadline = own
    turn = Turn(activation, mode_of(action), deadline, call.action, call.trace)
    turn.auth = call.auth
    if call.sent is not None or call.fire is not None:
        turn.cause = Cause.SEND if call.fire is None else Cause.TIMER
    return turn


def check_target(activation: Activation, call: Call) -> None:
    """The actor may have been destroyed while the call waited."""
    wanted = call.target.actor_id
    if wanted is not None and wanted != activation.actor_id:
        raise HoldfastError(errors.ACTOR_NOT_FOUND)


def _arrived(activation: Activation, sent: tuple[bytes, int]) -> bool:
    """Whether this send has taken effect before."""
    row = activation.node.read(keys.inbox_key(activation.scope, sent[0]))
    return row is not None and int.from_bytes(row) >= sent[1]


async def _invoke(activation: Activation, turn: Turn, call: Call) -> Value:
    """Run the handler within the deadline; a failure is rolled back at once."""
    assert turn.instance is not None
    try:
        if visits(activation, call) and turn.mode is not READ_ONLY:
            return await run_until(_visit(turn, call), turn.deadline)
        result = turn.instance.invoke(turn, call)
        if isinstance(result, Value):
            return result
        return await run_until(result, turn.deadline)
    except BaseException as error:
        fail(activation, turn, error)
        raise


async def _visit(turn: Turn, call: Call) -> Value:
    """An action between the hooks of its short-lived connection: one turn, one batch."""
    instance, conn = turn.instance, conn_of(turn)
    assert instance is not None
    assert conn is not None
    await instance.on_connect(turn, conn)
    result = instance.invoke(turn, call)
    value = result if isinstance(result, Value) else await result
    await instance.on_disconnect(turn, conn)
    return value


def visits(activation: Activation, call: Call) -> bool:
    """Whether hooks run for the short-lived connection of a call."""
    hooks = activation.info.connect_hooks
    if not (hooks.on_connect or hooks.on_disconnect):
        return False
    return call.has_client and call.connection is None


def connection_of(activation: Activation, call: Call) -> Conn | Call | None:
    """The connection that a call is made on; the call itself, if it gets one of its own
    when it asks for it; None for a send and a timer."""
    if call.connection is not None:
        conn = table_of(activation).rows.get(call.connection)
        if conn is None:
            raise HoldfastError(errors.CONNECTION_NOT_FOUND)
        if conn.closing:
            raise HoldfastError(errors.CONNECTION_CLOSED, conn.reason or None)
        return conn
    return call if call.has_client else None


async def run_hooks(
    activation: Activation, turn: Turn, hooks: Coroutine[Any, Any, R]
) -> tuple[R, asyncio.Future[Durability]]:
    """Run hooks in a turn that has begun, and hand over its effects."""
    try:
        result = await run_until(hooks, turn.deadline)
    except BaseException as error:
        fail(activation, turn, error)
        raise
    return result, await finish(activation, turn, None)


async def finish(
    activation: Activation, turn: Turn, value: Value | None, *, buffered: bool = False
) -> asyncio.Future[Durability]:
    """Hand over the effects of a turn that has returned."""
    if turn.destroyed:
        batch = await _end_actor(activation, turn, value)
    else:
        batch = effects_of(activation, turn, value, buffered=buffered)
    durable = activation.commit(batch, turn, buffered=buffered)
    if turn.sleeps and not turn.destroyed:
        activation.node.sleeper.begin(activation)
    return durable


def effects_of(
    activation: Activation, turn: Turn, value: Value | None, *, buffered: bool = False
) -> Batch:
    """What a turn did that has returned, as one batch; where it cannot be, the turn fails."""
    batch = Batch()
    try:
        _check_end(activation, turn, value)
        activation.put_state(turn, batch)
        turn.take(batch, buffered=buffered)
    except BaseException as error:
        fail(activation, turn, error)
        raise
    if turn.sent is not None:
        activation.put_arrival(turn, batch)
    if turn.fire is not None:
        turn.fire.put_ended(batch)
    if turn.reply is not None:
        _put_reply(turn, turn.reply, value, batch)
    return batch


async def _end_actor(activation: Activation, turn: Turn, value: Value | None) -> Batch:
    """The same of a turn that ends its actor."""
    batch, instance = Batch(), turn.instance
    assert instance is not None
    try:
        _check_end(activation, turn, value)
        background.begin_destroy(activation)
        await instance.on_destroy(turn)
        turn.take(batch)
    except BaseException as error:
        fail(activation, turn, error)
        background.undo_destroy(activation)
        raise
    put_destruction(activation, turn, batch)
    activation.put_arrival(turn, batch)
    if turn.reply is not None:
        _put_reply(turn, turn.reply, value, batch)
    return batch


def _check_end(activation: Activation, turn: Turn, value: Value | None) -> None:
    limit = activation.node.limits.payload_bytes_max
    if value is not None and len(value.data) > limit:
        raise HoldfastError(
            errors.MESSAGE_OUTGOING_TOO_LONG,
            f"result of {len(value.data)} bytes; at most {limit}",
            metadata={"limit": str(limit), "size": str(len(value.data))},
        )
    if turn.mode is not READ_ONLY and activation.instance is not turn.instance:
        raise HoldfastError(errors.ACTOR_DESTROYED)


def _put_reply(turn: Turn, reply: ReplyWriter, value: Value | None, batch: Batch) -> None:
    if turn.streams or value is None:
        if batch and not turn.committed:
            reply.put_started(batch, turn.actor_id)
            turn.committed = True
    else:
        reply.put_result(batch, value, turn.actor_id)


def fail(activation: Activation, turn: Turn, error: BaseException) -> None:
    """A turn has failed: undo it, and store the trace that it leaves."""
    instance = turn.instance
    assert instance is not None
    if isinstance(error, HoldfastError):
        error.ran = True
    batch = Batch()
    # What this turn would have made of it is not stored.
    activation.expires_ms = None
    if turn.mode is INTERLEAVED and activation.instance is instance:
        try:
            activation.put_state(turn, batch)
        except HoldfastError as cause:
            log.error("state of %s after a failed turn: %s", activation.address, cause)
            instance.rollback(turn)
        else:
            if turn.changes is not None:
                turn.changes.keep_states()
    else:
        instance.rollback(turn)
    _put_error(batch, turn.reply, error, turn.actor_id)
    _commit_trace(activation, turn, batch)


def _put_error(
    batch: Batch, reply: ReplyWriter | None, error: BaseException, actor_id: bytes
) -> None:
    if reply is None or not isinstance(error, HoldfastError):
        return
    if error.reason is errors.USER_ERROR:
        reply.put_error(batch, error, actor_id)


def _commit_trace(activation: Activation, turn: Turn, batch: Batch) -> None:
    if batch:
        try:
            turn.failure = activation.commit(batch, turn)
        except HoldfastError as cause:
            log.warning("a failed turn of %s left no trace: %s", activation.address, cause)


async def settle(
    activation: Activation, turn: Turn, error: HoldfastError, reply: ReplyWriter | None
) -> None:
    """Let an error out no earlier than everything that it may tell of is durable."""
    if turn.instance is not None and error.reason in _NOTHING_RAN:
        # Whoever retries without a key relies on it.
        raise HoldfastError(errors.COMMIT_UNKNOWN) from error
    if turn.instance is None:
        # A hook of the start raised it: nobody else has stored it.
        batch = Batch()
        _put_error(batch, reply, error, b"")
        _commit_trace(activation, turn, batch)
    if turn.failure is not None:
        await turn.failure
    elif error.reason.reason not in _SAW_NOTHING:
        await activation.until_synced()


def mode_of(action: ActionInfo) -> Mode:
    if action.read_only:
        return READ_ONLY
    return INTERLEAVED if action.interleave else EXCLUSIVE


def origin_of(call: Call) -> Turn | None:
    """The turn that waits for this call, if it is one of this process."""
    origin = call.origin
    return origin if isinstance(origin, Turn) and not origin.ended else None
