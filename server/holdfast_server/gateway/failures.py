"""What RivetKit's clients, and whoever else speaks HTTP, are told of a failure.

They retry some pairs of group and code by themselves, and send no idempotency key. So
such a pair leaves only while nothing of the call has run: of a turn that had begun, it is
told with the group `callee`. For the same reason no status is one that browsers and
proxies repeat requests for, unless nothing ran.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.gateway.wire import close_reason

# What a failure of the server, of which nothing ran, is to these clients: they wait for a
# server that is not ready, and give up on any other.
UNAVAILABLE_GROUP: Final = "guard"
UNAVAILABLE_CODE: Final = "service_unavailable"
# The group of a pair that clients would retry, when they must not.
RAN_GROUP: Final = "callee"

_NOT_READY: Final = frozenset(
    reason.reason
    for reason in (errors.SERVER_DRAINING, errors.STORE_UNAVAILABLE, errors.SERVER_OVERLOADED)
)
_RETRIED: Final = re.compile(
    r"actor\.(?:not_found|starting|stopping|stopped|restarting|not_configured|dropped_reply"
    r"|destroying|destroyed_.*)"
    r"|guard\.(?:service_unavailable|actor_.*|tunnel_.*|gateway_response_start_timeout)"
    r"|ws\.going_away"
)
_STATUS: Final = {
    "UNKNOWN": 400,
    "INTERNAL": 500,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "RESOURCE_EXHAUSTED": 429,
    "DEADLINE_EXCEEDED": 504,
    "CANCELLED": 499,
    "ABORTED": 409,
    # Of a call that may have run, as only COMMIT_UNKNOWN is by then.
    "UNAVAILABLE": 500,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
}


METHOD_NOT_ALLOWED: Final = 405
# Every status that the failure of a call may have.
STATUSES: Final = frozenset({*_STATUS.values(), 413, 429, 503})


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure in the shape of RivetKit; `metadata` is any value that JSON has, None for none.

    `retry_after_s` is set where the same request may be sent again.
    """

    status: int
    group: str
    code: str
    message: str
    metadata: Any = None
    retry_after_s: float | None = None

    @property
    def retried(self) -> bool:
        """Whether clients try again by themselves, and so need not show it to anybody."""
        return _RETRIED.fullmatch(f"{self.group}.{self.code}") is not None

    def close_reason(self, ray: str) -> str:
        """The reason of a close frame."""
        return close_reason(self.group, self.code, ray)


def failure_of(error: HoldfastError, *, opening: bool = False) -> Failure:
    """What is told of an error; `opening` when it ends the opening of a connection, which
    clients give up for good unless they are told to come again."""
    reason, nothing_ran = error.reason, not error.ran
    metadata = _metadata(error)
    retry_after_s = None if error.ran else reason.retry_after_s
    if reason is errors.COMMIT_UNKNOWN:
        retry_after_s = None
    passes = reason.reason in _NOT_READY or (opening and retry_after_s is not None)
    if nothing_ran and passes:
        return Failure(
            503, UNAVAILABLE_GROUP, UNAVAILABLE_CODE, error.message, metadata, retry_after_s
        )
    group = error.group
    if error.ran and _RETRIED.fullmatch(f"{group}.{error.code}"):
        group = RAN_GROUP
    return Failure(
        _status_of(error, retry_after_s), group, error.code, error.message, metadata, retry_after_s
    )


def _status_of(error: HoldfastError, retry_after_s: float | None) -> int:
    reason = error.reason
    if reason is errors.MESSAGE_INCOMING_TOO_LONG:
        return 413
    if retry_after_s is not None:
        return 429 if reason.status == "RESOURCE_EXHAUSTED" else 503
    if reason.status == "RESOURCE_EXHAUSTED":
        # Too large, or full: waiting helps nobody.
        return 400
    return _STATUS[reason.status]


def _metadata(error: HoldfastError) -> Any:
    if error.user_metadata_json is not None:
        return json.loads(error.user_metadata_json)
    return dict(error.metadata) or None


class Told(Exception):
    """A failure that is already in its shape, on its way to whoever asked."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)
