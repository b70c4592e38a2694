"""The store on disk: one RocksDB in `<data>/rocks`, and the lock of the directory.

The only module that imports rocksdict. A batch is written unsynced, and `sync`
flushes the write-ahead log: rocksdict holds the interpreter lock through a
synced write, but not through `flush_wal`. After a failed write or sync nothing
is served until `reopen`, because what RocksDB then answers may never have
reached the disk. Recovery replays the log into a new, synced table file, so
that what is served after `reopen` is durable even where an fsync failed before.

Lock order: `_checkpoint_lock`, then `_sync_lock`. Both are held while the
database is closed or opened, so that no other thread is inside it then.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from pathlib import Path
from typing import Final, cast

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    Checkpoint,
    DBRecoveryMode,
    Options,
    Rdict,
    RdictIter,
    WriteBatch,
)

from holdfast_server.core.tally import Sample
from holdfast_server.store import format as store_format
from holdfast_server.store.api import DELETE, PUT, Batch, StaleEpochError, StoreError
from holdfast_server.store.directory_lock import DirectoryLock, DirectoryLockedError, sync_directory
from holdfast_server.store.rocks_samples import samples_of

__all__ = ["DirectoryLockedError", "RocksReader", "RocksStore"]

_DATABASE: Final = "rocks"

Row = tuple[bytes, bytes]


def _options(
    *,
    block_cache_bytes: int,
    write_buffer_bytes: int,
    write_buffers_max: int,
    open_files_max: int,
    wal_bytes_max: int,
) -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(write_buffer_bytes)
    options.set_max_write_buffer_number(write_buffers_max)
    options.set_max_open_files(open_files_max)
    options.set_max_total_wal_size(wal_bytes_max)
    # A torn tail of the log was never acknowledged; what is before it comes
    # back whole and in order.
    options.set_wal_recovery_mode(DBRecoveryMode.point_in_time())
    options.set_keep_log_file_num(4)
    options.set_max_log_file_size(4 << 20)
    table = BlockBasedOptions()
    table.set_block_cache(Cache(block_cache_bytes))
    # Index and filter blocks count, or memory would grow with the directory.
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    table.set_bloom_filter(10, False)
    options.set_block_based_table_factory(table)
    return options


def _fill(cursor: RdictIter, rows: list[Row], start: bytes, end: bytes, limit: int) -> None:
    cursor.seek(start)
    while cursor.valid() and (key := cursor.key()) < end:
        rows.append((key, cursor.value()))
        if len(rows) == limit:
            break
        cursor.next()


def _fill_reversed(
    cursor: RdictIter, rows: list[Row], start: bytes, end: bytes, limit: int
) -> None:
    cursor.seek_for_prev(end)
    if cursor.valid() and cursor.key() == end:
        cursor.prev()
    while cursor.valid() and (key := cursor.key()) >= start:
        rows.append((key, cursor.value()))
        if len(rows) == limit:
            break
        cursor.prev()


def _scan(database: Rdict, start: bytes, end: bytes, limit: int, reverse: bool) -> list[Row]:
    if start >= end or limit <= 0:
        return []
    rows: list[Row] = []
    # Bounds in ReadOptions would be cheaper to state, but rocksdict encodes
    # them as if the database were not in raw mode.
    cursor = database.iter()
    try:
        if reverse:
            _fill_reversed(cursor, rows, start, end, limit)
        else:
            _fill(cursor, rows, start, end, limit)
        # An iterator that met a damaged block only becomes invalid.
        cursor.status()
    finally:
        # A cursor keeps the database open, so that callers drop tracebacks too.
        del cursor
    return rows


class RocksStore:
    """The Store contract over RocksDB; makes `data_dir` when it is missing.

    `block_cache_bytes` bounds cached data, index and filter blocks;
    `write_buffers_max` times `write_buffer_bytes` the writes not yet in a table
    file (beyond, writes wait for a flush); `open_files_max` the open table
    files; `wal_bytes_max` the log kept, and so replayed at the next open.
    """

    def __init__(
        self,
        data_dir: str | Path,
        *,
        block_cache_bytes: int = 64 << 20,
        write_buffer_bytes: int = 32 << 20,
        write_buffers_max: int = 3,
        open_files_max: int = 512,
        wal_bytes_max: int = 128 << 20,
    ) -> None:
        self._data_dir = Path(data_dir)
        self._options = _options(
            block_cache_bytes=block_cache_bytes,
            write_buffer_bytes=write_buffer_bytes,
            write_buffers_max=write_buffers_max,
            open_files_max=open_files_max,
            wal_bytes_max=wal_bytes_max,
        )
        self._checkpoint_lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._database: Rdict | None = None
        self._failure = "it is being opened"
        self._epoch = 0
        self._closed = False
        self._directory_lock = DirectoryLock(self._data_dir)
        try:
            self._open()
        except BaseException:
            self._release()
            self._directory_lock.release()
            raise

    @property
    def epoch(self) -> int:
        return self._epoch

    def get(self, key: bytes) -> bytes | None:
        database = self._ready()
        try:
            return cast("bytes | None", database.get(key))
        except Exception as error:
            raise StoreError(f"read failed: {error}") from error

    def multi_get(self, keys: list[bytes]) -> list[bytes | None]:
        database = self._ready()
        if not keys:
            return []
        try:
            # RocksDB reads all keys of one call at one sequence number.
            return cast("list[bytes | None]", database.get(list(keys)))
        except Exception as error:
            raise StoreError(f"read failed: {error}") from error

    def scan(self, start: bytes, end: bytes, *, limit: int, reverse: bool = False) -> list[Row]:
        database = self._ready()
        try:
            return _scan(database, start, end, limit, reverse)
        except Exception as error:
            raise StoreError(f"scan failed: {error}") from error.with_traceback(None)

    def write(self, batch: Batch, epoch: int) -> None:
        if epoch != self._epoch:
            raise StaleEpochError(f"epoch {epoch} is not {self._epoch}")
        database = self._ready()
        try:
            self._apply(database, batch)
        except Exception as error:
            self._fail(f"write failed: {error}")
            raise StoreError(self._failure) from error

    def sync(self) -> None:
        with self._sync_lock:
            database = self._ready()
            try:
                database.flush_wal(True)
            except Exception as error:
                self._fail(f"sync failed: {error}")
                raise StoreError(self._failure) from error

    def reopen(self) -> int:
        with self._checkpoint_lock, self._sync_lock:
            if self._closed:
                raise StoreError("the store is closed")
            self._fail("it is being reopened")
            self._release()
            self._open()
            return self._epoch

    def checkpoint(self, path: str) -> None:
        """The copy is a data directory of its own, ready to be served."""
        target = Path(path)
        with self._checkpoint_lock:
            database = self._ready()
            try:
                target.mkdir()
            except OSError as error:
                raise StoreError(f"checkpoint failed: {error}") from error
            try:
                Checkpoint(database).create_checkpoint(str(target / _DATABASE))
                sync_directory(target)
                sync_directory(target.parent)
            except Exception as error:
                shutil.rmtree(target, ignore_errors=True)
                raise StoreError(f"checkpoint failed: {error}") from error

    def samples(self) -> list[Sample]:
        database = self._database
        if self._failure or database is None:
            return []
        try:
            return samples_of(database.property_int_value, database.property_value, self._data_dir)
        except Exception:
            # It is just being closed.
            return []

    def close(self) -> None:
        with self._checkpoint_lock, self._sync_lock:
            if self._closed:
                return
            self._closed = True
            database, failed = self._database, bool(self._failure)
            try:
                if database is not None and not failed:
                    self._apply(database, store_format.closing(database.get, self._epoch))
                    database.flush_wal(True)
            except Exception as error:
                raise StoreError(f"sync failed: {error}") from error
            finally:
                self._fail("it is closed")
                self._release()
                self._directory_lock.release()

    def _ready(self) -> Rdict:
        database = self._database
        if self._failure or database is None:
            raise StoreError(f"the store is not open: {self._failure}")
        return database

    def _fail(self, why: str) -> None:
        self._failure = why

    def _open(self) -> None:
        path = self._data_dir / _DATABASE
        try:
            database = Rdict(str(path), options=self._options)
        except Exception as error:
            self._fail(f"open failed: {error}")
            raise StoreError(f"cannot open {path}: {error}") from error
        self._database = database
        try:
            epoch, batch = store_format.opening(database.get)
            self._apply(database, batch)
            database.flush_wal(True)
            sync_directory(self._data_dir)
        except store_format.FormatError as error:
            self._fail(str(error))
            self._release()
            raise
        except Exception as error:
            self._fail(f"open failed: {error}")
            self._release()
            raise StoreError(f"cannot open {path}: {error}") from error
        self._epoch = epoch
        self._failure = ""

    def _release(self) -> None:
        """Close RocksDB; what it says of a disk that failed before is no news."""
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(Exception):
                database.close()

    @staticmethod
    def _apply(database: Rdict, batch: Batch) -> None:
        if not batch:
            return
        rocks_batch = WriteBatch(raw_mode=True)
        for op, key, value in batch.ops:
            if op == PUT:
                rocks_batch.put(key, value)
            elif op == DELETE:
                rocks_batch.delete(key)
            else:
                rocks_batch.delete_range(key, value)
        database.write(rocks_batch)


class RocksReader:
    """Reads a directory that no server has open, and changes nothing stored in it."""

    def __init__(self, data_dir: str | Path) -> None:
        path = Path(data_dir) / _DATABASE
        if not (path / "CURRENT").is_file():
            raise StoreError(f"{data_dir} holds no store")
        self._directory_lock = DirectoryLock(Path(data_dir))
        try:
            options = _options(
                block_cache_bytes=32 << 20,
                write_buffer_bytes=32 << 20,
                write_buffers_max=3,
                open_files_max=512,
                wal_bytes_max=128 << 20,
            )
            options.create_if_missing(False)
            self._database = Rdict(
                str(path), options=options, access_type=AccessType.read_only(False)
            )
        except Exception as error:
            self._directory_lock.release()
            raise StoreError(f"cannot open {path}: {error}") from error

    def get(self, key: bytes) -> bytes | None:
        return self.multi_get([key])[0]

    def multi_get(self, keys: list[bytes]) -> list[bytes | None]:
        if not keys:
            return []
        try:
            return cast("list[bytes | None]", self._database.get(list(keys)))
        except Exception as error:
            raise StoreError(f"read failed: {error}") from error

    def scan(self, start: bytes, end: bytes, *, limit: int) -> list[Row]:
        try:
            return _scan(self._database, start, end, limit, False)
        except Exception as error:
            raise StoreError(f"scan failed: {error}") from error.with_traceback(None)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._database.close()
        self._directory_lock.release()
