"""Calls without a connection, of a class whose hooks see every client.

A call has a connection for its own length. `on_before_connect` and `create_conn_state`
run before its turn, as they do for any connection; `on_connect`, the action and
`on_disconnect` are one turn and one batch, so that whatever raises undoes them all. A
read-only action changes nothing: there the two hooks are a turn of their own, before it.
A streaming action has `on_connect` in its first turn and `on_disconnect` in its last.
"""

from __future__ import annotations

from holdfast_server.core.call import Answer, Call
from holdfast_server.core.errors import HoldfastError
from holdfast_server.runtime.activation import Activation
from holdfast_server.runtime.connecting import CONNECT, make_connect_turn, preflight
from holdfast_server.runtime.connections import Conn, make_short_lived
from holdfast_server.runtime.execution import (
    check_target,
    origin_of,
    run_action,
    run_hooks,
    settle,
    visits,
)
from holdfast_server.runtime.runners.api import ActionInfo
from holdfast_server.runtime.turn import ReplyWriter, Turn


def has_hooks(activation: Activation, call: Call) -> bool:
    """Whether `enter` has anything to do for a call."""
    return any(activation.info.connect_hooks) and call.has_client and call.connection is None


async def run_visit(
    activation: Activation, call: Call, action: ActionInfo, reply: ReplyWriter | None
) -> Answer:
    """Run an action that answers once, with what comes before it."""
    visitor = await enter(activation, call, action, reply)
    try:
        return await run_action(activation, call, action, reply, visitor)
    except HoldfastError as error:
        if action.read_only and visits(activation, call):
            # The turn of its client's hooks has run, whatever became of the action's.
            error.ran = True
        raise


async def enter(
    activation: Activation, call: Call, action: ActionInfo, reply: ReplyWriter | None
) -> Conn | None:
    """Let the client of a call in; its connection, if that had to be made for it."""
    conn = None
    if activation.info.connect_hooks.preflight:
        conn = await let_in(activation, call, reply)
    if action.read_only and visits(activation, call):
        conn = await _run_visit_hooks(activation, call, conn)
    return conn


async def let_in(activation: Activation, call: Call, reply: ReplyWriter | None) -> Conn:
    """The connection of a client that may come in. It starts the actor."""
    state = await preflight(activation, call, reply)
    conn = Conn(activation.node.environment.secret_bytes(16), call.params, short_lived=True)
    conn.state = state
    return conn


async def _run_visit_hooks(activation: Activation, call: Call, conn: Conn | None) -> Conn:
    turn = make_connect_turn(activation, CONNECT, call.deadline, call.trace)
    turn.auth = call.auth
    origin = origin_of(call)
    try:
        async with activation.holding(turn, origin):
            check_target(activation, call)
            await activation.ensure_started(
                turn, origin, create=call.target.create, value=call.target.input
            )
            turn.begin(activation.instance, activation.actor_id)
            visitor, _ = await run_hooks(activation, turn, _both(turn, call, conn))
    except HoldfastError as error:
        await settle(activation, turn, error, None)
        raise
    return visitor


async def _both(turn: Turn, call: Call, conn: Conn | None) -> Conn:
    assert turn.instance is not None
    turn.conn = conn = conn or make_short_lived(turn, call.params)
    await turn.instance.on_connect(turn, conn)
    await turn.instance.on_disconnect(turn, conn)
    return conn
