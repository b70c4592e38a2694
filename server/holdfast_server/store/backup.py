"""Backups: copies of checkpoints in a directory, each whole, sharing the files they have alike.

    DIR/holdfast-backups.json      the format of the directory
    DIR/files/<sha256>             contents, named after themselves
    DIR/backups/<name>.json        one backup: its files by path, with size and sha256

A backup exists once its manifest does, which is renamed into place last; whatever a killed
one leaves is contents that the next one uses or a `.part` that it deletes. Table files never
change, so that a backup copies only what is new. A restore is made in a scratch directory
beside its target, verified there, and renamed into place.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from holdfast_server.store import keys
from holdfast_server.store.api import Batch, StoreError
from holdfast_server.store.directory_lock import sync_directory
from holdfast_server.store.format import FormatError, encode_restored
from holdfast_server.store.rocks import RocksStore
from holdfast_server.store.verify import verify

FORMAT: Final = 1
_MARK: Final = "holdfast-backups.json"
_CHUNK: Final = 1 << 20
_NAME: Final = re.compile(r"\d{8}T\d{6}\.\d{6}Z")
_SHA: Final = re.compile(r"[0-9a-f]{64}")
_FINDINGS_SHOWN: Final = 5


class BackupError(Exception):
    """A backup or a restore cannot be made; the message says why, and nothing is half made."""


class Backup(NamedTuple):
    """A backup: its name, which is the time it was taken, its bytes, and those of them that
    no backup before it had."""

    name: str
    size: int
    copied: int


def take(checkpoint: Path, target: Path, at: datetime) -> Backup:
    """Copy a checkpoint into a directory of backups, which is made if it is missing."""
    try:
        _prepare(target)
        return _take(checkpoint, target, at)
    except OSError as error:
        raise BackupError(f"no backup in {target}: {error.strerror or error}") from error


def names(source: Path) -> list[str]:
    """The backups of a directory, the oldest first."""
    _check_mark(source)
    found = (path.stem for path in (source / "backups").glob("*.json"))
    return sorted(name for name in found if _NAME.fullmatch(name))


def restore(source: Path, data: Path, at: datetime, name: str | None = None) -> str:
    """Make a data directory of a backup, by default the last, and verify it before it is put
    in place; the name of the backup. `data` must be missing or empty; `at` is the time, which
    tells one restore from another."""
    _check_empty(data)
    name = _chosen(source, name)
    scratch = data.absolute().parent / f".{data.name}.restoring"
    try:
        _copy_out(source, name, scratch)
        _check_verified(scratch, name)
        _mark_restored(scratch, at)
        os.replace(scratch, data)
        sync_directory(data.absolute().parent)
    except OSError as error:
        raise BackupError(
            f"{name} cannot be restored to {data}: {error.strerror or error}"
        ) from error
    except (StoreError, FormatError) as error:
        raise BackupError(f"{name} cannot be restored to {data}: {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return name


def check(source: Path, scratch: Path, at: datetime, name: str | None = None) -> str:
    """Restore a backup into `scratch`, which must be missing or empty, verify it, and delete
    it again; the name of the backup."""
    name = restore(source, scratch, at, name)
    shutil.rmtree(scratch, ignore_errors=True)
    return name


def _take(checkpoint: Path, target: Path, at: datetime) -> Backup:
    name = at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    files: dict[str, dict[str, Any]] = {}
    size = copied = 0
    for path in sorted(path for path in checkpoint.rglob("*") if path.is_file()):
        digest, length = _digest(path), path.stat().st_size
        kept = target / "files" / digest
        if not kept.exists():
            _put(kept, _read(path))
            copied += length
        files[path.relative_to(checkpoint).as_posix()] = {"sha256": digest, "bytes": length}
        size += length
    sync_directory(target / "files")
    manifest = {"format": FORMAT, "at": name, "files": files}
    place = target / "backups" / f"{name}.json"
    if place.exists():
        raise BackupError(f"there is a backup {name} already")
    _put(place, [json.dumps(manifest, indent=1).encode()])
    sync_directory(place.parent)
    return Backup(name, size, copied)


def _prepare(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    if not (target / _MARK).exists():
        if any(not path.name.endswith(".part") for path in target.iterdir()):
            raise BackupError(f"{target} is neither empty nor a directory of backups")
        _put(target / _MARK, [json.dumps({"format": FORMAT}).encode()])
        sync_directory(target)
    _check_mark(target)
    for part in ("files", "backups"):
        (target / part).mkdir(exist_ok=True)
        for left in (target / part).glob("*.part"):
            left.unlink()


def _check_mark(source: Path) -> None:
    try:
        mark = _json(source / _MARK)
    except FileNotFoundError:
        raise BackupError(f"{source} is no directory of backups") from None
    _check_format(mark, source)


def _check_format(found: Any, where: object) -> None:
    version = found.get("format") if isinstance(found, dict) else None
    if not isinstance(version, int):
        raise BackupError(f"{where} is damaged: it names no format")
    if version > FORMAT:
        raise BackupError(
            f"{where} has format {version}, newer than format {FORMAT} of this program"
        )


def _check_empty(data: Path) -> None:
    try:
        if data.exists() and (not data.is_dir() or any(data.iterdir())):
            raise BackupError(f"{data} is not empty; restore into a new directory")
        if not data.absolute().parent.is_dir():
            raise BackupError(f"{data.absolute().parent} is no directory")
    except OSError as error:
        raise BackupError(f"{data}: {error.strerror or error}") from error


def _chosen(source: Path, name: str | None) -> str:
    known = names(source)
    if not known:
        raise BackupError(f"{source} has no backup")
    if name is None:
        return known[-1]
    if name not in known:
        raise BackupError(f"{source} has no backup {name!r}; the last is {known[-1]}")
    return name


def _copy_out(source: Path, name: str, scratch: Path) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    manifest = _json(source / "backups" / f"{name}.json")
    _check_format(manifest, f"backup {name}")
    scratch.mkdir()
    for path, entry in _files(manifest, name):
        place = scratch / path
        place.parent.mkdir(parents=True, exist_ok=True)
        kept = source / "files" / entry["sha256"]
        try:
            shutil.copyfile(kept, place)
        except FileNotFoundError:
            raise BackupError(f"backup {name} is damaged: {kept} is missing") from None
        if _digest(place) != entry["sha256"]:
            raise BackupError(f"backup {name} is damaged: {kept} has other contents")
        with place.open("rb") as copy:
            os.fsync(copy.fileno())
    for directory in (scratch, *(path for path in scratch.rglob("*") if path.is_dir())):
        sync_directory(directory)


def _files(manifest: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The files of a manifest; none of them leads out of its directory."""
    files = manifest.get("files")
    if not isinstance(files, dict) or not files:
        raise BackupError(f"backup {name} is damaged: it names no files")
    for path, entry in files.items():
        parts = PurePosixPath(path).parts
        named = isinstance(entry, dict) and _SHA.fullmatch(str(entry.get("sha256")))
        if not named or not parts or path.startswith("/") or ".." in parts:
            raise BackupError(f"backup {name} is damaged: it names the file {path!r}")
        yield path, entry


def _check_verified(scratch: Path, name: str) -> None:
    findings = verify(scratch)
    if findings:
        shown = "; ".join(findings[:_FINDINGS_SHOWN])
        raise BackupError(f"backup {name} does not verify, {len(findings)} findings: {shown}")


def _mark_restored(scratch: Path, at: datetime) -> None:
    """Let the server know that it is none of those that the clients spoke to."""
    store = RocksStore(scratch)
    try:
        batch = Batch()
        batch.put(keys.restored_key(), encode_restored(int(at.timestamp() * 1000)))
        store.write(batch, store.epoch)
        store.sync()
    finally:
        store.close()


def _json(path: Path) -> Any:
    text = path.read_bytes()
    try:
        return json.loads(text)
    except ValueError:
        raise BackupError(f"{path} is damaged: it is no JSON") from None


def _digest(path: Path) -> str:
    sha = hashlib.sha256()
    for part in _read(path):
        sha.update(part)
    return sha.hexdigest()


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            yield part


def _put(place: Path, parts: Any) -> None:
    """Write a file whole or not at all."""
    part = place.with_name(f"{place.name}.part")
    try:
        with part.open("wb") as file:
            for data in parts:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, place)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
