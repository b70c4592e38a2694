"""Whom a request is for: what its path, its query, its headers or its WebSocket's offers say."""

from __future__ import annotations

from typing import Final

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.gateway.values import refused
from holdfast_server.gateway.wire import (
    DirectTarget,
    Target,
    WireError,
    WireLimits,
    parse_target,
)

# RivetKit's clients in browsers are configured with it by default.
BASE: Final = "/api/rivet"
_ACTOR: Final = "actor"


def split_path(raw: str) -> tuple[str, str]:
    """The path and query of a request as they were sent, without BASE."""
    path, _, query = raw.partition("?")
    if path == BASE or path.startswith(BASE + "/"):
        path = path[len(BASE) :] or "/"
    return path, query


def path_route(path: str, query: str, limits: WireLimits) -> Target | None:
    """The route in a path; None when it is none of the gateway's."""
    try:
        return parse_target(path, query, limits)
    except WireError as error:
        raise refused(error, "", errors.ROUTE_INVALID) from None


def named_route(
    path: str, query: str, kind: str | None, actor_id: str | None, token: str | None
) -> Target | None:
    """The route in what stands beside a path, which is the actor's own then; None when
    there is none."""
    if kind is None:
        return None
    if kind != _ACTOR:
        raise _invalid("target_invalid", "x-rivet-target", "must be actor")
    if not actor_id:
        raise _invalid("missing_actor", "x-rivet-actor", "is required with x-rivet-target")
    return DirectTarget(actor_id=actor_id, token=token, path=path, query=query)


def _invalid(code: str, field: str, message: str) -> HoldfastError:
    return HoldfastError(
        errors.ROUTE_INVALID, f"{field}: {message}", code=code, metadata={"field": field}
    )
