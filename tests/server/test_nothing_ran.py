"""STORE_UNAVAILABLE says that nothing ran; once anything has, a caller hears COMMIT_UNKNOWN.

A client without keys may repeat the first by itself, and relies on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any

import pytest

from holdfast import Actor, ActorError, Client, Context, action, setup
from holdfast_server.app import Server
from holdfast_server.store.faults import FaultyStore
from holdfast_server.store.memory import MemoryStore
from holdfast_server.store.verify import check_rows
from tests.server.conftest import Connect, Start
from tests.server.outcomes import wire_refusal
from tests.server.probe import until_waiting
from tests.server.stage import Stage, stage, tasks
from tests.server.wire import Wire, result, target


class Writer(Actor[list[str]]):
    state = list

    @action
    async def write(self, c: Context[list[str]], line: str) -> list[str]:
        stage.log.append(f"write {line}")
        c.state.append(line)
        return c.state

    @action
    async def write_slowly(self, c: Context[list[str]], line: str) -> str:
        c.state.append(line)
        await stage.pause(line)
        return line

    @action
    async def put_slowly(self, c: Context[list[str]], key: str) -> None:
        await c.kv.put(key, "value")
        await stage.pause(key)

    @action
    async def stream(self, c: Context[list[str]], *lines: str) -> AsyncIterator[str]:
        for line in lines:
            await stage.pause(line)
            c.state.append(line)
            yield line

    @action
    async def read_stream(self, c: Context[list[str]], other: str) -> None:
        """Reads two items of another actor's stream, and waits between them."""
        stream = c.client.get_or_create(Writer, [other]).stream("one", "two")
        async with aclosing(stream) as items:  # type: ignore[type-var]
            await anext(items)
            await stage.pause("between items")
            try:
                await anext(items)
            except ActorError as error:
                stage.log.append(error.code)
                raise

    @action
    async def work(self, c: Context[list[str]]) -> None:
        stage.kept["task"] = asyncio.create_task(self.go_on(c))

    async def go_on(self, c: Context[list[str]]) -> str:
        await stage.pause("task")
        try:
            async with c.turn():
                c.state.append("lost")
        except ActorError as error:
            return f"{error.group}.{error.code}"
        return "committed"

    @action(read_only=True)
    async def lines(self, c: Context[list[str]]) -> list[str]:
        return c.state

    @action
    async def finish(self, c: Context[list[str]]) -> str:
        c.destroy()
        return "bye"


class Slow(Writer):
    """Takes its time to start, and writes KV meanwhile."""

    state = list

    async def on_create(self, c: Context[list[str]], input: Any) -> None:
        await c.kv.put("made", "yes")
        await stage.pause("on_create")


registry = setup(use={"writer": Writer, "slow": Slow})
WRITER = target("writer", "a")


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


@pytest.fixture
async def running(start: Start, store: FaultyStore, stage: Stage) -> tuple[Server, Client]:
    return await start(registry, store=store, store_reopen_s=0.001, store_wait_s=10.0)


@pytest.fixture
def client(running: tuple[Server, Client]) -> Client:
    return running[1]


@pytest.fixture
def wire(running: tuple[Server, Client], connect: Connect) -> Wire:
    return connect(running[0])


async def reason_of(call: Awaitable[object]) -> str:
    """The reason of the refusal, with UNAVAILABLE, that `call` must end in."""
    refusal = await wire_refusal(call)
    assert refusal.status == "UNAVAILABLE"
    return refusal.reason


async def may_repeat(call: Awaitable[object]) -> bool:
    """Whether the refusal that `call` must end in asks to come again, key or no key."""
    return (await wire_refusal(call)).retry_after_s is not None


async def break_store(store: FaultyStore, wire: Wire) -> None:
    """Let the store fail under another actor's turn; then it is open again."""
    store.fail_next("write")
    assert await reason_of(wire.invoke(target("writer", "z"), "write", "x")) == "COMMIT_UNKNOWN"
    await wire.invoke(target("writer", "y"), "lines")


@pytest.mark.parametrize("name", ["write_slowly", "put_slowly"])
async def test_a_turn_that_ran_is_told_so_and_one_that_waited_too(
    running: tuple[Server, Client], wire: Wire, store: FaultyStore, stage: Stage, name: str
) -> None:
    server, client = running
    await wire.invoke(WRITER, "write", "before")
    slow = asyncio.create_task(wire.invoke(WRITER, name, "slow", idempotency_key="k"))
    await stage.reached("slow")
    waiting = asyncio.create_task(wire.invoke(WRITER, "write", "waiting"))
    await until_waiting(server, 1, "writer", "a")
    async with tasks(slow, waiting):
        await break_store(store, wire)
        stage.let("slow")

        assert await reason_of(slow) == "COMMIT_UNKNOWN"
        assert await reason_of(waiting) == "STORE_UNAVAILABLE"
        assert await may_repeat(waiting)

    assert "write waiting" not in stage.log
    assert await client.get(Writer, ["a"]).lines() == ["before"]
    again = await wire.invoke(WRITER, name, "slow", idempotency_key="k")
    assert not again.replayed
    assert check_rows(store) == []


async def test_a_start_whose_hooks_ran_is_told_so(
    client: Client, wire: Wire, store: FaultyStore, stage: Stage
) -> None:
    on = target("slow", "a")
    making = asyncio.create_task(wire.invoke(on, "lines"))
    async with tasks(making):
        await stage.reached("on_create")
        await break_store(store, wire)
        stage.let("on_create")

        assert await reason_of(making) == "COMMIT_UNKNOWN"
        assert not await may_repeat(making)

    assert result(await wire.invoke(on, "write", "x")) == ["x"]
    assert check_rows(store) == []


async def test_a_stream_that_gave_an_item_is_told_so(
    wire: Wire, store: FaultyStore, stage: Stage
) -> None:
    stage.let("one", "two")
    reading = asyncio.create_task(wire.invoke(WRITER, "read_stream", "b"))
    async with tasks(reading):
        await stage.reached("between items")
        await break_store(store, wire)
        stage.let("between items")

        assert await reason_of(reading) == "COMMIT_UNKNOWN"

    # It is the stream that said it, of a step that could not even begin.
    assert stage.log[-1] == "commit_unknown"


async def test_a_stream_cut_short_by_the_store_has_used_up_its_key(
    client: Client, wire: Wire, store: FaultyStore, stage: Stage
) -> None:
    stage.let("one")
    stream = wire.stream(WRITER, "stream", "one", "two", idempotency_key="k")
    assert await anext(stream) == "one"
    await stage.reached("two")
    store.unsynced_kept = 0
    store.fail_next("sync")
    stage.let("two")

    assert await reason_of(anext(stream)) == "COMMIT_UNKNOWN"

    assert await client.get(Writer, ["a"]).lines() == ["one"]
    again = wire.stream(WRITER, "stream", "one", "two", idempotency_key="k")
    assert (await wire_refusal(anext(again))).reason == "TURN_INTERRUPTED"


async def test_a_task_that_outlives_the_store_has_no_turn(
    client: Client, wire: Wire, store: FaultyStore, stage: Stage
) -> None:
    writer = client.get_or_create(Writer, ["a"])
    await writer.work()
    await stage.reached("task")
    await break_store(store, wire)
    await writer.write("after")

    stage.let("task")
    task = stage.kept["task"]
    assert isinstance(task, asyncio.Task)

    assert await task == "store.unavailable"
    assert await writer.lines() == ["after"]


@pytest.mark.parametrize("kept", [None, 0])
async def test_a_destruction_whose_sync_fails_is_repeated_by_its_key(
    client: Client, wire: Wire, store: FaultyStore, kept: int | None
) -> None:
    here = target("writer", "a", create=False)
    await client.get_or_create(Writer, ["a"]).write("before")
    store.unsynced_kept = kept
    store.fail_next("sync")
    assert await reason_of(wire.invoke(here, "finish", idempotency_key="k")) == "COMMIT_UNKNOWN"

    answer = await wire.invoke(here, "finish", idempotency_key="k")

    assert result(answer) == "bye"
    assert answer.replayed == (kept is None)
    assert (await wire_refusal(wire.invoke(here, "lines"))).reason == "ACTOR_NOT_FOUND"
    assert check_rows(store) == []
