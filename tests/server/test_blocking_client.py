"""The blocking client against a real server: threads, early closing, Ctrl-C, no loop."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from holdfast import HoldfastError, blocking
from tests.server.actors import Counter
from tests.server.client_actors import Gate, Witness, gates, registry
from tests.server.conftest import Start

ROOT = Path(__file__).resolve().parents[2]

# A shell that runs the tests in its background has their children ignore Ctrl-C.
INTERRUPTED = """
import signal, sys
from holdfast.blocking import Client
signal.signal(signal.SIGINT, signal.default_int_handler)
with Client(sys.argv[1]) as client:
    client.get_or_create("witness", ["a"]).hold("never")
"""

FORGOTTEN = """
import sys
from holdfast.blocking import Client
client = Client(sys.argv[1])
print(client.get_or_create("counter", ["a"]).increment(1))
"""


@pytest.fixture
def gate() -> Gate:
    gates["a"] = Gate()
    return gates["a"]


async def in_thread(function: Callable[[], None]) -> None:
    """Run blocking code beside the server's loop."""
    await asyncio.to_thread(function)


async def test_calls_streams_and_lifecycle(start: Start) -> None:
    server, _ = await start()

    def body() -> None:
        with blocking.Client(f"127.0.0.1:{server.port}") as client:
            counter = client.create(Counter, ["a"])
            assert counter.call(Counter.increment, 2) == 2
            assert counter.increment(1) == 3
            assert list(counter.call(Counter.stream, 2)) == [4, 5]
            assert list(counter.stream(1)) == [6]
            assert counter.action("value") == 6
            by_name = client.get("counter", ["a"])
            assert by_name.call(Counter.value) == 6
            assert by_name.resolve() == counter.resolve()
            assert [info.key for info in client.list(Counter)] == [("a",)]
            assert client.destroy(by_name) == counter.resolve()

    await in_thread(body)


async def test_many_threads_share_a_client(start: Start) -> None:
    server, _ = await start()

    def body() -> None:
        with blocking.Client(f"127.0.0.1:{server.port}") as client:
            counter = client.get_or_create(Counter, ["a"])
            with ThreadPoolExecutor(8) as pool:
                results = list(pool.map(lambda _: counter.call(Counter.increment), range(200)))
            assert sorted(results) == list(range(1, 201))

    await in_thread(body)


async def test_clients_come_and_go_on_one_thread(start: Start) -> None:
    server, _ = await start()
    address = f"127.0.0.1:{server.port}"

    def threads() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t.name == "holdfast-client"]

    def body() -> None:
        with blocking.Client(address) as one, blocking.Client(address) as other:
            assert one.get_or_create(Counter, ["a"]).increment() == 1
            assert other.get_or_create(Counter, ["a"]).increment() == 2
            assert len(threads()) == 1
        assert threads() == []
        with blocking.Client(address) as again:
            assert again.get_or_create(Counter, ["a"]).increment() == 3
        again.close()

    await in_thread(body)


async def test_leaving_a_stream_early_ends_the_handler(start: Start, gate: Gate) -> None:
    server, _ = await start(registry)

    def body() -> None:
        with blocking.Client(f"127.0.0.1:{server.port}") as client:
            for item in client.get_or_create(Witness, ["a"]).call(Witness.follow, 7):
                assert item == 7
                break

    await in_thread(body)
    await gate.cancelled.wait()


async def test_closing_fails_the_calls_of_other_threads(start: Start, gate: Gate) -> None:
    server, _ = await start(registry)
    client = blocking.Client(f"127.0.0.1:{server.port}")
    witness = client.get_or_create(Witness, ["a"])
    waiting = asyncio.create_task(asyncio.to_thread(witness.call, Witness.hold, "never"))
    await gate.entered.wait()

    await asyncio.to_thread(client.close)

    with pytest.raises(HoldfastError, match="the client is closed"):
        await waiting
    await gate.cancelled.wait()
    with pytest.raises(HoldfastError, match="the client is closed"):
        witness.call(Witness.read)


async def test_ctrl_c_cancels_the_call(start: Start, gate: Gate) -> None:
    server, _ = await start(registry)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", INTERRUPTED, f"127.0.0.1:{server.port}"),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    await gate.entered.wait()

    process.send_signal(signal.SIGINT)

    await gate.cancelled.wait()
    _, stderr = await process.communicate()
    assert stderr.decode().splitlines()[-1] == "KeyboardInterrupt"


async def test_a_client_that_nobody_closed_lets_its_process_end(start: Start) -> None:
    server, _ = await start()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", FORGOTTEN, f"127.0.0.1:{server.port}"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )

    stdout, stderr = await process.communicate()

    assert (process.returncode, stdout, stderr) == (0, b"1\n", b"")


def test_only_actions_of_the_class_are_called() -> None:
    with blocking.Client("127.0.0.1:1") as client:
        counter: Any = client.get_or_create(Counter, ["a"])
        with pytest.raises(TypeError, match=r"Witness\.read is no action of Counter"):
            counter.call(Witness.read)
        with pytest.raises(TypeError, match=r"`ChatRoom\.send`"):
            counter.call("increment")
