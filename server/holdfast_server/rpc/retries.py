"""Whether a failed request may be sent again, and how clients are told.

The service config beside the protos lets clients retry by status codes alone; what codes
cannot tell apart, the pushback does.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import Message

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError

PUSHBACK: Final = "grpc-retry-pushback-ms"
# What the service config names.
_RETRIED: Final = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED"})


def retry_after_s(error: HoldfastError, request: Message | None) -> float | None:
    """After how many seconds the same request may be sent again; None where it may not.

    It may when nothing of it ran, or when its idempotency key makes that safe. `request`
    is None where it was refused before it was read.
    """
    return delay_s(error, once=request is None or not _may_run_twice(request))


def delay_s(error: HoldfastError, *, once: bool) -> float | None:
    """The same for a request that takes effect `once`, however often it is sent, or not."""
    if error.reason is errors.COMMIT_UNKNOWN and not once:
        return None
    return error.reason.retry_after_s


def pushback_of(error: HoldfastError, delay_s: float | None) -> tuple[tuple[str, str], ...]:
    """The trailing metadata by which gRPC's own retries go on after a delay, or stop."""
    if error.reason.status not in _RETRIED:
        return ()
    return ((PUSHBACK, "-1" if delay_s is None else str(round(delay_s * 1000))),)


def _may_run_twice(request: Message) -> bool:
    """Whether a request could take effect again, and has no key."""
    if "idempotency_key" not in request.DESCRIPTOR.fields_by_name:
        return False  # it only reads, or what it names is gone once it took effect
    keyed: Any = request
    return not keyed.idempotency_key and not request.HasField("client_sequence")
