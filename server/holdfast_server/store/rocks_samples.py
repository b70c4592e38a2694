"""What RocksDB tells of itself: sizes, memory, levels, and how it holds writes back."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from holdfast_server.core.tally import Sample

# Metric, and RocksDB's name for it. Each is a look at a number in memory.
_NUMBERS: Final = (
    ("holdfast_rocksdb_table_bytes", "live-sst-files-size"),
    ("holdfast_rocksdb_keys", "estimate-num-keys"),
    ("holdfast_rocksdb_memtable_bytes", "size-all-mem-tables"),
    ("holdfast_rocksdb_block_cache_bytes", "block-cache-usage"),
    ("holdfast_rocksdb_table_reader_bytes", "estimate-table-readers-mem"),
    ("holdfast_rocksdb_compaction_pending_bytes", "estimate-pending-compaction-bytes"),
    ("holdfast_rocksdb_compactions", "num-running-compactions"),
    ("holdfast_rocksdb_flushes", "num-running-flushes"),
    ("holdfast_rocksdb_write_stopped", "is-write-stopped"),
    ("holdfast_rocksdb_delayed_write_rate", "actual-delayed-write-rate"),
    ("holdfast_rocksdb_background_errors_total", "background-errors"),
)
_LEVELS: Final = 7
_STALLS: Final = re.compile(r"total-(delays|stops): (\d+)")


def samples_of(
    number: Callable[[str], int | None], text: Callable[[str], str | None], directory: Path
) -> list[Sample]:
    """The samples of a database that is open; `number` and `text` give its properties."""
    found = [Sample(metric, number(f"rocksdb.{name}") or 0) for metric, name in _NUMBERS]
    for level in range(_LEVELS):
        files = number(f"rocksdb.num-files-at-level{level}") or 0
        found.append(Sample("holdfast_rocksdb_files", files, (str(level),)))
    stalls = dict(_STALLS.findall(text("rocksdb.cf-write-stall-stats") or ""))
    for kind in ("delays", "stops"):
        count = int(stalls.get(kind, 0))
        found.append(Sample("holdfast_rocksdb_stalls_total", count, (kind,)))
    with suppress(OSError):
        found.append(Sample("holdfast_data_free_bytes", shutil.disk_usage(directory).free))
    return found
