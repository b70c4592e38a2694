"""The reasons a call can fail for: the server's catalogue as a client needs it.

`ActorError.reason` is a key of `REASONS`, or, where no Holdfast server described the
failure, the name of its gRPC status. The proto enum `ErrorReason` says what each means.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class Reason(NamedTuple):
    """One reason: its `group` and `code`, its gRPC status by name, and whether the
    same call, with the same idempotency key, may be tried again."""

    group: str
    code: str
    status: str
    retryable: bool = False


REASONS: Final[Mapping[str, Reason]] = MappingProxyType(
    {
        "USER_ERROR": Reason("user", "user_error", "UNKNOWN"),
        "INTERNAL_ERROR": Reason("internal", "internal_error", "INTERNAL"),
        "ACTOR_NOT_FOUND": Reason("actor", "not_found", "NOT_FOUND"),
        "ACTOR_DUPLICATE_KEY": Reason("actor", "duplicate_key", "ALREADY_EXISTS"),
        "ACTOR_NAME_NOT_FOUND": Reason("actor", "name_not_found", "NOT_FOUND"),
        "ACTION_NOT_FOUND": Reason("action", "not_found", "NOT_FOUND"),
        "NAMESPACE_NOT_FOUND": Reason("namespace", "not_found", "NOT_FOUND"),
        "REQUEST_INVALID": Reason("request", "invalid", "INVALID_ARGUMENT"),
        "ENCODING_INVALID": Reason("encoding", "invalid", "INVALID_ARGUMENT"),
        "PAYLOAD_MALFORMED": Reason("payload", "malformed", "INVALID_ARGUMENT"),
        "ACTION_INVALID_ARGUMENT": Reason("action", "invalid_argument", "INVALID_ARGUMENT"),
        "ACTOR_INVALID_INPUT": Reason("actor", "invalid_input", "INVALID_ARGUMENT"),
        "MESSAGE_INCOMING_TOO_LONG": Reason("message", "incoming_too_long", "INVALID_ARGUMENT"),
        "MESSAGE_OUTGOING_TOO_LONG": Reason("message", "outgoing_too_long", "RESOURCE_EXHAUSTED"),
        "VALUE_NOT_ENCODABLE": Reason("value", "not_encodable", "INTERNAL"),
        "STATE_TOO_LARGE": Reason("state", "too_large", "RESOURCE_EXHAUSTED"),
        "STATE_UNDECODABLE": Reason("state", "undecodable", "FAILED_PRECONDITION"),
        "ACTOR_OVERLOADED": Reason("actor", "overloaded", "RESOURCE_EXHAUSTED", retryable=True),
        "SERVER_OVERLOADED": Reason("server", "overloaded", "RESOURCE_EXHAUSTED", retryable=True),
        "CALL_CYCLE": Reason("actor", "call_cycle", "FAILED_PRECONDITION"),
        "DEADLINE_EXCEEDED": Reason("action", "timed_out", "DEADLINE_EXCEEDED"),
        "CANCELLED": Reason("action", "cancelled", "CANCELLED"),
        "IDEMPOTENCY_KEY_REUSED": Reason("idempotency", "key_reused", "INVALID_ARGUMENT"),
        "IDEMPOTENCY_TABLE_FULL": Reason(
            "idempotency", "table_full", "RESOURCE_EXHAUSTED", retryable=True
        ),
        "IDEMPOTENCY_KEY_EXPIRED": Reason("idempotency", "key_expired", "ABORTED"),
        "TURN_INTERRUPTED": Reason("action", "turn_interrupted", "ABORTED"),
        "COMMIT_UNKNOWN": Reason("store", "commit_unknown", "UNAVAILABLE", retryable=True),
        "STORE_UNAVAILABLE": Reason("store", "unavailable", "UNAVAILABLE", retryable=True),
        "SERVER_DRAINING": Reason("server", "draining", "UNAVAILABLE", retryable=True),
        "STALE_EPOCH": Reason("actor", "stale_epoch", "ABORTED"),
        "UNAUTHENTICATED": Reason("auth", "unauthenticated", "UNAUTHENTICATED"),
        "FORBIDDEN": Reason("auth", "forbidden", "PERMISSION_DENIED"),
        "KV_KEY_TOO_LARGE": Reason("kv", "key_too_large", "INVALID_ARGUMENT"),
        "KV_VALUE_TOO_LARGE": Reason("kv", "value_too_large", "INVALID_ARGUMENT"),
        "KV_BATCH_TOO_LARGE": Reason("kv", "batch_too_large", "INVALID_ARGUMENT"),
        "KV_STORAGE_FULL": Reason("kv", "storage_full", "RESOURCE_EXHAUSTED"),
        "OUTBOX_FULL": Reason("outbox", "full", "RESOURCE_EXHAUSTED"),
        "READ_ONLY": Reason("action", "read_only", "FAILED_PRECONDITION"),
        "NO_TURN": Reason("actor", "no_turn", "FAILED_PRECONDITION"),
        "ACTION_WRONG_KIND": Reason("action", "wrong_kind", "INVALID_ARGUMENT"),
        "ACTOR_DESTROYED": Reason("actor", "destroyed", "NOT_FOUND"),
        "ACTOR_START_FAILED": Reason("actor", "start_failed", "FAILED_PRECONDITION"),
        "NOT_ENABLED": Reason("actor", "not_enabled", "FAILED_PRECONDITION"),
        "STORE_CORRUPT": Reason("store", "corrupt", "DATA_LOSS"),
        "DEAD_LETTER_NOT_FOUND": Reason("dead_letter", "not_found", "NOT_FOUND"),
        "EVENTS_TRIMMED": Reason("events", "trimmed", "OUT_OF_RANGE"),
        "CURSOR_STALE": Reason("events", "cursor_stale", "OUT_OF_RANGE"),
        "SUBSCRIBER_TOO_SLOW": Reason("events", "subscriber_too_slow", "RESOURCE_EXHAUSTED"),
        "SUBSCRIPTION_FORBIDDEN": Reason("events", "subscription_forbidden", "PERMISSION_DENIED"),
        "EVENT_TOO_LARGE": Reason("events", "too_large", "RESOURCE_EXHAUSTED"),
        "EVENT_INVALID_ARGUMENT": Reason("events", "invalid_argument", "INVALID_ARGUMENT"),
        "CONNECTION_NOT_FOUND": Reason("connection", "not_found", "NOT_FOUND"),
        "CONNECTION_CLOSED": Reason("connection", "closed", "CANCELLED"),
        "CONNECTION_HOOK_FAILED": Reason("connection", "hook_failed", "FAILED_PRECONDITION"),
        "TOO_MANY_CONNECTIONS": Reason("connection", "too_many", "RESOURCE_EXHAUSTED"),
        "SESSION_INVALID": Reason("session", "invalid", "INVALID_ARGUMENT"),
        "SESSION_FEATURE_UNKNOWN": Reason("session", "feature_unknown", "FAILED_PRECONDITION"),
        "SESSION_SUPERSEDED": Reason("session", "superseded", "ABORTED"),
        "SESSION_TOO_MANY_STREAMS": Reason(
            "session", "too_many_streams", "RESOURCE_EXHAUSTED", True
        ),
        "ACTOR_STOPPING": Reason("actor", "stopping", "UNAVAILABLE", True),
        "SCHEDULE_INVALID_TIME": Reason("schedule", "invalid_time", "INVALID_ARGUMENT"),
        "SCHEDULE_INVALID_CRON_EXPRESSION": Reason(
            "schedule", "invalid_cron_expression", "INVALID_ARGUMENT"
        ),
        "SCHEDULE_INVALID_TIMEZONE": Reason("schedule", "invalid_timezone", "INVALID_ARGUMENT"),
        "SCHEDULE_INVALID_NAME": Reason("schedule", "invalid_name", "INVALID_ARGUMENT"),
        "SCHEDULE_INVALID_INTERVAL": Reason("schedule", "invalid_interval", "INVALID_ARGUMENT"),
        "SCHEDULE_INVALID_MAX_HISTORY": Reason(
            "schedule", "invalid_max_history", "INVALID_ARGUMENT"
        ),
        "SCHEDULE_INVALID_POLICY": Reason("schedule", "invalid_policy", "INVALID_ARGUMENT"),
        "MAX_SCHEDULES_EXCEEDED": Reason(
            "schedule", "max_schedules_exceeded", "RESOURCE_EXHAUSTED"
        ),
        "SCHEDULE_NOT_FOUND": Reason("schedule", "not_found", "NOT_FOUND"),
        "SCHEDULE_INTERRUPTED": Reason("schedule", "interrupted", "ABORTED"),
        "SCHEDULE_CANCELLED": Reason("schedule", "cancelled", "CANCELLED"),
        "KV_INVALID_TTL": Reason("kv", "invalid_ttl", "INVALID_ARGUMENT"),
        "ROUTE_NOT_FOUND": Reason("guard", "no_route", "NOT_FOUND"),
        "RPC_UNIMPLEMENTED": Reason("rpc", "unimplemented", "UNIMPLEMENTED"),
        "ROUTE_INVALID": Reason("guard", "query_invalid", "INVALID_ARGUMENT"),
        "QUEUE_NOT_FOUND": Reason("queue", "not_found", "NOT_FOUND"),
        "BACKUP_OFF": Reason("backup", "off", "FAILED_PRECONDITION"),
        "BACKUP_FAILED": Reason("backup", "failed", "INTERNAL"),
        "HANDLER_REQUEST_NOT_DEFINED": Reason("handler", "request_not_defined", "NOT_FOUND"),
        "HANDLER_WEBSOCKET_NOT_DEFINED": Reason("handler", "websocket_not_defined", "NOT_FOUND"),
        "HANDLER_INVALID_RESPONSE": Reason(
            "handler", "invalid_request_handler_response", "INTERNAL"
        ),
    }
)
"""Every reason of the catalogue by its name."""

__all__ = ["REASONS", "Reason"]
