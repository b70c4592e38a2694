"""Creates an actor or wakes it: its hooks run, and what they did is one batch.

Creation is a turn of its own, whose commit stays when the call that caused it fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import make_actor_id
from holdfast_server.runtime import background
from holdfast_server.runtime.destruction import put_destruction
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.core.values import Value
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.turn import ReplyWriter, Turn


async def start_actor(
    activation: Activation,
    turn: Turn,
    value: Value | None,
    on_created: Callable[[Batch, int], None] | None,
    reply: ReplyWriter | None,
) -> bool:
    """Run the hooks of the start in `turn` and commit what they did; whether this
    created the actor."""
    created = turn.creating = not activation.actor_id
    node = activation.node
    stored: tuple[int, bytes] | None = None
    if created:
        activation.info.check_input(value)
        activation.actor_id = make_actor_id(activation.scope, node.environment.secret_bytes(14))
    else:
        state = node.decode(records.StateRecord, keys.state_key(activation.actor_id))
        stored = None if state is None else (state.schema_version, state.data)
    instance = node.runner.make(activation)
    turn.begin(instance, activation.actor_id)
    try:
        await instance.start(turn, stored, value, created)
        batch = Batch()
        if turn.destroyed:
            background.begin_destroy(activation)
            await instance.on_destroy(turn)
        else:
            activation.put_state(turn, batch)
        # From here to the commit nothing waits: what is noted in memory is written.
        if turn.destroyed and reply is not None:
            reply.put_started(batch, turn.actor_id)
        turn.take(batch)
        if created:
            now_ms = node.environment.clock.now_ms()
            _put_existence(activation, batch, value, now_ms)
            if on_created is not None:
                on_created(batch, now_ms)
        if turn.destroyed:
            put_destruction(activation, turn, batch)
        if batch or turn.emitted is not None or turn.afters:
            activation.commit(batch, turn)
        activation.info.tally.created += created
    except BaseException as error:
        if created:
            activation.actor_id, activation.event_log = b"", None
        activation.expires_ms = None
        background.end(activation)
        if isinstance(error, HoldfastError) and error.reason is errors.STORE_UNAVAILABLE:
            # Hooks have run: see `execution.settle`.
            raise HoldfastError(errors.COMMIT_UNKNOWN) from error
        raise
    finally:
        turn.ended = True
    if turn.destroyed:
        raise HoldfastError(errors.ACTOR_DESTROYED, "the actor destroyed itself at its start")
    activation.instance = instance
    node.catalog.grew(activation, instance.state_bytes)
    if activation.background is not None or activation.info.has_run:
        background.begin(activation, instance)
    return created


def _put_existence(activation: Activation, batch: Batch, value: Value | None, now_ms: int) -> None:
    address = activation.address
    record = records.ActorRecord(
        namespace=address.namespace,
        name=address.name,
        key=address.key,
        created_at_ms=now_ms,
        initialized=True,
    )
    if value is not None:
        record.input_encoding, record.input = value
    batch.put(keys.directory_key(address), activation.actor_id)
    batch.put(keys.actor_key(activation.actor_id), record.SerializeToString())
