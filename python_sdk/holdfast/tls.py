"""How a client speaks TLS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """TLS of a client: `Client(address, tls=TlsConfig(ca="ca.pem"))`.

    `ca`, `certificate` and `key` are PEM: bytes, or the path of a file, which is read
    when the client connects first. `ca` holds the roots to trust; those of the system
    when it is None. `certificate` and `key` identify the client (mutual TLS) and go
    together. `server_name` is the name to verify where it differs from the address.
    """

    ca: bytes | str | Path | None = None
    certificate: bytes | str | Path | None = None
    key: bytes | str | Path | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError when `certificate` comes without `key` or the reverse."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("TlsConfig: certificate and key go together")


__all__ = ["TlsConfig"]
