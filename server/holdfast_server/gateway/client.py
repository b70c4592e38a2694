"""What a request says of the client that sent it: its encoding, its version, its params."""

from __future__ import annotations

import json
import re
from typing import Final

from holdfast_server.core import errors
from holdfast_server.core.checks import check_size
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.limits import Limits
from holdfast_server.core.values import Encoding, Value
from holdfast_server.gateway.exchange import Exchange
from holdfast_server.gateway.paths import ByKey, Route, percent_decoded
from holdfast_server.gateway.wire import Codec, WireError, WireLimits, codec_for

_CLIENT: Final = re.compile(r"RivetKit/(\d+)\.(\d+)")
# From this version on clients tag values inside CBOR.
_TAGGING: Final = (2, 3)
# What a body or a frame has beside its arguments.
_FRAME_EXTRA: Final = 64 << 10


def action_body_max(limits: Limits) -> int:
    """Bytes of a body that may hold arguments of `payload_bytes_max`."""
    return limits.payload_bytes_max + _FRAME_EXTRA


def wire_limits(limits: Limits) -> WireLimits:
    """The limits of what codecs read."""
    return WireLimits(
        frame_bytes_max=max(action_body_max(limits), limits.websocket_message_bytes_max),
        key_parts_max=limits.key_parts_max,
        input_bytes_max=limits.input_bytes_max,
        params_bytes_max=limits.params_bytes_max,
    )


def tags_values(exchange: Exchange, route: Route | None = None) -> bool:
    """Whether a client tags values inside CBOR, as far as the request tells."""
    if route is not None and isinstance(route.actor, ByKey):
        return True
    match = _CLIENT.search(exchange.http.headers.get("user-agent", ""))
    return match is not None and (int(match[1]), int(match[2])) >= _TAGGING


def codec_of(name: str | None, *, tagged: bool, limits: WireLimits) -> Codec:
    """The codec of an encoding; ENCODING_INVALID when there is none."""
    try:
        return codec_for(name, tagged=tagged, limits=limits)
    except WireError as error:
        raise HoldfastError(errors.ENCODING_INVALID, str(error)) from None


def params_of(text: str | None, limits: Limits) -> Value | None:
    """The parameters of a connection, which clients send as JSON."""
    if text is None:
        return None
    data = text.encode("utf-8", "replace")
    check_size("params", len(data), limits.params_bytes_max)
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        raise invalid("params", "is not JSON") from None
    return Value(Encoding.JSON, data)


class Offer:
    """What a WebSocket's client says in the subprotocols that it offers."""

    __slots__ = ("actor", "encoding", "params", "target", "token")

    def __init__(self, names: list[str]) -> None:
        self.encoding = _named(names, "rivet_encoding.")
        self.params = _decoded(names, "rivet_conn_params.")
        self.token = _decoded(names, "rivet_token.")
        self.target = _named(names, "rivet_target.")
        self.actor = _decoded(names, "rivet_actor.")

    def route(self) -> dict[str, str]:
        """What names the actor, where it is named here."""
        named = {"target": self.target, "actor": self.actor, "token": self.token}
        return {name: value for name, value in named.items() if value is not None}


def _named(names: list[str], prefix: str) -> str | None:
    found = [name[len(prefix) :] for name in names if name.startswith(prefix)]
    if len(found) > 1:
        raise invalid(prefix.rstrip("."), "is offered twice")
    return found[0] if found else None


def _decoded(names: list[str], prefix: str) -> str | None:
    text = _named(names, prefix)
    return None if text is None else percent_decoded(text, prefix.rstrip("."))
