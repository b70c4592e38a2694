"""`verify` and timers: the index, the schedules and what expires agree with one another."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast_server.__main__ import main
from holdfast_server.core.ids import Address, make_actor_id, scope_of
from holdfast_server.store import keys
from holdfast_server.store.api import Batch
from holdfast_server.store.memory import MemoryStore
from holdfast_server.store.rocks import RocksStore
from holdfast_server.store.v1 import records_pb2 as records
from holdfast_server.store.verify import check_rows

ADDRESS = Address("default", "room", ("a",))
ID = make_actor_id(scope_of(ADDRESS), bytes(14))
STRANGER = make_actor_id(scope_of(ADDRESS), b"\x01" * 14)
ONCE, JOB = keys.one_shot_rest(7), keys.named_rest("job")
ENTRY = b"T" + (50).to_bytes(8) + b"value"


def schedule(number: int, due_ms: int, history_max: int = 0) -> bytes:
    return records.ScheduleRecord(
        number=number, due_ms=due_ms, history_max=history_max
    ).SerializeToString()


def agenda(schedules: int, history: int, sweep_due_ms: int = 50) -> bytes:
    return records.AgendaRecord(
        schedules=schedules, history=history, sweep_due_ms=sweep_due_ms
    ).SerializeToString()


def sound() -> Batch:
    batch = Batch()
    actor = records.ActorRecord(namespace="default", name="room", key=["a"])
    batch.put(keys.directory_key(ADDRESS), ID)
    batch.put(keys.actor_key(ID), actor.SerializeToString())
    batch.put(keys.kv_key(ID, b"k"), ENTRY)
    batch.put(keys.kv_usage_key(ID), (1 + len(ENTRY)).to_bytes(8))
    batch.put(keys.kv_expiry_key(ID, 50, b"k"), b"")
    batch.put(keys.agenda_key(ID), agenda(3, 30))
    batch.put(keys.timer_key(50, ID, 0), b"")
    batch.put(keys.schedule_key(ID, ONCE), schedule(7, 100))
    batch.put(keys.timer_key(100, ID, 7), ONCE)
    batch.put(keys.schedule_key(ID, JOB), schedule(8, 90, 30))
    batch.put(keys.timer_key(90, ID, 8), JOB)
    # A paused one is not due.
    batch.put(keys.schedule_key(ID, keys.named_rest("paused")), schedule(9, 0))
    batch.put(keys.schedule_run_key(ID, 8, 1), records.RunRecord(result=2).SerializeToString())
    batch.put(keys.schedule_dead_key(ID, 3), schedule(3, 0))
    return batch


def found_after(damage: Callable[[Batch], None]) -> list[str]:
    store, batch = MemoryStore(), sound()
    damage(batch)
    store.write(batch, store.epoch)
    return check_rows(store)


def put(key: bytes, value: bytes) -> Callable[[Batch], None]:
    return lambda batch: batch.put(key, value)


def delete(key: bytes) -> Callable[[Batch], None]:
    return lambda batch: batch.delete(key)


def test_sound_rows_have_no_findings() -> None:
    assert found_after(lambda batch: None) == []


DAMAGE: dict[str, tuple[Callable[[Batch], None], list[str]]] = {
    "no timer": (delete(keys.timer_key(100, ID, 7)), ["due at 100, but no timer says so"]),
    "timer of another": (
        put(keys.timer_key(100, ID, 7), JOB),
        ["due at 100, but no timer", "due at another time"],
    ),
    "timer of nothing": (put(keys.timer_key(70, ID, 5), b"\x01x"), ["waits for no such thing"]),
    "second timer": (put(keys.timer_key(70, ID, 7), ONCE), ["due at another time"]),
    "timer of nobody": (put(keys.timer_key(70, STRANGER, 0), b""), ["waits for no such thing"]),
    "miscounted agenda": (
        put(keys.agenda_key(ID), agenda(2, 30)),
        ["says 2 schedules that keep 30 runs; there are 3 that keep 30"],
    ),
    "forgotten schedule": (
        lambda batch: (
            batch.delete(keys.schedule_key(ID, ONCE)),
            batch.delete(keys.timer_key(100, ID, 7)),
        ),
        ["says 3 schedules .* there are 2"],
    ),
    "miscounted history": (put(keys.agenda_key(ID), agenda(3, 29)), ["keep 29 runs; .* keep 30"]),
    "no agenda": (
        delete(keys.agenda_key(ID)),
        [
            "kv_expiry row .* looked for at 0",
            "agenda row .* missing; there are schedules",
            "timer row .* waits for no such thing",
        ],
    ),
    "no sweep": (
        delete(keys.timer_key(50, ID, 0)),
        ["agenda row .* looks for what expires at 50, but no timer"],
    ),
    "late sweep": (
        lambda batch: (
            batch.put(keys.agenda_key(ID), agenda(3, 30, 60)),
            batch.delete(keys.timer_key(50, ID, 0)),
            batch.put(keys.timer_key(60, ID, 0), b""),
        ),
        ["kv_expiry row .* looked for at 60, which is not in time"],
    ),
    "entry without expiry": (
        delete(keys.kv_expiry_key(ID, 50, b"k")),
        ["kv row .* expires at 50, but no row of its expiry says so"],
    ),
    "short timer": (put(keys.timer_key(70, ID), b""), ["timer row .* key of 26 bytes"]),
    "sweep at another time": (put(keys.timer_key(40, ID, 0), b""), ["due at another time"]),
    "schedule": (
        put(keys.schedule_key(ID, JOB), b"\x0a\xff"),
        ["schedule row .* does not decode", "schedule row .* does not decode"],
    ),
    "orphan schedule": (
        put(keys.schedule_key(STRANGER, JOB), schedule(8, 0)),
        ["schedule row .* does not exist"],
    ),
    "orphan agenda": (put(keys.agenda_key(STRANGER), b""), ["agenda row .* does not exist"]),
    "orphan run": (
        put(keys.schedule_run_key(STRANGER, 1, 1), b""),
        ["schedule_run row .* does not exist"],
    ),
    "dead letter": (
        put(keys.schedule_dead_key(ID, 3), b"\x0a\xff"),
        ["schedule_dead row .* does not decode"],
    ),
    "short run": (put(keys.schedule_run_prefix(ID, 8), b""), ["schedule_run row .* key of 26"]),
    "expiry of nothing": (put(keys.kv_expiry_key(ID, 60, b"n"), b""), ["no KV entry expires"]),
    "other expiry": (put(keys.kv_expiry_key(ID, 60, b"k"), b""), ["no KV entry expires"]),
    "short expiry": (put(keys.kv_expiry_key(ID, 60), b""), ["kv_expiry row .* key of 26"]),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_nothing_else(name: str) -> None:
    damage, expected = DAMAGE[name]
    found = found_after(damage)
    assert len(found) == len(expected), found
    for finding, pattern in zip(found, expected, strict=True):
        assert re.search(pattern, finding)


def test_a_damaged_directory_is_told_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage = Batch()
    damage.delete(keys.timer_key(90, ID, 8))
    damage.put(keys.agenda_key(ID), agenda(2, 30))
    told: list[tuple[int, str]] = []
    for batch in (sound(), damage):
        store = RocksStore(tmp_path)
        store.write(batch, store.epoch)
        store.close()
        told.append((main(["verify", "--data", str(tmp_path)]), capsys.readouterr().out))

    assert told[0] == (0, "0 findings\n")
    assert told[1][0] == 1
    assert "says 2 schedules that keep 30 runs; there are 3" in told[1][1]
    assert "due at 90, but no timer says so" in told[1][1]
