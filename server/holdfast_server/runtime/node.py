"""The runtime of one process: everything that rpc and gateway may ask for.

A node owns the activations of its shards, the committer, the outbox and the
sweep of stored replies. When the store fails, every activation is dropped, the
store is reopened under a new epoch, and only then does the next turn run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from google.protobuf.message import Message

from holdfast_server.core import errors
from holdfast_server.core.call import Answer, Call, Target
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.limits import Limits
from holdfast_server.core.values import Value
from holdfast_server.runtime import lifecycle
from holdfast_server.runtime.activation import Activation
from holdfast_server.runtime.catalog import Catalog
from holdfast_server.runtime.committer import Committer
from holdfast_server.runtime.dead_letters import DeadLetters
from holdfast_server.runtime.environment import Environment
from holdfast_server.runtime.execution import run_action
from holdfast_server.runtime.keyed import Flight, Identity, run_keyed
from holdfast_server.runtime.outbox import Outbox
from holdfast_server.runtime.recovery import Recovery
from holdfast_server.runtime.reply_sweep import ReplySweep
from holdfast_server.runtime.runners.api import Runner
from holdfast_server.runtime.streams import stream_action
from holdfast_server.store import keys
from holdfast_server.store.api import CorruptRecordError, Store, StoreError
from holdfast_server.store.decode import decode
from holdfast_server.store.v1 import records_pb2 as records
from holdfast_server.telemetry.observer import SILENT, Observer

log = logging.getLogger("holdfast.node")

R = TypeVar("R", bound=Message)

_LAST_SYNC_S = 5.0


class Node:
    """Runs actors over one store."""

    def __init__(
        self,
        *,
        store: Store,
        environment: Environment,
        limits: Limits,
        namespaces: frozenset[str],
        loop: asyncio.AbstractEventLoop,
        observer: Observer = SILENT,
        on_store_change: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.store = store
        self.environment = environment
        self.limits = limits
        self.namespaces = namespaces
        self.loop = loop
        self.observer = observer
        self.runner: Runner
        self.closed = False
        self.draining = False
        self._calls = 0
        self._drained: asyncio.Future[None] | None = None
        self.recovery = Recovery(self, on_store_change)
        self.committer = Committer(
            store=store,
            threads=environment.threads,
            loop=loop,
            stopwatch=environment.stopwatch,
            on_failure=self.recovery.failed,
            wait_s=limits.commit_wait_s,
        )
        self.catalog = Catalog(self)
        # Keyed calls that are running.
        self.flights: dict[Identity, Flight] = {}
        self.reply_sweep = ReplySweep(self)
        self.outbox = Outbox(self)
        self.dead_letters = DeadLetters(self)

    def start(self, runner: Runner) -> None:
        self.runner = runner
        self.reply_sweep.start()
        self.catalog.start()
        self.outbox.start()

    # What rpc and gateway ask for

    async def invoke(self, call: Call) -> Answer:
        """Run an action; see ActorService.InvokeAction."""
        activation = await self._begin(call)
        try:
            action = activation.info.action(call.action)
            if action.streaming:
                raise HoldfastError(errors.ACTION_WRONG_KIND)
            if call.key is None or action.read_only:
                return await run_action(activation, call, action, None)
            return await run_keyed(
                activation, call, lambda reply: run_action(activation, call, action, reply)
            )
        finally:
            self._end(activation)

    async def stream(self, call: Call) -> AsyncGenerator[Value, None]:
        """Run a streaming action; see ActorService.StreamAction."""
        activation = await self._begin(call)
        try:
            action = activation.info.action(call.action)
            if not action.streaming:
                raise HoldfastError(errors.ACTION_WRONG_KIND)
            async with aclosing(stream_action(activation, call, action)) as items:
                async for item in items:
                    yield item
        finally:
            self._end(activation)

    async def create(self, call: Call) -> tuple[bytes, records.ActorRecord, bool]:
        """Create or find-or-create; the actor, and whether this call created it."""
        activation = await self._begin(call)
        try:
            answer = await lifecycle.run_lifecycle(activation, call)
        finally:
            self._end(activation)
        address, made = activation.address, lifecycle.parse_creation(answer.value)
        record = records.ActorRecord(
            namespace=address.namespace,
            name=address.name,
            key=address.key,
            created_at_ms=made.at_ms,
        )
        return answer.actor_id, record, made.now

    async def destroy(self, call: Call) -> bytes:
        """Destroy an actor; its id."""
        activation = await self._begin(call)
        try:
            return (await lifecycle.run_lifecycle(activation, call)).actor_id
        finally:
            self._end(activation)

    async def get(self, target: Target) -> tuple[bytes, records.ActorRecord]:
        """The record of an existing actor, durable."""
        await self.ready()
        try:
            address = self.catalog.address_of(target)
            actor_id = self.read(keys.directory_key(address))
            record = self.decode(records.ActorRecord, keys.actor_key(actor_id or b""))
        finally:
            # Also that there is none may be news that is not durable yet.
            await self.committer.barrier()
        if actor_id is None or record is None or (target.actor_id or actor_id) != actor_id:
            raise HoldfastError(errors.ACTOR_NOT_FOUND)
        return actor_id, record

    async def list_actors(
        self, namespace: str, name: str, prefix: tuple[str, ...], after: bytes, limit: int
    ) -> tuple[list[tuple[bytes, records.ActorRecord]], bytes]:
        """One page of actors in key order, and where the next begins."""
        await self.ready()
        self.runner.info(name)
        start = keys.directory_prefix(namespace, name, prefix)
        end = keys.prefix_end(start)
        if after and not start <= after < end:
            raise invalid("page_token", "is not from this list")
        rows = self.scan(max(start, after), end, limit=limit + 1, reverse=False)
        more = rows[limit][0] if len(rows) > limit else b""
        found: list[tuple[bytes, records.ActorRecord]] = []
        for _, actor_id in rows[:limit]:
            record = self.decode(records.ActorRecord, keys.actor_key(actor_id))
            if record is not None:
                found.append((actor_id, record))
        await self.committer.barrier()
        return found, more

    async def kv_get(self, target: Target, names: list[bytes]) -> list[tuple[bytes, bytes]]:
        actor_id, _ = await self.get(target)
        rows = [(name, self.read(keys.kv_key(actor_id, name))) for name in names]
        await self.committer.barrier()
        return [(name, row) for name, row in rows if row is not None]

    async def kv_list(
        self, target: Target, start: bytes, end: bytes | None, limit: int, reverse: bool
    ) -> list[tuple[bytes, bytes]]:
        actor_id, _ = await self.get(target)
        prefix = keys.kv_key(actor_id, b"")
        high = keys.prefix_end(prefix) if end is None else prefix + end
        rows = self.scan_some(prefix + start, high, limit=limit, reverse=reverse)
        await self.committer.barrier()
        return [(key[len(prefix) :], value) for key, value in rows]

    def describe(self, name: str) -> list[Mapping[str, Any]]:
        names = [name] if name else self.runner.names()
        return [self.runner.info(each).describe() for each in sorted(names)]

    # What the rest of the runtime asks for

    def read(self, key: bytes) -> bytes | None:
        """A row as of the last submitted batch."""
        self.committer.apply()
        return self.read_written(key)

    def read_written(self, key: bytes) -> bytes | None:
        """A row as of the last batch that was written, which costs no write."""
        try:
            return self.store.get(key)
        except StoreError as error:
            raise HoldfastError(errors.STORE_UNAVAILABLE) from error

    def decode(self, kind: type[R], key: bytes) -> R | None:
        """The record under a key, as of the last submitted batch."""
        row = self.read(key)
        return None if row is None else self.decode_row(kind, key, row)

    def decode_row(self, kind: type[R], key: bytes, row: bytes) -> R:
        """The record in a row that was read; a corrupt one is logged and refused."""
        try:
            return decode(kind, key, row)
        except CorruptRecordError as error:
            log.error("%s", error)
            raise HoldfastError(errors.STORE_CORRUPT) from error

    def scan(
        self, start: bytes, end: bytes, *, limit: int, reverse: bool
    ) -> list[tuple[bytes, bytes]]:
        """Rows as of the last submitted batch."""
        self.committer.apply()
        return self.scan_written(start, end, limit=limit, reverse=reverse)

    def scan_some(
        self, start: bytes, end: bytes, *, limit: int, reverse: bool
    ) -> list[tuple[bytes, bytes]]:
        """The first rows, up to `limit`, until they have more than `kv_read_bytes_max`."""
        found: list[tuple[bytes, bytes]] = []
        size, chunk = 0, 16
        while len(found) < limit and size <= self.limits.kv_read_bytes_max:
            wanted = min(chunk, limit - len(found))
            rows = self.scan(start, end, limit=wanted, reverse=reverse)
            found += rows
            size += sum(len(key) + len(value) for key, value in rows)
            if len(rows) < wanted:
                break
            if reverse:
                end = rows[-1][0]
            else:
                start = rows[-1][0] + b"\x00"
            chunk *= 2
        return found

    def scan_written(
        self, start: bytes, end: bytes, *, limit: int, reverse: bool
    ) -> list[tuple[bytes, bytes]]:
        """Rows as of the last batch that was written."""
        try:
            return self.store.scan(start, end, limit=limit, reverse=reverse)
        except StoreError as error:
            raise HoldfastError(errors.STORE_UNAVAILABLE) from error

    def find_scope(self, scope: bytes) -> Activation | None:
        return self.catalog.find_scope(scope)

    def forget_replies(self, scope: bytes) -> None:
        """Rows of this scope were swept: read the table again when needed."""
        activation = self.catalog.find_scope(scope)
        if activation is not None:
            activation.replies = None

    async def ready(self) -> None:
        """Wait a little while the store is being reopened."""
        if self.committer.failed:
            await self.recovery.ready()

    async def _begin(self, call: Call) -> Activation:
        """Take a call in: it counts, and its activation stays, until `_end`."""
        if self.draining and call.origin is None:
            # What a running turn asks for belongs to what drain waits for.
            raise HoldfastError(errors.SERVER_DRAINING)
        if self.committer.failed:
            await self.recovery.ready()
        if self._calls >= self.limits.calls_max:
            raise HoldfastError(errors.SERVER_OVERLOADED)
        try:
            activation = self.catalog.use(call.target, keyed=call.key is not None)
        except HoldfastError as error:
            if error.reason is errors.ACTOR_NOT_FOUND:
                # That it is gone may be news that is not durable yet.
                await self.committer.barrier()
            raise
        self._calls += 1
        return activation

    def _end(self, activation: Activation) -> None:
        self.catalog.leave(activation)
        self._calls -= 1
        if not self._calls and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def drain(self, cut: Callable[[], Awaitable[None]] | None = None) -> None:
        """Refuse new calls, wait for running ones, `cut` the rest, sync."""
        limits = self.limits
        self.draining = True
        if self._calls:
            self._drained = self.loop.create_future()
            await asyncio.wait([self._drained], timeout=limits.drain_timeout_s)
        if self._calls:
            log.warning("%d calls did not end within %g s", self._calls, limits.drain_timeout_s)
            if cut is not None:
                await cut()
        self.outbox.stop()
        if not self.committer.failed:
            try:
                await asyncio.wait_for(self.committer.barrier(), _LAST_SYNC_S)
            except (HoldfastError, TimeoutError) as error:
                log.error("the last sync failed: %s", error or "it takes too long")
        self.closed = True
