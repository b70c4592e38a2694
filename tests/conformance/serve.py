"""The server that the conformance cases run against: `python -m tests.conformance.serve DIR`.

It prints its addresses, of gRPC, HTTP and the admin server, on one line and serves until its
standard input ends, so that it never outlives the test that started it. Cases may rely on the
settings below.
"""

from __future__ import annotations

import asyncio
import sys

from holdfast_server.app import Server
from holdfast_server.config import load
from tests.conformance.actors import registry

# Two namespaces, a table of stored replies that a case can fill, a log of events that it
# can make run over, and a reader that it can make slow.
SETTINGS = {
    "namespaces": frozenset({"default", "other"}),
    "replies_max": 8,
    "events_max": 64,
    "subscription_window_bytes": 1000,
    "subscription_lag_max": 30,
}


async def main(data: str) -> None:
    free = "127.0.0.1:0"
    server = Server(registry, load({}, data=data, grpc=free, http=free, **SETTINGS))
    await server.start()
    ports = (server.port, server.http_port, server.admin_port)
    sys.stdout.write(" ".join(f"127.0.0.1:{port}" for port in ports) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
