"""Opening gRPC channels, in a process where that is possible.

gRPC's asyncio code does not survive a fork: in a child of a process that had a channel
open, calls hang or crash. Such a child is refused a channel, with the remedy.
"""

from __future__ import annotations

import gc
import os
import weakref
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from holdfast.errors import HoldfastError
from holdfast.tls import TlsConfig

MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024

OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    # The transport retries by itself: with one key, and until the caller's deadline.
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
)

FORKED: Final = (
    "this process was forked while a Holdfast client was open, and gRPC does not survive "
    "that: close the clients before the fork, or start processes with 'spawn'"
)

_open: weakref.WeakSet[grpc.aio.Channel] = weakref.WeakSet()
_unusable = False


def _after_fork() -> None:
    global _unusable
    if len(_open) > 0:
        _unusable = True
        # The end of a call that is under way would call into gRPC, which crashes here: what
        # the collector would free now stays.
        gc.freeze()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def open_channel(address: str, tls: bool | TlsConfig) -> grpc.aio.Channel:
    """A channel to `address`, which connects when first used; HoldfastError after a fork."""
    if _unusable:
        raise HoldfastError(FORKED)
    channel = _channel(address, tls)
    _open.add(channel)
    return channel


async def close_channel(channel: grpc.aio.Channel) -> None:
    """Close a channel; its calls are cancelled."""
    await channel.close()
    _open.discard(channel)


def _channel(address: str, tls: bool | TlsConfig) -> grpc.aio.Channel:
    options: list[tuple[str, Any]] = list(OPTIONS)
    if tls is False:
        return grpc.aio.insecure_channel(address, options=options)
    config = TlsConfig() if tls is True else tls
    if config.server_name is not None:
        options.append(("grpc.ssl_target_name_override", config.server_name))
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_pem(config.ca, "ca"),
        private_key=_pem(config.key, "key"),
        certificate_chain=_pem(config.certificate, "certificate"),
    )
    return grpc.aio.secure_channel(address, credentials, options=options)


def _pem(source: bytes | str | Path | None, what: str) -> bytes | None:
    if source is None:
        return None
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError as error:
        raise HoldfastError(f"TlsConfig: {what}: {error}") from error
    if b"-----BEGIN " not in data:
        raise HoldfastError(f"TlsConfig: {what} is not PEM: no '-----BEGIN' line in it")
    return data


__all__ = ["FORKED", "MESSAGE_BYTES_MAX", "OPTIONS", "close_channel", "open_channel"]
