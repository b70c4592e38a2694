"""Create, find-or-create and destroy: turns of an address rather than an actor.

The call's action says which, by a name that no user action can have. They share
the mailbox and the stored replies of the address with its actions.
"""

from __future__ import annotations

import asyncio
import logging

from holdfast_server.core import errors
from holdfast_server.core.call import Answer, Call
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import format_actor_id
from holdfast_server.core.mailbox import Mode
from holdfast_server.core.values import Durability, Encoding, Value
from holdfast_server.runtime.activation import Activation
from holdfast_server.runtime.execution import check_target, finish, origin_of, settle
from holdfast_server.runtime.keyed import run_keyed
from holdfast_server.runtime.turn import ReplyWriter, Turn
from holdfast_server.store.api import Batch

log = logging.getLogger("holdfast.actor")

CREATE = "$create"
GET_OR_CREATE = "$get_or_create"
DESTROY = "$destroy"

# Why an actor that exists may be unable to start.
_UNSTARTABLE = (errors.STATE_UNDECODABLE, errors.ACTOR_START_FAILED, errors.USER_ERROR)

Outcome = tuple[Value, asyncio.Future[Durability], bytes]

_UNCHANGED = Value(Encoding.JSON, b"false")
_CHANGED = Value(Encoding.JSON, b"true")


async def run_lifecycle(activation: Activation, call: Call) -> tuple[Activation, bytes, bool]:
    """The activation, the actor's id, and whether this call made or unmade it."""
    if call.key is None:
        answer = await _run(activation, call, None)
    else:
        answer = await run_keyed(activation, call, lambda reply: _run(activation, call, reply))
    return activation, answer.actor_id, answer.value == _CHANGED


async def _run(activation: Activation, call: Call, reply: ReplyWriter | None) -> Answer:
    turn = Turn(activation, Mode.EXCLUSIVE, call.deadline, call.traceparent)
    step = _destroy if call.action == DESTROY else _create
    origin = origin_of(call)
    try:
        async with activation.holding(turn, origin):
            value, durable, actor_id = await step(activation, call, reply, turn, origin)
    except HoldfastError as error:
        await settle(activation, turn, error, reply)
        raise
    return Answer(value, await durable, actor_id)


async def _create(
    activation: Activation,
    call: Call,
    reply: ReplyWriter | None,
    turn: Turn,
    origin: Turn | None,
) -> Outcome:
    """Find the actor or create it; the answer is stored by the batch that creates."""

    def store(batch: Batch) -> None:
        if reply is not None:
            reply.put_result(batch, _CHANGED, activation.actor_id)

    batch, created = Batch(), False
    if not activation.exists:
        created = await activation.ensure_started(
            turn, origin, create=True, value=call.target.input, on_created=store
        )
    if not created:
        if call.action == CREATE:
            raise HoldfastError(
                errors.ACTOR_DUPLICATE_KEY,
                metadata={"actor_id": format_actor_id(activation.actor_id)},
            )
        if reply is not None:
            reply.put_result(batch, _UNCHANGED, activation.actor_id)
    value = _CHANGED if created else _UNCHANGED
    return value, activation.commit(batch, turn), activation.actor_id


async def _destroy(
    activation: Activation,
    call: Call,
    reply: ReplyWriter | None,
    turn: Turn,
    origin: Turn | None,
) -> Outcome:
    check_target(activation, call)
    actor_id = activation.actor_id
    try:
        await activation.ensure_started(turn, origin, create=False)
    except HoldfastError as error:
        if error.reason not in _UNSTARTABLE:
            raise
        # What cannot start must still be possible to get rid of.
        log.error("%s is destroyed without on_destroy: %s", activation.address, error)
        batch = Batch()
        activation.put_destruction(batch)
        if reply is not None:
            reply.put_result(batch, _CHANGED, actor_id)
        return _CHANGED, activation.commit(batch, turn), actor_id
    turn.begin(activation.instance, activation.actor_id, reply)
    turn.destroyed = True
    return _CHANGED, await finish(activation, turn, _CHANGED), turn.actor_id
