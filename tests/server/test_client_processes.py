"""Where a client cannot work it says so, and does not hang: other loops, forked processes."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from holdfast import Client, HoldfastError
from tests.server.actors import Counter
from tests.server.conftest import Start

ROOT = Path(__file__).resolve().parents[2]

# Each forks while a client is open, and prints what the child's call raises.
FORKS = {
    "the same blocking client": """
client = blocking.Client(address)
counter = client.get_or_create("counter", ["a"])
counter.increment()
in_child(lambda: counter.increment())
""",
    "a new blocking client": """
client = blocking.Client(address)
client.get_or_create("counter", ["a"]).increment()
in_child(lambda: blocking.Client(address).get_or_create("counter", ["a"]).increment())
""",
    "the same client": """
async def main():
    client = Client(address)
    counter = client.get_or_create("counter", ["a"])
    await counter.increment()
    in_child(lambda: asyncio.run(counter.increment()))
asyncio.run(main())
""",
    "a new client": """
async def main():
    async with Client(address) as client:
        await client.get_or_create("counter", ["a"]).increment()
        in_child(lambda: asyncio.run(Client(address).get_or_create("counter", ["a"]).increment()))
asyncio.run(main())
""",
}
PREFACE = """
import asyncio, os, sys
from holdfast import Client, blocking
address = sys.argv[1]
def in_child(call):
    child = os.fork()
    if child == 0:
        asyncio._set_running_loop(None)
        try:
            call()
        except Exception as error:
            print(type(error).__name__, error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""
# Each uses a client, closes it, and does so again in a child, which prints what it got.
CLOSED_FIRST = {
    "calls": """
async def use():
    async with Client(address) as client:
        return await client.get_or_create("counter", ["a"]).increment()
asyncio.run(use())
in_child(lambda: print(asyncio.run(use()), flush=True))
""",
    "a connection and listeners": """
async def use():
    async with Client(address) as client:
        counter = client.get_or_create("counter", ["a"])
        counter.on("told", print)
        async with counter.connect() as conn:
            conn.on("told", print)
            events = conn.events("told")
            return await conn.increment()
asyncio.run(use())
in_child(lambda: print(asyncio.run(use()), flush=True))
""",
    "a blocking client": """
def use():
    with blocking.Client(address) as client:
        counter = client.get_or_create("counter", ["a"])
        counter.on("told", print)
        with counter.connect() as conn:
            conn.on("told", print)
            return conn.increment()
use()
in_child(lambda: print(use(), flush=True))
""",
}


async def output_of(script: str, port: int, **environment: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", PREFACE + script, f"127.0.0.1:{port}"),
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    stdout, _ = await process.communicate()
    return stdout.decode()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("which", FORKS)
async def test_a_forked_process_is_told_the_remedy(start: Start, which: str) -> None:
    server, _ = await start()
    # Else gRPC's own handlers of a fork may crash the child, before Python runs in it.
    said = await output_of(FORKS[which], server.port, GRPC_ENABLE_FORK_SUPPORT="0")

    assert said.startswith("HoldfastError this process was forked while a Holdfast client was open")
    assert "'spawn'" in said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("what", CLOSED_FIRST)
async def test_a_fork_after_closing_is_fine(start: Start, what: str) -> None:
    server, _ = await start()
    assert await output_of(CLOSED_FIRST[what], server.port) == "2\n"


async def test_another_event_loop_is_told_the_remedy(start: Start) -> None:
    server, _ = await start()

    def body() -> None:
        client = Client(f"127.0.0.1:{server.port}")
        counter = client.get_or_create(Counter, ["a"])
        assert asyncio.run(_increment(counter)) == 1
        with pytest.raises(HoldfastError, match=r"one client for each asyncio\.run"):
            asyncio.run(_increment(counter))
        asyncio.run(client.close())
        with pytest.raises(HoldfastError, match="the client is closed"):
            asyncio.run(_increment(counter))

    await asyncio.to_thread(body)


async def _increment(counter: Counter) -> int:
    return await counter.increment(1)


async def test_a_closed_client_says_so(start: Start) -> None:
    _, client = await start()
    counter = client.get_or_create(Counter, ["a"])
    await counter.increment(1)
    await client.close()
    await client.close()

    with pytest.raises(HoldfastError, match="the client is closed"):
        await counter.increment(1)
    with pytest.raises(HoldfastError, match="the client is closed"):
        await client.create(Counter, ["b"])
    with pytest.raises(HoldfastError, match="the client is closed"):
        [_ async for _ in counter.stream(1)]
