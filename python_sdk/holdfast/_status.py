"""What a failed RPC says: gRPC statuses and their details to ActorError."""

from __future__ import annotations

import json
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.rpc import error_details_pb2, status_pb2

from holdfast._service_config import RETRY
from holdfast.errors import ActorError

DOMAIN: Final = "holdfast.dev"
STATUS_KEY: Final = "grpc-status-details-bin"
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"

# What a status means when no server of ours described it: group, code.
_BARE: Final[dict[str, tuple[str, str]]] = {
    "UNAVAILABLE": ("server", "unavailable"),
    "DEADLINE_EXCEEDED": ("action", "timed_out"),
    "UNAUTHENTICATED": ("auth", "unauthenticated"),
    "PERMISSION_DENIED": ("auth", "forbidden"),
}
_TOO_LONG: Final = "message larger than max"


def _details(error: grpc.aio.AioRpcError) -> tuple[status_pb2.Status, bool]:
    """The google.rpc.Status, and whether the server forbids gRPC's own retries."""
    status = status_pb2.Status()
    forbidden = False
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_KEY and isinstance(value, bytes):
            try:
                status.ParseFromString(value)
            except ProtobufDecodeError:
                status = status_pb2.Status()
        elif key == PUSHBACK_KEY:
            forbidden = str(value).startswith("-")
    return status, forbidden


def _metadata(info: error_details_pb2.ErrorInfo) -> dict[str, Any] | None:
    found: dict[str, Any] = {
        key: value for key, value in info.metadata.items() if key not in ("group", "code")
    }
    text = found.pop("metadata_json", None)
    if text is not None:
        # What the actor's code gave its UserError: it is returned as it was.
        try:
            decoded = json.loads(text)
        except ValueError:
            decoded = None
        return decoded if isinstance(decoded, dict) else {"metadata_json": text}
    return found or None


def _bare(name: str, text: str) -> tuple[str, str, str, str]:
    """Group, code, message and reason of a status without details."""
    if name == "RESOURCE_EXHAUSTED" and _TOO_LONG in text:
        # gRPC itself refused the message. What this client may not receive came out.
        if "CLIENT: Received" in text:
            return "message", "outgoing_too_long", text, "MESSAGE_OUTGOING_TOO_LONG"
        return "message", "incoming_too_long", text, "MESSAGE_INCOMING_TOO_LONG"
    if name == "UNIMPLEMENTED":
        message = f"{text}: is this the gRPC address of a Holdfast server?"
        return "server", "unimplemented", message, name
    if name == "CANCELLED":
        # Nobody here cancelled: a server with too long a backlog, or a proxy, cut it off.
        return "server", "unavailable", f"the call was cut off: {text}", "UNAVAILABLE"
    group, code = _BARE.get(name, ("rpc", name.lower()))
    if name == "DEADLINE_EXCEEDED" and "Deadline Exceeded" in text:
        # gRPC's own words, which tell which side saw it first.
        text = "the deadline has passed"
    return group, code, text or code, name


def to_actor_error(error: grpc.aio.AioRpcError) -> ActorError:
    """The ActorError that a failed RPC stands for."""
    name = error.code().name
    info: error_details_pb2.ErrorInfo | None = None
    retry_after_s: float | None = None
    status, forbidden = _details(error)
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            candidate = error_details_pb2.ErrorInfo()
            detail.Unpack(candidate)
            info = candidate if candidate.domain == DOMAIN else info
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    group, code, message, reason = _bare(name, error.details() or "")
    if info is not None:
        group = info.metadata.get("group", group)
        code = info.metadata.get("code", code)
        message, reason = error.details() or code, info.reason
    return ActorError(
        group=group,
        code=code,
        message=message,
        metadata=_metadata(info) if info is not None else None,
        reason=reason,
        retryable=_retryable(name, info is not None, retry_after_s is not None, forbidden),
        retry_after_s=retry_after_s,
        status=name,
    )


def _retryable(name: str, described: bool, has_delay: bool, forbidden: bool) -> bool:
    if name == "CANCELLED":
        return not described
    # A full mailbox passes; what a server calls exhausted without a delay does not.
    return name in RETRY.codes and not forbidden and (name == "UNAVAILABLE" or has_delay)


__all__ = ["to_actor_error"]
