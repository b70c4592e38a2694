"""What a request says of the client that sent it: its encoding, its version, its params."""

from __future__ import annotations

from typing import Final

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.limits import Limits
from holdfast_server.core.values import Value
from holdfast_server.gateway.exchange import Exchange
from holdfast_server.gateway.values import refused
from holdfast_server.gateway.wire import (
    Codec,
    Opening,
    QueryTarget,
    Target,
    WireError,
    WireLimits,
    codec_for,
    is_tagged,
    parse_opening,
    parse_params_header,
)

# What a body or a frame has beside its arguments.
_FRAME_EXTRA: Final = 64 << 10


def action_body_max(limits: Limits) -> int:
    """Bytes of a body, or of a message, that may hold arguments of `payload_bytes_max`."""
    return limits.payload_bytes_max + _FRAME_EXTRA


def wire_limits(limits: Limits) -> WireLimits:
    """The limits of what codecs read."""
    return WireLimits(
        frame_bytes_max=action_body_max(limits),
        key_parts_max=limits.key_parts_max,
        input_bytes_max=limits.input_bytes_max,
        params_bytes_max=limits.params_bytes_max,
    )


def tags_values(exchange: Exchange, route: Target) -> bool:
    """Whether a client tags values inside CBOR, as far as the request tells."""
    return isinstance(route, QueryTarget) or is_tagged(exchange.http.headers.get("user-agent", ""))


def codec_of(name: str | None, *, tagged: bool, limits: WireLimits) -> Codec:
    """The codec of an encoding; ENCODING_INVALID when there is none."""
    try:
        return codec_for(name, tagged=tagged, limits=limits)
    except WireError as error:
        raise HoldfastError(errors.ENCODING_INVALID, str(error)) from None


def params_of(exchange: Exchange, limits: WireLimits) -> Value | None:
    """The parameters of the connection that a call is."""
    text = exchange.http.headers.get("x-rivet-conn-params")
    if text is None:
        return None
    try:
        return parse_params_header(text, limits)
    except WireError as error:
        raise refused(error, "", errors.REQUEST_INVALID) from None


def opening_of(exchange: Exchange, limits: WireLimits) -> Opening:
    """What a WebSocket's client says in the subprotocols that it offers."""
    try:
        return parse_opening(exchange.offered, limits)
    except WireError as error:
        raise refused(error, "", errors.REQUEST_INVALID) from None
