"""Subscribes with a very short trial, sees the first month paid, and cancels.

It calls the server at HOLDFAST_SERVER, by default 127.0.0.1:6430.
"""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from uuid import uuid4

from examples.subscription_billing.app import Billing, Plan
from holdfast import ActorError, Client

SERVER = os.environ.get("HOLDFAST_SERVER", "127.0.0.1:6430")


async def main(server: str = SERVER) -> None:
    """Be a customer for a month."""
    async with Client(server) as client:
        billing = client.get_or_create(Billing, [f"ada-{uuid4()}"])
        async with billing.connect() as live:
            statuses = live.events("status")
            await live.subscribe(Plan("basic", 900), trial=timedelta(seconds=0.3))
            for _ in range(2):
                print("status:", (await anext(statuses)).args[0])
            shown = await live.show()
            print("paid:", [(each.plan, each.cents) for each in shown.invoices])
            assert shown.paid_until is not None
            print("days until the next:", (shown.paid_until - shown.invoices[0].paid_at).days > 27)
            print("ends at the end of the month:", await live.cancel() == shown.paid_until)
            try:
                await live.subscribe(Plan("basic", 900))
            except ActorError as error:
                print("refused:", error.code)


if __name__ == "__main__":
    asyncio.run(main())
