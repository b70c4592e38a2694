"""Chat rooms, the audit log of an organisation and its statistics.

Serve it with `python -m examples.chat.app`, then run `python -m examples.chat.client`, or
talk yourself: `python -m examples.chat.terminal ada`, in as many terminals as you like.

Who connects to a room is present in it and hears what is said. A message is an event of the
turn that stores it: numbered, kept for replay, and delivered once it is synced; whoever was
cut off goes on after the last one that they saw. Private words go to the connections of one
member alone.

A room's key is [organisation, room]. What grows without end is not state: a room keeps
its messages in its KV, under their numbers, and its state holds only the members and
the number of the last message. A message is told to the audit log by `c.send`: it
leaves with the message's own commit, and takes effect exactly once. The statistics are
asked, by `c.client`: their answer comes back into the turn, and what they counted stays
counted if the turn fails afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from holdfast import Actor, Connection, Context, Event, UserError, action, setup

MESSAGES_MAX = 1000
TEXT_CHARS_MAX = 2000
USER_CHARS_MAX = 64
RECORDS_MAX = 10_000


@dataclass
class Message:
    """One message of a room."""

    number: int
    user: str
    text: str
    sent_at: datetime


@dataclass
class Room:
    """What a room remembers beside its messages."""

    topic: str
    members: list[str] = field(default_factory=list)
    last_number: int = 0


@dataclass
class RoomInput:
    """What a new room may be given."""

    topic: str = "anything"


@dataclass
class Visitor:
    """Who is at the other end of a connection; nobody in particular without a name."""

    user: str = ""


@dataclass
class Receipt:
    """The answer to a message: its number, and how many its organisation has sent."""

    number: int
    sent_by_organisation: int


Chat = Context[Room, Visitor]


class ChatRoom(Actor[Room, Visitor]):
    """One room: its members send messages, everyone reads them."""

    emits = {
        "message": Event(Message),
        "joined": Event(str),
        "left": Event(str),
    }

    async def create_state(self, c: Chat, input: RoomInput | None) -> Room:
        """A new room has a topic and nobody in it."""
        if len(c.key) != 2:
            raise UserError("a room's key is [organisation, room]", code="bad_key")
        return Room(topic=(input or RoomInput()).topic)

    async def create_conn_state(self, c: Chat, params: Any) -> Visitor:
        """A visitor says who they are, params={"user": "ada"}, or gives no parameters."""
        if not params:
            return Visitor()
        user = params.get("user") if isinstance(params, dict) else None
        if not isinstance(user, str):
            raise UserError('params are {"user": NAME}', code="bad_params")
        check_user(user)
        return Visitor(user)

    async def on_connect(self, c: Chat, conn: Connection[Visitor]) -> None:
        """Somebody comes in; a second terminal of theirs changes nothing."""
        user = conn.state.user
        if user and not is_present(c, user, beside=conn):
            enrol(c, user)
            c.broadcast("joined", user)

    async def on_disconnect(self, c: Chat, conn: Connection[Visitor]) -> None:
        """Somebody has gone, with their last terminal."""
        if conn.state.user and not is_present(c, conn.state.user, beside=conn):
            c.broadcast("left", conn.state.user)

    @action
    async def join(self, c: Chat, user: str) -> list[str]:
        """Become a member; joining again changes nothing. The members."""
        check_user(user)
        enrol(c, user)
        return c.state.members

    @action
    async def send(self, c: Chat, user: str, text: str) -> Receipt:
        """Add a message of a member to the room."""
        if user not in c.state.members:
            raise UserError(f"{user} is not in this room", code="not_a_member")
        return await add_message(c, user, text)

    @action
    async def say(self, c: Chat, text: str) -> Receipt:
        """Add a message of whoever is connected."""
        return await add_message(c, caller(c), text)

    @action
    async def whisper(self, c: Chat, to: str, text: str) -> None:
        """Tell one present member something in private."""
        sender = caller(c)
        check_text(text)
        heard = [conn for conn in c.conns if conn.state.user == to]
        if not heard:
            raise UserError(f"{to} is not here", code="not_present")
        for conn in heard:
            conn.send("whisper", sender, text)

    @action(read_only=True)
    async def history(self, c: Chat, limit: int = 50) -> list[Message]:
        """The last messages, the oldest of them first."""
        limit = max(0, min(limit, MESSAGES_MAX))
        rows = await c.kv.list("message/", limit=limit, reverse=True)
        return [msgspec.json.decode(row, type=Message) for _, row in reversed(rows)]

    @action(read_only=True)
    def members(self, c: Chat) -> list[str]:
        """Who has been in the room, in the order they came."""
        return c.state.members

    @action(read_only=True)
    def present(self, c: Chat) -> list[str]:
        """Who is connected now."""
        return sorted({conn.state.user for conn in c.conns if conn.state.user})


async def add_message(c: Chat, user: str, text: str) -> Receipt:
    """Store a message, tell everyone who listens, the audit log and the statistics."""
    check_text(text)
    number = c.state.last_number = c.state.last_number + 1
    message = Message(number, user, text, c.now())
    await c.kv.put(message_key(number), msgspec.json.encode(message).decode())
    if number > MESSAGES_MAX:
        await c.kv.delete(message_key(number - MESSAGES_MAX))
    c.broadcast("message", message)
    organisation = c.key[0]
    c.send(AuditLog, [organisation], "record", f"{user} sent message {number} to {c.key[1]}")
    total = await c.client.get_or_create(Stats, [organisation]).count_message(c.key[1])
    return Receipt(number, total)


def caller(c: Chat) -> str:
    """Who is connected under a name."""
    if c.conn is None or not c.conn.state.user:
        raise UserError('connect with params={"user": ...}', code="nameless")
    return c.conn.state.user


def is_present(c: Chat, user: str, beside: Connection[Visitor]) -> bool:
    """Whether a member has another connection."""
    return any(conn != beside and conn.state.user == user for conn in c.conns)


def enrol(c: Chat, user: str) -> None:
    """Make somebody a member."""
    if user not in c.state.members:
        c.state.members.append(user)


def check_user(user: str) -> None:
    """Refuse a name that is none."""
    if not 0 < len(user) <= USER_CHARS_MAX:
        raise UserError(f"a name has 1 to {USER_CHARS_MAX} characters", code="bad_name")


def check_text(text: str) -> None:
    """Refuse an empty or overlong text."""
    if not 0 < len(text) <= TEXT_CHARS_MAX:
        raise UserError(
            f"a message has 1 to {TEXT_CHARS_MAX} characters",
            code="bad_text",
            metadata={"characters": len(text)},
        )


class AuditLog(Actor[int]):
    """What happened in one organisation. Its state is the number of the last record."""

    state = 0

    @action
    async def record(self, c: Context[int], text: str) -> None:
        """Add a record; the oldest goes when there are too many."""
        c.state += 1
        await c.kv.put(record_key(c.state), text)
        if c.state > RECORDS_MAX:
            await c.kv.delete(record_key(c.state - RECORDS_MAX))

    @action(read_only=True)
    async def records(self, c: Context[int], limit: int = 50) -> list[str]:
        """The last records, the oldest of them first."""
        rows = await c.kv.list("record/", limit=max(limit, 0), reverse=True)
        return [str(text) for _, text in reversed(rows)]


@dataclass
class Totals:
    """Messages of one organisation, by room."""

    by_room: dict[str, int] = field(default_factory=dict)


class Stats(Actor[Totals]):
    """Counts the messages of one organisation."""

    state = Totals

    @action
    async def count_message(self, c: Context[Totals], room: str) -> int:
        """Count one message; the total of all rooms."""
        c.state.by_room[room] = c.state.by_room.get(room, 0) + 1
        return sum(c.state.by_room.values())

    @action(read_only=True)
    def totals(self, c: Context[Totals]) -> dict[str, int]:
        """Messages by room."""
        return c.state.by_room


def message_key(number: int) -> str:
    """The KV key of a message: padded, so that the order of keys is that of numbers."""
    return f"message/{number:012}"


def record_key(number: int) -> str:
    """The KV key of a record of the audit log."""
    return f"record/{number:012}"


registry = setup(use={"chat-room": ChatRoom, "audit-log": AuditLog, "stats": Stats})

if __name__ == "__main__":
    registry.serve()
