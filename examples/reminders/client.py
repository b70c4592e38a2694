"""Sets some reminders, snoozes one, and waits until two have rung.

It calls the server at HOLDFAST_SERVER, by default 127.0.0.1:6430.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from examples.reminders.app import Reminders
from holdfast import Client

SERVER = os.environ.get("HOLDFAST_SERVER", "127.0.0.1:6430")


async def main(server: str = SERVER) -> None:
    """Use the reminders of a new user."""
    async with Client(server) as client:
        reminders = client.get_or_create(Reminders, [f"ada-{uuid4()}"])
        async with reminders.connect() as live:
            events = live.events("rang")
            await live.remind_in("tea", timedelta(seconds=0.2))
            bread = await live.remind_in("bread", timedelta(hours=1))
            await live.snooze(bread, timedelta(seconds=0.5) - timedelta(hours=1))
            await live.remind_at("see the doctor", datetime.now(UTC) + timedelta(days=30))
            await live.remind_daily("pills", "take your pills", "08:30", "Europe/Berlin")
            print("pending:", [each.text for each in await live.pending()])
            for _ in range(2):
                print("rang:", (await anext(events)).args[0])
            print("still pending:", [each.text for each in await live.pending()])
        print("in the inbox:", [each.text for each in await reminders.inbox()])


if __name__ == "__main__":
    asyncio.run(main())
