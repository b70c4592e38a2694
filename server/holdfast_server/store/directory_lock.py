"""The lock that keeps a data directory to one process.

An advisory lock on `LOCK.holdfast`, which the kernel drops when its holder
dies, however it dies. The file holds the holder's pid, for the message only,
and is never removed: a removed file could be locked by two processes at once.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from holdfast_server.store.api import StoreError

LOCK_NAME: Final = "LOCK.holdfast"


class DirectoryLockedError(Exception):
    """Another process, or another store of this one, has the directory open."""


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DirectoryLock:
    """Held from construction until `release`; makes the directory when missing."""

    def __init__(self, data_dir: Path) -> None:
        self._descriptor: int | None = None
        try:
            if not data_dir.is_dir():
                data_dir.mkdir(parents=True, exist_ok=True)
                sync_directory(data_dir.absolute().parent)
            descriptor = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"cannot use the data directory {data_dir}: {error}") from error
        try:
            self._take(data_dir, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another process in; idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    @staticmethod
    def _take(data_dir: Path, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise DirectoryLockedError(
                f"the data directory {data_dir} is in use by process {pid}; "
                "stop it first, or use another directory"
            ) from None
        except OSError as error:
            raise StoreError(f"cannot lock the data directory {data_dir}: {error}") from error
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        except OSError as error:
            raise StoreError(f"cannot lock the data directory {data_dir}: {error}") from error
