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
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.events import Connect, Subscribe
from holdfast_server.core.ids import Address, address_of
from holdfast_server.core.limits import Limits
from holdfast_server.core.values import Value
from holdfast_server.runtime import lifecycle
from holdfast_server.runtime.activation import Activation
from holdfast_server.runtime.audience import Audiences, Subscriber
from holdfast_server.runtime.catalog import Catalog
from holdfast_server.runtime.committer import Committer
from holdfast_server.runtime.connecting import (
    DISCONNECT,
    connect,
    end_connection,
)
from holdfast_server.runtime.dead_letters import DeadLetters
from holdfast_server.runtime.direct import Direct
from holdfast_server.runtime.environment import Environment
from holdfast_server.runtime.event_log import EventLogs
from holdfast_server.runtime.event_sweep import EventSweep
from holdfast_server.runtime.execution import run_action
from holdfast_server.runtime.keyed import Claim, Identity, run_keyed, run_once
from holdfast_server.runtime.links import Links, NodeLink
from holdfast_server.runtime.lookup import Lookup
from holdfast_server.runtime.outbox import Outbox
from holdfast_server.runtime.raw import Raw
from holdfast_server.runtime.readers import Peer, Reader
from holdfast_server.runtime.recovery import Recovery
from holdfast_server.runtime.reply_sweep import ReplySweep
from holdfast_server.runtime.runners.api import Runner
from holdfast_server.runtime.schedules import ScheduleDesk
from holdfast_server.runtime.sleep import Sleeper
from holdfast_server.runtime.streams import stream_action
from holdfast_server.runtime.subscribing import call_of, check_request, subscribe
from holdfast_server.runtime.tally import NodeTally
from holdfast_server.runtime.timers import Timers
from holdfast_server.runtime.turn import ReplyWriter
from holdfast_server.runtime.visiting import has_hooks, run_visit
from holdfast_server.store import keys
from holdfast_server.store.api import CorruptRecordError, Store, StoreError
from holdfast_server.store.decode import decode
from holdfast_server.store.v1 import records_pb2 as records
from holdfast_server.telemetry.observer import SILENT, Observer

log = logging.getLogger("holdfast.node")

R = TypeVar("R", bound=Message)
T = TypeVar("T")

_LAST_SYNC_S = 5.0
# For on_sleep of the actors that were busy until the drain's time was up.
_LAST_SLEEPS_S = 2.0


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
        self.tally = NodeTally()
        self.stopwatch = environment.stopwatch
        self._calls = 0
        self._moment = 0.0
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
        self.lookup = Lookup(self)
        self.sleeper = Sleeper(self)
        # Keyed calls that are running.
        self.flights: dict[Identity, Claim] = {}
        self.reply_sweep = ReplySweep(self)
        self.direct = Direct(self)
        self.outbox = Outbox(self)
        self.dead_letters = DeadLetters(self)
        self.event_logs = EventLogs(self)
        self.event_sweep = EventSweep(self)
        self.audiences = Audiences(self)
        self.links = Links(self)
        self.raw = Raw(self)
        self.timers = Timers(self)
        self.schedules = ScheduleDesk(self)

    def start(self, runner: Runner) -> None:
        self.runner = runner
        self.reply_sweep.start()
        self.event_sweep.start()
        self.catalog.start()
        self.outbox.start()
        self.links.start()
        self.timers.start()

    # What rpc and gateway ask for

    async def invoke(self, call: Call) -> Answer:
        """Run an action; see ActorService.InvokeAction."""
        # As `run` does it, but in place: nearly every call comes this way.
        began, tally = self.stopwatch(), None
        try:
            activation = await self._begin(call)
            try:
                action = activation.info.action(call.action)
                tally = action.tally
                if action.streaming:
                    raise HoldfastError(errors.ACTION_WRONG_KIND)
                run = run_visit if has_hooks(activation, call) else run_action
                if call.key is None or action.read_only:
                    answer = await run(activation, call, action, None)
                else:
                    answer = await run_keyed(
                        activation, call, lambda reply: run(activation, call, action, reply)
                    )
                tally.durations.take(self.stopwatch() - began)
                return answer
            except HoldfastError as error:
                if not self.sleeper.missed(activation, call, error):
                    raise
            finally:
                self.end(activation)
        except BaseException as error:
            self.tally.failed(error, self.stopwatch() - began, tally)
            raise
        return await self.invoke(call)

    async def stream(self, call: Call) -> AsyncGenerator[Value, None]:
        """Run a streaming action; see ActorService.StreamAction."""
        # As `run` does it: what is missed has run nothing, and so given no item.
        began, tally = self.stopwatch(), None
        try:
            activation = await self._begin(call)
            try:
                action = activation.info.action(call.action)
                tally = action.tally
                if not action.streaming:
                    raise HoldfastError(errors.ACTION_WRONG_KIND)
                async with aclosing(stream_action(activation, call, action)) as items:
                    async for item in items:
                        yield item
                tally.durations.take(self.stopwatch() - began)
                return
            except HoldfastError as error:
                if not self.sleeper.missed(activation, call, error):
                    raise
            finally:
                self.end(activation)
        except BaseException as error:
            self.tally.failed(error, self.stopwatch() - began, tally)
            raise
        async with aclosing(self.stream(call)) as items:
            async for item in items:
                yield item

    async def subscribe(self, request: Subscribe, reader: Reader) -> Subscriber:
        """Listen to an actor; see EventService.SubscribeEvents."""
        check_request(request, self.limits)
        return await self.run(
            call_of(request), lambda activation: subscribe(activation, request, reader)
        )

    async def connect(self, request: Connect, peer: Peer) -> NodeLink:
        """Open a connection for `peer`, or attach it to one that is open; see
        SessionService.OpenSession. Returns when the peer has been told."""
        return await connect(self, request, peer)

    async def disconnect(
        self,
        actor_id: bytes,
        connection_id: bytes,
        reason: str,
        *,
        unless_attached: bool = False,
    ) -> None:
        """End a connection, durably; nothing if it is over, or if a client is there and
        must not be."""
        await self.ready()
        record = self.decode(records.ActorRecord, keys.actor_key(actor_id))
        if record is None:
            return
        await self.run(
            Call(target=Target(address=address_of(record)), action=DISCONNECT),
            lambda activation: end_connection(
                activation, actor_id, connection_id, reason, unless_attached=unless_attached
            ),
        )

    async def create(self, call: Call) -> tuple[bytes, records.ActorRecord, bool]:
        """Create or find-or-create; the actor, and whether this call created it."""

        async def run(activation: Activation) -> tuple[Address, Answer]:
            return activation.address, await lifecycle.run_lifecycle(activation, call)

        address, answer = await self.run(call, run)
        made = lifecycle.parse_creation(answer.value)
        record = records.ActorRecord(
            namespace=address.namespace,
            name=address.name,
            key=address.key,
            created_at_ms=made.at_ms,
        )
        return answer.actor_id, record, made.now

    async def destroy(self, call: Call) -> bytes:
        """Destroy an actor; its id."""
        answer = await self.run(call, lambda activation: lifecycle.run_lifecycle(activation, call))
        return answer.actor_id

    async def hold(
        self, call: Call, run: Callable[[Activation, ReplyWriter | None], Awaitable[Answer]]
    ) -> Answer:
        """Run what is no action with the activation of a call, once for its key."""
        return await self.run(
            call,
            lambda activation: run_once(activation, call, lambda reply: run(activation, reply)),
        )

    def describe(self, name: str) -> list[Mapping[str, Any]]:
        names = [name] if name else self.runner.names()
        return [self.runner.info(each).describe() for each in sorted(names)]

    # What the rest of the runtime asks for

    def moment(self) -> float:
        """The loop's time, one object for all who ask at the same time: each of very many
        actors remembers when it was used last, and uvloop counts in milliseconds."""
        now = self.loop.time()
        if now != self._moment:
            self._moment = now
        return self._moment

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

    async def run(self, call: Call, run: Callable[[Activation], Awaitable[T]]) -> T:
        """Run something with the activation of a call; with the next one, where that fell
        asleep just before."""
        while True:
            try:
                activation = await self._begin(call)
                try:
                    return await run(activation)
                except HoldfastError as error:
                    if not self.sleeper.missed(activation, call, error):
                        raise
                finally:
                    self.end(activation)
            except BaseException as error:
                self.tally.failed(error, 0.0, None)
                raise

    @property
    def calls(self) -> int:
        """Calls and streams in progress."""
        return self._calls

    async def _begin(self, call: Call) -> Activation:
        """Take a call in: it counts, and its activation stays, until `end`."""
        if self.draining and call.origin is None and call.caller is None:
            # What a running turn or background work asks for belongs to what drain waits for.
            raise HoldfastError(errors.SERVER_DRAINING)
        if self.committer.failed:
            await self.recovery.ready()
        if self._calls >= self.limits.calls_max:
            raise HoldfastError(errors.SERVER_OVERLOADED)
        activation = await self._use(call)
        self._calls += 1
        if activation.background is not None and not self.sleeper.lets_in(activation, call):
            activation = await self._when_asleep(activation, call)
        if activation.info.state_ttl_s is not None and call.action != lifecycle.EXPIRE:
            try:
                await self._expire(activation, call)
            except BaseException as error:
                self.end(activation)
                if isinstance(error, HoldfastError) and self.sleeper.missed(
                    activation, call, error
                ):
                    return await self._begin(call)
                raise
        return activation

    def begin_now(self, call: Call) -> Activation | None:
        """As `_begin`, where nothing has to be waited for and nobody to be woken or refused;
        None where something has, and nothing is taken in."""
        if self.draining or self.committer.failed or self._calls >= self.limits.calls_max:
            return None
        activation = self.catalog.find(call.target.address)
        if (
            activation is None
            or activation.instance is None
            or activation.background is not None
            or activation.info.state_ttl_s is not None
            or activation.epoch != self.committer.epoch
            or not activation.mailbox.idle
        ):
            return None
        self._calls += 1
        activation.users += 1
        return activation

    def end(self, activation: Activation) -> None:
        """A call that was taken in is over."""
        self.catalog.leave(activation)
        self._calls -= 1
        if not self._calls and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def _use(self, call: Call) -> Activation:
        try:
            return self.catalog.use(call.target, keyed=call.key is not None)
        except HoldfastError as error:
            if error.reason is errors.ACTOR_NOT_FOUND:
                # That it is gone may be news that is not durable yet.
                await self.committer.barrier()
            raise

    async def _when_asleep(self, activation: Activation, call: Call) -> Activation:
        """The activation that follows one that goes to sleep."""
        try:
            while not self.sleeper.lets_in(activation, call):
                await self.sleeper.wait(activation, call)
                if self.committer.failed:
                    await self.recovery.ready()
                following = await self._use(call)
                self.catalog.leave(activation)
                activation = following
        except BaseException:
            self.end(activation)
            raise
        return activation

    async def _expire(self, activation: Activation, call: Call) -> None:
        """An actor whose state has expired is gone for whoever comes, swept or not."""
        busy = bool(activation.mailbox.running)
        if not activation.lapsed() or (busy and activation.info.reentrant):
            return
        address = Target(address=activation.address)
        expire = Call(
            target=address, action=lifecycle.EXPIRE, deadline=call.deadline, origin=call.origin
        )
        await lifecycle.run_lifecycle(activation, expire)

    async def expire(self, actor_id: bytes, namespace: str) -> None:
        """Destroy an actor if its state has expired."""
        target = Target(actor_id=actor_id, namespace=namespace)
        await self.destroy(Call(target=target, action=lifecycle.EXPIRE))

    async def drain(self, cut: Callable[[], Awaitable[None]] | None = None) -> None:
        """Refuse new calls, wait for running ones, `cut` the rest, put to sleep whoever
        has something to do before it, sync."""
        limits, loop = self.limits, self.loop
        self.draining, until = True, loop.time() + limits.drain_timeout_s
        self.timers.stop()
        self.sleeper.begin_idle(until)
        self.raw.drain()
        if self._calls:
            self._drained = loop.create_future()
            await asyncio.wait([self._drained], timeout=limits.drain_timeout_s)
        self.audiences.shutdown(HoldfastError(errors.SERVER_DRAINING))
        if self._calls:
            log.warning("%d calls did not end within %g s", self._calls, limits.drain_timeout_s)
            if cut is not None:
                await cut()
        self.timers.cut()
        await self.sleeper.drain(max(until, loop.time() + _LAST_SLEEPS_S))
        self.outbox.stop()
        await self.links.drain()
        await self.raw.drained()
        if not self.committer.failed:
            try:
                await asyncio.wait_for(self.committer.barrier(), _LAST_SYNC_S)
            except (HoldfastError, TimeoutError) as error:
                log.error("the last sync failed: %s", error or "it takes too long")
        self.closed = True
