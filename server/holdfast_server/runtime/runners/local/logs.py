"""What log lines out of an actor carry: who it is, what it runs, in which trace."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from holdfast_server.core.ids import format_actor_id
from holdfast_server.runtime.runners.local.current import current_turn

if TYPE_CHECKING:
    from holdfast_server.core.ids import Address
    from holdfast_server.runtime.turn import Turn

_log = logging.getLogger("holdfast.user")


class ActorLog(logging.LoggerAdapter[logging.Logger]):
    """`c.log`: its fields are added to those that a line gives as `extra`."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def log_of(address: Address, actor_id: bytes, turn: Turn | None) -> ActorLog:
    """The log of an actor, within a turn if there is one."""
    return ActorLog(_log, _fields(address, actor_id, turn))


def current_fields() -> Mapping[str, Any]:
    """The fields of the code that runs now; none outside actors."""
    turn = current_turn()
    return {} if turn is None else _fields(turn.activation.address, turn.actor_id, turn)


def _fields(address: Address, actor_id: bytes, turn: Turn | None) -> dict[str, Any]:
    fields: dict[str, Any] = {"actor": address.name, "key": list(address.key)}
    if actor_id:
        fields["actor_id"] = format_actor_id(actor_id)
    if turn is not None:
        fields["action"] = turn.action
        if turn.trace.parent:
            fields["trace_id"] = turn.trace.trace_id
            fields["span_id"] = turn.trace.span_id
    return fields
