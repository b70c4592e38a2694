"""The catalogue of errors: every failure that can reach a caller, once.

Each `Reason` names one failure by its stable `reason` (the ErrorInfo reason and
the proto enum `ErrorReason` without its prefix), by the `group` and `code` that
SDKs and the gateway show, by its canonical gRPC status and by whether a caller
may retry it at once. The proto enum, this table and the SDK's mirror are held
together by `tests/unit/test_error_catalogue.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from holdfast_server.core import gateway_reasons, raw_reasons, timer_reasons
from holdfast_server.core.reason import Reason as Reason

DOMAIN: Final = "holdfast.dev"


def _table(*rows: Reason) -> Mapping[str, Reason]:
    return {row.reason: row for row in rows}


USER_ERROR = Reason("USER_ERROR", "user", "user_error", "UNKNOWN", "the actor raised an error")
INTERNAL_ERROR = Reason(
    "INTERNAL_ERROR",
    "internal",
    "internal_error",
    "INTERNAL",
    "Internal error. Read the server's log for more details.",
)
ACTOR_NOT_FOUND = Reason(
    "ACTOR_NOT_FOUND", "actor", "not_found", "NOT_FOUND", "no actor has this key or id"
)
ACTOR_DUPLICATE_KEY = Reason(
    "ACTOR_DUPLICATE_KEY",
    "actor",
    "duplicate_key",
    "ALREADY_EXISTS",
    "an actor of this key exists already",
)
ACTOR_NAME_NOT_FOUND = Reason(
    "ACTOR_NAME_NOT_FOUND",
    "actor",
    "name_not_found",
    "NOT_FOUND",
    "the registry has no actor class of this name",
)
ACTION_NOT_FOUND = Reason(
    "ACTION_NOT_FOUND", "action", "not_found", "NOT_FOUND", "the actor has no action of this name"
)
NAMESPACE_NOT_FOUND = Reason(
    "NAMESPACE_NOT_FOUND", "namespace", "not_found", "NOT_FOUND", "the namespace does not exist"
)
REQUEST_INVALID = Reason(
    "REQUEST_INVALID", "request", "invalid", "INVALID_ARGUMENT", "the request is malformed"
)
ENCODING_INVALID = Reason(
    "ENCODING_INVALID",
    "encoding",
    "invalid",
    "INVALID_ARGUMENT",
    "the encoding is unknown or cannot carry this value",
)
PAYLOAD_MALFORMED = Reason(
    "PAYLOAD_MALFORMED", "payload", "malformed", "INVALID_ARGUMENT", "the payload does not decode"
)
ACTION_INVALID_ARGUMENT = Reason(
    "ACTION_INVALID_ARGUMENT",
    "action",
    "invalid_argument",
    "INVALID_ARGUMENT",
    "an argument is missing, surplus or of the wrong type",
)
ACTOR_INVALID_INPUT = Reason(
    "ACTOR_INVALID_INPUT",
    "actor",
    "invalid_input",
    "INVALID_ARGUMENT",
    "the input does not fit the actor's input type",
)
MESSAGE_INCOMING_TOO_LONG = Reason(
    "MESSAGE_INCOMING_TOO_LONG",
    "message",
    "incoming_too_long",
    "INVALID_ARGUMENT",
    "the payload is too large",
)
MESSAGE_OUTGOING_TOO_LONG = Reason(
    "MESSAGE_OUTGOING_TOO_LONG",
    "message",
    "outgoing_too_long",
    "RESOURCE_EXHAUSTED",
    "the result is too large to send; the turn was rolled back",
)
VALUE_NOT_ENCODABLE = Reason(
    "VALUE_NOT_ENCODABLE",
    "value",
    "not_encodable",
    "INTERNAL",
    "a value cannot be encoded; the turn was rolled back",
)
STATE_TOO_LARGE = Reason(
    "STATE_TOO_LARGE",
    "state",
    "too_large",
    "RESOURCE_EXHAUSTED",
    "the encoded state is too large; the turn was rolled back",
)
STATE_UNDECODABLE = Reason(
    "STATE_UNDECODABLE",
    "state",
    "undecodable",
    "FAILED_PRECONDITION",
    "the stored state does not fit the class's state type; it was left as it is",
)
ACTOR_OVERLOADED = Reason(
    "ACTOR_OVERLOADED",
    "actor",
    "overloaded",
    "RESOURCE_EXHAUSTED",
    "the actor's mailbox is full; nothing ran",
    retry_after_s=0.1,
)
SERVER_OVERLOADED = Reason(
    "SERVER_OVERLOADED",
    "server",
    "overloaded",
    "RESOURCE_EXHAUSTED",
    "the server is at its limit of activations or calls; nothing ran",
    retry_after_s=0.2,
)
CALL_CYCLE = Reason(
    "CALL_CYCLE",
    "actor",
    "call_cycle",
    "FAILED_PRECONDITION",
    "this call would wait for a turn that waits for it",
)
DEADLINE_EXCEEDED = Reason(
    "DEADLINE_EXCEEDED", "action", "timed_out", "DEADLINE_EXCEEDED", "the deadline has passed"
)
CANCELLED = Reason("CANCELLED", "action", "cancelled", "CANCELLED", "the call was cancelled")
IDEMPOTENCY_KEY_REUSED = Reason(
    "IDEMPOTENCY_KEY_REUSED",
    "idempotency",
    "key_reused",
    "INVALID_ARGUMENT",
    "the idempotency key was used with another action or other arguments",
)
IDEMPOTENCY_TABLE_FULL = Reason(
    "IDEMPOTENCY_TABLE_FULL",
    "idempotency",
    "table_full",
    "RESOURCE_EXHAUSTED",
    "the table of stored replies of this actor is full; nothing ran",
    retry_after_s=1.0,
)
IDEMPOTENCY_KEY_EXPIRED = Reason(
    "IDEMPOTENCY_KEY_EXPIRED",
    "idempotency",
    "key_expired",
    "ABORTED",
    "the client acknowledged this call's answer before; it is not run again",
)
TURN_INTERRUPTED = Reason(
    "TURN_INTERRUPTED",
    "action",
    "turn_interrupted",
    "ABORTED",
    "the turn of this key committed in its middle and was cut short; it is not run again",
)
COMMIT_UNKNOWN = Reason(
    "COMMIT_UNKNOWN",
    "store",
    "commit_unknown",
    "UNAVAILABLE",
    "writing or syncing failed and the outcome is unknown; retry with the same idempotency key",
    retry_after_s=0.5,
)
STORE_UNAVAILABLE = Reason(
    "STORE_UNAVAILABLE",
    "store",
    "unavailable",
    "UNAVAILABLE",
    "the store is closed or being reopened; nothing ran",
    retry_after_s=0.5,
)
SERVER_DRAINING = Reason(
    "SERVER_DRAINING",
    "server",
    "draining",
    "UNAVAILABLE",
    "the server is draining; nothing ran",
    retry_after_s=0.5,
)
STALE_EPOCH = Reason(
    "STALE_EPOCH",
    "actor",
    "stale_epoch",
    "ABORTED",
    "the owner's epoch is stale; nothing was written",
)
UNAUTHENTICATED = Reason(
    "UNAUTHENTICATED",
    "auth",
    "unauthenticated",
    "UNAUTHENTICATED",
    "the token is missing or wrong",
)
FORBIDDEN = Reason(
    "FORBIDDEN", "auth", "forbidden", "PERMISSION_DENIED", "the caller may not do this"
)
KV_KEY_TOO_LARGE = Reason(
    "KV_KEY_TOO_LARGE", "kv", "key_too_large", "INVALID_ARGUMENT", "the KV key is too large"
)
KV_VALUE_TOO_LARGE = Reason(
    "KV_VALUE_TOO_LARGE", "kv", "value_too_large", "INVALID_ARGUMENT", "the KV value is too large"
)
KV_BATCH_TOO_LARGE = Reason(
    "KV_BATCH_TOO_LARGE",
    "kv",
    "batch_too_large",
    "INVALID_ARGUMENT",
    "the KV batch has too many keys or bytes",
)
KV_STORAGE_FULL = Reason(
    "KV_STORAGE_FULL", "kv", "storage_full", "RESOURCE_EXHAUSTED", "the actor's KV storage is full"
)
OUTBOX_FULL = Reason(
    "OUTBOX_FULL",
    "outbox",
    "full",
    "RESOURCE_EXHAUSTED",
    "the actor has too many undelivered sends",
)
READ_ONLY = Reason(
    "READ_ONLY",
    "action",
    "read_only",
    "FAILED_PRECONDITION",
    "a read-only action may change nothing",
)
NO_TURN = Reason(
    "NO_TURN",
    "actor",
    "no_turn",
    "FAILED_PRECONDITION",
    "this needs a turn: use `async with c.turn():`",
)
ACTION_WRONG_KIND = Reason(
    "ACTION_WRONG_KIND",
    "action",
    "wrong_kind",
    "INVALID_ARGUMENT",
    "a streaming action is called with StreamAction, any other with InvokeAction",
)
ACTOR_DESTROYED = Reason(
    "ACTOR_DESTROYED",
    "actor",
    "destroyed",
    "NOT_FOUND",
    "the actor was destroyed while the call waited or ran",
)
ACTOR_START_FAILED = Reason(
    "ACTOR_START_FAILED",
    "actor",
    "start_failed",
    "FAILED_PRECONDITION",
    "a hook failed, so the actor could not start",
)
NOT_ENABLED = Reason(
    "NOT_ENABLED",
    "actor",
    "not_enabled",
    "FAILED_PRECONDITION",
    "the class does not define what was used",
)
STORE_CORRUPT = Reason(
    "STORE_CORRUPT", "store", "corrupt", "DATA_LOSS", "a stored record is corrupt"
)
DEAD_LETTER_NOT_FOUND = Reason(
    "DEAD_LETTER_NOT_FOUND",
    "dead_letter",
    "not_found",
    "NOT_FOUND",
    "there is no such dead letter, or it was sent again or discarded before",
)
EVENTS_TRIMMED = Reason(
    "EVENTS_TRIMMED",
    "events",
    "trimmed",
    "OUT_OF_RANGE",
    "the events asked for are no longer kept",
)
CURSOR_STALE = Reason(
    "CURSOR_STALE",
    "events",
    "cursor_stale",
    "OUT_OF_RANGE",
    "the cursor is of another actor, or its numbers were given again",
)
SUBSCRIBER_TOO_SLOW = Reason(
    "SUBSCRIBER_TOO_SLOW",
    "events",
    "subscriber_too_slow",
    "RESOURCE_EXHAUSTED",
    "the subscriber read more slowly than events came",
)
SUBSCRIPTION_FORBIDDEN = Reason(
    "SUBSCRIPTION_FORBIDDEN",
    "events",
    "subscription_forbidden",
    "PERMISSION_DENIED",
    "the actor does not let this caller subscribe",
)
EVENT_TOO_LARGE = Reason(
    "EVENT_TOO_LARGE",
    "events",
    "too_large",
    "RESOURCE_EXHAUSTED",
    "the event is too large",
)
EVENT_INVALID_ARGUMENT = Reason(
    "EVENT_INVALID_ARGUMENT",
    "events",
    "invalid_argument",
    "INVALID_ARGUMENT",
    "the arguments do not fit the declared event",
)
CONNECTION_NOT_FOUND = Reason(
    "CONNECTION_NOT_FOUND",
    "connection",
    "not_found",
    "NOT_FOUND",
    "there is no such connection",
)
CONNECTION_CLOSED = Reason(
    "CONNECTION_CLOSED",
    "connection",
    "closed",
    "CANCELLED",
    "the connection was disconnected",
)
# What ends a subscription because its connection has ended.
CONNECTION_GONE: Final = frozenset({CONNECTION_NOT_FOUND.reason, CONNECTION_CLOSED.reason})
CONNECTION_HOOK_FAILED = Reason(
    "CONNECTION_HOOK_FAILED",
    "connection",
    "hook_failed",
    "FAILED_PRECONDITION",
    "a hook of the connection failed",
)
TOO_MANY_CONNECTIONS = Reason(
    "TOO_MANY_CONNECTIONS",
    "connection",
    "too_many",
    "RESOURCE_EXHAUSTED",
    "the actor has too many connections or subscribers",
)
SESSION_INVALID = Reason(
    "SESSION_INVALID",
    "session",
    "invalid",
    "INVALID_ARGUMENT",
    "the session's protocol was broken",
)
SESSION_FEATURE_UNKNOWN = Reason(
    "SESSION_FEATURE_UNKNOWN",
    "session",
    "feature_unknown",
    "FAILED_PRECONDITION",
    "the server does not have this feature",
)
SESSION_SUPERSEDED = Reason(
    "SESSION_SUPERSEDED",
    "session",
    "superseded",
    "ABORTED",
    "another session was opened with this one's resume token",
)
SESSION_TOO_MANY_STREAMS = Reason(
    "SESSION_TOO_MANY_STREAMS",
    "session",
    "too_many_streams",
    "RESOURCE_EXHAUSTED",
    "the session has too many open streams; nothing ran",
    retry_after_s=0.1,
)
ACTOR_STOPPING = Reason(
    "ACTOR_STOPPING",
    "actor",
    "stopping",
    "UNAVAILABLE",
    "the actor is going to sleep; nothing ran",
    retry_after_s=0.1,
)

SCHEDULE_INVALID_TIME = timer_reasons.SCHEDULE_INVALID_TIME
SCHEDULE_INVALID_CRON_EXPRESSION = timer_reasons.SCHEDULE_INVALID_CRON_EXPRESSION
SCHEDULE_INVALID_TIMEZONE = timer_reasons.SCHEDULE_INVALID_TIMEZONE
SCHEDULE_INVALID_NAME = timer_reasons.SCHEDULE_INVALID_NAME
SCHEDULE_INVALID_INTERVAL = timer_reasons.SCHEDULE_INVALID_INTERVAL
SCHEDULE_INVALID_MAX_HISTORY = timer_reasons.SCHEDULE_INVALID_MAX_HISTORY
SCHEDULE_INVALID_POLICY = timer_reasons.SCHEDULE_INVALID_POLICY
MAX_SCHEDULES_EXCEEDED = timer_reasons.MAX_SCHEDULES_EXCEEDED
SCHEDULE_NOT_FOUND = timer_reasons.SCHEDULE_NOT_FOUND
SCHEDULE_INTERRUPTED = timer_reasons.SCHEDULE_INTERRUPTED
SCHEDULE_CANCELLED = timer_reasons.SCHEDULE_CANCELLED
KV_INVALID_TTL = timer_reasons.KV_INVALID_TTL

ROUTE_NOT_FOUND = gateway_reasons.ROUTE_NOT_FOUND
ROUTE_INVALID = gateway_reasons.ROUTE_INVALID
RPC_UNIMPLEMENTED = gateway_reasons.RPC_UNIMPLEMENTED
QUEUE_NOT_FOUND = gateway_reasons.QUEUE_NOT_FOUND
BACKUP_OFF = Reason(
    "BACKUP_OFF",
    "backup",
    "off",
    "FAILED_PRECONDITION",
    "the server was given no directory for backups; the setting backup_dir names one",
)
BACKUP_FAILED = Reason(
    "BACKUP_FAILED", "backup", "failed", "INTERNAL", "the backup could not be taken"
)
HANDLER_REQUEST_NOT_DEFINED = raw_reasons.HANDLER_REQUEST_NOT_DEFINED
HANDLER_WEBSOCKET_NOT_DEFINED = raw_reasons.HANDLER_WEBSOCKET_NOT_DEFINED
HANDLER_INVALID_RESPONSE = raw_reasons.HANDLER_INVALID_RESPONSE

CATALOGUE: Final[Mapping[str, Reason]] = _table(
    *(value for value in list(globals().values()) if isinstance(value, Reason))
)


# Failures that pass by themselves, of the store, the server, or an actor that goes to
# sleep just now: whoever tries again does not count them against what was tried.
PASSING: Final = frozenset(
    reason.reason
    for reason in (
        COMMIT_UNKNOWN,
        STORE_UNAVAILABLE,
        SERVER_DRAINING,
        SERVER_OVERLOADED,
        ACTOR_OVERLOADED,
        ACTOR_STOPPING,
        STALE_EPOCH,
    )
)


class HoldfastError(Exception):
    """A catalogued failure on its way to a caller.

    `code` and `message` override the catalogue's for user errors; `metadata`
    holds strings only, except for user errors, whose metadata is any JSON value.
    `ran` is set on its way out of a turn that had begun: whoever has no idempotency key
    must not send the same again because of it.
    """

    def __init__(
        self,
        reason: Reason,
        message: str | None = None,
        *,
        code: str | None = None,
        metadata: Mapping[str, str] | None = None,
        user_metadata_json: bytes | None = None,
    ) -> None:
        self.reason = reason
        self.message = reason.message if message is None else message
        self.code = reason.code if code is None else code
        self.metadata = dict(metadata or {})
        self.user_metadata_json = user_metadata_json
        self.ran = False
        super().__init__(self.message)

    @property
    def group(self) -> str:
        return self.reason.group

    def __str__(self) -> str:
        return f"{self.group}.{self.code}: {self.message}"


def invalid(field: str, message: str, *, limit: object = None) -> HoldfastError:
    """A REQUEST_INVALID that names the field and, where there is one, the limit."""
    return naming(REQUEST_INVALID, field, message, limit)


def naming(reason: Reason, field: str, message: str, limit: object) -> HoldfastError:
    """A failure that names the field, and the limit where there is one: in its metadata, and
    in its text where `message` does not name that already."""
    metadata = {"field": field}
    if limit is not None:
        metadata["limit"] = str(limit)
        if str(limit) not in re.findall(r"[\w.]+", message):
            message = f"{message}; the limit is {limit}"
    return HoldfastError(reason, f"{field}: {message}", metadata=metadata)
