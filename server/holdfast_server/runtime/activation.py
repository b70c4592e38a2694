"""One actor in memory: its mailbox, its start, its turns, its commits.

An activation stands for an address, whether an actor exists there or not, so
that create, destroy and calls of one key are serialised by one mailbox. A turn
runs in the task of whoever called; when it ends, its effects are handed to the
committer and the mailbox goes on with the next turn, while the caller waits
until everything it could have seen is synced (the output gate).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.call import Answer, Call
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import Address, make_actor_id
from holdfast_server.core.mailbox import Mailbox, MailboxFull, Mode
from holdfast_server.core.values import Durability, Value
from holdfast_server.core.waits import find_cycle
from holdfast_server.runtime.runners.api import ActionInfo, ActorInfo, Instance
from holdfast_server.runtime.turn import Turn
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.core.replies import ReplyTable
    from holdfast_server.runtime.node import Node

log = logging.getLogger("holdfast.actor")


class Activation:
    """The in-memory life of one address."""

    __slots__ = (
        "actor_id",
        "address",
        "created_at_ms",
        "epoch",
        "info",
        "instance",
        "last_commit",
        "last_used",
        "mailbox",
        "node",
        "replies",
        "scope",
        "starting",
        "users",
    )

    def __init__(self, node: Node, address: Address, scope: bytes, info: ActorInfo) -> None:
        self.node = node
        self.address = address
        self.scope = scope
        self.info = info
        self.epoch = node.committer.epoch
        limit = info.mailbox_max or node.limits.mailbox_max
        self.mailbox: Mailbox[Turn] = Mailbox(limit)
        self.instance: Instance | None = None
        self.replies: ReplyTable | None = None
        self.starting: asyncio.Future[None] | None = None
        # Number of this activation's last commit: what its readers may have seen.
        self.last_commit = node.committer.submitted
        self.last_used = 0.0
        # Calls that refer to this activation; it is not evicted while there are any.
        self.users = 0
        self.actor_id = node.read(keys.directory_key(address)) or b""
        self.created_at_ms = 0

    @property
    def exists(self) -> bool:
        return bool(self.actor_id)

    # Turns

    @asynccontextmanager
    async def holding(self, turn: Turn, origin: Turn | None) -> AsyncIterator[None]:
        """Hold the actor for `turn`; waits in the mailbox, fails on a cycle."""
        if origin is not None:
            origin.targets.append(self)
        try:
            await self._admit(turn, origin)
            try:
                yield
            finally:
                turn.ended = True
                self._wake(self.mailbox.release(turn, turn.mode))
        finally:
            if origin is not None:
                origin.targets.remove(self)

    async def _admit(self, turn: Turn, origin: Turn | None) -> None:
        joins = False
        if origin is not None and turn.mode is not Mode.READ_ONLY and self.mailbox.running:
            chain = find_cycle(origin, turn.label, self.mailbox.running)
            if chain is not None:
                if not self.info.reentrant:
                    text = " -> ".join(chain)
                    raise HoldfastError(
                        errors.CALL_CYCLE, f"call cycle: {text}", metadata={"chain": text}
                    )
                joins = True
        try:
            if self.mailbox.offer(turn, turn.mode, joins=joins):
                return
        except MailboxFull:
            raise HoldfastError(errors.ACTOR_OVERLOADED) from None
        admitted = turn.admitted = self.node.loop.create_future()
        try:
            async with asyncio.timeout_at(turn.deadline):
                await admitted
        except BaseException as error:
            if admitted.done() and not admitted.cancelled():
                self._wake(self.mailbox.release(turn, turn.mode))
            else:
                self._wake(self.mailbox.withdraw(turn))
            if isinstance(error, TimeoutError):
                raise HoldfastError(errors.DEADLINE_EXCEEDED) from None
            raise

    @staticmethod
    def _wake(admitted: list[Turn]) -> None:
        for turn in admitted:
            future = turn.admitted
            if future is not None and not future.done():
                future.set_result(None)

    # Start

    async def ensure_started(self, create: bool, value: Value | None) -> bool:
        """Load or create the actor; whether this call created it."""
        while self.instance is None:
            if self.starting is not None:
                await asyncio.shield(self.starting)
                continue
            if not self.actor_id and not create:
                raise HoldfastError(errors.ACTOR_NOT_FOUND)
            self.starting = self.node.loop.create_future()
            try:
                return await self._start(value)
            finally:
                self.starting.set_result(None)
                self.starting = None
        return False

    async def _start(self, value: Value | None) -> bool:
        created = not self.actor_id
        node = self.node
        turn = Turn(self, Mode.EXCLUSIVE, None, "")
        stored: tuple[int, bytes] | None = None
        if created:
            self.info.check_input(value)
            self.actor_id = make_actor_id(self.scope, node.environment.secret_bytes(14))
            self.created_at_ms = node.environment.clock.now_ms()
        else:
            actor = records.ActorRecord.FromString(node.read(keys.actor_key(self.actor_id)) or b"")
            self.created_at_ms = actor.created_at_ms
            row = node.read(keys.state_key(self.actor_id))
            if row is not None:
                state = records.StateRecord.FromString(row)
                stored = (state.schema_version, state.data)
        instance = node.runner.make(self)
        try:
            await instance.start(turn, stored, value, created)
            batch = turn.take()
            self.put_state(instance, turn, batch)
            if created:
                self._put_existence(batch, value)
            if batch:
                self.commit(batch, turn)
        except BaseException:
            if created:
                self.actor_id = b""
            raise
        finally:
            turn.ended = True
        self.instance = instance
        return created

    def _put_existence(self, batch: Batch, value: Value | None) -> None:
        address = self.address
        record = records.ActorRecord(
            namespace=address.namespace,
            name=address.name,
            key=address.key,
            created_at_ms=self.created_at_ms,
            initialized=True,
        )
        if value is not None:
            record.input_encoding, record.input = value
        batch.put(keys.directory_key(address), self.actor_id)
        batch.put(keys.actor_key(self.actor_id), record.SerializeToString())

    # Running an action

    async def run(self, call: Call, action: ActionInfo, reply: ReplyWriter | None) -> Answer:
        """One turn of an action, from the mailbox to the durable answer."""
        now = self.node.loop.time()
        deadline = now + action.timeout_s
        if call.deadline is not None:
            deadline = min(deadline, call.deadline)
            if call.deadline <= now:
                raise HoldfastError(errors.DEADLINE_EXCEEDED)
        turn = Turn(self, mode_of(action), deadline, call.traceparent)
        async with self.holding(turn, origin_of(call)):
            self.check_target(call)
            if call.sent is not None and self._arrived(call.sent):
                return Answer(Value(1, b"null"), Durability.NONE, self.actor_id)
            await self.ensure_started(call.target.create, call.target.input)
            turn.sent = call.sent
            durable, value = await self._run_held(call, turn, action, reply)
            actor_id = turn.actor_id
        durability = await durable
        return Answer(value, durability, actor_id)

    def _arrived(self, sent: tuple[bytes, int]) -> bool:
        """Whether this send has taken effect before."""
        row = self.node.read(keys.inbox_key(self.scope, sent[0]))
        return row is not None and int.from_bytes(row) >= sent[1]

    def check_target(self, call: Call) -> None:
        """The actor may have been destroyed while the call waited."""
        wanted = call.target.actor_id
        if wanted is not None and wanted != self.actor_id:
            raise HoldfastError(errors.ACTOR_NOT_FOUND)

    async def _run_held(
        self, call: Call, turn: Turn, action: ActionInfo, reply: ReplyWriter | None
    ) -> tuple[asyncio.Future[Durability], Value]:
        instance = self.instance
        assert instance is not None
        turn.reply = reply
        turn.actor_id = self.actor_id
        try:
            result = instance.invoke(turn, call)
            if isinstance(result, Value):
                value = result
            else:
                async with asyncio.timeout_at(turn.deadline) as timer:
                    value = await result
        except HoldfastError as error:
            instance.rollback()
            if error.reason is errors.USER_ERROR and reply is not None:
                failed = Batch()
                reply.put_error(failed, error, self.actor_id)
                await self.commit(failed, turn)
            elif turn.mode is Mode.READ_ONLY or self.last_commit > self.node.committer.synced:
                await self.node.committer.until_synced(self.last_commit)
            raise
        except TimeoutError:
            instance.rollback()
            if timer.expired():
                raise HoldfastError(errors.DEADLINE_EXCEEDED) from None
            raise
        except BaseException:
            instance.rollback()
            raise
        return await self.finish(turn, value, buffered=action.buffered), value

    async def finish(
        self, turn: Turn, value: Value | None, *, buffered: bool = False
    ) -> asyncio.Future[Durability]:
        """Hand over the effects of a turn that has succeeded."""
        instance = self.instance
        assert instance is not None
        limit = self.node.limits.payload_bytes_max
        if value is not None and len(value.data) > limit:
            instance.rollback()
            raise HoldfastError(
                errors.MESSAGE_OUTGOING_TOO_LONG,
                f"result of {len(value.data)} bytes; at most {limit}",
                metadata={"limit": str(limit), "size": str(len(value.data))},
            )
        try:
            if turn.destroyed:
                await instance.on_destroy(turn)
            batch = Batch()
            if turn.mode is Mode.READ_ONLY:
                instance.take_state(turn)
            else:
                self.put_state(instance, turn, batch)
                batch.extend(turn.take())
        except BaseException:
            instance.rollback()
            raise
        if turn.destroyed:
            self._destroy(batch)
        if turn.sent is not None:
            sender_id, number = turn.sent
            batch.put(keys.inbox_key(self.scope, sender_id), number.to_bytes(8))
        if turn.reply is not None and value is not None:
            turn.reply.put_result(batch, value, turn.actor_id)
        return self.commit(batch, turn, buffered=buffered)

    def put_state(self, instance: Instance, turn: Turn, batch: Batch) -> None:
        state = instance.take_state(turn)
        if state is None:
            return
        version, data = state
        record = records.StateRecord(schema_version=version, data=data)
        batch.put(keys.state_key(self.actor_id), record.SerializeToString())

    def _destroy(self, batch: Batch) -> None:
        """Delete what the actor owns; replies and sends under way outlive it."""
        actor_id = self.actor_id
        batch.delete(keys.directory_key(self.address))
        batch.delete(keys.actor_key(actor_id))
        batch.delete(keys.state_key(actor_id))
        batch.delete(keys.kv_usage_key(actor_id))
        prefix = keys.kv_key(actor_id, b"")
        batch.delete_range(prefix, keys.prefix_end(prefix))
        self.actor_id = b""
        self.instance = None

    def commit(
        self, batch: Batch, turn: Turn, *, buffered: bool = False
    ) -> asyncio.Future[Durability]:
        """Submit `batch`; the future is done when its answer may leave."""
        node = self.node
        future: asyncio.Future[Durability] = node.loop.create_future()
        if not batch:
            if self.last_commit <= node.committer.synced:
                future.set_result(Durability.NONE)
                return future
            done = Durability.NONE
            batch = Batch()
        else:
            done = Durability.BUFFERED if buffered else Durability.SYNCED

        sender = (turn.actor_id or self.actor_id) if turn.sending else b""

        def release(error: HoldfastError | None) -> None:
            if error is None and sender:
                node.outbox.wake(sender)
            if future.done():
                return
            if error is None:
                future.set_result(done)
            else:
                future.set_exception(error)
                future.exception()

        self.last_commit = node.committer.submit(batch, self.epoch, release, buffered=buffered)
        return future


class ReplyWriter:
    """Puts the reply of a keyed call into the batch of its turn."""

    __slots__ = ()

    def put_result(self, batch: Batch, value: Value, actor_id: bytes) -> None:
        raise AssertionError("abstract")

    def put_error(self, batch: Batch, error: HoldfastError, actor_id: bytes) -> None:
        raise AssertionError("abstract")

    def put_started(self, batch: Batch, actor_id: bytes) -> None:
        raise AssertionError("abstract")


def mode_of(action: ActionInfo) -> Mode:
    if action.read_only:
        return Mode.READ_ONLY
    return Mode.INTERLEAVED if action.interleave else Mode.EXCLUSIVE


def origin_of(call: Call) -> Turn | None:
    return call.origin if isinstance(call.origin, Turn) else None
