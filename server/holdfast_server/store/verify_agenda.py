"""Offline check of what an actor has scheduled, and of what of it expires.

The truth are the schedules and the entries; an agenda, the index of timers and that of
expiries must say the same, both ways.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from google.protobuf.message import DecodeError, Message

from holdfast_server.core.ids import ID_BYTES, format_actor_id
from holdfast_server.store import keys
from holdfast_server.store.keys import Kind
from holdfast_server.store.v1 import records_pb2 as records

Row = tuple[bytes, bytes]
_PAGE: Final = 1000


class Rows(Protocol):
    """What the check reads; every Store is one."""

    def multi_get(self, keys: list[bytes]) -> list[bytes | None]: ...

    def scan(self, start: bytes, end: bytes, *, limit: int) -> list[Row]: ...


class AgendaCheck:
    """Looks at the rows of its kinds; what is wrong it tells `find`."""

    def __init__(
        self,
        rows: Rows,
        find: Callable[[bytes, str], None],
        parse: Callable[[Kind, bytes, bytes], Message | None],
    ) -> None:
        self._rows = rows
        self._find = find
        self._parse = parse
        # The last actor of which a missing agenda was looked for.
        self._looked = b""

    def entry(self, key: bytes, value: bytes) -> None:
        """An entry of KV that expires is in the index of expiries."""
        if not value[:1].isupper() or len(value) < 9:
            return
        expires_ms = int.from_bytes(value[1:9])
        index = keys.kv_expiry_key(key[2:18], expires_ms, key[18:])
        if self._rows.multi_get([index])[0] is None:
            self._find(key, f"expires at {expires_ms}, but no row of its expiry says so")

    def kv_expiries(self, rows: list[Row]) -> None:
        """Each stands for an entry, and the agenda looks for the first in time."""
        for key, _ in rows:
            due_ms, name = keys.parse_kv_expiry_key(key)
            entry = self._rows.multi_get([keys.kv_key(key[2:18], name)])[0]
            # An upper-case type byte, then the expiry.
            if entry is None or entry[:1].islower() or int.from_bytes(entry[1:9]) != due_ms:
                self._find(key, "no KV entry expires then")
                continue
            agenda = self._agenda(key[2:18])
            if agenda is not None and not 0 < agenda.sweep_due_ms <= due_ms:
                self._find(key, f"looked for at {agenda.sweep_due_ms}, which is not in time")

    def agendas(self, rows: list[Row]) -> None:
        """Each says how many schedules there are, what they keep, and when to look."""
        for key, value in rows:
            record = self._parse(Kind.AGENDA, key, value)
            if not isinstance(record, records.AgendaRecord):
                continue
            count = history = 0
            sound = True
            start = keys.schedule_key(key[2:])
            end = keys.prefix_end(start)
            while page := self._rows.scan(start, end, limit=_PAGE):
                start = page[-1][0] + b"\x00"
                count += len(page)
                kept = [_history_of(row) for _, row in page]
                history += sum(each or 0 for each in kept)
                # A row that does not decode is found elsewhere, and cannot be summed.
                sound = sound and None not in kept
            if record.schedules != count or (sound and record.history != history):
                self._find(
                    key,
                    f"says {record.schedules} schedules that keep {record.history} runs; there "
                    f"are {count} that keep {history}",
                )
            due_ms = record.sweep_due_ms
            if due_ms and self._rows.multi_get([keys.timer_key(due_ms, key[2:], 0)])[0] is None:
                self._find(key, f"looks for what expires at {due_ms}, but no timer says so")

    def schedules(self, rows: list[Row]) -> None:
        """Each is counted in an agenda and, unless it is paused, in the index of timers."""
        for key, value in rows:
            owner = key[2:18]
            if owner != self._looked:
                self._looked = owner
                agenda = keys.agenda_key(owner)
                if self._rows.multi_get([agenda])[0] is None:
                    self._find(agenda, "missing; there are schedules")
            record = self._parse(Kind.SCHEDULE, key, value)
            if not isinstance(record, records.ScheduleRecord) or not record.due_ms:
                continue
            timer = keys.timer_key(record.due_ms, owner, record.number)
            if self._rows.multi_get([timer]) != [key[18:]]:
                self._find(key, f"due at {record.due_ms}, but no timer says so")

    def timers(self, rows: list[Row]) -> None:
        """Each stands for a schedule, or for an agenda's look at what expires."""
        for key, rest in rows:
            if len(key) != 2 + 8 + ID_BYTES + 8:
                self._find(key, f"a key of {len(key)} bytes")
                continue
            due_ms, owner, number = keys.parse_timer_key(key)
            above = keys.schedule_key(owner, rest) if number else keys.agenda_key(owner)
            row = self._rows.multi_get([above])[0]
            if row is None:
                self._find(key, f"of actor {format_actor_id(owner)}, which waits for no such thing")
                continue
            record = self._parse(Kind.SCHEDULE if number else Kind.AGENDA, above, row)
            if isinstance(record, records.ScheduleRecord):
                says = record.due_ms if record.number == number else 0
            else:
                says = getattr(record, "sweep_due_ms", due_ms)
            if record is not None and says != due_ms:
                self._find(key, "the row that it stands for is due at another time")

    def _agenda(self, owner: bytes) -> records.AgendaRecord | None:
        """The agenda of an actor, empty where it has none; None for one that does not
        decode, which is found elsewhere."""
        row = self._rows.multi_get([keys.agenda_key(owner)])[0]
        try:
            return records.AgendaRecord.FromString(row or b"")
        except DecodeError:
            return None


def _history_of(row: bytes) -> int | None:
    """How many of its runs a schedule keeps; None for a row that does not decode."""
    try:
        return records.ScheduleRecord.FromString(row).history_max
    except DecodeError:
        return None
