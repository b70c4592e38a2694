"""What a failure of the store means, in words that may leave the process.

The engine's own messages name files and go to the log only.
"""

from __future__ import annotations

from typing import Final

# RocksDB reports the system's errors as text.
_MEANINGS: Final = (
    (("no space left", "file too large", "quota exceeded", "enospc"), "the disk is full"),
    (("input/output error", "eio"), "the disk reports an I/O error"),
    (("read-only file system",), "the disk is read-only"),
    (("too many open files",), "the process has too many open files"),
    (("permission denied",), "the data directory may not be written"),
    (("corruption",), "stored data is corrupt"),
)


def explain(error: BaseException) -> str:
    """One short reason."""
    text = str(error).lower()
    for signs, meaning in _MEANINGS:
        if any(sign in text for sign in signs):
            return meaning
    return "the store failed"
