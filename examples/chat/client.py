"""Two people talk in a room; run it again, and what they said before is still there.

It calls the server at HOLDFAST_SERVER, by default 127.0.0.1:6430.
"""

from __future__ import annotations

import asyncio
import os

from examples.chat.app import AuditLog, ChatRoom, Receipt, RoomInput, Stats
from holdfast import ActorError, Client

SERVER = os.environ.get("HOLDFAST_SERVER", "127.0.0.1:6430")
ORGANISATION = "org-acme"
LINES = (("ada", "hello, is anyone here?"), ("grace", "I am. Does this room remember?"))


async def main(server: str = SERVER) -> None:
    """Read the room, talk in it, and print what happened."""
    async with Client(server) as client:
        room = client.get_or_create(
            ChatRoom, [ORGANISATION, "general"], input=RoomInput(topic="durable actors")
        )
        await show_what_was_said(room)
        receipt = await talk(room)
        print("Members:", ", ".join(await room.members()))
        await show_what_others_were_told(client, receipt)


async def show_what_was_said(room: ChatRoom) -> None:
    """The room answers from disk, whoever has restarted in between."""
    earlier = await room.history()
    if not earlier:
        print("The room is new: nobody has said anything yet.")
        return
    print(f"The room remembers its last {len(earlier)} messages:")
    for message in earlier:
        print(f"  {message.number:>3}  {message.user}: {message.text}")


async def talk(room: ChatRoom) -> Receipt:
    """Each send returns once its message is synced to disk; the last receipt."""
    for user, text in LINES:
        await room.join(user)
        receipt = await room.send(user, text)
        print(f"{user} sends message {receipt.number}: {text}  (synced to disk)")
    try:
        await room.send("eve", "let me in")
    except ActorError as error:
        print(f"eve is refused: {error}")
    return receipt


async def show_what_others_were_told(client: Client, last: Receipt) -> None:
    """The audit log is told after the commit: the record may still be on its way."""
    log = client.get_or_create(AuditLog, [ORGANISATION])
    end = f"sent message {last.number} to general"
    async with asyncio.timeout(10):
        while not (found := [text for text in await log.records() if text.endswith(end)]):
            await asyncio.sleep(0.02)
    print("Audit log:", found[0])
    print("Messages by room:", await client.get(Stats, [ORGANISATION]).totals())


if __name__ == "__main__":
    asyncio.run(main())
