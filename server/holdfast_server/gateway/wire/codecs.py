"""The encodings that a client may ask for, by the names it has for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from holdfast_server.gateway.wire.codec import Codec
from holdfast_server.gateway.wire.errors import WireError
from holdfast_server.gateway.wire.json import JsonCodec
from holdfast_server.gateway.wire.limits import DEFAULT_LIMITS, WireLimits

CODECS: Final[Mapping[str, type[Codec]]] = {codec.name: codec for codec in (JsonCodec,)}


def codec_for(
    encoding: str | None, *, tagged: bool = False, limits: WireLimits = DEFAULT_LIMITS
) -> Codec:
    """The codec of an encoding; of JSON where a client names none. WireError if unknown."""
    found = CODECS.get(encoding or JsonCodec.name)
    if found is None:
        known = ", ".join(sorted(CODECS))
        raise WireError(f"unknown encoding {(encoding or '')[:32]!r}, not one of {known}")
    return found(tagged, limits)


__all__ = ["CODECS", "codec_for"]
