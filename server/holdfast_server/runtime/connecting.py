"""Opening, resuming and ending a connection, each as the turns that it takes.

Opening: `on_before_connect` and `create_conn_state` run beside turns and may change
nothing; then one turn opens the connection, runs `on_connect` and stores the row.
Whatever raises rejects the connection, which then leaves no trace. Ending, whoever
wanted it, is one turn that runs `on_disconnect` and deletes the row; a failure of that
hook is logged, and the row goes all the same. A class without these hooks has neither
its actor woken nor a turn of its code run for an end.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from holdfast_server.core import errors
from holdfast_server.core.call import Call, Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.mailbox import Mode
from holdfast_server.core.trace import NO_TRACE, Cause, TraceContext
from holdfast_server.core.values import Durability, Encoding
from holdfast_server.runtime.activation import Activation
from holdfast_server.runtime.connections import Conn, messages_of, put_removal, table_of
from holdfast_server.runtime.deadline import run_until
from holdfast_server.runtime.execution import check_target, origin_of, run_hooks, settle
from holdfast_server.runtime.links import NodeLink
from holdfast_server.runtime.turn import ReplyWriter, Turn
from holdfast_server.store.api import Batch

if TYPE_CHECKING:
    from holdfast_server.core.events import Connect
    from holdfast_server.runtime.node import Node
    from holdfast_server.runtime.readers import Peer

log = logging.getLogger("holdfast.actor")

CONNECT = "$connect"
DISCONNECT = "$disconnect"


def call_of_connect(request: Connect) -> Call:
    """The part of a request to connect that any call has."""
    if request.encoding == Encoding.PROTOBUF:
        raise HoldfastError(
            errors.ENCODING_INVALID, "messages have several arguments, which protobuf cannot carry"
        )
    return Call(
        target=request.target,
        action=CONNECT,
        params=request.params,
        deadline=request.deadline,
        trace=request.trace,
        auth=request.auth,
        origin=request.origin,
        caller=request.caller,
    )


async def connect(node: Node, request: Connect, peer: Peer) -> NodeLink:
    """Open a connection for `peer`, or attach it to one that is open."""
    call = call_of_connect(request)
    if request.resume is not None:
        return await node.run(call, lambda activation: _resume(activation, call, request, peer))
    link = await node.run(call, lambda activation: _let_in(activation, call, request, peer))
    try:
        await run_until(peer.opening(link), call.deadline)
        # The actor may have gone to sleep since it let the client in.
        opening = replace(call, target=Target(address=link.address))
        # Once it is durable, the link is its peer's whatever becomes of this task.
        await node.run(opening, lambda activation: _open(activation, call, link))
    except BaseException as error:
        if not link.ready:
            node.links.remove(link)
            cause = error if isinstance(error, HoldfastError) else None
            link.end(cause or HoldfastError(errors.CANCELLED), "")
        raise
    return link


async def _let_in(activation: Activation, call: Call, request: Connect, peer: Peer) -> NodeLink:
    """The link of a connection that is yet to be opened."""
    node = activation.node
    state = await preflight(activation, call, None, always=True)
    conn = Conn(node.environment.secret_bytes(16), request.params)
    conn.state, conn.session = state, request.session
    link = NodeLink(node, activation.address, activation.actor_id, request, peer, conn.id)
    link.conn = conn
    node.links.add(link)
    return link


async def preflight(
    activation: Activation, call: Call, reply: ReplyWriter | None, *, always: bool = False
) -> bytes:
    """Run the hooks that let a client in; the encoded state of its connection."""
    if call.deadline is not None and call.deadline <= activation.node.loop.time():
        raise HoldfastError(errors.DEADLINE_EXCEEDED)
    turn = Turn(activation, Mode.READ_ONLY, call.deadline, CONNECT, call.trace)
    turn.auth = call.auth
    origin = origin_of(call)
    try:
        async with activation.holding(turn, origin):
            check_target(activation, call)
            await activation.ensure_started(
                turn, origin, create=call.target.create, value=call.target.input, reply=reply
            )
            turn.begin(activation.instance, activation.actor_id)
            if always:
                _check_room(activation)
            assert turn.instance is not None
            state, _ = await run_hooks(activation, turn, turn.instance.preflight(turn, call.params))
    except HoldfastError as error:
        # Nothing of the call has run: who stores its error is told so.
        if turn.instance is not None and error.reason is not errors.STORE_UNAVAILABLE:
            turn.instance = None
        await settle(activation, turn, error, reply)
        raise
    return state


def _check_room(activation: Activation) -> None:
    limit = activation.node.limits.connections_max
    if len(table_of(activation).rows) >= limit:
        raise HoldfastError(
            errors.TOO_MANY_CONNECTIONS,
            f"at most {limit} connections of one actor",
            metadata={"limit": str(limit)},
        )


async def _open(activation: Activation, call: Call, link: NodeLink) -> None:
    conn = link.conn
    assert conn is not None
    turn = make_connect_turn(activation, CONNECT, call.deadline, call.trace)
    turn.auth = call.auth
    origin = origin_of(call)
    try:
        async with activation.holding(turn, origin):
            if activation.actor_id != link.actor_id:
                raise HoldfastError(errors.ACTOR_DESTROYED)
            await activation.ensure_started(turn, origin, create=False)
            turn.begin(activation.instance, activation.actor_id)
            _check_room(activation)
            _, durable = await run_hooks(activation, turn, _enter(turn, conn))
    except HoldfastError as error:
        await settle(activation, turn, error, None)
        raise
    await _until_open(activation, durable, link)


async def _enter(turn: Turn, conn: Conn) -> None:
    assert turn.instance is not None
    conn.opened_at_ms = turn.activation.node.environment.clock.now_ms()
    turn.conn = conn
    turn.connections.open(conn)
    await turn.instance.on_connect(turn, conn)


async def _until_open(
    activation: Activation, durable: asyncio.Future[Durability], link: NodeLink
) -> None:
    try:
        await asyncio.shield(durable)
    except asyncio.CancelledError:
        # Whoever wanted it has given up, but the connection is there, or will be.
        links = activation.node.links
        links.spawn(links.abandon(link, durable))
        raise


async def _resume(activation: Activation, call: Call, request: Connect, peer: Peer) -> NodeLink:
    """Attach `peer` to a connection that is open; no hook runs."""
    assert request.resume is not None
    check_target(activation, call)
    node = activation.node
    conn = table_of(activation).rows.get(request.resume) if activation.exists else None
    if conn is None or conn.session != request.session:
        await activation.until_synced()
        raise HoldfastError(errors.CONNECTION_NOT_FOUND)
    if conn.closing:
        await activation.until_synced()
        raise HoldfastError(errors.CONNECTION_CLOSED, conn.reason or None)
    # Its number of the last message may be that of a row.
    messages_of(activation, conn)
    if request.received > conn.last:
        # Messages that were not synced have been lost, and their numbers are given again.
        await activation.until_synced()
        raise HoldfastError(
            errors.CONNECTION_NOT_FOUND,
            f"the connection's last message is {conn.last}, not {request.received}",
        )
    link = NodeLink(node, activation.address, activation.actor_id, request, peer, conn.id)
    node.links.add(link)
    last = conn.last
    try:
        await activation.until_synced()
    except BaseException:
        # It is as open as it was, and nobody is there.
        link.ready = True
        link.detach()
        raise
    link.open(last)
    return link


async def end_connection(
    activation: Activation,
    actor_id: bytes,
    connection_id: bytes,
    reason: str,
    *,
    unless_attached: bool,
) -> None:
    """Run on_disconnect and forget the connection; nothing if that has been done."""
    turn = make_connect_turn(activation, DISCONNECT, None, NO_TRACE)
    async with activation.holding(turn, None):
        there = activation.exists and activation.actor_id == actor_id
        conn = table_of(activation).rows.get(connection_id) if there else None
        if conn is None:
            durable = activation.commit(Batch(), turn)
        else:
            link = activation.node.links.get(connection_id)
            if unless_attached and not conn.closing and link is not None and link.peer is not None:
                return
            durable = await _run_end(activation, turn, conn, reason)
    await durable


async def _run_end(
    activation: Activation, turn: Turn, conn: Conn, reason: str
) -> asyncio.Future[Durability]:
    table, links = table_of(activation), activation.node.links
    table.close(conn, reason)
    turn.after(lambda: links.end(conn.id, None, conn.reason), late=True)
    if activation.info.connect_hooks.on_disconnect:
        try:
            await activation.ensure_started(turn, None, create=False)
            turn.begin(activation.instance, activation.actor_id)
            _, durable = await run_hooks(activation, turn, _leave(turn, conn))
            return durable
        except HoldfastError as error:
            if not activation.live or error.reason is errors.STORE_UNAVAILABLE:
                raise
            log.error("on_disconnect of %s: %s", activation.address, error)
            if turn.committed:
                # An explicit commit in it took the row.
                return activation.commit(Batch(), turn)
    batch = Batch()
    put_removal(activation, conn, batch)
    table.remove(conn)
    return activation.commit(batch, turn)


async def _leave(turn: Turn, conn: Conn) -> None:
    assert turn.instance is not None
    turn.conn = conn
    turn.connections.remove(conn)
    await turn.instance.on_disconnect(turn, conn)


def make_connect_turn(
    activation: Activation, name: str, deadline: float | None, trace: TraceContext
) -> Turn:
    """A turn of hooks; interleaved where the turns of the class are."""
    mode = Mode.INTERLEAVED if activation.info.interleave else Mode.EXCLUSIVE
    return Turn(activation, mode, deadline, name, trace, Cause.CALL)
