"""The part of the catalogue of errors that the HTTP and WebSocket gateway adds."""

from __future__ import annotations

from holdfast_server.core.reason import Reason

ROUTE_NOT_FOUND = Reason(
    "ROUTE_NOT_FOUND",
    "guard",
    "no_route",
    "NOT_FOUND",
    "nothing is served under this method and path",
)
ROUTE_INVALID = Reason(
    "ROUTE_INVALID",
    "guard",
    "query_invalid",
    "INVALID_ARGUMENT",
    "the parameters that name the actor are missing, repeated, unknown or malformed",
)
RPC_UNIMPLEMENTED = Reason(
    "RPC_UNIMPLEMENTED",
    "rpc",
    "unimplemented",
    "UNIMPLEMENTED",
    "there is no such RPC, or not in this protocol",
)
QUEUE_NOT_FOUND = Reason(
    "QUEUE_NOT_FOUND",
    "queue",
    "not_found",
    "NOT_FOUND",
    "the actor declares no queue of this name",
)
