"""`verify` finds nothing in a sound directory and names each kind of damage."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast_server.core.ids import Address, make_actor_id, scope_of
from holdfast_server.store import keys
from holdfast_server.store import verify as verify_module
from holdfast_server.store.api import Batch
from holdfast_server.store.rocks import DirectoryLockedError, RocksStore
from holdfast_server.store.v1 import records_pb2 as records
from holdfast_server.store.verify import verify

ADDRESS = Address("default", "room", ("a", "b"))
SCOPE = scope_of(ADDRESS)
ID = make_actor_id(SCOPE, bytes(14))
STRANGER = make_actor_id(SCOPE, b"\x01" * 14)
CLIENT = bytes(16)
BAD_SHARD = b"\xff\xff" + bytes(14)
NOT_A_RECORD = b"\x0a\xff"
EVENT = records.EventRecord(name="e").SerializeToString()


def log(**changed: int) -> bytes:
    """The row of a log with the events 3, 4 and 5."""
    sums = {"first_sequence": 3, "last_sequence": 5, "bytes": 3 * len(EVENT), "due_ms": 7}
    return records.EventLogRecord(incarnation=1, **{**sums, **changed}).SerializeToString()


def sound() -> Batch:
    batch = Batch()
    actor = records.ActorRecord(namespace="default", name="room", key=["a", "b"])
    send = records.SendRecord(namespace="default", name="room", key=["c"], action="x")
    batch.put(keys.directory_key(ADDRESS), ID)
    batch.put(keys.actor_key(ID), actor.SerializeToString())
    batch.put(keys.state_key(ID), records.StateRecord(data=b"s").SerializeToString())
    batch.put(keys.kv_key(ID, b"k"), b"\x01value")
    batch.put(keys.kv_key(ID, b"k2"), b"\x01")
    batch.put(keys.kv_usage_key(ID), (1 + 6 + 2 + 1).to_bytes(8))
    for sequence in (3, 4, 5):
        batch.put(keys.event_key(ID, sequence), EVENT)
    batch.put(keys.event_log_key(ID), log())
    batch.put(keys.event_expiry_key(7, ID), b"")
    batch.put(keys.connection_key(ID, CLIENT), records.ConnectionRecord().SerializeToString())
    batch.put(keys.message_key(ID, CLIENT, 1), EVENT)
    batch.put(keys.client_reply_key(SCOPE, CLIENT, 1), b"")
    batch.put(keys.reply_expiry_key(5, keys.client_reply_prefix(SCOPE, CLIENT)[2:]), b"")
    batch.put(keys.tombstone_key(STRANGER), actor.SerializeToString())
    batch.put(keys.tombstone_expiry_key(5, STRANGER), b"")
    batch.put(keys.outbox_key(STRANGER, SCOPE, 1), send.SerializeToString())
    batch.put(keys.inbox_key(SCOPE, STRANGER), (1).to_bytes(8))
    return batch


def write(data_dir: Path, *batches: Batch) -> None:
    store = RocksStore(data_dir)
    for batch in batches:
        store.write(batch, store.epoch)
    store.close()


def test_a_sound_directory_has_no_findings_and_is_not_changed(tmp_path: Path) -> None:
    write(tmp_path, sound())
    assert verify(tmp_path) == []
    assert verify(str(tmp_path)) == []
    store = RocksStore(tmp_path)
    assert store.epoch == 2
    store.close()


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    store = RocksStore(tmp_path)
    with pytest.raises(DirectoryLockedError):
        verify(tmp_path)
    store.close()


def test_a_directory_without_a_store_is_a_finding(tmp_path: Path) -> None:
    assert verify(tmp_path / "none") == [f"{tmp_path / 'none'} holds no store"]
    assert not (tmp_path / "none").exists()


def _put(key: bytes, value: bytes) -> Callable[[Batch], None]:
    return lambda batch: batch.put(key, value)


def _delete(key: bytes) -> Callable[[Batch], None]:
    return lambda batch: batch.delete(key)


def _drop_kv(batch: Batch) -> None:
    batch.delete_range(keys.kv_key(ID, b""), keys.prefix_end(keys.kv_key(ID, b"")))


def _drop_events(batch: Batch) -> None:
    prefix = keys.event_prefix(ID)
    batch.delete_range(prefix, keys.prefix_end(prefix))


WRONG_SHARD = (int.from_bytes(SCOPE[:2]) ^ 1).to_bytes(2) + bytes(14)

DAMAGE: dict[str, tuple[Callable[[Batch], None], list[str]]] = {
    "no actor row": (
        _delete(keys.actor_key(ID)),
        ["actor .* does not exist"] + ["which does not exist"] * 7,
    ),
    "no directory row": (_delete(keys.directory_key(ADDRESS)), ["is not in the directory"]),
    "other id": (
        _put(keys.directory_key(ADDRESS), STRANGER),
        ["does not exist", "another id"],
    ),
    "short id": (_put(keys.directory_key(ADDRESS), b"x"), ["has 1 bytes", "another id"]),
    "wrong shard": (
        _put(keys.directory_key(ADDRESS), WRONG_SHARD),
        ["wrong shard", "does not exist", "another id"],
    ),
    "no such shard": (_put(keys.outbox_key(BAD_SHARD, SCOPE, 1), b""), ["shard 65535 of 1024"]),
    "bad sender shard": (
        _put(keys.inbox_key(SCOPE, BAD_SHARD), bytes(8)),
        ["shard 65535 of 1024"],
    ),
    "bad directory key": (_put(b"\x00\x10oops", ID), ["key does not decode"]),
    "one-part directory key": (_put(b"\x00\x10oops\x00\x01", ID), ["key does not decode"]),
    "state": (_put(keys.state_key(ID), NOT_A_RECORD), ["state row .* does not decode"]),
    "actor": (_put(keys.actor_key(ID), NOT_A_RECORD), ["actor row .* does not decode"]),
    "event": (_put(keys.event_key(ID, 4), b"\x0a\xff0"), ["event row .* does not decode"]),
    "event log": (_put(keys.event_log_key(ID), NOT_A_RECORD), ["event_log row .* not decode"]),
    "no event log": (
        _delete(keys.event_log_key(ID)),
        ["no events due then", "missing; there are 3 rows from 3 to 5 of"],
    ),
    "first event": (_put(keys.event_log_key(ID), log(first_sequence=2)), ["says 4 rows from 2 to"]),
    "last event": (_put(keys.event_log_key(ID), log(last_sequence=6)), ["from 3 to 6 of 9"]),
    "event bytes": (_put(keys.event_log_key(ID), log(bytes=8)), ["of 8 bytes; .* of 9 bytes"]),
    "event between": (_delete(keys.event_key(ID, 4)), ["says 3 rows .* there are 2 rows"]),
    "events of nothing": (
        _drop_events,
        ["says 9 bytes of events; there are none"],
    ),
    "no event expiry": (_delete(keys.event_expiry_key(7, ID)), ["never expire"]),
    "other event expiry": (_put(keys.event_expiry_key(8, ID), b""), ["no events due then"]),
    "short event expiry": (_put(b"\x01\x32abc", b""), ["event_expiry row .* key of 5 bytes"]),
    "connection": (
        _put(keys.connection_key(ID, CLIENT), NOT_A_RECORD),
        ["connection row .* does not decode"],
    ),
    "short connection": (_put(keys.connection_prefix(ID), b""), ["connection row .* key of 18"]),
    "message": (
        _put(keys.message_key(ID, CLIENT, 2), NOT_A_RECORD),
        ["message row .* does not decode"],
    ),
    "short message": (_put(keys.message_prefix(ID, CLIENT), b""), ["message row .* key of 34"]),
    "orphan connection": (
        _put(keys.connection_key(STRANGER, CLIENT), b""),
        ["connection row .* does not exist"],
    ),
    "orphan message": (
        _put(keys.message_key(STRANGER, CLIENT, 1), b""),
        ["message row .* does not exist"],
    ),
    "reply": (
        _put(keys.client_reply_key(SCOPE, CLIENT, 2), NOT_A_RECORD),
        ["reply row .* does not decode"],
    ),
    "send": (
        _put(keys.dead_send_key(ID, SCOPE, 2), NOT_A_RECORD),
        ["dead_send row .* does not decode"],
    ),
    "inbox": (_put(keys.inbox_key(SCOPE, ID), b"1"), ["inbox row .* value of 1 bytes"]),
    "expiry": (_put(keys.reply_expiry_key(1, b"x"), b""), ["reply_expiry row .* key of 11"]),
    "orphan state": (_put(keys.state_key(STRANGER), b""), ["state row .* does not exist"]),
    "orphan kv": (_put(keys.kv_key(STRANGER, b"k"), b"\x01"), ["kv row .* does not exist"]),
    "orphan event": (_put(keys.event_key(STRANGER, 1), b""), ["event row .* does not exist"]),
    "usage": (_put(keys.kv_usage_key(ID), (11).to_bytes(8)), ["says 11 bytes; .* have 10"]),
    "no usage": (_delete(keys.kv_usage_key(ID)), ["missing; the KV rows have 10 bytes"]),
    "short usage": (_put(keys.kv_usage_key(ID), b"1"), ["value of 1 bytes"]),
    "usage of nothing": (_drop_kv, ["says 10 bytes; there are no KV rows"]),
    "untyped kv": (_put(keys.kv_key(ID, b"k2"), b""), ["type byte", "says 10 .* have 9"]),
    "unknown kind": (_put(b"\x0f\x0f\x01", b""), ["of no known kind"]),
    "short key": (_put(b"\x01\x00\x01", b""), ["actor row .* key of 3 bytes"]),
    "last kind": (_put(b"\xff\xff\x01", b""), ["of no known kind"]),
    "epoch": (_put(keys.epoch_key(), b"1"), ["epoch row is damaged"]),
    "no format": (_delete(keys.format_key()), ["format row or the epoch row is missing"]),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_nothing_else(tmp_path: Path, name: str) -> None:
    damage, expected = DAMAGE[name]
    batch = Batch()
    damage(batch)
    write(tmp_path, sound(), batch)
    found = verify(tmp_path)
    assert len(found) == len(expected), found
    for finding, pattern in zip(found, expected, strict=True):
        assert re.search(pattern, finding)


def test_a_damaged_row_of_closed_epochs_is_found_and_the_store_closes(tmp_path: Path) -> None:
    store = RocksStore(tmp_path)
    batch = Batch()
    batch.put(keys.closed_key(), b"1")
    store.write(batch, store.epoch)
    assert verify_module.check_rows(store) == ["the row of closed epochs is damaged: '31'"]
    store.close()
    assert verify(tmp_path) == []


def test_sums_and_owners_hold_across_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, sound())
    monkeypatch.setattr(verify_module, "_PAGE", 1)
    assert verify(tmp_path) == []


def test_findings_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch()
    for number in range(5):
        batch.put(b"\x0f\x0f" + bytes([number]), b"")
    write(tmp_path, batch)
    monkeypatch.setattr(verify_module, "FINDINGS_MAX", 3)
    found = verify(tmp_path)
    assert len(found) == 4
    assert found[-1] == "more than 3 findings; the rest is not listed"
