"""Drops stored replies whose time has come, in the order of their due time.

A user's key is due 24 hours after its reply, and so is the tombstone of an actor
that was destroyed. An SDK client's replies at one
actor share one entry in the sweep's index, and are due once the client has been
silent everywhere for ten minutes; while it is heard, the entry moves on.
Nothing is scanned but what is due.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

from holdfast_server.core.call import CallKey, ClientKey
from holdfast_server.runtime.environment import housekeeping
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.core.replies import ClientReplies
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.node import Node

log = logging.getLogger("holdfast.replies")

_PAGE = 256
_INTERVAL_S = 5.0
_DUE_SHARED_MS = 1000


class _Heard:
    """When a client was last heard, in wall milliseconds."""

    __slots__ = ("at_ms", "client_id")

    def __init__(self, client_id: bytes, at_ms: int) -> None:
        self.client_id = client_id
        self.at_ms = at_ms


class ReplySweep:
    """The clock of stored replies."""

    def __init__(self, node: Node) -> None:
        self._node = node
        # SDK clients and when they were last heard, the longest silent first.
        self._heard: OrderedDict[bytes, _Heard] = OrderedDict()
        # No client that is not in it was heard later than this.
        self._silent_ms = node.environment.clock.now_ms()
        self._ttl_ms = int(node.limits.reply_client_ttl_s * 1000)
        # The due time of rows written lately: one number for very many clients.
        self._due_ms = 0
        self._key_ttl_ms = int(node.limits.reply_key_ttl_s * 1000)

    def hear(self, key: CallKey) -> None:
        """A client has called: its replies live on."""
        if not isinstance(key, ClientKey):
            return
        client_id, now_ms = key.client_id, self._node.environment.clock.now_ms()
        heard = self._heard.get(client_id)
        if heard is None:
            self._heard[client_id] = _Heard(client_id, now_ms)
            if len(self._heard) > self._node.limits.reply_clients_max:
                _, forgotten = self._heard.popitem(last=False)
                self._silent_ms = max(self._silent_ms, forgotten.at_ms)
        elif heard.at_ms != now_ms:
            heard.at_ms = now_ms
            self._heard.move_to_end(client_id)

    def shared_id(self, client_id: bytes) -> bytes:
        """The one copy of a client's id, for whatever is remembered of it."""
        heard = self._heard.get(client_id)
        return client_id if heard is None else heard.client_id

    def note_client(self, scope: bytes, client: ClientReplies, batch: Batch) -> None:
        """A reply row of a client is about to be written: make sure that the sweep meets it."""
        now = self._node.environment.clock.now_ms()
        if client.due_ms <= now:
            if now >= self._due_ms - self._ttl_ms + _DUE_SHARED_MS:
                self._due_ms = now + self._ttl_ms
            client.due_ms = self._due_ms
            rest = keys.client_reply_prefix(scope, client.client_id)[2:]
            batch.put(keys.reply_expiry_key(client.due_ms, rest), b"")

    def note_user(self, row_key: bytes, record: records.ReplyRecord, batch: Batch) -> None:
        """The same for the row of a user's key."""
        record.expires_at_ms = self._node.environment.clock.now_ms() + self._key_ttl_ms
        batch.put(keys.reply_expiry_key(record.expires_at_ms, row_key[2:]), b"")

    def note_destroyed(self, activation: Activation, batch: Batch) -> None:
        """An actor is about to be destroyed: calls by its id must still find their
        stored replies, which are those of its address."""
        prefix = keys.reply_prefix(activation.scope)
        end = keys.prefix_end(prefix)
        if activation.replies is None and not self._node.scan(prefix, end, limit=1, reverse=False):
            return
        actor_id, address = activation.actor_id, activation.address
        record = records.ActorRecord(
            namespace=address.namespace, name=address.name, key=address.key
        )
        batch.put(keys.tombstone_key(actor_id), record.SerializeToString())
        due_ms = self._node.environment.clock.now_ms() + self._key_ttl_ms
        batch.put(keys.tombstone_expiry_key(due_ms, actor_id), b"")

    def start(self) -> None:
        self._node.loop.call_later(_INTERVAL_S, self._tick)

    @housekeeping
    def _tick(self) -> None:
        if self._node.closed:
            return
        try:
            if not self._node.committer.failed:
                self.sweep()
        except Exception:
            log.exception("sweeping stored replies failed")
        self.start()

    def sweep(self) -> int:
        """Handle what is due; the number of index entries handled."""
        node = self._node
        now = node.environment.clock.now_ms()
        start, _ = keys.kind_range(keys.Kind.REPLY_EXPIRY)
        end = keys.reply_expiry_key(now, b"")
        rows = node.scan(start, end, limit=_PAGE, reverse=False)
        if not rows:
            return 0
        batch = Batch()
        for key, _ in rows:
            batch.delete(key)
            _, rest = keys.parse_reply_expiry_key(key)
            self._expire(rest, now, batch)
        node.committer.submit(batch, node.committer.epoch, None)
        return len(rows)

    def _expire(self, rest: bytes, now: int, batch: Batch) -> None:
        scope, kind = rest[:16], rest[16:17]
        if kind == keys.BURIED:
            batch.delete(keys.tombstone_key(rest[:16]))
            return
        prefix = keys.reply_prefix(b"")[:2] + rest
        if kind == keys.USER_KEY:
            record = self._node.decode(records.ReplyRecord, prefix)
            if record is None or record.expires_at_ms > now:
                return
            batch.delete(prefix)
        else:
            client_id = rest[17:33]
            heard = self._heard.get(client_id)
            due = (self._silent_ms if heard is None else heard.at_ms) + self._ttl_ms
            if due > now:
                batch.put(keys.reply_expiry_key(due, rest), b"")
                self._move(scope, client_id, due)
                return
            batch.delete_range(prefix, keys.prefix_end(prefix))
        self._node.forget_replies(scope)

    def _move(self, scope: bytes, client_id: bytes, due: int) -> None:
        activation = self._node.find_scope(scope)
        if activation is not None and activation.replies is not None:
            client = activation.replies.find_client(client_id)
            if client is not None:
                client.due_ms = due
