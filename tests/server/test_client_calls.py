"""What a client's call becomes on a real server: cancelled, timed out, retried, many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast import ActorError, Client
from tests.server.actors import Counter
from tests.server.client_actors import Gate, Witness, gates, registry
from tests.server.conftest import Start
from tests.server.restartable import server_process

WITNESSES = "tests.server.client_actors:registry"


@pytest.fixture
def gate() -> Gate:
    gates["a"] = Gate()
    return gates["a"]


async def test_cancelling_the_task_cancels_the_handler(start: Start, gate: Gate) -> None:
    _, client = await start(registry)
    witness = client.get_or_create(Witness, ["a"])
    task = asyncio.create_task(witness.hold("never"))
    await gate.entered.wait()

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await gate.cancelled.wait()
    assert await witness.read() == []


async def test_the_deadline_cancels_the_handler(start: Start, gate: Gate) -> None:
    _, client = await start(registry)
    witness = client.get_or_create(Witness, ["a"])

    with pytest.raises(ActorError) as caught:
        await witness.with_options(timeout=0.3).hold("never")

    assert (caught.value.group, caught.value.code) == ("action", "timed_out")
    assert caught.value.status == "DEADLINE_EXCEEDED"
    await gate.cancelled.wait()
    assert await witness.read() == []


async def test_leaving_a_stream_early_ends_the_handler(start: Start, gate: Gate) -> None:
    _, client = await start(registry)
    items: Any = client.get_or_create(Witness, ["a"]).follow(7)
    assert await anext(items) == 7

    await items.aclose()

    await gate.cancelled.wait()


async def test_cancelling_the_reader_of_a_stream_ends_the_handler(start: Start, gate: Gate) -> None:
    _, client = await start(registry)
    seen = asyncio.Event()

    async def read() -> None:
        async for _ in client.get_or_create(Witness, ["a"]).follow(7):
            seen.set()

    task = asyncio.create_task(read())
    await seen.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await gate.cancelled.wait()


async def test_many_calls_at_once_each_get_their_own_answer(client: Client) -> None:
    counters = [client.get_or_create(Counter, [str(n)]) for n in range(40)]

    results = await asyncio.gather(
        *(counter.increment(1) for counter in counters for _ in range(50))
    )

    for n in range(len(counters)):
        assert sorted(results[50 * n : 50 * n + 50]) == list(range(1, 51))


async def test_a_client_finds_a_server_that_started_again(start: Start) -> None:
    server, client = await start()
    counter = client.get_or_create(Counter, ["a"])
    assert await counter.increment(1) == 1
    await server.stop()
    waiting = asyncio.create_task(counter.increment(1))

    await start(grpc=f"127.0.0.1:{server.port}")

    assert await waiting == 2
    assert await counter.increment(1) == 3


@asynccontextmanager
async def oracle() -> AsyncIterator[tuple[int, asyncio.Queue[asyncio.StreamWriter]]]:
    """A port that actors ask, and their connections as they come."""
    asking: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asking.put(writer)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1], asking
    finally:
        listener.close()
        await listener.wait_closed()


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_call_survives_the_death_of_its_server_and_takes_effect_once(
    tmp_path: Path, key: str | None
) -> None:
    async with (
        server_process(WITNESSES, tmp_path / "data") as server,
        oracle() as (port, asking),
        Client(server.address) as client,
    ):
        witness = client.get_or_create(Witness, ["a"])
        assert await witness.write("before") == 1
        call = asyncio.create_task(witness.with_options(idempotency_key=key).consult(port))
        first = await asking.get()
        await server.kill()
        first.close()
        await server.start()
        second = await asking.get()
        second.write(b"yes\n")

        assert await call == 2
        assert await witness.read() == ["before", "yes"]
        second.close()


async def test_a_call_that_no_server_answers_fails_at_its_deadline(tmp_path: Path) -> None:
    async with (
        server_process(WITNESSES, tmp_path / "data") as server,
        Client(server.address) as client,
    ):
        witness = client.get_or_create(Witness, ["a"]).with_options(timeout=1.0)
        await witness.write("x")
        await server.kill()

        with pytest.raises(ActorError) as caught:
            await witness.write("y")

    assert (caught.value.group, caught.value.code) == ("server", "unavailable")
    assert caught.value.retryable


async def test_what_a_user_error_says_comes_back_whole(start: Start) -> None:
    _, client = await start(registry)
    metadata = {"text": "é", "list": [1, 2.5, None, True], "deep": {"a": {"b": []}}}

    with pytest.raises(ActorError) as caught:
        await client.get_or_create(Witness, ["a"]).refuse(metadata)

    error = caught.value
    assert (error.group, error.code, error.message) == ("user", "nope", "refused")
    assert (error.reason, error.status, error.retryable) == ("USER_ERROR", "UNKNOWN", False)
    assert error.metadata == metadata
