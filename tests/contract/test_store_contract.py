"""Every store keeps the contract of `store/api.py`, also the one that fails on demand."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast_server.store import keys
from holdfast_server.store.api import Batch, StaleEpochError, Store, StoreError
from holdfast_server.store.directory_lock import LOCK_NAME
from holdfast_server.store.faults import FaultyStore, Operation
from holdfast_server.store.format import FORMAT_VERSION, FormatError, decode_closed
from holdfast_server.store.memory import MemoryStore
from holdfast_server.store.rocks import DirectoryLockedError, RocksStore

START, END = b"\x10", b"\xfe"


class Subject:
    """A kind of store: how to make one and how to open a checkpoint of it."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.opened: list[Store] = []

    def make(self) -> Store:
        inner: Store
        if "rocks" in self.name:
            inner = RocksStore(self.directory / "data", block_cache_bytes=1 << 20)
        else:
            inner = MemoryStore()
        store = FaultyStore(inner) if "faulty" in self.name else inner
        self.opened.append(store)
        return store

    def open_checkpoint(self, path: Path) -> Store:
        store: Store = (
            RocksStore(path) if "rocks" in self.name else MemoryStore.from_checkpoint(str(path))
        )
        self.opened.append(store)
        return store


@pytest.fixture(params=["rocks", "memory", "faulty-rocks", "faulty-memory"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    subject = Subject(request.param, tmp_path)
    yield subject
    for store in subject.opened:
        store.close()


@pytest.fixture
def store(subject: Subject) -> Store:
    return subject.make()


@pytest.fixture(params=["rocks", "memory"])
def faulty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FaultyStore]:
    store = Subject(f"faulty-{request.param}", tmp_path).make()
    assert isinstance(store, FaultyStore)
    yield store
    store.close()


def put(store: Store, *rows: tuple[bytes, bytes]) -> None:
    batch = Batch()
    for key, value in rows:
        batch.put(key, value)
    store.write(batch, store.epoch)


def rows_of(store: Store) -> list[tuple[bytes, bytes]]:
    return store.scan(START, END, limit=1000)


def test_write_is_seen_by_the_next_read_before_any_sync(store: Store) -> None:
    put(store, (b"\x20a", b"1"), (b"\x20b", b""))
    assert store.get(b"\x20a") == b"1"
    assert store.get(b"\x20b") == b""
    assert store.get(b"\x20c") is None


def test_later_operations_of_a_batch_win(store: Store) -> None:
    put(store, (b"\x20a", b"0"), (b"\x20b", b"0"), (b"\x20c", b"0"))
    batch = Batch()
    batch.put(b"\x20a", b"1")
    batch.delete_range(b"\x20a", b"\x20c")
    batch.put(b"\x20b", b"2")
    batch.put(b"\x20d", b"3")
    batch.delete(b"\x20d")
    batch.delete(b"\x20never")
    store.write(batch, store.epoch)
    assert rows_of(store) == [(b"\x20b", b"2"), (b"\x20c", b"0")]


def test_range_ends_are_excluded_and_an_empty_range_is_nothing(store: Store) -> None:
    put(store, *((b"\x20" + bytes([i]), b"v") for i in range(4)))
    batch = Batch()
    batch.delete_range(b"\x20\x01", b"\x20\x01")
    batch.delete_range(b"\x20\x02", b"\x20\x03")
    store.write(batch, store.epoch)
    assert [key for key, _ in rows_of(store)] == [b"\x20\x00", b"\x20\x01", b"\x20\x03"]


def test_an_empty_batch_is_written(store: Store) -> None:
    store.write(Batch(), store.epoch)
    assert rows_of(store) == []


def test_multi_get_keeps_order_and_repeats(store: Store) -> None:
    put(store, (b"\x20a", b"1"), (b"\x20b", b"2"))
    asked = [b"\x20b", b"\x20x", b"\x20a", b"\x20b"]
    assert store.multi_get(asked) == [b"2", None, b"1", b"2"]
    assert store.multi_get([]) == []


def test_scan_bounds_limit_and_direction(store: Store) -> None:
    rows = [(b"\x20" + bytes([i]), bytes([i])) for i in range(10)]
    put(store, *reversed(rows))
    low, high = rows[2][0], rows[8][0]
    assert store.scan(low, high, limit=100) == rows[2:8]
    assert store.scan(low, high, limit=3) == rows[2:5]
    assert store.scan(low, high, limit=100, reverse=True) == rows[2:8][::-1]
    assert store.scan(low, high, limit=3, reverse=True) == rows[5:8][::-1]
    assert store.scan(low + b"\x00", high + b"\x00", limit=100) == rows[3:9]
    assert store.scan(low, high, limit=0) == []
    assert store.scan(low, low, limit=5) == []
    assert store.scan(high, low, limit=5) == []
    assert store.scan(b"\x40", b"\x50", limit=5, reverse=True) == []


def test_keys_are_ordered_as_bytes(store: Store) -> None:
    names = [
        b"\x20",
        b"\x20\x00",
        b"\x20\x00\xff",
        b"\x20\x01",
        b"\x20\x7f",
        b"\x20\x80",
        b"\x20\xff",
    ]
    put(store, *((name, b"v") for name in reversed(names)))
    assert [key for key, _ in rows_of(store)] == names


def test_another_epoch_is_refused_and_writes_nothing(store: Store) -> None:
    batch = Batch()
    batch.put(b"\x20a", b"1")
    for epoch in (store.epoch - 1, store.epoch + 1):
        with pytest.raises(StaleEpochError):
            store.write(batch, epoch)
    assert rows_of(store) == []
    store.write(batch, store.epoch)
    assert store.get(b"\x20a") == b"1"


def test_reopen_keeps_synced_rows_and_raises_the_epoch(store: Store) -> None:
    put(store, (b"\x20a", b"1"))
    store.sync()
    before = store.epoch
    assert store.reopen() == store.epoch
    assert store.epoch > before
    assert store.get(b"\x20a") == b"1"
    with pytest.raises(StaleEpochError):
        store.write(Batch(), before)
    put(store, (b"\x20b", b"2"))
    store.sync()
    assert rows_of(store) == [(b"\x20a", b"1"), (b"\x20b", b"2")]


def test_format_and_epoch_rows_are_stored(store: Store) -> None:
    assert store.get(keys.format_key()) == FORMAT_VERSION.to_bytes(4) + (1024).to_bytes(4)
    assert store.get(keys.epoch_key()) == store.epoch.to_bytes(8)


def test_checkpoint_is_a_copy_that_opens_and_goes_its_own_way(
    subject: Subject, store: Store, tmp_path: Path
) -> None:
    put(store, (b"\x20a", b"1"))
    store.sync()
    store.checkpoint(str(tmp_path / "copy"))
    put(store, (b"\x20a", b"2"))
    copy = subject.open_checkpoint(tmp_path / "copy")
    assert rows_of(copy) == [(b"\x20a", b"1")]
    assert copy.epoch > 0
    put(copy, (b"\x20b", b"3"))
    assert rows_of(store) == [(b"\x20a", b"2")]


def test_checkpoint_over_something_is_refused_and_spares_it(store: Store, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "kept").write_text("mine")
    with pytest.raises(StoreError):
        store.checkpoint(str(tmp_path / "copy"))
    assert (tmp_path / "copy" / "kept").read_text() == "mine"
    put(store, (b"\x20a", b"1"))


def test_close_is_idempotent_and_ends_everything(store: Store) -> None:
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        lambda: store.get(b"\x20"),
        lambda: store.multi_get([b"\x20"]),
        lambda: rows_of(store),
        lambda: store.write(Batch(), store.epoch),
        store.sync,
        store.reopen,
    ]
    for call in calls:
        with pytest.raises(StoreError):
            call()


def test_syncs_from_another_thread_while_writing(store: Store) -> None:
    done = threading.Event()
    failures: list[BaseException] = []

    def sync() -> None:
        try:
            while not done.is_set():
                store.sync()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=sync)
    thread.start()
    for number in range(200):
        put(store, (b"\x20" + number.to_bytes(2), b"v" * 100))
    done.set()
    thread.join()
    assert not failures
    assert len(rows_of(store)) == 200


@pytest.mark.parametrize("operation", ["write", "sync"])
@pytest.mark.parametrize("applied", [False, True])
def test_a_failure_shuts_the_store_until_reopen(
    faulty: FaultyStore, operation: Operation, applied: bool
) -> None:
    put(faulty, (b"\x20a", b"1"))
    faulty.sync()
    faulty.fail_next(operation, applied=applied)
    with pytest.raises(StoreError):
        put(faulty, (b"\x20b", b"2"))
        faulty.sync()
    for call in (lambda: faulty.get(b"\x20a"), lambda: rows_of(faulty), faulty.sync):
        with pytest.raises(StoreError):
            call()
    with pytest.raises(StoreError):
        put(faulty, (b"\x20c", b"3"))
    before = faulty.epoch
    faulty.unsynced_kept = 0
    assert faulty.reopen() > before
    survived = operation == "sync" and applied
    assert rows_of(faulty) == [(b"\x20a", b"1"), (b"\x20b", b"2")][: 2 if survived else 1]


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_unsynced_batches_are_lost_whole_and_newest_first(faulty: FaultyStore, kept: int) -> None:
    put(faulty, (b"\x20a", b"0"), (b"\x20b", b"0"))
    faulty.sync()
    states = [rows_of(faulty)]
    put(faulty, (b"\x20a", b"1"), (b"\x20c", b"1"))
    states.append(rows_of(faulty))
    batch = Batch()
    batch.delete_range(b"\x20a", b"\x20c")
    batch.put(b"\x20d", b"2")
    faulty.write(batch, faulty.epoch)
    states.append(rows_of(faulty))
    put(faulty, (b"\x20b", b"3"))
    states.append(rows_of(faulty))
    faulty.unsynced_kept = kept
    faulty.reopen()
    assert rows_of(faulty) == states[kept]
    # What an open found is durable: a second reopen loses nothing more.
    faulty.unsynced_kept = 0
    faulty.reopen()
    assert rows_of(faulty) == states[kept]


def test_a_sync_covers_only_what_was_written_before_it(faulty: FaultyStore) -> None:
    put(faulty, (b"\x20a", b"1"))
    faulty.before_sync = lambda: put(faulty, (b"\x20b", b"2"))
    faulty.sync()
    faulty.before_sync = None
    faulty.unsynced_kept = 0
    faulty.reopen()
    assert rows_of(faulty) == [(b"\x20a", b"1")]


def test_fail_after_counts_writes_and_syncs(faulty: FaultyStore) -> None:
    faulty.fail_after(2)
    put(faulty, (b"\x20a", b"1"))
    faulty.sync()
    with pytest.raises(StoreError):
        put(faulty, (b"\x20b", b"2"))
    faulty.reopen()
    put(faulty, (b"\x20c", b"3"))
    assert rows_of(faulty) == [(b"\x20a", b"1"), (b"\x20c", b"3")]


def test_a_broken_disk_refuses_reopen_until_it_is_back(faulty: FaultyStore) -> None:
    put(faulty, (b"\x20a", b"1"))
    faulty.sync()
    faulty.broken = True
    with pytest.raises(StoreError):
        faulty.sync()
    with pytest.raises(StoreError):
        faulty.reopen()
    with pytest.raises(StoreError):
        faulty.get(b"\x20a")
    faulty.broken = False
    faulty.reopen()
    assert faulty.get(b"\x20a") == b"1"


def test_a_failed_read_does_not_shut_the_store(faulty: FaultyStore) -> None:
    put(faulty, (b"\x20a", b"1"))
    faulty.fail_next("read")
    with pytest.raises(StoreError):
        faulty.get(b"\x20a")
    assert faulty.get(b"\x20a") == b"1"


def test_a_second_store_on_one_directory_is_refused_by_pid(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "data")
    with pytest.raises(DirectoryLockedError, match=f"in use by process {os.getpid()};"):
        RocksStore(tmp_path / "data")
    store.close()
    assert (tmp_path / "data" / LOCK_NAME).exists()
    RocksStore(tmp_path / "data").close()


_CHILD = """
import os, sys
from holdfast_server.store.api import Batch
from holdfast_server.store.rocks import RocksStore
store = RocksStore(sys.argv[1])
batch = Batch(); batch.put(b"\\x20a", b"1")
store.write(batch, store.epoch)
store.sync()
batch = Batch(); batch.put(b"\\x20b", b"2"); batch.put(b"\\x20c", b"3")
store.write(batch, store.epoch)
print(store.epoch, flush=True)
sys.stdin.readline()
"""


def test_another_process_is_kept_out_and_its_kill_loses_nothing_synced(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(tmp_path / "data")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        epoch = int(child.stdout.readline())
        with pytest.raises(DirectoryLockedError, match=f"in use by process {child.pid};"):
            RocksStore(tmp_path / "data")
    finally:
        child.kill()
        child.communicate()
    store = RocksStore(tmp_path / "data")
    assert store.epoch > epoch
    assert store.get(b"\x20a") == b"1"
    assert store.multi_get([b"\x20b", b"\x20c"]) in ([b"2", b"3"], [None, None])
    store.close()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((2).to_bytes(4) + (1024).to_bytes(4) + b"more", "newer than version 1"),
        ((1).to_bytes(4) + (64).to_bytes(4), "64 shards"),
        (b"\x00", "damaged"),
    ],
)
def test_a_foreign_format_is_refused_and_left_alone(
    tmp_path: Path, row: bytes, message: str
) -> None:
    store = RocksStore(tmp_path / "data")
    original = store.get(keys.format_key())
    epoch = store.epoch
    put(store, (keys.format_key(), row))
    with pytest.raises(FormatError, match=message):
        store.reopen()
    with pytest.raises(StoreError):
        store.get(keys.format_key())
    store.close()
    with pytest.raises(FormatError, match=message):
        RocksStore(tmp_path / "data")
    with pytest.raises(FormatError, match=message):
        MemoryStore({keys.format_key(): row, keys.epoch_key(): epoch.to_bytes(8)})
    assert original is not None


def test_a_path_that_cannot_be_a_directory_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        RocksStore(tmp_path / "file")


_FULL_DISK = """
import resource, sys
from holdfast_server.store.api import Batch, StoreError
from holdfast_server.store.rocks import RocksStore
store = RocksStore(sys.argv[1])
def put(key, size):
    batch = Batch(); batch.put(key, b"v" * size); store.write(batch, store.epoch)
put(b"\\x20a", 10)
store.sync()
before = store.epoch
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
try:
    put(b"\\x20b", 4 << 20)
    store.sync()
except StoreError:
    pass
else:
    sys.exit("the write went through")
for call in (lambda: store.get(b"\\x20a"), store.sync, lambda: put(b"\\x20c", 1)):
    try:
        call()
    except StoreError:
        continue
    sys.exit("served after the failure")
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert store.reopen() > before
assert store.get(b"\\x20a") == b"v" * 10
assert store.get(b"\\x20b") in (None, b"v" * (4 << 20))
put(b"\\x20d", 10)
store.sync()
store.close()
store = RocksStore(sys.argv[1])
assert store.get(b"\\x20d") == b"v" * 10
store.close()
print("resumed")
"""


def test_rocks_resumes_after_the_disk_refused_a_write(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path / "data")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "resumed\n", done.stderr


def closed(store: Store) -> tuple[int, int]:
    """The last epochs that ended in an orderly way and in another."""
    return decode_closed(store.get(keys.closed_key()))


def test_a_reopen_after_a_failure_says_that_the_epoch_had_no_orderly_end(store: Store) -> None:
    assert closed(store) == (0, 0)
    first = store.epoch
    store.reopen()
    assert closed(store) == (0, first)
    store.reopen()
    assert closed(store) == (0, first + 1)


@pytest.mark.parametrize("subject", ["rocks", "faulty-rocks"], indirect=True)
def test_a_close_ends_its_epoch_in_an_orderly_way(subject: Subject) -> None:
    first = subject.make()
    first.close()
    second = subject.make()
    assert closed(second) == (1, 0)
    second.reopen()
    assert closed(second) == (1, 2)
    second.close()
    assert closed(subject.make()) == (3, 2)


def test_a_copy_says_that_its_epoch_had_no_orderly_end(subject: Subject, tmp_path: Path) -> None:
    store = subject.make()
    store.checkpoint(str(tmp_path / "copy"))
    assert closed(subject.open_checkpoint(tmp_path / "copy")) == (0, 1)
