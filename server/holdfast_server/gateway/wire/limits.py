"""The limits of what is decoded; whoever decodes passes them in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WireLimits:
    """Beyond any of these: WireError with `limit`."""

    # One frame of a WebSocket, one body.
    frame_bytes_max: int = 64 << 10
    # Values in each other: arrays, objects, and CBOR's tags too.
    depth_max: int = 100
    # Names of actions and events.
    name_bytes_max: int = 256
    # Parameters of a query that begin with rvt-, and parts of a key in it.
    query_params_max: int = 32
    key_parts_max: int = 32
    # Input of an actor, decoded from base64.
    input_bytes_max: int = 4 << 20
    # Connection parameters, as JSON.
    params_bytes_max: int = 4096


DEFAULT_LIMITS = WireLimits()

__all__ = ["DEFAULT_LIMITS", "WireLimits"]
