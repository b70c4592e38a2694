"""Names of spans' attributes.

Those of RPCs are OpenTelemetry's stable conventions (semconv 1.45), spelled out
because the Python package still keeps them among the unstable ones. The others
are Holdfast's own; like stored keys they are forever, since dashboards and
alerts are written against them. Units come last.
"""

from __future__ import annotations

from typing import Final

# OpenTelemetry's
RPC_SYSTEM_NAME: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
RPC_RESPONSE_STATUS_CODE: Final = "rpc.response.status_code"
ERROR_TYPE: Final = "error.type"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
CLIENT_ADDRESS: Final = "client.address"
CLIENT_PORT: Final = "client.port"
SERVICE_NAME: Final = "service.name"

# The actor
NAMESPACE: Final = "holdfast.namespace"
ACTOR_NAME: Final = "holdfast.actor.name"
ACTOR_ID: Final = "holdfast.actor.id"
ACTOR_KEY: Final = "holdfast.actor.key"
ACTION: Final = "holdfast.action"

# The turn
TURN_MODE: Final = "holdfast.turn.mode"
TURN_CAUSE: Final = "holdfast.turn.cause"
TURN_CREATES: Final = "holdfast.turn.creates"
TURN_WAIT_S: Final = "holdfast.turn.wait_s"
ERROR_CODE: Final = "holdfast.error.code"
REPLAYED: Final = "holdfast.replayed"

# The commit
COMMIT_WRITES: Final = "holdfast.commit.writes"
COMMIT_BYTES: Final = "holdfast.commit.bytes"
COMMIT_GROUP: Final = "holdfast.commit.group"

# A link
LINK_KIND: Final = "holdfast.link.kind"
