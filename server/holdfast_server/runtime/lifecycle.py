"""Create, find-or-create and destroy: turns of an address rather than an actor.

The call's action says which, by a name that no user action can have. They share
the mailbox and the stored replies of the address with its actions.
"""

from __future__ import annotations

from holdfast_server.core import errors
from holdfast_server.core.call import Answer, Call
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import format_actor_id
from holdfast_server.core.mailbox import Mode
from holdfast_server.core.values import Encoding, Value
from holdfast_server.runtime.activation import Activation, ReplyWriter
from holdfast_server.runtime.keyed import run_keyed
from holdfast_server.runtime.turn import Turn
from holdfast_server.store.api import Batch

CREATE = "$create"
GET_OR_CREATE = "$get_or_create"
DESTROY = "$destroy"

_FLAGS = {False: Value(Encoding.JSON, b"false"), True: Value(Encoding.JSON, b"true")}


async def run_lifecycle(activation: Activation, call: Call) -> tuple[Activation, bytes, bool]:
    """The activation, the actor's id, and whether this call made or unmade it."""
    steps = {CREATE: _create, GET_OR_CREATE: _get_or_create, DESTROY: _destroy}
    step = steps[call.action]
    if call.key is None:
        answer = await step(activation, call, None)
    else:
        activation.node.reply_sweep.hear(call.key)
        answer = await run_keyed(activation, call, lambda reply: step(activation, call, reply))
    return activation, answer.actor_id, answer.value == _FLAGS[True]


async def _create(activation: Activation, call: Call, reply: ReplyWriter | None) -> Answer:
    turn = Turn(activation, Mode.EXCLUSIVE, call.deadline, call.traceparent)
    async with activation.holding(turn, None):
        if activation.exists:
            raise HoldfastError(
                errors.ACTOR_DUPLICATE_KEY,
                metadata={"actor_id": format_actor_id(activation.actor_id)},
            )
        return await _ensure(activation, call, reply, turn)


async def _get_or_create(activation: Activation, call: Call, reply: ReplyWriter | None) -> Answer:
    turn = Turn(activation, Mode.EXCLUSIVE, call.deadline, call.traceparent)
    async with activation.holding(turn, None):
        return await _ensure(activation, call, reply, turn)


async def _ensure(
    activation: Activation, call: Call, reply: ReplyWriter | None, turn: Turn
) -> Answer:
    created = False
    if not activation.exists:
        created = await activation.ensure_started(True, call.target.input)
    batch = Batch()
    if reply is not None:
        reply.put_result(batch, _FLAGS[created], activation.actor_id)
    actor_id = activation.actor_id
    durability = await activation.commit(batch, turn)
    return Answer(_FLAGS[created], durability, actor_id)


async def _destroy(activation: Activation, call: Call, reply: ReplyWriter | None) -> Answer:
    turn = Turn(activation, Mode.EXCLUSIVE, call.deadline, call.traceparent)
    async with activation.holding(turn, None):
        activation.check_target(call)
        await activation.ensure_started(False, None)
        turn.actor_id = activation.actor_id
        turn.destroyed = True
        turn.reply = reply
        durable = await activation.finish(turn, _FLAGS[True])
    return Answer(_FLAGS[True], await durable, turn.actor_id)
