"""Offline check of a data directory: do its rows agree with one another?

One pass over every row, a page at a time, so that memory does not grow with
the directory. Nothing is changed. Checked: each directory row leads to an
actor record that leads back; ids and scopes lie in their shard; state, KV,
event and connection rows belong to live actors; records decode; the KV bytes in use are
the sum of the rows; events have the numbers and the bytes that their log says; schedules
are as many as their agenda says, and agree with the index of timers both ways. Replies
and sends outlive their actor, so theirs is not looked for.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError, Message

from holdfast_server.core.ids import (
    ID_BYTES,
    SHARD_COUNT,
    Address,
    address_of,
    format_actor_id,
    scope_of,
)
from holdfast_server.store import format as store_format
from holdfast_server.store import keys
from holdfast_server.store.api import StoreError
from holdfast_server.store.keys import Kind
from holdfast_server.store.rocks import RocksReader
from holdfast_server.store.v1 import records_pb2 as records
from holdfast_server.store.verify_agenda import AgendaCheck, Row, Rows

FINDINGS_MAX: Final = 1000
_PAGE: Final = 1000

# Lengths of keys after the kind: exact, or the least where a free part follows.
_EXACT: Final = {
    Kind.FORMAT: 0,
    Kind.EPOCH: 0,
    Kind.CLOSED: 0,
    Kind.RESTORED: 0,
    Kind.ACTOR: ID_BYTES,
    Kind.TOMBSTONE: ID_BYTES,
    Kind.STATE: ID_BYTES,
    Kind.KV_USAGE: ID_BYTES,
    Kind.EVENT: ID_BYTES + 8,
    Kind.EVENT_LOG: ID_BYTES,
    Kind.CONNECTION: 2 * ID_BYTES,
    Kind.MESSAGE: 2 * ID_BYTES + 8,
    Kind.AGENDA: ID_BYTES,
    Kind.SCHEDULE_RUN: ID_BYTES + 16,
    Kind.SCHEDULE_DEAD: ID_BYTES + 8,
    Kind.OUTBOX: 2 * ID_BYTES + 8,
    Kind.DEAD_SEND: 2 * ID_BYTES + 8,
    Kind.INBOX: 2 * ID_BYTES,
}
_LEAST: Final = {
    Kind.KV: ID_BYTES + 1,
    Kind.KV_EXPIRY: ID_BYTES + 8 + 1,
    Kind.SCHEDULE: ID_BYTES + 2,
    Kind.REPLY: ID_BYTES + 1 + 16 + 1,
}

# Kinds whose keys have a second id after the first.
_TWO_IDS: Final = (Kind.OUTBOX, Kind.DEAD_SEND, Kind.INBOX)

_RECORDS: Final[dict[Kind, type[Message]]] = {
    Kind.ACTOR: records.ActorRecord,
    Kind.TOMBSTONE: records.ActorRecord,
    Kind.STATE: records.StateRecord,
    Kind.EVENT: records.EventRecord,
    Kind.EVENT_LOG: records.EventLogRecord,
    Kind.CONNECTION: records.ConnectionRecord,
    Kind.MESSAGE: records.EventRecord,
    Kind.AGENDA: records.AgendaRecord,
    Kind.SCHEDULE_RUN: records.RunRecord,
    Kind.SCHEDULE: records.ScheduleRecord,
    Kind.SCHEDULE_DEAD: records.ScheduleRecord,
    Kind.REPLY: records.ReplyRecord,
    Kind.OUTBOX: records.SendRecord,
    Kind.DEAD_SEND: records.SendRecord,
}

_OWNED: Final = (
    Kind.STATE,
    Kind.KV,
    Kind.KV_USAGE,
    Kind.EVENT_LOG,
    Kind.CONNECTION,
    Kind.MESSAGE,
    Kind.KV_EXPIRY,
    Kind.EVENT,
    Kind.AGENDA,
    Kind.SCHEDULE,
    Kind.SCHEDULE_RUN,
    Kind.SCHEDULE_DEAD,
)


def verify(data_dir: str | Path) -> list[str]:
    """What is wrong with the directory, one line each; empty when nothing is.

    DirectoryLockedError while a server has it open.
    """
    try:
        reader = RocksReader(data_dir)
    except StoreError as error:
        return [str(error)]
    try:
        return check_rows(reader)
    finally:
        reader.close()


def check_rows(rows: Rows) -> list[str]:
    """`verify` for rows that are open already."""
    check = _Check(rows)
    try:
        check.run()
    except _EnoughError:
        check.findings.append(f"more than {FINDINGS_MAX} findings; the rest is not listed")
    except StoreError as error:
        check.findings.append(f"the check ended early: {error}")
    return check.findings


def _kind_of(key: bytes) -> Kind | None:
    try:
        return Kind(int.from_bytes(key[:2])) if len(key) >= 2 else None
    except ValueError:
        return None


class _Run(NamedTuple):
    """Event rows of one actor, read so far: the first and the last number, how many, and
    their bytes."""

    owner: bytes = b""
    first: int = 0
    last: int = 0
    rows: int = 0
    size: int = 0

    @property
    def shown(self) -> str:
        return f"{self.rows} rows from {self.first} to {self.last} of {self.size} bytes"


class _EnoughError(Exception):
    """There are as many findings as are listed."""


class _Check:
    """One pass; `findings` is its result."""

    def __init__(self, rows: Rows) -> None:
        self.findings: list[str] = []
        self._rows = rows
        # The actor whose KV rows are being summed: id and bytes so far.
        self._summed = (b"", 0)
        # The actor whose event rows are being read.
        self._run = _Run()
        agendas = self._agendas = AgendaCheck(rows, self._find, self._parse)
        self._special: dict[Kind, Callable[[list[Row]], None]] = {
            Kind.DIRECTORY: self._directory,
            Kind.ACTOR: self._actors,
            Kind.KV: self._kv,
            Kind.KV_USAGE: self._usage,
            Kind.EVENT: self._events,
            Kind.EVENT_LOG: self._event_logs,
            Kind.EVENT_EXPIRY: self._event_expiries,
            Kind.REPLY_EXPIRY: self._expiries,
            Kind.INBOX: self._inbox,
            Kind.KV_EXPIRY: agendas.kv_expiries,
            Kind.AGENDA: agendas.agendas,
            Kind.SCHEDULE: agendas.schedules,
            Kind.TIMER: agendas.timers,
        }

    def run(self) -> None:
        self._opening_rows()
        start, end = b"", b"\xff" * 3
        while page := self._rows.scan(start, end, limit=_PAGE):
            for kind, group in groupby(page, key=lambda row: row[0][:2]):
                self._kind(kind, list(group))
            start = page[-1][0] + b"\x00"
        self._end_sum()
        self._end_run()

    def _find(self, key: bytes, what: str) -> None:
        kind = _kind_of(key)
        name = "row" if kind is None else f"{kind.name.lower()} row"
        self._add(f"{name} {key.hex()}: {what}")

    def _add(self, finding: str) -> None:
        if len(self.findings) >= FINDINGS_MAX:
            raise _EnoughError
        self.findings.append(finding)

    def _opening_rows(self) -> None:
        format_row, epoch_row, closed_row, restored_row = self._rows.multi_get(
            [keys.format_key(), keys.epoch_key(), keys.closed_key(), keys.restored_key()]
        )
        if format_row is None or epoch_row is None:
            self._add("the format row or the epoch row is missing")
        try:
            if format_row is not None:
                store_format.check_format(format_row)
            if epoch_row is not None:
                store_format.decode_epoch(epoch_row)
            store_format.decode_closed(closed_row)
            store_format.decode_restored(restored_row)
        except store_format.FormatError as error:
            self._add(str(error))

    def _kind(self, prefix: bytes, rows: list[Row]) -> None:
        kind = _kind_of(prefix)
        if kind is None:
            for key, _ in rows:
                self._find(key, "of no known kind")
            return
        sound = [row for row in rows if self._shape(kind, row[0])]
        if kind in _OWNED:
            sound = self._owned(sound)
        special = self._special.get(kind)
        if special is not None:
            special(sound)
        elif kind in _RECORDS:
            for key, value in sound:
                self._parse(kind, key, value)

    def _shape(self, kind: Kind, key: bytes) -> bool:
        """Whether the key has the length of its kind; its shards are looked at too."""
        size = len(key) - 2
        if size != _EXACT.get(kind, size) or size < _LEAST.get(kind, 0):
            self._find(key, f"a key of {len(key)} bytes")
            return False
        if kind in _EXACT or kind in _LEAST:
            for start in range(2, 2 + (size // ID_BYTES) * ID_BYTES, ID_BYTES):
                # After the first id only the keys of sends have a second one.
                if start > 2 and kind not in _TWO_IDS:
                    break
                shard = int.from_bytes(key[start : start + 2])
                if shard >= SHARD_COUNT:
                    self._find(key, f"in shard {shard} of {SHARD_COUNT}")
        return True

    def _parse(self, kind: Kind, key: bytes, value: bytes) -> Message | None:
        record = _RECORDS[kind]()
        try:
            record.ParseFromString(value)
        except DecodeError as error:
            self._find(key, f"the record does not decode: {error}")
            return None
        return record

    def _owned(self, rows: list[Row]) -> list[Row]:
        """Rows of an actor that exists; the others are findings, one per actor and kind."""
        owners = sorted({key[2:18] for key, _ in rows})
        found = self._rows.multi_get([keys.actor_key(owner) for owner in owners])
        orphans = {owner for owner, row in zip(owners, found, strict=True) if row is None}
        reported: set[bytes] = set()
        for key, _ in rows:
            owner = key[2:18]
            if owner in orphans and owner not in reported:
                reported.add(owner)
                self._find(key, f"of actor {format_actor_id(owner)}, which does not exist")
        return [row for row in rows if row[0][2:18] not in orphans]

    def _directory(self, rows: list[Row]) -> None:
        sound: list[tuple[bytes, Address, bytes]] = []
        for key, actor_id in rows:
            try:
                address = keys.parse_directory_key(key)
            except ValueError as error:
                self._find(key, f"the key does not decode: {error}")
                continue
            if len(actor_id) != ID_BYTES:
                self._find(key, f"the actor id has {len(actor_id)} bytes")
                continue
            if actor_id[:2] != scope_of(address)[:2]:
                self._find(key, f"{address}: id {format_actor_id(actor_id)} in a wrong shard")
            sound.append((key, address, actor_id))
        found = self._rows.multi_get([keys.actor_key(actor_id) for _, _, actor_id in sound])
        for (key, address, actor_id), row in zip(sound, found, strict=True):
            if row is None:
                self._find(key, f"{address}: actor {format_actor_id(actor_id)} does not exist")

    def _actors(self, rows: list[Row]) -> None:
        sound: list[tuple[bytes, Address]] = []
        for key, value in rows:
            record = self._parse(Kind.ACTOR, key, value)
            if isinstance(record, records.ActorRecord):
                sound.append((key, address_of(record)))
        found = self._rows.multi_get([keys.directory_key(address) for _, address in sound])
        for (key, address), actor_id in zip(sound, found, strict=True):
            if key[2:4] != scope_of(address)[:2]:
                self._find(key, f"{address}: id {format_actor_id(key[2:])} in a wrong shard")
            if actor_id is None:
                self._find(key, f"{address} is not in the directory")
            elif actor_id != key[2:]:
                self._find(key, f"the directory gives {address} another id: {actor_id.hex()}")

    def _kv(self, rows: list[Row]) -> None:
        for key, value in rows:
            if not value:
                self._find(key, "a value without its type byte")
            else:
                self._agendas.entry(key, value)
            owner, size = key[2:18], len(key) - 18 + len(value)
            if owner == self._summed[0]:
                self._summed = (owner, self._summed[1] + size)
            else:
                self._end_sum()
                self._summed = (owner, size)

    def _end_sum(self) -> None:
        """Compare the sum of one actor's KV rows with its usage row."""
        owner, size = self._summed
        self._summed = (b"", 0)
        if owner:
            key = keys.kv_usage_key(owner)
            row = self._rows.multi_get([key])[0]
            if row is None:
                self._find(key, f"missing; the KV rows have {size} bytes")
            elif len(row) == 8 and int.from_bytes(row) != size:
                self._find(key, f"says {int.from_bytes(row)} bytes; the KV rows have {size}")

    def _usage(self, rows: list[Row]) -> None:
        for key, value in rows:
            prefix = keys.kv_key(key[2:18], b"")
            if len(value) != 8:
                self._find(key, f"a value of {len(value)} bytes")
            # With rows, the sum was compared when they were read.
            elif int.from_bytes(value) and not self._rows.scan(
                prefix, keys.prefix_end(prefix), limit=1
            ):
                self._find(key, f"says {int.from_bytes(value)} bytes; there are no KV rows")

    def _events(self, rows: list[Row]) -> None:
        for key, value in rows:
            self._parse(Kind.EVENT, key, value)
            owner, sequence = keys.parse_event_key(key)
            run = self._run
            if owner != run.owner:
                self._end_run()
                run = _Run(owner, sequence)
            self._run = _Run(owner, run.first, sequence, run.rows + 1, run.size + len(value))

    def _end_run(self) -> None:
        """Compare the event rows of one actor with what its log says of them."""
        run, self._run = self._run, _Run()
        if not run.owner:
            return
        key = keys.event_log_key(run.owner)
        row = self._rows.multi_get([key])[0]
        if row is None:
            self._find(key, f"missing; there are {run.shown}")
            return
        log = self._log(row)
        if log is None:
            return
        said = _Run(
            run.owner,
            log.first_sequence,
            log.last_sequence,
            log.last_sequence - log.first_sequence + 1,
            log.bytes,
        )
        if said != run:
            self._find(key, f"says {said.shown}; there are {run.shown}")

    def _event_logs(self, rows: list[Row]) -> None:
        for key, value in rows:
            record = self._parse(Kind.EVENT_LOG, key, value)
            if not isinstance(record, records.EventLogRecord):
                continue
            owner = key[2:18]
            kept = record.first_sequence <= record.last_sequence
            prefix = keys.event_prefix(owner)
            # With rows, all was compared when they were read.
            if (kept or record.bytes) and not self._rows.scan(
                prefix, keys.prefix_end(prefix), limit=1
            ):
                self._find(key, f"says {record.bytes} bytes of events; there are none")
            due = keys.event_expiry_key(record.due_ms, owner)
            if kept and self._rows.multi_get([due])[0] is None:
                self._find(key, "its events never expire: the row of their expiry is missing")

    def _event_expiries(self, rows: list[Row]) -> None:
        for key, _ in rows:
            if len(key) != 2 + 8 + ID_BYTES:
                self._find(key, f"a key of {len(key)} bytes")
                continue
            due_ms, owner = keys.parse_event_expiry_key(key)
            row = self._rows.multi_get([keys.event_log_key(owner)])[0]
            log = None if row is None else self._log(row)
            if row is None or (log is not None and log.due_ms != due_ms):
                self._find(key, f"actor {format_actor_id(owner)} has no events due then")

    @staticmethod
    def _log(row: bytes) -> records.EventLogRecord | None:
        """The record of a log; None for one that does not decode, which is found elsewhere."""
        try:
            return records.EventLogRecord.FromString(row)
        except DecodeError:
            return None

    def _expiries(self, rows: list[Row]) -> None:
        for key, _ in rows:
            # Due time, scope, caller kind, caller; or due time, actor id, mark.
            mark = key[2 + 8 + ID_BYTES :]
            if len(mark) < 1 + 16 and mark != keys.BURIED:
                self._find(key, f"a key of {len(key)} bytes")

    def _inbox(self, rows: list[Row]) -> None:
        for key, value in rows:
            if len(value) != 8:
                self._find(key, f"a value of {len(value)} bytes")
