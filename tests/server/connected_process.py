"""A server with clients that are connected within its process, for a test that kills it.

`python -m tests.server.connected_process DATA` prints, when all of it is durable, the
ids of the actor and of two connections: one that was told "one" and "two", and one that
was told the same; a third was disconnected.
"""

from __future__ import annotations

import asyncio
import sys

from holdfast_server.app import Server
from holdfast_server.config import load
from tests.server.peers import attach, call_on, several
from tests.server.rooms import registry


async def main(data: str) -> None:
    server = Server(registry, load({}, data=data, grpc="127.0.0.1:0"))
    await server.start()
    ada, bob = await several(server, 2, "hall", "a")
    eve = await attach(server, "hall", "a")
    await eve.open_link.disconnect("")
    for text in ("one", "two"):
        await call_on(server, ada, "tell_all", text)
    await call_on(server, ada, "rename", "ada")
    ids = (ada.open_link.actor_id, ada.open_link.connection_id, bob.open_link.connection_id)
    sys.stdout.write(f"connected {' '.join(each.hex() for each in ids)}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
