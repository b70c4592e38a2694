"""Arguments into a handler, its result out of it."""

from __future__ import annotations

from typing import Any

from holdfast import errors as sdk
from holdfast.registry import ActionSpec
from holdfast_server.core import errors
from holdfast_server.core.call import Call
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.values import Encoding, Value


def bind(spec: ActionSpec, call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments to call the handler with; an error names the argument."""
    try:
        return spec.bind(call.args, call.kwargs)
    except sdk.DecodeError as error:
        if error.argument is None and error.path == "$":
            raise HoldfastError(errors.PAYLOAD_MALFORMED, str(error)) from None
        raise HoldfastError(
            errors.ACTION_INVALID_ARGUMENT,
            str(error),
            metadata={"argument": error.argument or error.path},
        ) from None


def encode(spec: ActionSpec, result: Any, call: Call) -> Value:
    """The result as the caller wants it; EncodeError names the path that cannot be."""
    encoding = call.result_encoding
    try:
        return Value(encoding, spec.encode_result(result, encoding))
    except sdk.EncodeError as error:
        if encoding == Encoding.PROTOBUF:
            # Not the result is wrong, but what the caller wants it in.
            raise HoldfastError(errors.ENCODING_INVALID, f"result: {error}") from None
        raise
