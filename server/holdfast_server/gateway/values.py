"""Between the core and the wire: failures and refusals as each of them has them."""

from __future__ import annotations

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError, Reason
from holdfast_server.core.values import Encoding, Value
from holdfast_server.gateway.failures import Failure
from holdfast_server.gateway.transport import to_json
from holdfast_server.gateway.wire import HttpResponseError, WireError


def refused(
    error: WireError, what: str, reason: Reason = errors.PAYLOAD_MALFORMED
) -> HoldfastError:
    """What a client is told that sent what is not of the wire, in the part `what`."""
    field = ".".join(part for part in (what, error.field) if part)
    metadata = {"field": field}
    if error.limit is not None:
        metadata["limit"] = str(error.limit)
        if error.problem.endswith(f"bytes; at most {error.limit}"):
            reason = errors.MESSAGE_INCOMING_TOO_LONG
    message = f"{what}: {error}" if what else str(error)
    code = error.code if error.code and reason is errors.ROUTE_INVALID else None
    return HoldfastError(reason, message, code=code, metadata=metadata)


def metadata_value(failure: Failure) -> Value | None:
    """The metadata of a failure as a payload."""
    if failure.metadata is None:
        return None
    return Value(Encoding.JSON, to_json(failure.metadata))


def error_message(failure: Failure) -> HttpResponseError:
    """A failure as the body of a response."""
    return HttpResponseError(failure.group, failure.code, failure.message, metadata_value(failure))
