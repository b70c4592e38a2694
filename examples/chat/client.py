"""Two people talk in a room; run it again, and what they said before is still there."""

from __future__ import annotations

import asyncio
import os

from examples.chat.app import AuditLog, ChatRoom, RoomInput, Stats
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
        earlier = await room.history()
        if earlier:
            print(f"The room remembers its last {len(earlier)} messages:")
            for message in earlier:
                print(f"  {message.number:>3}  {message.user}: {message.text}")
        else:
            print("The room is new: nobody has said anything yet.")

        for user, text in LINES:
            await room.join(user)
            receipt = await room.send(user, text)
            print(f"{user} sends message {receipt.number}: {text}  (synced to disk)")

        try:
            await room.send("eve", "let me in")
        except ActorError as error:
            print(f"eve is refused: {error}")

        print("Members:", ", ".join(await room.members()))
        await _show_what_others_saw(client, receipt.sent_by_organisation)


async def _show_what_others_saw(client: Client, sent: int) -> None:
    """The audit log was told after the commits: it may still be on its way."""
    log = client.get_or_create(AuditLog, [ORGANISATION])
    async with asyncio.timeout(10):
        while len(records := await log.records(sent)) < min(sent, 50):
            await asyncio.sleep(0.02)
    print("Audit log, newest record:", records[-1])
    print("Messages by room:", await client.get(Stats, [ORGANISATION]).totals())


if __name__ == "__main__":
    asyncio.run(main())
