"""How a client speaks TLS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """How to speak TLS; the system's roots when `ca` is None.

    `ca`, `certificate` and `key` are PEM: bytes, or the path of a file.
    `certificate` and `key` identify the client (mutual TLS). `server_name` is
    the name to verify where it differs from the address.
    """

    ca: bytes | str | Path | None = None
    certificate: bytes | str | Path | None = None
    key: bytes | str | Path | None = None
    server_name: str | None = None


__all__ = ["TlsConfig"]
