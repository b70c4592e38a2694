"""The main of a test server: the real product over a store that a plan has chosen.

It writes its port to standard output once it serves, and lives no longer than
the test that started it, whose end of standard input it holds. From there comes
what befalls its disk: on "fail" the next sync fails and what was not synced is
lost, on "fail-read" the next read fails, on "hold" syncs take until "release".
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

import msgspec

from holdfast_server.app import Server
from holdfast_server.config import load
from holdfast_server.store.api import Store
from holdfast_server.store.faults import FaultyStore
from holdfast_server.store.rocks import RocksStore
from tests.crash import actors
from tests.crash.builds import BUILDS
from tests.crash.plan import Plan
from tests.crash.stores import CrashStore, PowerStore, die, say


def obey(faults: FaultyStore | None) -> None:
    """Do what the test says until it has gone."""
    released = threading.Event()
    while command := os.read(sys.stdin.fileno(), 100):
        assert faults is not None
        if command == b"fail\n":
            faults.fail_next("sync")
        elif command == b"fail-read\n":
            faults.fail_next("read")
        elif command == b"hold\n":
            released.clear()
            faults.before_sync = released.wait
        elif command == b"release\n":
            released.set()
        say("done")
    os._exit(1)


def compose(plan: Plan) -> tuple[Store, FaultyStore | None]:
    """The store of a plan, and the part of it that fails on demand."""
    faults = None
    store: Store = RocksStore(plan.data, write_buffer_bytes=plan.write_buffer_bytes)
    if plan.power:
        store = PowerStore(store, plan.data, plan.synced_path)
    if plan.faults:
        store = faults = FaultyStore(store)
        faults.unsynced_kept = 0
    if plan.point is not None:
        store = CrashStore(store, plan.point)
    return store, faults


async def serve(plan: Plan, wrap: Callable[[Store], Store]) -> None:
    store, faults = compose(plan)
    threading.Thread(target=obey, args=(faults,), daemon=True).start()
    if plan.deadly:
        actors.deaths.append(die)
    config = load(
        {}, data=plan.data, grpc=f"127.0.0.1:{plan.port}", outbox_rows_max=plan.outbox_rows_max
    )
    server = Server(actors.registry, config, store=wrap(store))
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await server.start()
    say(str(server.port))
    await stopped.wait()
    await server.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    with BUILDS[plan.build].built() as wrap:
        asyncio.run(serve(plan, wrap))
