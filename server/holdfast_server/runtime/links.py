"""Connections as transports hold them: who is attached, and what it has been sent.

A link stands for one connection in this process, attached to a Peer or, for its grace
time, to nobody; it outlives the activation. It holds no messages: one that has no
credit, or nobody there, reads what it missed from the store when it can go on, up to
`published`, the number of the last message that is durable. A connection that nobody
has come back to when its grace time is over is disconnected; those that a restart
left without a link are found by one pass over the stored ones, after that time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.events import Message
from holdfast_server.core.values import Durability, Value
from holdfast_server.runtime.calls import told
from holdfast_server.runtime.connections import Conn, Outgoing, table_of
from holdfast_server.store import keys
from holdfast_server.store.v1 import records_pb2 as records

if TYPE_CHECKING:
    from holdfast_server.core.events import Connect
    from holdfast_server.core.ids import Address
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.node import Node
    from holdfast_server.runtime.readers import Link, Peer

log = logging.getLogger("holdfast.connections")

_PAGE = 64
# Between two tries to end a connection.
_RETRY_S = 1.0


class NodeLink:
    """Link of one connection."""

    __slots__ = (
        "_node",
        "acknowledged",
        "actor_id",
        "address",
        "catching_up",
        "conn",
        "connection_id",
        "credit",
        "delivered",
        "dropped",
        "encoding",
        "over",
        "peer",
        "published",
        "ready",
        "timer",
    )

    def __init__(
        self, node: Node, address: Address, actor_id: bytes, request: Connect, peer: Peer, id: bytes
    ) -> None:
        self._node = node
        self.address = address
        self.actor_id = actor_id
        self.connection_id = id
        # While it is being opened, and no table has it yet.
        self.conn: Conn | None = None
        self.encoding = request.encoding
        self.credit = request.window_bytes or node.limits.subscription_window_bytes
        # None while nobody is attached.
        self.peer: Peer | None = peer
        # Whether the peer has been told that it is connected.
        self.ready = False
        self.over = False
        # Numbers of messages: handled by the client, sent to it, durable.
        self.acknowledged = self.delivered = self.published = request.received
        # While it sends from the store: a peer may give credit from within.
        self.catching_up = False
        # Messages that could not be sent: ephemeral ones, and those of no such encoding.
        self.dropped = 0
        self.timer: asyncio.TimerHandle | None = None

    # The transport's side

    def grant(self, count: int) -> None:
        self.credit += count
        self._catch_up()

    def acknowledge(self, number: int) -> None:
        self.acknowledged = max(self.acknowledged, min(number, self.delivered))

    def detach(self) -> None:
        if self.peer is None or self.over:
            return
        self.peer = None
        if not self.ready:
            # The turn that opens it is under way: what comes of it waits for a resume.
            return
        self._node.links.detached(self)

    async def disconnect(self, reason: str) -> None:
        await self._node.links.disconnect(self, reason)

    # The node's side

    def open(self, last: int) -> None:
        """It is durable, and so are its messages through `last`."""
        self.published = max(self.published, last)
        self.ready, self.conn = True, None
        if self.peer is None:
            self._node.links.detached(self)
            return
        self.peer.connected(self)
        self._catch_up()

    def publish(self, name: str, args: Value, number: int, transcoded: Transcoded) -> None:
        """A message that is durable, or ephemeral."""
        if not number:
            if self._may_send():
                self._send(name, args, 0, self.delivered, transcoded.get)
            else:
                self.dropped += 1
            return
        in_order = self.delivered == self.published == number - 1
        self.published = max(self.published, number)
        if in_order and self._may_send():
            self.delivered = number
            self._send(name, args, number, number - 1, transcoded.get)
        else:
            self._catch_up()

    def end(self, error: HoldfastError | None, reason: str) -> None:
        """The connection is over."""
        if self.over:
            return
        self.over = True
        if self.timer is not None:
            self.timer.cancel()
        cause = error or HoldfastError(errors.CONNECTION_CLOSED, reason or None)
        self._node.audiences.disconnect(self.actor_id, self.connection_id, cause)
        peer, self.peer = self.peer, None
        if peer is not None and self.ready:
            peer.closed(self, error, reason)

    def _send(
        self,
        name: str,
        args: Value,
        number: int,
        previous: int,
        transcode: Callable[[Value, int], Value],
    ) -> None:
        peer = self.peer
        assert peer is not None
        if args.encoding != self.encoding:
            try:
                args = transcode(args, self.encoding)
            except HoldfastError as error:
                # The client sees the gap.
                self.dropped += 1
                log.error("a message of %s: %s", self.address, error)
                return
        message = Message(name, args, number, previous)
        self.credit -= message.size
        peer.message(self, message)

    def _catch_up(self) -> None:
        """Send what is durable and was not sent, while there is credit."""
        if self.catching_up:
            return
        self.catching_up = True
        try:
            while self.delivered < self.published and self._may_send():
                if not self._send_page():
                    self.delivered = self.published
        except HoldfastError as error:
            # The next credit, or a resume, finds them.
            log.warning("messages of %s wait: %s", self.address, error)
        finally:
            self.catching_up = False

    def _send_page(self) -> bool:
        """Send some of what is stored; whether there may be more."""
        node = self._node
        start = keys.message_key(self.actor_id, self.connection_id, self.delivered + 1)
        end = keys.message_key(self.actor_id, self.connection_id, self.published + 1)
        rows = node.scan_written(start, end, limit=_PAGE, reverse=False)
        for key, row in rows:
            if not self._may_send():
                return True
            record = node.decode_row(records.EventRecord, key, row)
            self.delivered = number = keys.parse_message_key(key)[2]
            args = Value(record.encoding, record.args)
            self._send(record.name, args, number, number - 1, node.runner.transcode)
        return len(rows) == _PAGE

    def _may_send(self) -> bool:
        return self.peer is not None and self.ready and self.credit > 0


async def hang_up(link: Link) -> HoldfastError | None:
    """Disconnect for a client that wants so, or has left for good; what went wrong, if
    anything did: the connection is then kept like one whose client has vanished."""
    try:
        await link.disconnect("")
    except Exception as error:
        link.detach()
        return told(error)
    return None


class Transcoded:
    """Messages of one commit in the encodings of their readers, each made once."""

    __slots__ = ("_last", "_node")

    def __init__(self, node: Node) -> None:
        self._node = node
        self._last: tuple[Value, dict[int, Value]] | None = None

    def get(self, args: Value, encoding: int) -> Value:
        if self._last is None or self._last[0] is not args:
            self._last = (args, {})
        known = self._last[1]
        if encoding not in known:
            known[encoding] = self._node.runner.transcode(args, encoding)
        return known[encoding]


class Links:
    """Every link of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._by_id: dict[bytes, NodeLink] = {}
        self._by_actor: dict[bytes, dict[bytes, NodeLink]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeping = False
        # Links that wait for their client to come back.
        self.waiting = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, connection_id: bytes) -> NodeLink | None:
        return self._by_id.get(connection_id)

    def conn_of(self, activation: Activation, connection_id: bytes) -> Conn:
        """The connection of a client that is there, also while it is being opened;
        CONNECTION_NOT_FOUND when there is none."""
        link = self._by_id.get(connection_id)
        if link is None or link.actor_id != activation.actor_id:
            raise HoldfastError(errors.CONNECTION_NOT_FOUND)
        conn = link.conn or table_of(activation).rows.get(connection_id)
        if conn is None or conn.closing:
            raise HoldfastError(errors.CONNECTION_NOT_FOUND)
        return conn

    def attached(self, actor_id: bytes) -> int:
        """How many connections of an actor have a client that is there."""
        links = self._by_actor.get(actor_id)
        return sum(1 for link in links.values() if link.peer is not None) if links else 0

    def count(self, actor_id: bytes) -> int:
        """How many connections of an actor are known here."""
        return len(self._by_actor.get(actor_id, ()))

    def acknowledged(self, connection_id: bytes) -> int:
        link = self._by_id.get(connection_id)
        return 0 if link is None else link.acknowledged

    def add(self, link: NodeLink) -> None:
        """`link` stands for its connection from now on; one before it ends."""
        before = self._by_id.get(link.connection_id)
        if before is not None:
            link.acknowledged = max(link.acknowledged, before.acknowledged)
            self.remove(before)
            before.end(HoldfastError(errors.SESSION_SUPERSEDED), "")
        self._by_id[link.connection_id] = link
        self._by_actor.setdefault(link.actor_id, {})[link.connection_id] = link

    def remove(self, link: NodeLink) -> None:
        if self._by_id.get(link.connection_id) is link:
            del self._by_id[link.connection_id]
            self.waiting -= link.timer is not None
            of_actor = self._by_actor[link.actor_id]
            del of_actor[link.connection_id]
            if not of_actor:
                del self._by_actor[link.actor_id]

    # What turns have done

    def release(self, opened: Conn | None, outgoing: list[Outgoing]) -> None:
        """A turn is durable: tell those whom it concerns."""
        by_id, transcoded = self._by_id, Transcoded(self._node)
        if opened is not None and (link := by_id.get(opened.id)) is not None:
            link.open(0)
        for connection_id, name, args, number in outgoing:
            link = by_id.get(connection_id)
            if link is not None:
                try:
                    link.publish(name, args, number, transcoded)
                except Exception:
                    # One transport must not keep the others from hearing.
                    log.exception("message %d of a connection of %s", number, link.address)
                    link.detach()

    def finish(self, actor_id: bytes, closed: list[Conn]) -> None:
        """An actor's turn that has disconnected these is durable."""
        for conn in closed:
            self.end(conn.id, None, conn.reason)
            self.spawn(self._finish(actor_id, conn.id, conn.reason))

    def end(self, connection_id: bytes, error: HoldfastError | None, reason: str) -> None:
        link = self._by_id.get(connection_id)
        if link is not None:
            self.remove(link)
            link.end(error, reason)

    def end_actor(self, actor_id: bytes) -> None:
        """The actor has been destroyed."""
        for connection_id in list(self._by_actor.get(actor_id, ())):
            self.end(connection_id, HoldfastError(errors.ACTOR_DESTROYED), "")

    # Ends that come from elsewhere

    async def disconnect(self, link: NodeLink, reason: str) -> None:
        """The client closes the connection."""
        if link.over or self._by_id.get(link.connection_id) is not link:
            return
        await self._node.disconnect(link.actor_id, link.connection_id, reason)

    def detached(self, link: NodeLink) -> None:
        """The client has gone, and may come back within the grace time."""
        if self._by_id.get(link.connection_id) is link and not self._node.draining:
            grace_s = self._node.limits.connection_grace_s
            self.waiting += 1
            link.timer = self._node.loop.call_later(grace_s, self._expire, link)

    def _expire(self, link: NodeLink) -> None:
        if link.peer is None and not self._node.draining:
            self.spawn(self._finish(link.actor_id, link.connection_id, "", unless_attached=True))

    async def _finish(
        self, actor_id: bytes, connection_id: bytes, reason: str, *, unless_attached: bool = False
    ) -> None:
        """Run the end of a connection that nobody waits for."""
        node = self._node
        if node.draining:
            # The next start finds its row.
            return
        try:
            await node.disconnect(actor_id, connection_id, reason, unless_attached=unless_attached)
        except HoldfastError as error:
            if node.draining:
                return
            log.warning("a connection could not be ended, and will be later: %s", error)
            if error.reason is not errors.ACTOR_NAME_NOT_FOUND:
                self._node.loop.call_later(
                    _RETRY_S, self._finish_later, actor_id, connection_id, reason, unless_attached
                )

    def _finish_later(
        self, actor_id: bytes, connection_id: bytes, reason: str, unless_attached: bool
    ) -> None:
        if not self._node.closed:
            self.spawn(
                self._finish(actor_id, connection_id, reason, unless_attached=unless_attached)
            )

    async def abandon(self, link: NodeLink, durable: asyncio.Future[Durability]) -> None:
        """End a connection whose opener has given up while it became durable."""
        try:
            await durable
        except HoldfastError:
            return
        await self._finish(link.actor_id, link.connection_id, "")

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._node.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # The life of the node

    def start(self) -> None:
        """Look for connections without a link when their grace time is over."""
        if not self._sweeping:
            self._sweeping = True
            self._node.loop.call_later(self._node.limits.connection_grace_s, self._begin_sweep)

    def _begin_sweep(self) -> None:
        self._sweeping = False
        if not self._node.draining and not self._node.closed:
            self.spawn(self._sweep())

    async def _sweep(self) -> None:
        """Disconnect whom nobody came back for since the store was opened."""
        node = self._node
        start, end = keys.kind_range(keys.Kind.CONNECTION)
        try:
            while rows := node.scan(start, end, limit=_PAGE, reverse=False):
                start = rows[-1][0] + b"\x00"
                by_actor: dict[bytes, list[bytes]] = {}
                for key, _ in rows:
                    actor_id, connection_id = keys.parse_connection_key(key)
                    if connection_id not in self._by_id:
                        by_actor.setdefault(actor_id, []).append(connection_id)
                await asyncio.gather(*(self._finish_all(*item) for item in by_actor.items()))
                if node.draining:
                    return
        except HoldfastError as error:
            log.warning("the look for lost connections ends early: %s", error)

    async def _finish_all(self, actor_id: bytes, connection_ids: list[bytes]) -> None:
        for connection_id in connection_ids:
            await self._finish(actor_id, connection_id, "", unless_attached=True)

    def restart(self) -> None:
        """The store is open again: what was under way when it failed may be there or not."""
        self.start()
        self.spawn(self._check())

    async def _check(self) -> None:
        """End the links whose connection is no more."""
        for index, link in enumerate(list(self._by_id.values())):
            if index % _PAGE == _PAGE - 1:
                await asyncio.sleep(0)
            if not link.ready or link.over:
                continue
            try:
                key = keys.connection_key(link.actor_id, link.connection_id)
                if self._node.read(key) is None:
                    self.end(link.connection_id, HoldfastError(errors.COMMIT_UNKNOWN), "")
            except HoldfastError:
                return

    async def drain(self) -> None:
        """Nothing ends a connection any more; clients go on elsewhere, or later here."""
        for link in list(self._by_id.values()):
            self.end(link.connection_id, HoldfastError(errors.SERVER_DRAINING), "")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._node.limits.hook_timeout_s)
