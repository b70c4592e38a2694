"""The played power cut is one: it keeps what was synced and drops what was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from holdfast_server.store.rocks import RocksStore
from tests.crash.process import ROOT
from tests.crash.stores import cut_power

KEPT = [f"kept {number:03}" for number in range(300)]
LOST = [f"lost {number:03}" for number in range(10)]
ROW_BYTES = 1000

_CHILD = """
import sys
from holdfast_server.store.api import Batch
from holdfast_server.store.rocks import RocksStore
from tests.crash.stores import PowerStore, die
from tests.crash.test_power import KEPT, LOST, ROW_BYTES
data, synced, buffer = sys.argv[1:]
store = PowerStore(RocksStore(data, write_buffer_bytes=int(buffer)), data, synced)
for names in (KEPT, LOST):
    for name in names:
        batch = Batch()
        batch.put(b"\\x20" + name.encode(), b"v" * ROW_BYTES)
        store.write(batch, store.epoch)
    if names is KEPT:
        store.sync()
die()
"""


def rows_after_a_cut(data: Path, buffer: int, *, power: bool) -> tuple[list[str], int]:
    """What is there after a process has died, and how many bytes the cut has dropped."""
    synced = data.with_suffix(".synced")
    command = [sys.executable, "-c", _CHILD, str(data), str(synced), str(buffer)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    dropped = cut_power(data, synced) if power else 0
    store = RocksStore(data)
    names = [key[1:].decode() for key, _ in store.scan(b"\x20", b"\x21", limit=1000)]
    store.close()
    return names, dropped


def test_a_power_cut_drops_what_was_not_synced(tmp_path: Path) -> None:
    names, dropped = rows_after_a_cut(tmp_path / "data", 32 << 20, power=True)

    assert names == KEPT
    assert dropped > len(LOST) * ROW_BYTES


def test_a_power_cut_keeps_what_was_synced_over_several_logs(tmp_path: Path) -> None:
    names, _ = rows_after_a_cut(tmp_path / "data", 64 << 10, power=True)

    # RocksDB may have put some of the rest into a table, which it syncs by itself.
    assert names in [KEPT + LOST[:count] for count in range(len(LOST) + 1)]


def test_a_kill_alone_drops_nothing(tmp_path: Path) -> None:
    assert rows_after_a_cut(tmp_path / "data", 32 << 20, power=False) == (KEPT + LOST, 0)


def test_only_the_record_of_a_whole_sync_counts(tmp_path: Path) -> None:
    (tmp_path / "rocks").mkdir()
    log = tmp_path / "rocks" / "000001.log"
    log.write_bytes(bytes(100))
    (tmp_path / "synced").write_bytes(b'{"000001.log":10}\n{"000001.log":60}\n{"0000')

    assert cut_power(tmp_path, tmp_path / "synced") == 40
    assert os.path.getsize(log) == 60


def test_a_log_that_was_never_synced_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "rocks").mkdir()
    log = tmp_path / "rocks" / "000002.log"
    log.write_bytes(bytes(100))
    (tmp_path / "synced").write_bytes(b"{}\n")

    assert cut_power(tmp_path, tmp_path / "synced") == 100
    assert os.path.getsize(log) == 0
