"""Counts three visits, then asks for something the counter refuses.

It calls the server at HOLDFAST_SERVER, by default 127.0.0.1:6430.
"""

from __future__ import annotations

import asyncio
import os

from examples.counter.app import Counter
from holdfast import ActorError, Client

SERVER = os.environ.get("HOLDFAST_SERVER", "127.0.0.1:6430")


async def main(server: str = SERVER) -> None:
    """Call one counter and print what it answers."""
    async with Client(server) as client:
        visits = client.get_or_create(Counter, ["org-acme", "visits"])
        for _ in range(3):
            print("visits:", await visits.increment())
        try:
            await visits.increment(-1)
        except ActorError as error:
            print("refused:", error.code, error.metadata)
        print("still:", await visits.value())


if __name__ == "__main__":
    asyncio.run(main())
