"""The gate before a data directory: its format version, shard count and epoch.

The row says which format a directory was written in, and is checked before
anything else is read or written: a directory of a newer format is refused
unchanged. Every open, of every kind of store, begins with `opening`, so that
the first open writes the row and each open raises the epoch in one batch.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from holdfast_server.core.ids import SHARD_COUNT
from holdfast_server.store import keys
from holdfast_server.store.api import Batch

FORMAT_VERSION: Final = 1

_FORMAT: Final = struct.Struct(">II")
_EPOCH: Final = struct.Struct(">Q")
_CLOSED: Final = struct.Struct(">QQ")


class FormatError(Exception):
    """This program cannot use the directory; nothing in it was changed."""


def encode_format() -> bytes:
    """The format row of a directory that this program makes."""
    return _FORMAT.pack(FORMAT_VERSION, SHARD_COUNT)


def check_format(row: bytes) -> None:
    """Refuse a format row that this program cannot serve."""
    # Newer formats may append to the row, so that only its start is read.
    if len(row) < _FORMAT.size:
        raise FormatError(f"the format row is damaged: {row.hex()!r}")
    version, shard_count = _FORMAT.unpack_from(row)
    if version > FORMAT_VERSION:
        raise FormatError(
            f"the data directory has format version {version}, "
            f"newer than version {FORMAT_VERSION} of this server; "
            "start it with the newer server, or restore a checkpoint made before the upgrade"
        )
    if version < 1 or len(row) != _FORMAT.size:
        raise FormatError(f"the format row is damaged: {row.hex()!r}")
    if shard_count != SHARD_COUNT:
        raise FormatError(
            f"the data directory has {shard_count} shards and this server {SHARD_COUNT}; "
            "the number of shards of a directory never changes"
        )


def encode_epoch(epoch: int) -> bytes:
    return _EPOCH.pack(epoch)


def decode_epoch(row: bytes) -> int:
    """The epoch in its row; FormatError when the row is damaged."""
    if len(row) != _EPOCH.size:
        raise FormatError(f"the epoch row is damaged: {row.hex()!r}")
    epoch: int = _EPOCH.unpack(row)[0]
    return epoch


def encode_closed(orderly: int, unorderly: int) -> bytes:
    return _CLOSED.pack(orderly, unorderly)


def decode_closed(row: bytes | None) -> tuple[int, int]:
    """The last epochs that ended in an orderly way and in any other, 0 for none."""
    if row is None:
        return 0, 0
    if len(row) != _CLOSED.size:
        raise FormatError(f"the row of closed epochs is damaged: {row.hex()!r}")
    orderly, unorderly = _CLOSED.unpack(row)
    return orderly, unorderly


def encode_restored(at_ms: int) -> bytes:
    return _EPOCH.pack(at_ms)


def decode_restored(row: bytes | None) -> int:
    """When a backup was restored to the directory, in milliseconds since 1970; 0 for never."""
    if row is None:
        return 0
    if len(row) != _EPOCH.size:
        raise FormatError(f"the row of the restore is damaged: {row.hex()!r}")
    at_ms: int = _EPOCH.unpack(row)[0]
    return at_ms


def closing(get: Callable[[bytes], bytes | None], epoch: int) -> Batch:
    """The batch with which an epoch ends in an orderly way, synced like any other."""
    try:
        _, unorderly = decode_closed(get(keys.closed_key()))
    except FormatError:
        # A damaged row keeps no server from stopping; the worst is assumed.
        unorderly = epoch - 1
    batch = Batch()
    batch.put(keys.closed_key(), encode_closed(epoch, unorderly))
    return batch


def opening(get: Callable[[bytes], bytes | None]) -> tuple[int, Batch]:
    """The epoch of this open, and the batch to write and sync before any other."""
    format_row = get(keys.format_key())
    epoch_row = get(keys.epoch_key())
    batch = Batch()
    if format_row is None:
        if epoch_row is not None:
            raise FormatError("the data directory has an epoch but no format row")
        batch.put(keys.format_key(), encode_format())
        epoch = 1
    else:
        check_format(format_row)
        if epoch_row is None:
            raise FormatError("the data directory has a format row but no epoch")
        before = decode_epoch(epoch_row)
        epoch = before + 1
        orderly, _ = decode_closed(get(keys.closed_key()))
        if orderly != before:
            batch.put(keys.closed_key(), encode_closed(orderly, before))
    batch.put(keys.epoch_key(), encode_epoch(epoch))
    return epoch, batch
