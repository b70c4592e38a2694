"""Create, find-or-create and destroy: turns of an address rather than an actor.

The call's action says which, by a name that no user action can have. They share
the mailbox and the stored replies of the address with its actions.
"""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from holdfast_server.core import errors
from holdfast_server.core.call import Answer, Call
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import format_actor_id
from holdfast_server.core.mailbox import Mode
from holdfast_server.core.values import Durability, Encoding, Value
from holdfast_server.runtime.activation import Activation
from holdfast_server.runtime.background import check_stays
from holdfast_server.runtime.destruction import put_destruction
from holdfast_server.runtime.execution import check_target, finish, origin_of, settle
from holdfast_server.runtime.keyed import run_once
from holdfast_server.runtime.turn import ReplyWriter, Turn
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.v1 import records_pb2 as records

log = logging.getLogger("holdfast.actor")

CREATE = "$create"
GET_OR_CREATE = "$get_or_create"
DESTROY = "$destroy"
# Destroys an actor whose state has expired, if it still has.
EXPIRE = "$expire"

Outcome = tuple[Value, asyncio.Future[Durability], bytes]

_DONE = Value(Encoding.JSON, b"null")


async def run_lifecycle(activation: Activation, call: Call) -> Answer:
    """The actor's id; of a creation its value says more, see `parse_creation`."""
    return await run_once(activation, call, lambda reply: _run(activation, call, reply))


class Creation(NamedTuple):
    """Whether a call created the actor, and when it was created; stored as the
    call's reply, so that a retry is told the same, whatever became of the actor."""

    now: bool
    at_ms: int


def parse_creation(value: Value) -> Creation:
    now, at_ms = value.data.split()
    return Creation(now == b"1", int(at_ms))


def _value_of(creation: Creation) -> Value:
    return Value(Encoding.JSON, b"%d %d" % creation)


async def _run(activation: Activation, call: Call, reply: ReplyWriter | None) -> Answer:
    turn = Turn(activation, Mode.EXCLUSIVE, call.deadline, call.action, call.trace)
    turn.auth = call.auth
    step = _STEPS.get(call.action, _create)
    origin = origin_of(call)
    try:
        if call.action == GET_OR_CREATE and activation.exists and not activation.lapsed():
            # Clients ask for this before each call: it must not wait for turns of the actor.
            value, durable, actor_id = _found(activation, reply, turn)
        else:
            async with activation.holding(turn, origin):
                value, durable, actor_id = await step(activation, call, reply, turn, origin)
    except HoldfastError as error:
        await settle(activation, turn, error, reply)
        raise
    return Answer(value, await durable, actor_id)


def _found(activation: Activation, reply: ReplyWriter | None, turn: Turn) -> Outcome:
    """The actor that is there, which no turn has to be held to know."""
    actor_id, batch = activation.actor_id, Batch()
    record = activation.node.decode(records.ActorRecord, keys.actor_key(actor_id))
    found = _value_of(Creation(False, record.created_at_ms if record is not None else 0))
    if reply is not None:
        reply.put_result(batch, found, actor_id)
    return found, activation.commit(batch, turn), actor_id


async def _create(
    activation: Activation,
    call: Call,
    reply: ReplyWriter | None,
    turn: Turn,
    origin: Turn | None,
) -> Outcome:
    """Find the actor or create it; the answer is stored by the batch that creates."""

    made, created_id = _DONE, b""

    def store(batch: Batch, now_ms: int) -> None:
        nonlocal made, created_id
        made, created_id = _value_of(Creation(True, now_ms)), activation.actor_id
        if reply is not None:
            reply.put_result(batch, made, activation.actor_id)

    batch, created = Batch(), False
    if not activation.exists:
        try:
            created = await activation.ensure_started(
                turn, origin, create=True, value=call.target.input, on_created=store
            )
        except HoldfastError as error:
            if error.reason is not errors.ACTOR_DESTROYED or not created_id:
                raise
            # It was created, and has gone since by its own wish.
            return made, activation.commit(batch, turn), created_id
    if not created and call.action == CREATE:
        raise HoldfastError(
            errors.ACTOR_DUPLICATE_KEY,
            metadata={"actor_id": format_actor_id(activation.actor_id)},
        )
    if not created:
        return _found(activation, reply, turn)
    return made, activation.commit(batch, turn), activation.actor_id


async def _destroy(
    activation: Activation,
    call: Call,
    reply: ReplyWriter | None,
    turn: Turn,
    origin: Turn | None,
) -> Outcome:
    check_target(activation, call)
    actor_id = activation.actor_id
    if not actor_id:
        raise HoldfastError(errors.ACTOR_NOT_FOUND)
    check_stays(activation)
    try:
        await activation.ensure_started(turn, origin, create=False)
    except HoldfastError as error:
        if activation.start is not None or _passes(activation, turn, error):
            raise
        batch = Batch()
        if activation.exists:
            # What cannot start must still be possible to get rid of.
            log.error("%s is destroyed without on_destroy: %s", activation.address, error)
            put_destruction(activation, turn, batch)
        if reply is not None:
            reply.put_result(batch, _DONE, actor_id)
        return _DONE, activation.commit(batch, turn), actor_id
    turn.begin(activation.instance, activation.actor_id, reply)
    turn.destroyed = True
    return _DONE, await finish(activation, turn, _DONE), turn.actor_id


async def _expire(
    activation: Activation,
    call: Call,
    reply: ReplyWriter | None,
    turn: Turn,
    origin: Turn | None,
) -> Outcome:
    if not activation.lapsed():
        return _DONE, activation.commit(Batch(), turn), activation.actor_id
    return await _destroy(activation, call, reply, turn, origin)


_STEPS = {DESTROY: _destroy, EXPIRE: _expire}


def _passes(activation: Activation, turn: Turn, error: HoldfastError) -> bool:
    """Whether a start failed for a reason that is none of the actor's own."""
    late = turn.deadline is not None and activation.node.loop.time() >= turn.deadline
    return late or not activation.live or error.reason.retry_after_s is not None
