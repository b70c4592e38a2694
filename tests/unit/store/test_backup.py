"""Directories of backups: whole or not there, however a copy ends, and damage is found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from holdfast_server.store import backup, keys
from holdfast_server.store.api import Batch
from holdfast_server.store.backup import BackupError
from holdfast_server.store.rocks import RocksStore
from tests.server_process import ROOT

AT = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
NAME = "20261124T123000.000000Z"
# What a process does before it takes or restores a backup, so that it ends badly.
DIES = """
import os, signal
replace, left = os.replace, [{count}]
def dying(*arguments):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*arguments)
os.replace = dying
"""
DISK_FULL = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """That of a store which has been opened."""
    store = RocksStore(tmp_path / "served")
    try:
        store.checkpoint(str(tmp_path / "checkpoint"))
    finally:
        store.close()
    return tmp_path / "checkpoint"


@pytest.fixture
def target(tmp_path: Path, checkpoint: Path) -> Path:
    """A directory with one backup."""
    target = tmp_path / "backups"
    backup.take(checkpoint, target, AT)
    return target


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own; it has `backup`, `paths` and `at`."""
    begin = (
        "import sys; from datetime import datetime; from pathlib import Path\n"
        "from holdfast_server.store import backup\n"
        "at, paths = datetime.fromisoformat(sys.argv[1]), [Path(p) for p in sys.argv[2:]]\n"
    )
    return subprocess.run(
        [sys.executable, "-c", begin + code, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def leftovers(target: Path) -> list[Path]:
    return list(target.rglob("*.part"))


@pytest.mark.parametrize("count", [1, 2, -1])
def test_a_backup_that_is_killed_is_not_there_and_the_next_one_is(
    tmp_path: Path, checkpoint: Path, count: int
) -> None:
    target = tmp_path / "backups"
    files = sum(1 for path in checkpoint.rglob("*") if path.is_file())
    # The mark, each file, the manifest.
    point = count if count > 0 else files + 2
    killed = run(DIES.format(count=point) + "backup.take(*paths, at)", AT, checkpoint, target)
    assert killed.returncode == -9, killed.stderr
    assert leftovers(target)
    if (target / "holdfast-backups.json").exists():
        assert backup.names(target) == []

    later = backup.take(checkpoint, target, AT + timedelta(seconds=1))
    assert backup.names(target) == [later.name]
    assert leftovers(target) == []
    assert (later.copied == later.size) == (count == 1 or point == 2)
    backup.restore(target, tmp_path / "restored", AT)


def test_a_restore_that_is_killed_leaves_nothing_in_place(tmp_path: Path, target: Path) -> None:
    data = tmp_path / "restored"
    killed = run(DIES.format(count=1) + "backup.restore(*paths, at)", AT, target, data)
    assert killed.returncode == -9, killed.stderr
    assert not data.exists()

    assert backup.restore(target, data, AT) == NAME
    assert not (tmp_path / ".restored.restoring").exists()


def test_a_full_disk_leaves_no_backup_and_no_data(
    tmp_path: Path, checkpoint: Path, target: Path
) -> None:
    other = tmp_path / "other"
    done = run(
        DISK_FULL + "try: backup.take(*paths, at)\n"
        "except backup.BackupError as error: print(error)",
        *(AT, checkpoint, other),
    )
    assert f"no backup in {other}: File too large" in done.stdout, done.stderr
    assert backup.names(other) == []
    assert leftovers(other) == []
    assert backup.take(checkpoint, other, AT).name == NAME

    data = tmp_path / "restored"
    done = run(
        DISK_FULL
        + "try: backup.restore(*paths, at)\nexcept backup.BackupError as error: print(error)",
        *(AT, target, data),
    )
    assert "cannot be restored" in done.stdout, done.stderr
    assert not data.exists()
    assert not (tmp_path / ".restored.restoring").exists()


def test_wrong_directories(tmp_path: Path, checkpoint: Path, target: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(BackupError, match="is no directory of backups"):
        backup.restore(checkpoint, data, AT)
    with pytest.raises(BackupError, match="neither empty nor a directory of backups"):
        backup.take(checkpoint, tmp_path / "served", AT)
    with pytest.raises(BackupError, match="is not empty; restore into a new directory"):
        backup.restore(target, tmp_path / "served", AT)
    with pytest.raises(BackupError, match="is not empty"):
        backup.restore(target, target / "holdfast-backups.json", AT)
    with pytest.raises(BackupError, match="missing is no directory"):
        backup.restore(target, tmp_path / "missing" / "data", AT)
    with pytest.raises(BackupError, match=f"there is a backup {NAME} already"):
        backup.take(checkpoint, target, AT)
    with pytest.raises(BackupError, match=rf"no backup '\.\./x'; the last is {NAME}"):
        backup.restore(target, data, AT, "../x")
    data.mkdir()
    assert backup.restore(target, data, AT) == NAME


def manifest_of(target: Path) -> Path:
    return target / "backups" / f"{NAME}.json"


def changed(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    """Change the manifest."""

    def damage(target: Path) -> None:
        manifest = json.loads(manifest_of(target).read_text())
        change(manifest)
        manifest_of(target).write_text(json.dumps(manifest))

    return damage


def content(target: Path) -> Path:
    """That of the largest file."""
    return max((target / "files").iterdir(), key=lambda path: path.stat().st_size)


ENTRY = {"sha256": "0" * 64, "bytes": 1}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda target: content(target).unlink(), "is missing"),
        (lambda target: content(target).write_bytes(b"x"), "has other contents"),
        (lambda target: manifest_of(target).write_text("{"), "is no JSON"),
        (lambda target: manifest_of(target).write_text("[]"), "names no format"),
        (changed(lambda m: m.pop("files")), "names no files"),
        (changed(lambda m: m.update(format=2)), "has format 2, newer than format 1"),
        (changed(lambda m: m.update(files={"../out": ENTRY})), "names the file"),
        (changed(lambda m: m.update(files={"/out": ENTRY})), "names the file"),
        (changed(lambda m: m.update(files={"a": {"sha256": "../x"}})), "names the file"),
        (
            lambda target: (target / "holdfast-backups.json").write_text('{"format": 7}'),
            "has format 7, newer than format 1",
        ),
        (lambda target: (target / "holdfast-backups.json").write_text("x"), "is no JSON"),
        (lambda target: manifest_of(target).unlink(), "has no backup"),
    ],
)
def test_damage_is_found_and_nothing_is_restored(
    tmp_path: Path, target: Path, damage: Callable[[Path], object], says: str
) -> None:
    damage(target)
    data = tmp_path / "restored"
    with pytest.raises(BackupError, match=says):
        backup.restore(target, data, AT)
    assert not data.exists()
    assert not (tmp_path / ".restored.restoring").exists()


def test_rows_that_do_not_agree_are_not_put_in_place(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "served")
    batch = Batch()
    # The state of nobody.
    batch.put(keys.state_key(bytes(16)), b"")
    store.write(batch, store.epoch)
    store.checkpoint(str(tmp_path / "checkpoint"))
    store.close()
    backup.take(tmp_path / "checkpoint", tmp_path / "backups", AT)

    with pytest.raises(BackupError, match="does not verify"):
        backup.restore(tmp_path / "backups", tmp_path / "restored", AT)
    assert not (tmp_path / "restored").exists()


def test_the_same_again_copies_nothing(checkpoint: Path, target: Path) -> None:
    again = backup.take(checkpoint, target, AT + timedelta(seconds=1))
    assert again.copied == 0
    assert again.size > 0
