"""The runtime of one process: everything that rpc and gateway may ask for.

A node owns the activations of its shards, the committer, the outbox and the
sweep of stored replies. When the store fails, every activation is dropped, the
store is reopened under a new epoch, and only then does the next turn run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import contextmanager
from typing import Any

from holdfast_server.core import errors
from holdfast_server.core.call import Answer, Call, Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import Address, scope_of
from holdfast_server.core.limits import Limits
from holdfast_server.core.mailbox import Mode
from holdfast_server.core.values import Value
from holdfast_server.runtime.activation import Activation
from holdfast_server.runtime.catalog import Catalog
from holdfast_server.runtime.committer import Committer
from holdfast_server.runtime.environment import Environment
from holdfast_server.runtime.keyed import run_keyed
from holdfast_server.runtime.outbox import Outbox
from holdfast_server.runtime.reply_sweep import ReplySweep
from holdfast_server.runtime.runners.api import Runner
from holdfast_server.runtime.streams import stream_action
from holdfast_server.runtime.turn import Turn
from holdfast_server.store import keys
from holdfast_server.store.api import Store, StoreError
from holdfast_server.store.v1 import records_pb2 as records

log = logging.getLogger("holdfast.node")


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
    ) -> None:
        self.store = store
        self.environment = environment
        self.limits = limits
        self.namespaces = namespaces
        self.loop = loop
        self.runner: Runner
        self.closed = False
        self.draining = False
        self._calls = 0
        self._reopening: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self.last_store_error = ""
        self.committer = Committer(
            store=store, threads=environment.threads, loop=loop, on_failure=self._on_store_failure
        )
        self.catalog = Catalog(self)
        self.reply_sweep = ReplySweep(self)
        self.outbox = Outbox(self)

    def start(self, runner: Runner) -> None:
        self.runner = runner
        self.reply_sweep.start()
        self.catalog.start()
        self.outbox.start()

    # What rpc and gateway ask for

    async def invoke(self, call: Call) -> Answer:
        """Run an action; see ActorService.InvokeAction."""
        with self._counted():
            await self.ready()
            activation = self.catalog.resolve(call.target)
            with self.catalog.using(activation):
                action = activation.info.action(call.action)
                if action.streaming:
                    raise HoldfastError(errors.ACTION_WRONG_KIND)
                if call.key is None or action.read_only:
                    return await activation.run(call, action, None)
                self.reply_sweep.hear(call.key)
                return await run_keyed(
                    activation, call, lambda reply: activation.run(call, action, reply)
                )

    async def stream(self, call: Call) -> AsyncIterator[Value]:
        """Run a streaming action; see ActorService.StreamAction."""
        with self._counted():
            await self.ready()
            activation = self.catalog.resolve(call.target)
            with self.catalog.using(activation):
                action = activation.info.action(call.action)
                if not action.streaming:
                    raise HoldfastError(errors.ACTION_WRONG_KIND)
                items = stream_action(activation, call, action)
                try:
                    async for item in items:
                        yield item
                finally:
                    await items.aclose()

    async def lifecycle(self, call: Call) -> tuple[Activation, bytes, bool]:
        """Create, find-or-create or destroy; see `runtime/lifecycle.py`."""
        from holdfast_server.runtime.lifecycle import run_lifecycle

        with self._counted():
            await self.ready()
            activation = self.catalog.resolve(call.target)
            with self.catalog.using(activation):
                return await run_lifecycle(activation, call)

    async def get(self, target: Target) -> tuple[bytes, records.ActorRecord]:
        """The record of an existing actor, durable."""
        await self.ready()
        address = self.catalog.address_of(target)
        actor_id = self.read(keys.directory_key(address))
        row = self.read(keys.actor_key(actor_id)) if actor_id else None
        await self.committer.barrier()
        if actor_id is None or row is None or (target.actor_id or actor_id) != actor_id:
            raise HoldfastError(errors.ACTOR_NOT_FOUND)
        return actor_id, records.ActorRecord.FromString(row)

    async def list_actors(
        self, namespace: str, name: str, prefix: tuple[str, ...], after: bytes, limit: int
    ) -> tuple[list[tuple[bytes, records.ActorRecord]], bytes]:
        """One page of actors in key order, and where the next begins."""
        await self.ready()
        self.runner.info(name)
        start = keys.directory_prefix(namespace, name, prefix)
        end = keys.prefix_end(start)
        rows = self.scan(max(start, after), end, limit=limit + 1, reverse=False)
        more = rows[limit][0] if len(rows) > limit else b""
        found: list[tuple[bytes, records.ActorRecord]] = []
        for _, actor_id in rows[:limit]:
            row = self.read(keys.actor_key(actor_id))
            if row is not None:
                found.append((actor_id, records.ActorRecord.FromString(row)))
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
        rows = self.scan(prefix + start, high, limit=limit, reverse=reverse)
        await self.committer.barrier()
        return [(key[len(prefix) :], value) for key, value in rows]

    def describe(self, name: str) -> list[Mapping[str, Any]]:
        names = [name] if name else self.runner.names()
        return [self.runner.info(each).describe() for each in sorted(names)]

    # What the rest of the runtime asks for

    def read(self, key: bytes) -> bytes | None:
        """A row as of the last submitted batch."""
        self.committer.apply()
        try:
            return self.store.get(key)
        except StoreError as error:
            raise HoldfastError(errors.STORE_UNAVAILABLE) from error

    def scan(
        self, start: bytes, end: bytes, *, limit: int, reverse: bool
    ) -> list[tuple[bytes, bytes]]:
        """Rows as of the last submitted batch."""
        self.committer.apply()
        try:
            return self.store.scan(start, end, limit=limit, reverse=reverse)
        except StoreError as error:
            raise HoldfastError(errors.STORE_UNAVAILABLE) from error

    def find_scope(self, scope: bytes) -> Activation | None:
        return self.catalog.find_scope(scope)

    def forget_replies(self, scope: bytes) -> None:
        """Rows of this scope were swept: read the table again when needed."""
        activation = self.catalog.find_scope(scope)
        replies = activation.replies if activation is not None else None
        if activation is not None and replies is not None and not replies.in_flight:
            activation.replies = None

    def make_turn(self, activation: Activation) -> Turn:
        """A turn for code outside a call: `c.turn()`."""
        return Turn(activation, Mode.EXCLUSIVE, None, "")

    async def ready(self) -> None:
        """Wait while the store is being reopened; refuse when draining."""
        if self.draining:
            raise HoldfastError(errors.SERVER_DRAINING)
        if self._reopening is not None:
            await asyncio.shield(self._reopening)

    def scope(self, address: Address) -> bytes:
        return scope_of(address)

    @contextmanager
    def _counted(self) -> Any:
        if self._calls >= self.limits.calls_max:
            raise HoldfastError(errors.SERVER_OVERLOADED)
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            if not self._calls and self._drained is not None and not self._drained.done():
                self._drained.set_result(None)

    # Store failure and the end

    def _on_store_failure(self, cause: BaseException) -> None:
        self.last_store_error = str(cause)
        log.error("the store failed, reopening: %s", cause)
        self.catalog.drop_all()
        self._reopening = self.loop.create_future()
        self.loop.create_task(self._reopen())

    async def _reopen(self) -> None:
        while not self.closed:
            if self.committer.quiet:
                try:
                    epoch = self.store.reopen()
                except (StoreError, OSError) as error:
                    self.last_store_error = str(error)
                    log.error("reopening the store failed: %s", error)
                else:
                    self.committer.reopened(epoch)
                    self.last_store_error = ""
                    log.info("the store is open again, epoch %d", epoch)
                    self.outbox.restart()
                    break
            await asyncio.sleep(self.limits.store_reopen_s)
        reopening, self._reopening = self._reopening, None
        if reopening is not None:
            reopening.set_result(None)

    async def drain(self) -> None:
        """Refuse new calls, wait for running ones, sync."""
        self.draining = True
        if self._calls:
            self._drained = self.loop.create_future()
            await asyncio.wait([self._drained], timeout=self.limits.drain_timeout_s)
        self.outbox.stop()
        if not self.committer.failed:
            await self.committer.barrier()
        self.closed = True
