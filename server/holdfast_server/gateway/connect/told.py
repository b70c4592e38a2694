"""What clients of the Connect protocol are told of a failure, and at the end of a stream."""

from __future__ import annotations

import base64
from typing import Any, Final

from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2

from holdfast_server.gateway.transport import to_json
from holdfast_server.runtime.procedures import Metadata, RpcFailed

# By the name of a canonical status: the code, and the HTTP status that goes with it.
CODES: Final = {
    "CANCELLED": ("canceled", 499),
    "UNKNOWN": ("unknown", 500),
    "INVALID_ARGUMENT": ("invalid_argument", 400),
    "DEADLINE_EXCEEDED": ("deadline_exceeded", 504),
    "NOT_FOUND": ("not_found", 404),
    "ALREADY_EXISTS": ("already_exists", 409),
    "PERMISSION_DENIED": ("permission_denied", 403),
    "RESOURCE_EXHAUSTED": ("resource_exhausted", 429),
    "FAILED_PRECONDITION": ("failed_precondition", 400),
    "ABORTED": ("aborted", 409),
    "OUT_OF_RANGE": ("out_of_range", 400),
    "UNIMPLEMENTED": ("unimplemented", 501),
    "INTERNAL": ("internal", 500),
    "UNAVAILABLE": ("unavailable", 503),
    "DATA_LOSS": ("data_loss", 500),
    "UNAUTHENTICATED": ("unauthenticated", 401),
}


def error_of(failed: RpcFailed) -> dict[str, Any]:
    """A failure as an Error of the protocol."""
    error: dict[str, Any] = {"code": CODES[failed.status][0], "message": failed.message}
    if failed.details:
        error["details"] = [_detail(each) for each in failed.details]
    return error


def end_of(failed: RpcFailed | None, trailing: Metadata) -> bytes:
    """The EndStreamResponse of a stream that ends well, or has failed."""
    end: dict[str, Any] = {}
    if failed is not None:
        end["error"] = error_of(failed)
    if trailing:
        said: dict[str, list[str]] = {}
        for name, value in trailing:
            said.setdefault(name, []).append(header_text(value))
        end["metadata"] = said
    return to_json(end)


def name_of(failed: RpcFailed) -> str | None:
    """Group and code of a failure that is of the catalogue, as `actor.not_found`."""
    info = error_details_pb2.ErrorInfo()
    for detail in failed.details:
        if detail.Unpack(info):
            return f"{info.metadata['group']}.{info.metadata['code']}"
    return None


def retry_after_s(failed: RpcFailed) -> float | None:
    """After how many seconds the request may be sent again, if it says so."""
    info = error_details_pb2.RetryInfo()
    for detail in failed.details:
        if detail.Unpack(info):
            return float(info.retry_delay.ToMilliseconds()) / 1000
    return None


def header_text(value: str | bytes) -> str:
    """A value of metadata as a header has it: bytes in base64."""
    return value if isinstance(value, str) else unpadded(value)


def unpadded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii").rstrip("=")


def _detail(detail: Any) -> dict[str, Any]:
    name = detail.TypeName()
    shown: dict[str, Any] = {"type": name, "value": unpadded(detail.value)}
    try:
        kind = descriptor_pool.Default().FindMessageTypeByName(name)
        message = message_factory.GetMessageClass(kind).FromString(detail.value)
    except (KeyError, DecodeError):
        # Only people read it, and they can do without.
        return shown
    shown["debug"] = json_format.MessageToDict(message)
    return shown
