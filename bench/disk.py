"""What one sync of this disk costs."""

from __future__ import annotations

import os
import time
from pathlib import Path

_ROW_BYTES = 200
# A disk and a core that have just slept are slower: the syncs of a lone caller are
# no closer together than this.
_PAUSE_S = 0.0005


def sync_seconds(directory: Path, count: int) -> list[float]:
    """Durations of `count` syncs, each of a small append, as a log is synced."""
    file = os.open(directory / "sync-probe", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    durations: list[float] = []
    try:
        for _ in range(count):
            time.sleep(_PAUSE_S)
            os.write(file, bytes(_ROW_BYTES))
            began = time.perf_counter()
            os.fdatasync(file)
            durations.append(time.perf_counter() - began)
    finally:
        os.close(file)
    return durations
