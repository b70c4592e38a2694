"""Why a WebSocket is closed, in what a close frame has room for."""

from __future__ import annotations

from typing import Final

NORMAL: Final = 1000
FAILED: Final = 1011
REASON_BYTES_MAX: Final = 123

# Clients split the reason at these.
_SPLITTERS: Final = str.maketrans({".": "_", "#": "_"})


def close_reason(group: str, code: str, ray_id: str = "") -> str:
    """`group.code#ray_id`, without the id where it does not fit, and cut where more does not."""
    reason = f"{group.translate(_SPLITTERS)}.{code.translate(_SPLITTERS)}"
    whole = f"{reason}#{ray_id}" if ray_id else reason
    data = (reason if _size(whole) > REASON_BYTES_MAX else whole).encode("utf-8", "replace")
    return data[:REASON_BYTES_MAX].decode("utf-8", "ignore")


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


__all__ = ["FAILED", "NORMAL", "REASON_BYTES_MAX", "close_reason"]
