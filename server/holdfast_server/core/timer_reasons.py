"""The part of the catalogue of errors that durable timers and expiring entries add."""

from __future__ import annotations

from holdfast_server.core.reason import Reason

SCHEDULE_INVALID_TIME = Reason(
    "SCHEDULE_INVALID_TIME",
    "schedule",
    "invalid_time",
    "INVALID_ARGUMENT",
    "the time of a schedule is none, or too far away",
)
SCHEDULE_INVALID_CRON_EXPRESSION = Reason(
    "SCHEDULE_INVALID_CRON_EXPRESSION",
    "schedule",
    "invalid_cron_expression",
    "INVALID_ARGUMENT",
    "the cron expression is malformed, or never due",
)
SCHEDULE_INVALID_TIMEZONE = Reason(
    "SCHEDULE_INVALID_TIMEZONE",
    "schedule",
    "invalid_timezone",
    "INVALID_ARGUMENT",
    "the time zone is unknown",
)
SCHEDULE_INVALID_NAME = Reason(
    "SCHEDULE_INVALID_NAME",
    "schedule",
    "invalid_name",
    "INVALID_ARGUMENT",
    "the name of a cron job is empty or too long",
)
SCHEDULE_INVALID_INTERVAL = Reason(
    "SCHEDULE_INVALID_INTERVAL",
    "schedule",
    "invalid_interval",
    "INVALID_ARGUMENT",
    "the interval is none, or too short",
)
SCHEDULE_INVALID_MAX_HISTORY = Reason(
    "SCHEDULE_INVALID_MAX_HISTORY",
    "schedule",
    "invalid_max_history",
    "INVALID_ARGUMENT",
    "more runs would be kept than may be",
)
SCHEDULE_INVALID_POLICY = Reason(
    "SCHEDULE_INVALID_POLICY",
    "schedule",
    "invalid_policy",
    "INVALID_ARGUMENT",
    "an option of the schedule is unknown or out of range",
)
MAX_SCHEDULES_EXCEEDED = Reason(
    "MAX_SCHEDULES_EXCEEDED",
    "schedule",
    "max_schedules_exceeded",
    "RESOURCE_EXHAUSTED",
    "the actor has too many schedules",
)
SCHEDULE_NOT_FOUND = Reason(
    "SCHEDULE_NOT_FOUND",
    "schedule",
    "not_found",
    "NOT_FOUND",
    "there is no such schedule: it has fired, or was cancelled",
)
SCHEDULE_INTERRUPTED = Reason(
    "SCHEDULE_INTERRUPTED",
    "schedule",
    "interrupted",
    "ABORTED",
    "the fire committed in its middle and was cut short; it is not run again",
)
SCHEDULE_CANCELLED = Reason(
    "SCHEDULE_CANCELLED",
    "schedule",
    "cancelled",
    "CANCELLED",
    "the schedule was cancelled while it ran; the turn was rolled back",
)
KV_INVALID_TTL = Reason(
    "KV_INVALID_TTL",
    "kv",
    "invalid_ttl",
    "INVALID_ARGUMENT",
    "the time to live of a KV entry is none, or too long",
)
