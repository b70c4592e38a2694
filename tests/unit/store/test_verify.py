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
    batch.put(keys.event_key(ID, 1), records.EventRecord(name="e").SerializeToString())
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


WRONG_SHARD = (int.from_bytes(SCOPE[:2]) ^ 1).to_bytes(2) + bytes(14)

DAMAGE: dict[str, tuple[Callable[[Batch], None], list[str]]] = {
    "no actor row": (
        _delete(keys.actor_key(ID)),
        ["actor .* does not exist"] + ["which does not exist"] * 4,
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
    "event": (_put(keys.event_key(ID, 2), NOT_A_RECORD), ["event row .* does not decode"]),
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
