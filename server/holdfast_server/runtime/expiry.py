"""KV entries and actors that expire: gone at their time for everybody, deleted soon after.

A KV entry with a time to live carries its expiry before its value, and has a row in the
index of its actor. A state with one carries it in its record; when it has not changed for
so long, the whole actor is destroyed. Whichever of an actor is first has a row in the
index of timers (number 0), whose turn it is to delete what has expired and to stand for
the next.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from holdfast_server.core import errors, schedule
from holdfast_server.core.errors import HoldfastError
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.runtime.node import Node

_HEADER: Final = 1 + 8


def expiring(typed: bytes, expires_ms: int) -> bytes:
    """A value with its type byte, as it is stored with an expiry."""
    return typed[:1].upper() + expires_ms.to_bytes(8) + typed[1:]


def expiry_of(stored: bytes) -> int | None:
    """When a stored value expires; None for never."""
    return int.from_bytes(stored[1:_HEADER]) if stored[:1].isupper() else None


def live(stored: bytes, now_ms: int) -> bytes | None:
    """The value with its type byte, as it was put; None when it has expired."""
    if not stored[:1].isupper():
        return stored
    if int.from_bytes(stored[1:_HEADER]) <= now_ms:
        return None
    return stored[:1].lower() + stored[_HEADER:]


def expires_at(ttl: Any, now_ms: int) -> int:
    """When a value put now with `ttl` expires; KV_INVALID_TTL for what is no length of time."""
    try:
        if not isinstance(ttl, timedelta):
            schedule.span_ms("ttl", ttl)
        due_ms = schedule.due_after(ttl, now_ms)
    except HoldfastError as error:
        text = error.message.replace("delay:", "ttl:", 1)
        raise HoldfastError(errors.KV_INVALID_TTL, text, metadata={"field": "ttl"}) from None
    if due_ms <= now_ms:
        raise HoldfastError(
            errors.KV_INVALID_TTL, f"ttl: more than no time, not {ttl!r}", metadata={"field": "ttl"}
        )
    return due_ms


def expires_at_ms(node: Node, actor_id: bytes) -> int:
    """From when an actor counts as gone, by its stored state; 0 for never."""
    record = node.decode(records.StateRecord, keys.state_key(actor_id))
    return 0 if record is None else record.expires_at_ms


def lapsed(node: Node, actor_id: bytes, name: str) -> bool:
    """Whether an actor that need not be in memory counts as gone."""
    if node.runner.info(name).state_ttl_s is None:
        return False
    return 0 < expires_at_ms(node, actor_id) <= node.environment.clock.now_ms()


def sweep(node: Node, actor_id: bytes, due_ms: int) -> bool:
    """Delete expired entries of one actor; the timer that stood for them was at `due_ms`.
    Whether there are more of that time.

    Nothing here waits, so that no turn of the actor can commit in between.
    """
    now_ms, most = node.environment.clock.now_ms(), node.limits.kv_expire_batch_max
    batch, freed = Batch(), 0
    batch.delete(keys.timer_key(due_ms, actor_id, 0))
    agenda_key = keys.agenda_key(actor_id)
    agenda = node.decode(records.AgendaRecord, agenda_key)
    if agenda is not None and agenda.sweep_due_ms != due_ms:
        agenda = None
    if agenda is not None:
        start = keys.kv_expiry_prefix(actor_id)
        end = keys.kv_expiry_key(actor_id, now_ms + 1)
        for key, _ in node.scan(start, end, limit=most, reverse=False):
            expires_ms, name = keys.parse_kv_expiry_key(key)
            batch.delete(key)
            row = keys.kv_key(actor_id, name)
            stored = node.read(row)
            if stored is not None and expiry_of(stored) == expires_ms:
                batch.delete(row)
                freed += len(name) + len(stored)
        _put_rest(node, actor_id, agenda, batch, freed, now_ms)
    committer = node.committer
    committer.submit(batch, committer.epoch, None)
    committer.apply()
    return agenda is not None and agenda.sweep_due_ms == due_ms


def _put_rest(
    node: Node,
    actor_id: bytes,
    agenda: records.AgendaRecord,
    batch: Batch,
    freed: int,
    now_ms: int,
) -> None:
    """The bytes that are left, and the timer for what expires next."""
    if freed:
        usage_key = keys.kv_usage_key(actor_id)
        used = int.from_bytes(node.read(usage_key) or b"") - freed
        batch.put(usage_key, max(used, 0).to_bytes(8))
    swept = {key for _, key, _ in batch.ops}
    start = keys.kv_expiry_prefix(actor_id)
    following = node.scan(start, keys.prefix_end(start), limit=len(swept) + 1, reverse=False)
    left = next((key for key, _ in following if key not in swept), None)
    # A state that has expired is not waited for: whoever sweeps destroys its actor.
    due = [expires_at_ms(node, actor_id)]
    due = [each_ms for each_ms in due if each_ms > now_ms]
    if left is not None:
        due.append(keys.parse_kv_expiry_key(left)[0])
    agenda.sweep_due_ms = min(due, default=0)
    if due:
        batch.put(keys.timer_key(agenda.sweep_due_ms, actor_id, 0), b"")
        node.timers.wake(agenda.sweep_due_ms)
    batch.put(keys.agenda_key(actor_id), agenda.SerializeToString())
