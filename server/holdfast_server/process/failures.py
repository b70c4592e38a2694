"""Why a process cannot start, for people: one message and an exit code, no traceback."""

from __future__ import annotations

from typing import Final

from holdfast_server.core.errors import HoldfastError
from holdfast_server.settings import ConfigError
from holdfast_server.store.api import StoreError
from holdfast_server.store.backup import BackupError
from holdfast_server.store.directory_lock import DirectoryLockedError
from holdfast_server.store.format import FormatError
from holdfast_server.telemetry.failure import TracingError

OK: Final = 0
# What was asked for is right, but cannot be done here and now.
FAILED: Final = 1
# The flags, the variables, the files they name or the application are wrong.
USAGE: Final = 2


class StartError(Exception):
    """The server cannot start here and now."""


class AppError(Exception):
    """The application cannot be loaded: no module, no registry, or an error in it."""


EXPLAINED: Final = (
    AppError,
    BackupError,
    ConfigError,
    DirectoryLockedError,
    FormatError,
    HoldfastError,
    StartError,
    StoreError,
    TracingError,
)


def exit_code(error: BaseException) -> int:
    """The exit code of one of `EXPLAINED`."""
    return USAGE if isinstance(error, AppError | ConfigError | TracingError) else FAILED
