"""One actor in memory: its mailbox, its start, its commits.

An activation stands for an address, whether an actor exists there or not, so
that create, destroy and calls of one key are serialised by one mailbox. A turn
runs in the task of whoever called: `hold`, then the handler, then `commit`,
then `release`. The mailbox goes on with the next turn at once; the caller alone
waits until everything that its turn could have seen is synced (the output gate).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import Address
from holdfast_server.core.lifecycle import State
from holdfast_server.core.mailbox import EXCLUSIVE, INTERLEAVED, READ_ONLY, Mailbox, MailboxFull
from holdfast_server.core.values import Durability, Value
from holdfast_server.core.waits import find_cycle
from holdfast_server.runtime.background import Background
from holdfast_server.runtime.committer import Release
from holdfast_server.runtime.deadline import Expiring
from holdfast_server.runtime.effects import Effects, Told
from holdfast_server.runtime.expiry import expires_at_ms
from holdfast_server.runtime.runners.api import ActorInfo, Instance
from holdfast_server.runtime.starting import start_actor
from holdfast_server.runtime.tally import reason_of
from holdfast_server.runtime.turn import ReplyWriter, Turn
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.rows import state_row

if TYPE_CHECKING:
    from holdfast_server.core.event_log import EventLog
    from holdfast_server.core.replies import ReplyTable
    from holdfast_server.runtime.connections import Table
    from holdfast_server.runtime.node import Node

log = logging.getLogger("holdfast.actor")

# Every commit needs it, and a member costs less by a name of its own (see `core.mailbox`).
_SYNCED: Final = Durability.SYNCED

# The turn of the hooks that create or wake an actor.
START = "$start"


class Start(NamedTuple):
    """An actor being created or woken: the turn that does it, and its end."""

    turn: Turn
    ended: asyncio.Future[None]


class Failed(NamedTuple):
    """A turn that failed, and what its caller was told."""

    at_ms: int
    action: str
    code: str
    message: str


class Activation:
    """The in-memory life of one address."""

    __slots__ = (
        "actor_id",
        "address",
        "background",
        "committed_at",
        "connections",
        "epoch",
        "event_log",
        "expires_ms",
        "info",
        "instance",
        "last_commit",
        "last_failure",
        "last_used",
        "mailbox",
        "node",
        "replies",
        "scope",
        "start",
        "users",
    )

    def __init__(self, node: Node, address: Address, scope: bytes, info: ActorInfo) -> None:
        self.node = node
        self.address = address
        self.scope = scope
        self.info = info
        # Negative once it was dropped: very many activations share this number.
        self.epoch = node.committer.epoch
        self.mailbox: Mailbox[Turn] = Mailbox(info.bounds)
        self.instance: Instance | None = None
        self.replies: ReplyTable | None = None
        # The sums of its events, read when it first emits one.
        self.event_log: EventLog | None = None
        # The actor's connections; None while nobody has asked.
        self.connections: Table | None = None
        # While the actor is created or woken.
        self.start: Start | None = None
        # Number of this activation's last commit: what its readers may have seen; 0 once it
        # is idle and all of it is synced.
        self.last_commit = node.committer.submitted
        # When that was, in the loop's time.
        self.committed_at: float | None = None
        # The last turn that failed.
        self.last_failure: Failed | None = None
        self.last_used = 0.0
        # Calls that refer to this activation; it is not evicted while there are any.
        self.users = 0
        self.actor_id = node.read(keys.directory_key(address)) or b""
        # From when the actor counts as gone; None while that is not known.
        self.expires_ms: int | None = None
        # What goes on outside its turns; None for as long as there was nothing.
        self.background: Background | None = None

    @property
    def exists(self) -> bool:
        """Whether an actor lives here whose creation has been submitted."""
        return bool(self.actor_id) and self.start is None

    @property
    def dropped(self) -> bool:
        """Evicted, or its store has failed: its memory may no longer be true."""
        return self.epoch < 0

    def drop(self) -> None:
        """It leaves memory."""
        self.epoch = -abs(self.epoch)

    @property
    def live(self) -> bool:
        """Whether this memory is what the store says; never again once it is not."""
        committer = self.node.committer
        return self.epoch == committer.epoch and not committer.failed

    def check_live(self) -> None:
        """Refuse to go on with memory that is no longer true."""
        if self.live:
            return
        committer = self.node.committer
        if committer.failed or abs(self.epoch) != committer.epoch:
            raise HoldfastError(errors.STORE_UNAVAILABLE)
        if self.background is not None:
            raise HoldfastError(errors.ACTOR_STOPPING, "the actor has gone to sleep; nothing ran")
        raise HoldfastError(errors.NO_TURN, "the actor has left memory since")

    def lapsed(self) -> bool:
        """Whether the actor counts as gone, since its state has not changed for so long."""
        if self.info.state_ttl_s is None or not self.exists:
            return False
        if self.expires_ms is None:
            self.expires_ms = expires_at_ms(self.node, self.actor_id)
        return 0 < self.expires_ms <= self.node.environment.clock.now_ms()

    @property
    def holders(self) -> Iterator[Turn]:
        """The turns that a call to this actor may have to wait for."""
        yield from self.mailbox.running
        if self.start is not None:
            yield self.start.turn

    # Sleep

    @property
    def held_awake(self) -> bool:
        """Whether anything but calls keeps it awake. It is asked only of those that have
        been idle for long enough."""
        work, info = self.background, self.info
        if info.no_sleep or (work is not None and work.keeping > 0):
            return True
        return not info.hibernate_connections and self.node.links.attached(self.actor_id) > 0

    @property
    def has_work(self) -> bool:
        """Whether it has something to do before it leaves memory."""
        if self.instance is None:
            return False
        return self.background is not None or self.info.has_on_sleep

    def background_now(self) -> Background:
        """Its background, made if there is none yet."""
        if self.background is None:
            state = State.STARTING if self.instance is None else State.AWAKE
            self.background = Background(self, state)
        return self.background

    # What it owns in the store

    def read(self, key: bytes) -> bytes | None:
        """A row that only this activation writes, as of its last commit."""
        committer = self.node.committer
        if self.last_commit > committer.written:
            committer.apply()
        return self.node.read_written(key)

    def scan(
        self, start: bytes, end: bytes, *, limit: int, reverse: bool
    ) -> list[tuple[bytes, bytes]]:
        """Rows that only this activation writes, as of its last commit."""
        committer = self.node.committer
        if self.last_commit > committer.written:
            committer.apply()
        return self.node.scan_written(start, end, limit=limit, reverse=reverse)

    # Turns

    async def hold(self, turn: Turn, origin: Turn | None) -> None:
        """Wait in the mailbox until `turn` has the actor; fails on a call cycle."""
        observer = self.node.observer
        observer.turn_began(turn)
        if origin is not None:
            origin.call_begins(self)
        try:
            if not self._offer(turn, origin):
                await self._wait(turn)
            if not self.live:
                self._end(turn)
                self.check_live()
        except BaseException as error:
            if origin is not None:
                origin.call_ended(self)
            self.failed(turn, error)
            observer.turn_ended(turn)
            raise

    def release(self, turn: Turn, origin: Turn | None) -> None:
        """`turn` is over; the next in the mailbox may run."""
        self._end(turn)
        if origin is not None:
            origin.call_ended(self)
        self.node.observer.turn_ended(turn)

    @asynccontextmanager
    async def holding(self, turn: Turn, origin: Turn | None) -> AsyncIterator[None]:
        """`hold`, and `release` at the end of the block."""
        await self.hold(turn, origin)
        try:
            yield
        except BaseException as error:
            self.failed(turn, error)
            raise
        finally:
            self.release(turn, origin)

    def failed(self, turn: Turn, error: BaseException) -> None:
        """`turn` fails with this error."""
        reason = reason_of(error)
        code, message = f"{reason.group}.{reason.code}", reason.message
        if isinstance(error, HoldfastError):
            code, message = f"{error.group}.{error.code}", error.message
        now_ms = self.node.environment.clock.now_ms()
        self.last_failure = Failed(now_ms, turn.action, code, message)
        self.node.observer.turn_failed(turn, error)

    def _end(self, turn: Turn) -> None:
        turn.ended = True
        self._admit(self.mailbox.release(turn, turn.mode))

    def _offer(self, turn: Turn, origin: Turn | None) -> bool:
        joins = False
        if origin is not None and turn.mode is not READ_ONLY and self.mailbox.running:
            chain = find_cycle(origin, turn.label, self.holders)
            if chain is not None:
                together = turn.mode is INTERLEAVED and not self.mailbox.exclusive
                if not together and not self.info.reentrant:
                    raise call_cycle(chain)
                # Beside the turn that waits for it, on the same live state; also past
                # exclusive turns, which wait for that one anyway.
                joins, turn.mode = True, INTERLEAVED
        try:
            return self.mailbox.offer(turn, turn.mode, joins=joins)
        except MailboxFull:
            raise HoldfastError(errors.ACTOR_OVERLOADED) from None

    async def _wait(self, turn: Turn) -> None:
        loop, tally, stopwatch = self.node.loop, self.node.tally, self.node.stopwatch
        admitted, since = loop.create_future(), stopwatch()
        turn.admitted = admitted
        tally.mailbox_waiting += 1
        try:
            async with Expiring(turn.deadline):
                await admitted
        except BaseException:
            # Its turn may also have come after it was cancelled, and before it learned that.
            if turn in self.mailbox.running:
                self._end(turn)
            else:
                self._admit(self.mailbox.withdraw(turn))
            raise
        finally:
            tally.mailbox_waiting -= 1
            waited_s = stopwatch() - since
            tally.mailbox_waits.take(waited_s)
        if turn.span is not None:
            self.node.observer.turn_admitted(turn, waited_s)

    @staticmethod
    def _admit(admitted: list[Turn]) -> None:
        for turn in admitted:
            future = turn.admitted
            if future is not None and not future.done():
                future.set_result(None)

    # Start

    async def ensure_started(
        self,
        turn: Turn,
        origin: Turn | None,
        *,
        create: bool,
        value: Value | None = None,
        on_created: Callable[[Batch, int], None] | None = None,
        reply: ReplyWriter | None = None,
    ) -> bool:
        """Wake or create the actor for `turn`; whether this call created it.

        `on_created` may add rows to the batch that creates it; it is given the time.
        `reply` is told when the start is all that will ever run for the call.
        """
        while self.instance is None:
            if self.start is not None:
                if origin is not None:
                    chain = find_cycle(origin, turn.label, [self.start.turn])
                    if chain is not None:
                        raise call_cycle(chain)
                async with Expiring(turn.deadline):
                    await asyncio.shield(self.start.ended)
                continue
            if not self.actor_id and not create:
                raise HoldfastError(errors.ACTOR_NOT_FOUND)
            starter = Turn(self, EXCLUSIVE, turn.deadline, START, turn.trace)
            starter.auth = turn.auth
            start = self.start = Start(starter, self.node.loop.create_future())
            observer = self.node.observer
            observer.turn_began(starter)
            try:
                async with Expiring(turn.deadline):
                    return await start_actor(self, starter, value, on_created, reply)
            except BaseException as error:
                self.failed(starter, error)
                raise
            finally:
                observer.turn_ended(starter)
                start.ended.set_result(None)
                self.start = None
        return False

    # Commits

    def put_state(self, turn: Turn, batch: Batch) -> None:
        """Add the state, if the turn changed it, and those of connections."""
        instance = turn.instance
        assert instance is not None
        if turn.changes is not None:
            turn.changes.put_states(batch)
        state = instance.take_state(turn)
        if state is not None:
            version, data = state
            expires_ms = 0
            if self.info.state_ttl_s is not None:
                now_ms = self.node.environment.clock.now_ms()
                self.expires_ms = expires_ms = now_ms + int(self.info.state_ttl_s * 1000)
                turn.expire_at(expires_ms)
            batch.put(keys.state_key(turn.actor_id), state_row(version, data, expires_ms))

    def put_middle(self, turn: Turn, batch: Batch) -> None:
        """Add what the first commit of a turn that goes on must say: that it never
        runs again, whether it was asked by a key, by a send or by a timer."""
        if turn.reply is not None and not turn.committed:
            turn.reply.put_started(batch, turn.actor_id)
        if turn.fire is not None:
            turn.fire.put_started(batch)
        self.put_arrival(turn, batch)

    def put_arrival(self, turn: Turn, batch: Batch) -> None:
        """Add the watermark of the send that this turn delivers."""
        if turn.sent is not None:
            sender_id, number = turn.sent
            batch.put(keys.inbox_key(self.scope, sender_id), number.to_bytes(8))
            turn.sent = None

    def commit(
        self, batch: Batch, turn: Turn, *, buffered: bool = False
    ) -> asyncio.Future[Durability]:
        """Submit `batch`; the future is done when its answer may leave."""
        durable = self.submit(batch, turn, None, buffered=buffered).durable
        assert durable is not None
        return durable

    def submit_plain(self, batch: Batch, turn: Turn, release: Release) -> None:
        """Submit the synced `batch` of a turn of which only its answer leaves: what `submit`
        does, without the effects that there are not."""
        if not self.live:
            self._check_commit(turn, batch)
        node = self.node
        self.last_commit = node.committer.submit(batch, self.epoch, release)
        self.committed_at = node.moment()
        if turn.encoded is not None:
            self._keep_state(turn)

    def submit(
        self, batch: Batch, turn: Turn, told: Told | None, *, buffered: bool = False
    ) -> Effects:
        """Submit `batch`; `told` is called when its answer may leave, or the effects'
        `durable` done where there is none."""
        if not self.live:
            self._check_commit(turn, batch)
        node = self.node
        effects = Effects(node, turn, told)
        if not batch:
            effects.publish_ephemeral()
            if self.last_commit <= node.committer.synced:
                effects.leave()
                return effects
        buffered = buffered and not effects.gated
        if batch:
            effects.reached = Durability.BUFFERED if buffered else _SYNCED
        self.last_commit = node.committer.submit(
            batch, abs(self.epoch), effects.release, buffered=buffered
        )
        self.committed_at = node.moment()
        if effects.gated and self.event_log is not None:
            self.event_log.gate = self.last_commit
        if turn.span is not None:
            effects.watched = node.observer.commit_began(turn, len(batch.ops), batch.size)
        if turn.encoded is not None:
            self._keep_state(turn)
        return effects

    def _keep_state(self, turn: Turn) -> None:
        """The encoding of `turn` has been submitted."""
        instance, encoded = turn.instance, turn.encoded
        assert instance is not None
        assert encoded is not None
        grown = len(encoded) - instance.state_bytes
        instance.keep_state(turn)
        if grown and instance is self.instance:
            self.node.catalog.grew(self, grown)

    def _check_commit(self, turn: Turn, batch: Batch) -> None:
        try:
            self.check_live()
        except HoldfastError as error:
            if turn.committed and error.reason is errors.STORE_UNAVAILABLE:
                # That reason says that nothing ran; a part of this turn is stored.
                raise HoldfastError(errors.COMMIT_UNKNOWN) from None
            if batch or error.reason is not errors.ACTOR_STOPPING:
                raise
            # A read-only turn that the actor did not wait for: what it saw was true.

    async def until_synced(self) -> None:
        """Wait until everything that a turn here may have seen is durable."""
        await self.node.committer.until_synced(self.last_commit, abs(self.epoch))


def call_cycle(chain: list[str]) -> HoldfastError:
    """The error of a call that would wait for itself."""
    text = " -> ".join(chain)
    return HoldfastError(errors.CALL_CYCLE, f"call cycle: {text}", metadata={"chain": text})
