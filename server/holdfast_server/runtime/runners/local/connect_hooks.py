"""The hooks of connections, each within its time limit.

A UserError that leaves one is the client's; whatever else does is logged, and the
client learns `internal_error`, or which hook took too long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from holdfast.connection import Connection
from holdfast.context import Context
from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.values import Value
from holdfast_server.runtime.connections import Conn, table_of
from holdfast_server.runtime.runners.local.connections import decode_params, encode_state
from holdfast_server.runtime.runners.local.handling import handling
from holdfast_server.runtime.runners.local.host import LocalHost

if TYPE_CHECKING:
    from holdfast_server.runtime.runners.local.instance import LocalInstance
    from holdfast_server.runtime.turn import Turn

log = logging.getLogger("holdfast.actor")


async def preflight(instance: LocalInstance, turn: Turn, params: Value | None) -> bytes:
    """Let a client in, or raise; the encoded state of its connection."""
    actor, actor_type = instance.actor, instance.type
    context: Context[Any, Any] = Context(LocalHost(instance, turn))
    given = decode_params(params)
    if actor_type.has_hook("on_before_connect"):
        run = actor.on_before_connect(context, given)
        await _run_hook(instance, turn, "on_before_connect", run)
    if not actor_type.has_hook("create_conn_state"):
        return first_state(instance)
    # Each hook has its own copy of what the client gave.
    making = actor.create_conn_state(context, decode_params(params))
    made = await _run_hook(instance, turn, "create_conn_state", making)
    try:
        return encode_state(instance, made)
    except HoldfastError as error:
        log.error("create_conn_state of %s: %s", instance.activation.address, error)
        raise


def first_state(instance: LocalInstance) -> bytes:
    """The encoded state of a new connection of a class with a static one."""
    if not instance.type.has_static_conn_state:
        return b""
    return encode_state(instance, instance.type.make_conn_state())


async def on_connect(instance: LocalInstance, turn: Turn, conn: Conn) -> None:
    """Run the hook, if there is one."""
    if instance.type.has_hook("on_connect"):
        host = LocalHost(instance, turn)
        run = instance.actor.on_connect(Context(host), Connection(host, conn))
        await _run_hook(instance, turn, "on_connect", run)


async def on_disconnect(instance: LocalInstance, turn: Turn, conn: Conn) -> None:
    """Run the hook, if there is one."""
    if instance.type.has_hook("on_disconnect"):
        host = LocalHost(instance, turn)
        run = instance.actor.on_disconnect(Context(host), Connection(host, conn))
        await _run_hook(instance, turn, "on_disconnect", run)


async def disconnect_all(instance: LocalInstance, turn: Turn) -> None:
    """Run on_disconnect of every connection of an actor that is being destroyed, all
    within the time of one hook."""
    activation = instance.activation
    if not instance.type.has_hook("on_disconnect"):
        return
    address, limit_s = activation.address, activation.node.limits.hook_timeout_s
    try:
        async with asyncio.timeout(limit_s):
            for conn in list(table_of(activation).rows.values()):
                turn.connections.leave(conn)
                try:
                    await on_disconnect(instance, turn, conn)
                except HoldfastError as error:
                    log.error("on_disconnect of %s: %s", address, error)
    except TimeoutError:
        log.error("on_disconnect of all connections of %s took over %s s", address, limit_s)


async def _run_hook(
    instance: LocalInstance, turn: Turn, name: str, run: Coroutine[Any, Any, Any]
) -> Any:
    """A hook's result; it has `hook_timeout_s`."""
    node, address = instance.activation.node, instance.activation.address
    limit_s = node.limits.hook_timeout_s
    with handling(turn, name):
        try:
            async with asyncio.timeout(limit_s) as timer:
                return await run
        except TimeoutError:
            if not timer.expired():
                raise
            log.error("%s of %s took longer than %s s", name, address, limit_s)
            raise HoldfastError(
                errors.CONNECTION_HOOK_FAILED,
                f"{name} took longer than {limit_s:g} s",
                metadata={"hook": name},
            ) from None
