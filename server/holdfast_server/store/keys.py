"""The layout of stored keys. Keys are forever.

A key is a two-byte kind, then its parts. Kinds are big-endian, never reused;
retired ones stay listed. 0xFFFF is not a kind, so that kind + 1 always ends a
scan. Actor ids and scopes are 16 bytes that begin with their shard: within a
kind, everything of a shard is one range, and everything of an actor is one
range. Numbers are big-endian, so that scan order is number order.
`tests/unit/store/test_keys_golden.py` pins every encoding.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from holdfast_server.core.ids import Address, decode_parts, encode_parts


class Kind(IntEnum):
    """First two bytes of every stored key."""

    # The format of the directory: format version, shard count.
    FORMAT = 0x0001
    # The epoch of the last open.
    EPOCH = 0x0002
    # The epoch that ended last in an orderly way, and the last that did not, u64 each.
    CLOSED = 0x0003
    # When a backup was restored to this directory, ms u64; absent where none was.
    RESTORED = 0x0004
    # namespace, name, key parts -> actor id. In key order: also the list.
    DIRECTORY = 0x0010
    # actor id -> ActorRecord.
    ACTOR = 0x0100
    # id of an actor that was destroyed -> ActorRecord. Lets its stored replies be found.
    TOMBSTONE = 0x0101
    # actor id -> StateRecord.
    STATE = 0x0110
    # actor id, user key -> type byte, value; or type byte, expiry ms u64, value.
    KV = 0x0120
    # actor id -> bytes in use, u64.
    KV_USAGE = 0x0121
    # actor id, expiry ms u64, user key -> b"". The KV entries that expire.
    KV_EXPIRY = 0x0122
    # actor id, sequence u64 -> EventRecord.
    EVENT = 0x0130
    # actor id -> EventLogRecord.
    EVENT_LOG = 0x0131
    # due ms u64, actor id -> b"". When the oldest event of an actor goes.
    EVENT_EXPIRY = 0x0132
    # actor id, connection id -> ConnectionRecord.
    CONNECTION = 0x0140
    # actor id, connection id, number u64 -> EventRecord. Messages not acknowledged.
    MESSAGE = 0x0141
    # actor id -> AgendaRecord. Sums up what an actor has scheduled.
    AGENDA = 0x0150
    # actor id, then 01 and number u64 for a one-shot, or 02 and name -> ScheduleRecord.
    SCHEDULE = 0x0151
    # due ms u64, actor id, number u64 -> the rest of the SCHEDULE key after the actor id.
    # Number 0: something of the actor, or all of it, expires.
    TIMER = 0x0152
    # actor id, number of the schedule u64, number of the fire u64 -> RunRecord.
    SCHEDULE_RUN = 0x0153
    # actor id, number of the schedule u64 -> ScheduleRecord. One-shots that were given up.
    SCHEDULE_DEAD = 0x0154
    # scope, caller kind, caller, number or key -> ReplyRecord.
    REPLY = 0x0200
    # due ms u64, then the REPLY key's rest (prefix of it for a client), or an actor
    # id and 03 for a TOMBSTONE -> b"".
    REPLY_EXPIRY = 0x0201
    # sender id, target scope, number u64 -> SendRecord. In order for each target.
    OUTBOX = 0x0300
    # sender id, target scope, number u64 -> SendRecord.
    DEAD_SEND = 0x0301
    # target scope, sender id -> number u64 of the last send that took effect.
    INBOX = 0x0310


def _kind(kind: Kind) -> bytes:
    return int(kind).to_bytes(2)


_FORMAT = _kind(Kind.FORMAT)
_EPOCH = _kind(Kind.EPOCH)
_CLOSED = _kind(Kind.CLOSED)
_RESTORED = _kind(Kind.RESTORED)
_DIRECTORY = _kind(Kind.DIRECTORY)
_ACTOR = _kind(Kind.ACTOR)
_TOMBSTONE = _kind(Kind.TOMBSTONE)
_STATE = _kind(Kind.STATE)
_KV = _kind(Kind.KV)
_KV_USAGE = _kind(Kind.KV_USAGE)
_EVENT = _kind(Kind.EVENT)
_EVENT_LOG = _kind(Kind.EVENT_LOG)
_EVENT_EXPIRY = _kind(Kind.EVENT_EXPIRY)
_CONNECTION = _kind(Kind.CONNECTION)
_MESSAGE = _kind(Kind.MESSAGE)
_KV_EXPIRY = _kind(Kind.KV_EXPIRY)
_AGENDA = _kind(Kind.AGENDA)
_SCHEDULE = _kind(Kind.SCHEDULE)
_TIMER = _kind(Kind.TIMER)
_SCHEDULE_RUN = _kind(Kind.SCHEDULE_RUN)
_SCHEDULE_DEAD = _kind(Kind.SCHEDULE_DEAD)
_REPLY = _kind(Kind.REPLY)
_REPLY_EXPIRY = _kind(Kind.REPLY_EXPIRY)
_OUTBOX = _kind(Kind.OUTBOX)
_DEAD_SEND = _kind(Kind.DEAD_SEND)
_INBOX = _kind(Kind.INBOX)

CLIENT = b"\x01"
USER_KEY = b"\x02"
BURIED = b"\x03"

ONE_SHOT = b"\x01"
NAMED = b"\x02"


def kind_range(kind: Kind) -> tuple[bytes, bytes]:
    """Start and end of everything of one kind."""
    return _kind(kind), (int(kind) + 1).to_bytes(2)


def prefix_end(prefix: bytes) -> bytes:
    """The smallest key after every key that begins with `prefix`."""
    trimmed = prefix.rstrip(b"\xff")
    assert trimmed, "a prefix of only FF bytes has no end"
    return trimmed[:-1] + bytes([trimmed[-1] + 1])


def format_key() -> bytes:
    return _FORMAT


def epoch_key() -> bytes:
    return _EPOCH


def closed_key() -> bytes:
    return _CLOSED


def restored_key() -> bytes:
    return _RESTORED


def directory_key(address: Address) -> bytes:
    return _DIRECTORY + encode_parts((address.namespace, address.name, *address.key))


def directory_prefix(namespace: str, name: str, key_prefix: Iterable[str] = ()) -> bytes:
    return _DIRECTORY + encode_parts((namespace, name, *key_prefix))


def parse_directory_key(key: bytes) -> Address:
    namespace, name, *parts = decode_parts(key[2:])
    return Address(namespace, name, tuple(parts))


def actor_key(actor_id: bytes) -> bytes:
    return _ACTOR + actor_id


def tombstone_key(actor_id: bytes) -> bytes:
    return _TOMBSTONE + actor_id


def state_key(actor_id: bytes) -> bytes:
    return _STATE + actor_id


def kv_key(actor_id: bytes, key: bytes) -> bytes:
    return _KV + actor_id + key


def kv_usage_key(actor_id: bytes) -> bytes:
    return _KV_USAGE + actor_id


def event_key(actor_id: bytes, sequence: int) -> bytes:
    return _EVENT + actor_id + sequence.to_bytes(8)


def event_prefix(actor_id: bytes) -> bytes:
    return _EVENT + actor_id


def parse_event_key(key: bytes) -> tuple[bytes, int]:
    """Actor id and sequence of an EVENT key."""
    return key[2:18], int.from_bytes(key[18:26])


def event_log_key(actor_id: bytes) -> bytes:
    return _EVENT_LOG + actor_id


def event_expiry_key(due_ms: int, actor_id: bytes) -> bytes:
    return _EVENT_EXPIRY + due_ms.to_bytes(8) + actor_id


def parse_event_expiry_key(key: bytes) -> tuple[int, bytes]:
    return int.from_bytes(key[2:10]), key[10:26]


def connection_key(actor_id: bytes, connection_id: bytes) -> bytes:
    assert len(connection_id) == 16
    return _CONNECTION + actor_id + connection_id


def connection_prefix(actor_id: bytes) -> bytes:
    return _CONNECTION + actor_id


def parse_connection_key(key: bytes) -> tuple[bytes, bytes]:
    """Actor id and connection id of a CONNECTION key."""
    return key[2:18], key[18:34]


def message_key(actor_id: bytes, connection_id: bytes, number: int) -> bytes:
    return _MESSAGE + actor_id + connection_id + number.to_bytes(8)


def message_prefix(actor_id: bytes, connection_id: bytes = b"") -> bytes:
    return _MESSAGE + actor_id + connection_id


def parse_message_key(key: bytes) -> tuple[bytes, bytes, int]:
    """Actor id, connection id and number of a MESSAGE key."""
    return key[2:18], key[18:34], int.from_bytes(key[34:42])


def kv_expiry_key(actor_id: bytes, due_ms: int, key: bytes = b"") -> bytes:
    return _KV_EXPIRY + actor_id + due_ms.to_bytes(8) + key


def kv_expiry_prefix(actor_id: bytes) -> bytes:
    return _KV_EXPIRY + actor_id


def parse_kv_expiry_key(key: bytes) -> tuple[int, bytes]:
    """Expiry and user key of a KV_EXPIRY key."""
    return int.from_bytes(key[18:26]), key[26:]


def agenda_key(actor_id: bytes) -> bytes:
    return _AGENDA + actor_id


def one_shot_rest(number: int) -> bytes:
    """The rest of the SCHEDULE key of a one-shot after its actor id."""
    return ONE_SHOT + number.to_bytes(8)


def named_rest(name: str) -> bytes:
    """The rest of the SCHEDULE key of a recurring one after its actor id."""
    return NAMED + name.encode("utf-8")


def schedule_key(actor_id: bytes, rest: bytes = b"") -> bytes:
    return _SCHEDULE + actor_id + rest


def parse_schedule_key(key: bytes) -> tuple[bytes, bytes]:
    """Actor id and rest of a SCHEDULE key."""
    return key[2:18], key[18:]


def timer_key(due_ms: int, actor_id: bytes = b"", number: int | None = None) -> bytes:
    tail = b"" if number is None else number.to_bytes(8)
    return _TIMER + due_ms.to_bytes(8) + actor_id + tail


def parse_timer_key(key: bytes) -> tuple[int, bytes, int]:
    """Due time, actor id and number of a TIMER key."""
    return int.from_bytes(key[2:10]), key[10:26], int.from_bytes(key[26:34])


def schedule_run_key(actor_id: bytes, number: int, fire: int) -> bytes:
    return _SCHEDULE_RUN + actor_id + number.to_bytes(8) + fire.to_bytes(8)


def schedule_run_prefix(actor_id: bytes, number: int | None = None) -> bytes:
    return _SCHEDULE_RUN + actor_id + (b"" if number is None else number.to_bytes(8))


def parse_schedule_run_key(key: bytes) -> tuple[bytes, int, int]:
    """Actor id, number of the schedule and number of the fire of a SCHEDULE_RUN key."""
    return key[2:18], int.from_bytes(key[18:26]), int.from_bytes(key[26:34])


def schedule_dead_key(actor_id: bytes, number: int) -> bytes:
    return _SCHEDULE_DEAD + actor_id + number.to_bytes(8)


def schedule_dead_prefix(actor_id: bytes) -> bytes:
    return _SCHEDULE_DEAD + actor_id


def parse_schedule_dead_key(key: bytes) -> tuple[bytes, int]:
    """Actor id and number of a SCHEDULE_DEAD key."""
    return key[2:18], int.from_bytes(key[18:26])


def reply_prefix(scope: bytes) -> bytes:
    """Prefix of every stored reply of one address."""
    return _REPLY + scope


def client_reply_key(scope: bytes, client_id: bytes, number: int) -> bytes:
    assert len(client_id) == 16
    return _REPLY + scope + CLIENT + client_id + number.to_bytes(8)


def client_reply_prefix(scope: bytes, client_id: bytes) -> bytes:
    assert len(client_id) == 16
    return _REPLY + scope + CLIENT + client_id


def user_reply_key(scope: bytes, caller: bytes, key: str) -> bytes:
    """`caller` is 16 bytes that stand for the authenticated caller."""
    assert len(caller) == 16
    return _REPLY + scope + USER_KEY + caller + key.encode("utf-8")


def reply_expiry_key(due_ms: int, reply_rest: bytes) -> bytes:
    """Sweep entry: `reply_rest` is a reply key, or a client's prefix, without kind."""
    return _REPLY_EXPIRY + due_ms.to_bytes(8) + reply_rest


def tombstone_expiry_key(due_ms: int, actor_id: bytes) -> bytes:
    return _REPLY_EXPIRY + due_ms.to_bytes(8) + actor_id + BURIED


def parse_reply_expiry_key(key: bytes) -> tuple[int, bytes]:
    return int.from_bytes(key[2:10]), key[10:]


def outbox_key(sender_id: bytes, target_scope: bytes, number: int) -> bytes:
    return _OUTBOX + sender_id + target_scope + number.to_bytes(8)


def outbox_prefix(sender_id: bytes, target_scope: bytes = b"") -> bytes:
    return _OUTBOX + sender_id + target_scope


def dead_send_key(sender_id: bytes, target_scope: bytes, number: int) -> bytes:
    return _DEAD_SEND + sender_id + target_scope + number.to_bytes(8)


def dead_send_prefix(sender_id: bytes, target_scope: bytes = b"") -> bytes:
    return _DEAD_SEND + sender_id + target_scope


def parse_send_key(key: bytes) -> tuple[bytes, bytes, int]:
    """Sender id, target scope and number of an OUTBOX or DEAD_SEND key."""
    return key[2:18], key[18:34], int.from_bytes(key[34:42])


def inbox_key(target_scope: bytes, sender_id: bytes) -> bytes:
    return _INBOX + target_scope + sender_id
