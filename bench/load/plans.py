"""The bytes that the C load sends: requests and frames, made beforehand."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Sequence

from bench.load.program import Lane

# What RivetKit's clients offer that speak BARE.
PROTOCOLS = ("rivet", "rivet_encoding.bare")
# Ids that the actions of one connection have in turn; many more than are ever in flight.
_IDS = 4096
# What begins a frame with an action's answer, whatever its version.
ACTION_RESPONSE = "....02"


def request(port: int, path: str, body: bytes, *headers: str) -> bytes:
    """A POST with keep-alive."""
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Content-Length: {len(body)}",
        *headers,
        "",
        "",
    )
    return "\r\n".join(lines).encode() + body


def upgrade(port: int, path: str, *protocols: str) -> bytes:
    """The request that opens a WebSocket."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: aG9sZGZhc3QtYmVuY2gtLg==",
    ]
    if protocols:
        lines.append(f"Sec-WebSocket-Protocol: {', '.join(protocols)}")
    return "\r\n".join([*lines, "", ""]).encode()


def frame(payload: bytes, *, text: bool = False) -> bytes:
    """A masked frame of a client, of less than 126 bytes."""
    if len(payload) > 125:
        raise ValueError("too long for a small frame")
    mask = secrets.token_bytes(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes((0x81 if text else 0x82, 0x80 | len(payload))) + mask + masked


def uint(number: int) -> bytes:
    """A BARE uint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _data(data: bytes) -> bytes:
    return uint(len(data)) + data


def action_frame(number: int, name: str, args: bytes) -> bytes:
    """RivetKit's ActionRequest in BARE, version 2, with CBOR arguments."""
    body = uint(number) + _data(name.encode()) + _data(args)
    return frame(struct.pack("<HB", 2, 0) + body)


def rivet_requests(port: int, actors: Sequence[str]) -> list[bytes]:
    """An increment of each actor, as RivetKit's clients call actions over HTTP in JSON."""
    headers = ("Content-Type: application/json", "x-rivet-encoding: json")
    return [
        request(port, f"/gateway/{actor}/action/increment", b'{"args":[1]}', *headers)
        for actor in actors
    ]


def rivet_lanes(port: int, actors: Sequence[str]) -> list[Lane]:
    """A connection to each actor, as RivetKit's clients open it, and increments over it."""
    frames = [action_frame(number, "increment", b"\x81\x01") for number in range(_IDS)]
    return [
        Lane(frames, upgrade(port, f"/gateway/{actor}/connect", *PROTOCOLS), 1) for actor in actors
    ]
