"""Pins the bytes of every stored key: a change here orphans every data directory."""

from __future__ import annotations

import pytest

from holdfast_server.core.ids import Address, scope_of
from holdfast_server.store import keys
from holdfast_server.store.keys import Kind

ID = bytes(range(1, 17))
OTHER = bytes(range(0x21, 0x31))
ID_HEX = "0102030405060708090a0b0c0d0e0f10"
OTHER_HEX = "2122232425262728292a2b2c2d2e2f30"
ADDRESS = Address("default", "room", ("a/b", "", "n\x00l", "é"))
ADDRESS_HEX = "64656661756c740001726f6f6d0001612f62000100016e00ff6c0001c3a90001"

GOLDEN = [
    (keys.format_key(), "0001"),
    (keys.epoch_key(), "0002"),
    (keys.directory_key(ADDRESS), "0010" + ADDRESS_HEX),
    (keys.directory_key(Address("n", "r", ())), "00106e0001720001"),
    (keys.directory_prefix("n", "r"), "00106e0001720001"),
    (keys.directory_prefix("n", "r", ("k",)), "00106e00017200016b0001"),
    (keys.actor_key(ID), "0100" + ID_HEX),
    (keys.state_key(ID), "0110" + ID_HEX),
    (keys.kv_key(ID, b"k\x00\xff"), "0120" + ID_HEX + "6b00ff"),
    (keys.kv_usage_key(ID), "0121" + ID_HEX),
    (keys.event_key(ID, 258), "0130" + ID_HEX + "0000000000000102"),
    (keys.closed_key(), "0003"),
    (keys.restored_key(), "0004"),
    (keys.event_log_key(ID), "0131" + ID_HEX),
    (keys.event_expiry_key(1000, ID), "0132" + "00000000000003e8" + ID_HEX),
    (keys.connection_key(ID, OTHER), "0140" + ID_HEX + OTHER_HEX),
    (keys.connection_prefix(ID), "0140" + ID_HEX),
    (keys.message_key(ID, OTHER, 258), "0141" + ID_HEX + OTHER_HEX + "0000000000000102"),
    (keys.message_prefix(ID, OTHER), "0141" + ID_HEX + OTHER_HEX),
    (keys.kv_expiry_key(ID, 258, b"k"), "0122" + ID_HEX + "0000000000000102" + "6b"),
    (keys.kv_expiry_prefix(ID), "0122" + ID_HEX),
    (keys.agenda_key(ID), "0150" + ID_HEX),
    (keys.schedule_key(ID), "0151" + ID_HEX),
    (keys.schedule_key(ID, keys.one_shot_rest(7)), f"0151{ID_HEX}010000000000000007"),
    (keys.schedule_key(ID, keys.named_rest("ké")), f"0151{ID_HEX}026bc3a9"),
    (keys.timer_key(1000), "015200000000000003e8"),
    (keys.timer_key(1000, ID, 7), f"015200000000000003e8{ID_HEX}0000000000000007"),
    (keys.schedule_run_key(ID, 7, 2), f"0153{ID_HEX}00000000000000070000000000000002"),
    (keys.schedule_run_prefix(ID), f"0153{ID_HEX}"),
    (keys.schedule_run_prefix(ID, 7), f"0153{ID_HEX}0000000000000007"),
    (keys.schedule_dead_key(ID, 7), f"0154{ID_HEX}0000000000000007"),
    (keys.schedule_dead_prefix(ID), f"0154{ID_HEX}"),
    (keys.reply_prefix(ID), "0200" + ID_HEX),
    (keys.client_reply_key(ID, OTHER, 7), f"0200{ID_HEX}01{OTHER_HEX}0000000000000007"),
    (keys.client_reply_prefix(ID, OTHER), f"0200{ID_HEX}01{OTHER_HEX}"),
    (keys.user_reply_key(ID, OTHER, "ké"), f"0200{ID_HEX}02{OTHER_HEX}6bc3a9"),
    (keys.reply_expiry_key(1000, ID + b"\x01"), f"020100000000000003e8{ID_HEX}01"),
    (keys.tombstone_key(ID), f"0101{ID_HEX}"),
    (keys.tombstone_expiry_key(1000, ID), f"020100000000000003e8{ID_HEX}03"),
    (keys.outbox_key(ID, OTHER, 1), f"0300{ID_HEX}{OTHER_HEX}0000000000000001"),
    (keys.outbox_prefix(ID), f"0300{ID_HEX}"),
    (keys.outbox_prefix(ID, OTHER), f"0300{ID_HEX}{OTHER_HEX}"),
    (keys.dead_send_key(ID, OTHER, 2**64 - 1), f"0301{ID_HEX}{OTHER_HEX}ffffffffffffffff"),
    (keys.dead_send_prefix(ID), f"0301{ID_HEX}"),
    (keys.inbox_key(ID, OTHER), f"0310{ID_HEX}{OTHER_HEX}"),
]

KINDS = {
    "FORMAT": 0x0001,
    "EPOCH": 0x0002,
    "DIRECTORY": 0x0010,
    "ACTOR": 0x0100,
    "STATE": 0x0110,
    "KV": 0x0120,
    "KV_USAGE": 0x0121,
    "EVENT": 0x0130,
    "CLOSED": 0x0003,
    "RESTORED": 0x0004,
    "EVENT_LOG": 0x0131,
    "EVENT_EXPIRY": 0x0132,
    "CONNECTION": 0x0140,
    "MESSAGE": 0x0141,
    "KV_EXPIRY": 0x0122,
    "AGENDA": 0x0150,
    "SCHEDULE": 0x0151,
    "TIMER": 0x0152,
    "SCHEDULE_RUN": 0x0153,
    "SCHEDULE_DEAD": 0x0154,
    "REPLY": 0x0200,
    "REPLY_EXPIRY": 0x0201,
    "TOMBSTONE": 0x0101,
    "OUTBOX": 0x0300,
    "DEAD_SEND": 0x0301,
    "INBOX": 0x0310,
}


@pytest.mark.parametrize(("key", "expected"), GOLDEN)
def test_key_bytes(key: bytes, expected: str) -> None:
    assert key.hex() == expected


def test_kinds_are_pinned() -> None:
    assert {kind.name: int(kind) for kind in Kind} == KINDS
    pinned = {key[:2] for key, _ in GOLDEN}
    assert pinned == {int(kind).to_bytes(2) for kind in Kind}


def test_scope_bytes() -> None:
    assert scope_of(ADDRESS).hex() == "03480a40cb15d38edd31dfab27a2fd48"
    assert int.from_bytes(scope_of(ADDRESS)[:2]) < 1024


def test_parsers_invert() -> None:
    assert keys.parse_directory_key(keys.directory_key(ADDRESS)) == ADDRESS
    assert keys.parse_reply_expiry_key(keys.reply_expiry_key(5, b"rest")) == (5, b"rest")
    assert keys.parse_send_key(keys.outbox_key(ID, OTHER, 9)) == (ID, OTHER, 9)
    assert keys.parse_kv_expiry_key(keys.kv_expiry_key(ID, 5, b"k")) == (5, b"k")
    assert keys.parse_schedule_key(keys.schedule_key(ID, b"\x02n")) == (ID, b"\x02n")
    assert keys.parse_timer_key(keys.timer_key(5, ID, 9)) == (5, ID, 9)
    assert keys.parse_schedule_run_key(keys.schedule_run_key(ID, 5, 9)) == (ID, 5, 9)
    assert keys.parse_schedule_dead_key(keys.schedule_dead_key(ID, 5)) == (ID, 5)


def test_directory_order_is_list_order_and_prefixes_hold_whole_parts() -> None:
    lists = [(), ("",), ("", "a"), ("\x00",), ("\x00\x00",), ("\x01",), ("a",), ("a", "b"), ("ab",)]
    encoded = [keys.directory_key(Address("n", "r", parts)) for parts in lists]
    assert encoded == sorted(encoded)
    prefix = keys.directory_prefix("n", "r", ("a",))
    inside = [p for p, key in zip(lists, encoded, strict=True) if key.startswith(prefix)]
    assert inside == [("a",), ("a", "b")]


def test_ranges() -> None:
    assert keys.kind_range(Kind.KV) == (b"\x01\x20", b"\x01\x21")
    assert keys.prefix_end(b"\x01\xff\xff") == b"\x02"
    assert keys.prefix_end(b"a") == b"b"
