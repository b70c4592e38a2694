"""Connections as handlers see them: their parameters and their state.

The live state of a connection is shared by the turns of its actor, as the actor's own
is: found changed by comparing encodings, dropped when a turn that used it fails. A
read-only turn gets a copy, which must encode as before at its end.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from holdfast import errors as sdk
from holdfast import payload
from holdfast.state import StateCodec
from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.mailbox import Mode
from holdfast_server.core.values import Value
from holdfast_server.runtime.connections import UNSET, Conn
from holdfast_server.runtime.runners.local.state import not_encodable

if TYPE_CHECKING:
    from holdfast.registry import ActorType
    from holdfast_server.runtime.runners.local.instance import LocalInstance
    from holdfast_server.runtime.turn import Turn

log = logging.getLogger("holdfast.actor")


def decode_params(params: Value | None) -> Any:
    """What a client connected with; an empty map when it gave nothing."""
    if params is None:
        return {}
    try:
        return payload.decode(params.data, params.encoding)
    except sdk.DecodeError as error:
        raise HoldfastError(errors.PAYLOAD_MALFORMED, f"params: {error}") from None


# State


def _codec(actor_type: ActorType) -> StateCodec:
    codec = actor_type.conn_codec
    if codec is None:
        raise HoldfastError(
            errors.NOT_ENABLED,
            "the class defines no connection state",
            metadata={"what": "conn_state"},
        )
    return codec


def encode_state(instance: LocalInstance, state: Any) -> bytes:
    """The encoding of a connection's state, of a size that can be stored."""
    try:
        data: bytes = _codec(instance.type).encode(state)
    except sdk.EncodeError as error:
        raise not_encodable(error) from None
    limit = instance.activation.node.limits.connection_state_bytes_max
    if len(data) > limit:
        raise HoldfastError(
            errors.STATE_TOO_LARGE,
            f"connection state of {len(data)} bytes; at most {limit}",
            metadata={"limit": str(limit), "size": str(len(data))},
        )
    return data


def _decode(instance: LocalInstance, conn: Conn) -> Any:
    codec = _codec(instance.type)
    if not conn.state:
        # It was opened before the class had one.
        raise HoldfastError(
            errors.NOT_ENABLED, "the connection has no state", metadata={"what": "conn_state"}
        )
    try:
        return codec.decode(conn.state)
    except sdk.DecodeError as error:
        log.error("state of a connection of %s: %s", instance.activation.address, error)
        raise HoldfastError(errors.STATE_UNDECODABLE, f"stored state: {error}") from None


def get_state(instance: LocalInstance, turn: Turn, conn: Conn) -> Any:
    """The state as `turn` sees it."""
    changes = turn.connections
    if turn.mode is Mode.READ_ONLY:
        return changes.copy_of(conn, lambda: _copy(instance, conn))[0]
    changes.used[conn.id] = conn
    if conn.live is UNSET:
        conn.live = _decode(instance, conn)
    return conn.live


def _copy(instance: LocalInstance, conn: Conn) -> tuple[Any, bytes]:
    state = _decode(instance, conn)
    # What decodes from an encoding may encode otherwise: a set, in another order.
    return state, encode_state(instance, state)


def set_state(instance: LocalInstance, turn: Turn, conn: Conn, value: Any) -> None:
    """Replace the state."""
    turn.check_change()
    _codec(instance.type)
    turn.connections.used[conn.id] = conn
    conn.live = value


def _check_unchanged(instance: LocalInstance, turn: Turn) -> None:
    assert turn.changes is not None
    for state, before in turn.changes.copies():
        try:
            same = encode_state(instance, state) == before
        except HoldfastError:
            same = False
        if not same:
            raise HoldfastError(errors.READ_ONLY, "a read-only turn changed a connection's state")


def drop_states(turn: Turn) -> None:
    """The turn has failed: what it did to the states of connections is forgotten."""
    if turn.changes is not None and turn.mode is not Mode.READ_ONLY:
        for conn in turn.changes.used.values():
            conn.live = UNSET


def take_states(instance: LocalInstance, turn: Turn, used: list[Conn]) -> list[tuple[Conn, bytes]]:
    """What has become of the states that a turn used, where it is something else."""
    if turn.mode is Mode.READ_ONLY:
        _check_unchanged(instance, turn)
        return []
    changed = []
    for conn in used:
        if conn.live is not UNSET:
            state = encode_state(instance, conn.live)
            if state != conn.state:
                changed.append((conn, state))
    return changed
