"""The end of an actor: all that it owns is deleted, in the batch of the turn that ends it.

Its stored replies and the sends under way outlive it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.runtime import agenda, background
from holdfast_server.runtime.connections import has_rows
from holdfast_server.store import keys

if TYPE_CHECKING:
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.turn import Turn
    from holdfast_server.store.api import Batch


def put_destruction(activation: Activation, turn: Turn, batch: Batch) -> None:
    """Delete what the actor owns; nobody lives at its address any more."""
    node, actor_id = activation.node, activation.actor_id
    links, audiences, raw = node.links, node.audiences, node.raw
    gone = HoldfastError(errors.ACTOR_DESTROYED)
    turn.after(lambda: links.end_actor(actor_id), late=True)
    turn.after(lambda: raw.end_actor(actor_id), late=True)
    turn.after(lambda: audiences.close(actor_id, gone), late=True)
    node.event_logs.put_destruction(activation, batch)
    node.reply_sweep.note_destroyed(activation, batch)
    batch.delete(keys.directory_key(activation.address))
    batch.delete(keys.actor_key(actor_id))
    batch.delete(keys.state_key(actor_id))
    batch.delete(keys.kv_usage_key(actor_id))
    prefix = keys.kv_key(actor_id, b"")
    batch.delete_range(prefix, keys.prefix_end(prefix))
    agenda.put_destruction(activation, actor_id, batch)
    if has_rows(activation):
        for prefix in (keys.connection_prefix(actor_id), keys.message_prefix(actor_id)):
            batch.delete_range(prefix, keys.prefix_end(prefix))
    activation.info.tally.destroyed += 1
    activation.connections = None
    activation.actor_id = b""
    if activation.instance is not None:
        node.catalog.grew(activation, -activation.instance.state_bytes)
        activation.instance = None
    background.end_destroyed(activation)
    activation.expires_ms = None
