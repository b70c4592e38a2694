"""Numbers that clients give: ids of actions, and times."""

from __future__ import annotations

from typing import Any, Final

from holdfast_server.gateway.wire.errors import WireError

ID_MAX: Final = 2**64 - 1


def check_id(said: Any, field: str) -> int:
    """The id of an action, which is an integer of 64 bits."""
    if type(said) is int and 0 <= said <= ID_MAX:
        return said
    raise WireError("not an id: an integer from 0 to 2^64 - 1", field=field, limit=ID_MAX)


def check_timeout(said: Any, field: str) -> int | None:
    """Whole milliseconds from 0 on, or none."""
    if said is None:
        return None
    if type(said) not in (int, float) or not 0 <= said <= ID_MAX:
        raise WireError("not a number of milliseconds", field=field, limit=ID_MAX)
    return int(said)


__all__ = ["ID_MAX", "check_id", "check_timeout"]
