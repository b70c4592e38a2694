"""Chat rooms, the audit log of an organisation and its statistics.

Serve it with `python -m examples.chat.app`, then run `python -m examples.chat.client`.

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

import msgspec

from holdfast import Actor, Context, UserError, action, setup

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
class Receipt:
    """The answer to a message: its number, and how many its organisation has sent."""

    number: int
    sent_by_organisation: int


class ChatRoom(Actor[Room]):
    """One room: its members send messages, everyone reads them."""

    async def create_state(self, c: Context[Room], input: RoomInput | None) -> Room:
        """A new room has a topic and nobody in it."""
        if len(c.key) != 2:
            raise UserError("a room's key is [organisation, room]", code="bad_key")
        return Room(topic=(input or RoomInput()).topic)

    @action
    async def join(self, c: Context[Room], user: str) -> list[str]:
        """Become a member; joining again changes nothing. The members."""
        if not 0 < len(user) <= USER_CHARS_MAX:
            raise UserError(f"a name has 1 to {USER_CHARS_MAX} characters", code="bad_name")
        if user not in c.state.members:
            c.state.members.append(user)
        return c.state.members

    @action
    async def send(self, c: Context[Room], user: str, text: str) -> Receipt:
        """Add a message to the room."""
        if user not in c.state.members:
            raise UserError(f"{user} is not in this room", code="not_a_member")
        if not 0 < len(text) <= TEXT_CHARS_MAX:
            raise UserError(
                f"a message has 1 to {TEXT_CHARS_MAX} characters",
                code="bad_text",
                metadata={"characters": len(text)},
            )
        number = c.state.last_number = c.state.last_number + 1
        message = Message(number, user, text, c.now())
        await c.kv.put(message_key(number), msgspec.json.encode(message).decode())
        if number > MESSAGES_MAX:
            await c.kv.delete(message_key(number - MESSAGES_MAX))
        organisation = c.key[0]
        c.send(AuditLog, [organisation], "record", f"{user} sent message {number} to {c.key[1]}")
        total = await c.client.get_or_create(Stats, [organisation]).count_message(c.key[1])
        return Receipt(number, total)

    @action(read_only=True)
    async def history(self, c: Context[Room], limit: int = 50) -> list[Message]:
        """The last messages, the oldest of them first."""
        rows = await c.kv.list("message/", limit=max(limit, 0), reverse=True)
        return [msgspec.json.decode(row, type=Message) for _, row in reversed(rows)]

    @action(read_only=True)
    def members(self, c: Context[Room]) -> list[str]:
        """Who is in the room, in the order they came."""
        return c.state.members


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
