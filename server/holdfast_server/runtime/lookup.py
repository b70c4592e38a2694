"""What is read of actors from outside: their records, lists of them, their KV.

Nothing of it wakes an actor, and nothing is told before it is durable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.call import Target
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.runtime.expiry import lapsed, live
from holdfast_server.store import keys
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.runtime.node import Node


class Lookup:
    """Reads of one node's actors."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def same(self, one: Target, other: Target) -> bool:
        """Whether two targets are of one address; not where one is of nobody."""
        catalog = self._node.catalog
        try:
            return catalog.address_of(one) == catalog.address_of(other)
        except HoldfastError:
            return False

    async def get(self, target: Target) -> tuple[bytes, records.ActorRecord]:
        """The record of an existing actor, durable."""
        node = self._node
        await node.ready()
        try:
            address = node.catalog.address_of(target)
            actor_id = node.read(keys.directory_key(address))
            record = node.decode(records.ActorRecord, keys.actor_key(actor_id or b""))
            if actor_id and lapsed(node, actor_id, address.name):
                record = None
        finally:
            # Also that there is none may be news that is not durable yet.
            await node.committer.barrier()
        if actor_id is None or record is None or (target.actor_id or actor_id) != actor_id:
            raise HoldfastError(errors.ACTOR_NOT_FOUND)
        return actor_id, record

    async def list_actors(
        self, namespace: str, name: str, prefix: tuple[str, ...], after: bytes, limit: int
    ) -> tuple[list[tuple[bytes, records.ActorRecord]], bytes]:
        """One page of actors in key order, and where the next begins."""
        node = self._node
        await node.ready()
        node.runner.info(name)
        start = keys.directory_prefix(namespace, name, prefix)
        end = keys.prefix_end(start)
        if after and not start <= after < end:
            raise invalid("page_token", "is not from this list")
        rows = node.scan(max(start, after), end, limit=limit + 1, reverse=False)
        more = rows[limit][0] if len(rows) > limit else b""
        found: list[tuple[bytes, records.ActorRecord]] = []
        for _, actor_id in rows[:limit]:
            record = node.decode(records.ActorRecord, keys.actor_key(actor_id))
            if record is not None and not lapsed(node, actor_id, name):
                found.append((actor_id, record))
        await node.committer.barrier()
        return found, more

    async def kv_get(self, target: Target, names: list[bytes]) -> list[tuple[bytes, bytes]]:
        """Those of the named entries that there are, with their values."""
        node = self._node
        actor_id, _ = await self.get(target)
        rows = [(name, node.read(keys.kv_key(actor_id, name))) for name in names]
        await node.committer.barrier()
        now_ms = node.environment.clock.now_ms()
        found = [(name, live(row, now_ms)) for name, row in rows if row is not None]
        return [(name, value) for name, value in found if value is not None]

    async def kv_list(
        self, target: Target, start: bytes, end: bytes | None, limit: int, reverse: bool
    ) -> list[tuple[bytes, bytes]]:
        """The first entries of a range, at most `limit`, and of what has expired none."""
        node = self._node
        actor_id, _ = await self.get(target)
        prefix = keys.kv_key(actor_id, b"")
        high = keys.prefix_end(prefix) if end is None else prefix + end
        low, now_ms = prefix + start, node.environment.clock.now_ms()
        found: list[tuple[bytes, bytes]] = []
        while len(found) < limit:
            rows = node.scan_some(low, high, limit=limit - len(found), reverse=reverse)
            alive = [(key, live(row, now_ms)) for key, row in rows]
            found += [(key[len(prefix) :], value) for key, value in alive if value is not None]
            # A page ends where expired entries are no part of it.
            if not rows or all(value is not None for _, value in alive):
                break
            if reverse:
                high = rows[-1][0]
            else:
                low = rows[-1][0] + b"\x00"
        await node.committer.barrier()
        return found
