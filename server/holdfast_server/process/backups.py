"""Backups of the store of a server that goes on serving.

A checkpoint is taken of everything that is synced, with hard links where the store can, and
copied into the directory of backups on a thread; then the checkpoint is deleted.
"""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.store.api import Store, StoreError
from holdfast_server.store.backup import Backup, BackupError, take

_CHECKPOINT: Final = "backup.checkpoint"


class Backups:
    """Takes one backup at a time; `directory` is empty where none are wanted."""

    def __init__(self, store: Store, data: str, directory: str) -> None:
        self._store = store
        self._checkpoint = Path(data) / _CHECKPOINT
        self._directory = directory
        self._lock = asyncio.Lock()

    async def take(self) -> Backup:
        """A backup of all that was acknowledged before; BACKUP_OFF or BACKUP_FAILED."""
        if not self._directory:
            raise HoldfastError(errors.BACKUP_OFF)
        async with self._lock:
            try:
                return await asyncio.to_thread(self._take)
            except (BackupError, StoreError) as error:
                raise HoldfastError(errors.BACKUP_FAILED, str(error)) from error

    def _take(self) -> Backup:
        # One that was killed may have left its own.
        shutil.rmtree(self._checkpoint, ignore_errors=True)
        try:
            self._store.checkpoint(str(self._checkpoint))
            return take(self._checkpoint, Path(self._directory), datetime.now(UTC))
        finally:
            shutil.rmtree(self._checkpoint, ignore_errors=True)
