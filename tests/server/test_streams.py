"""Streaming actions: a turn per item, the mailbox free between items, and every way to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfast import Actor, ActorError, Client, Context, UserError, action, setup
from holdfast_server.app import Server
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Connect, Start
from tests.server.outcomes import code_of, wire_refusal
from tests.server.probe import activation_of, until, until_waiting
from tests.server.stage import Stage, stage, tasks
from tests.server.wire import target


@dataclass
class Tape:
    lines: list[str] = field(default_factory=list)


class Recorder(Actor[Tape]):
    state = Tape

    @action
    async def record(self, c: Context[Tape], *names: str) -> AsyncIterator[str]:
        """An item for each name; a name that is marked is waited at."""
        try:
            for name in names:
                c.state.lines.append(name)
                await c.kv.put(name, "yes")
                if name.startswith("wait"):
                    await stage.pause(name)
                if name == "raise":
                    raise UserError("no", code="refused")
                if name == "bug":
                    raise KeyError(name)
                yield name
        finally:
            stage.log.append("closed")
            c.state.lines.append("closed")
            stage.mark("closed")

    @action
    async def stubborn(self, c: Context[Tape]) -> AsyncIterator[int]:
        """Goes on when it should end."""
        try:
            yield 1
        except GeneratorExit:
            yield 2

    @action
    async def keep_reference(self, c: Context[Tape]) -> AsyncIterator[int]:
        kept = c.state
        yield 0
        kept.lines.append("through a kept reference")
        yield 1

    @action
    async def watch(self, c: Context[Tape], count: int) -> AsyncIterator[int]:
        """Changes nothing."""
        for number in range(count):
            yield number

    @action(read_only=True)
    async def peek(self, c: Context[Tape]) -> AsyncIterator[int]:
        yield len(c.state.lines)
        yield len(c.state.lines)

    @action(read_only=True)
    async def cheat(self, c: Context[Tape]) -> AsyncIterator[int]:
        yield 0
        c.state.lines.append("changed")
        yield 1

    @action
    async def odd(self, c: Context[Tape]) -> AsyncIterator[Any]:
        yield 1
        c.state.lines.append("lost")
        yield {"a": [object()]}

    @action
    async def write(self, c: Context[Tape], line: str) -> None:
        c.state.lines.append(line)

    @action
    async def finish(self, c: Context[Tape]) -> None:
        c.destroy()

    @action(read_only=True)
    async def lines(self, c: Context[Tape]) -> list[str]:
        return c.state.lines

    @action
    async def first_of(self, c: Context[Tape], other: str) -> str:
        """Reads one item of another actor's stream and leaves."""
        stream = c.client.get_or_create(Recorder, [other]).record("one", "two")
        async with aclosing(stream) as items:  # type: ignore[type-var]
            item = await anext(items)
        stage.log.append("left")
        return item


registry = setup(use={"recorder": Recorder})


@pytest.fixture
async def running(start: Start) -> tuple[Server, Client]:
    return await start(registry, store=MemoryStore())


@pytest.fixture
def client(running: tuple[Server, Client]) -> Client:
    return running[1]


async def items_of(stream: AsyncIterator[Any]) -> tuple[list[Any], str]:
    """What a stream gave, and the code that it ended with."""
    items = []
    try:
        async for item in stream:
            items.append(item)
    except ActorError as error:
        return items, f"{error.group}.{error.code}"
    return items, ""


async def test_every_item_is_committed_when_it_arrives(client: Client, stage: Stage) -> None:
    recorder = client.get_or_create(Recorder, ["a"])
    seen = []

    async for item in recorder.record("one", "two"):
        seen.append((item, await recorder.lines()))

    assert [item for item, _ in seen] == ["one", "two"]
    assert [lines[: n + 1] for n, (_, lines) in enumerate(seen)] == [["one"], ["one", "two"]]
    assert await recorder.lines() == ["one", "two", "closed"]


async def test_other_turns_run_between_items(running: tuple[Server, Client], stage: Stage) -> None:
    server, client = running
    recorder = client.get_or_create(Recorder, ["a"])
    stream = recorder.record("one", "wait", "three")
    assert await anext(stream) == "one"
    await stage.reached("wait")
    writing = asyncio.create_task(recorder.write("between"))
    async with tasks(writing):
        # A step is a turn: the action waits for its end, and comes before the next.
        await until_waiting(server, 1, "recorder", "a")
        stage.let("wait")
        await writing
        assert [item async for item in stream] == ["wait", "three"]

    assert await recorder.lines() == ["one", "wait", "between", "three", "closed"]


@pytest.mark.parametrize(
    ("last", "code"), [("raise", "user.refused"), ("bug", "internal.internal_error")]
)
async def test_an_error_comes_after_the_items_and_undoes_its_own_step(
    client: Client, stage: Stage, last: str, code: str
) -> None:
    recorder = client.get_or_create(Recorder, ["a"])

    assert await items_of(recorder.record("one", "two", last)) == (["one", "two"], code)

    assert await recorder.lines() == ["one", "two"]


async def test_an_item_that_cannot_be_encoded_ends_the_stream(client: Client) -> None:
    recorder = client.get_or_create(Recorder, ["a"])

    assert await items_of(recorder.odd()) == ([1], "value.not_encodable")

    assert await recorder.lines() == []


async def test_a_reader_that_leaves_lets_the_handler_clean_up_in_a_turn(
    client: Client, stage: Stage
) -> None:
    recorder = client.get_or_create(Recorder, ["a"])
    stream = recorder.record("one", "wait", "never")
    assert await anext(stream) == "one"
    await stage.reached("wait")

    await stream.aclose()  # type: ignore[attr-defined]
    await stage.reached("closed")

    # Cancelled in its second step: that is undone, and what `finally` did is too.
    assert await recorder.lines() == ["one"]
    assert stage.log == ["closed"]


async def test_what_the_cleanup_of_a_waiting_handler_does_is_kept(
    client: Client, stage: Stage
) -> None:
    actor = client.get_or_create(Recorder, ["a"])
    caller = client.get_or_create(Recorder, ["b"])

    assert await caller.first_of("a") == "one"

    # In this process the reader's end and the handler's are one: nothing runs ahead.
    assert stage.log == ["closed", "left"]
    assert await actor.lines() == ["one", "closed"]


async def test_a_client_that_vanishes_ends_the_handler(start: Start, stage: Stage) -> None:
    server, client = await start(registry, store=MemoryStore())
    lost = Client(f"127.0.0.1:{server.port}")
    stream = lost.get_or_create(Recorder, ["a"]).record("one", "wait")
    assert await anext(stream) == "one"
    await stage.reached("wait")

    await lost.close()
    await stage.reached("closed")

    recorder = client.get_or_create(Recorder, ["a"])
    await recorder.write("two")
    assert await recorder.lines() == ["one", "two"]


async def test_a_stream_leaves_no_trace_in_memory(
    running: tuple[Server, Client], stage: Stage
) -> None:
    server, client = running
    stream = client.get_or_create(Recorder, ["a"]).record("one", "wait")
    assert await anext(stream) == "one"

    await stream.aclose()  # type: ignore[attr-defined]

    await until(lambda: (found := activation_of(server, "recorder", "a")) and not found.users)
    activation = activation_of(server, "recorder", "a")
    assert activation is not None
    assert activation.mailbox.idle


async def test_a_handler_that_will_not_end_is_told_off(client: Client, stage: Stage) -> None:
    recorder = client.get_or_create(Recorder, ["a"])
    async with aclosing(recorder.stubborn()) as stream:  # type: ignore[type-var]
        assert await anext(stream) == 1

    await recorder.write("goes on")
    assert await recorder.lines() == ["goes on"]


async def test_a_destroyed_actor_ends_its_streams(
    running: tuple[Server, Client], stage: Stage
) -> None:
    server, client = running
    recorder = client.get_or_create(Recorder, ["a"])
    stream = recorder.record("one", "wait", "three")
    assert await anext(stream) == "one"
    await stage.reached("wait")
    ending = asyncio.create_task(recorder.finish())
    async with tasks(ending):
        await until_waiting(server, 1, "recorder", "a")
        stage.let("wait")
        await ending

        # The item of the step that was committed before is not lost.
        assert await items_of(stream) == (["wait"], "actor.destroyed")

    # The handler has been ended, and without a turn it could change nothing.
    assert stage.log == ["closed"]
    assert await recorder.lines() == []


async def test_a_kept_reference_to_the_state_counts(client: Client) -> None:
    recorder = client.get_or_create(Recorder, ["a"])

    assert [item async for item in recorder.keep_reference()] == [0, 1]

    assert await recorder.lines() == ["through a kept reference"]
    await recorder.write("and stays")
    assert await recorder.lines() == ["through a kept reference", "and stays"]


async def test_a_read_only_stream_changes_nothing(client: Client) -> None:
    recorder = client.get_or_create(Recorder, ["a"])
    await recorder.write("x")

    assert [item async for item in recorder.peek()] == [1, 1]
    assert await items_of(recorder.cheat()) == ([0], "action.read_only")
    assert await recorder.lines() == ["x"]


async def test_the_wrong_way_to_call_is_refused_both_ways(start: Start, connect: Connect) -> None:
    server, client = await start(registry, store=MemoryStore())
    recorder = client.get_or_create(Recorder, ["a"])

    assert await code_of(recorder.action("record", "one")) == "action.wrong_kind"
    assert await items_of(recorder.action_stream("write", "one")) == ([], "action.wrong_kind")
    assert await code_of(recorder.action("none")) == "action.not_found"
    assert await items_of(recorder.action_stream("none")) == ([], "action.not_found")

    # Refused before the actor is made.
    wire = connect(server)
    refusal = await wire_refusal(wire.invoke(target("recorder", "b"), "record"))
    assert refusal.status == "INVALID_ARGUMENT"
    assert await code_of(client.get(Recorder, ["b"]).lines()) == "actor.not_found"


async def test_a_stream_that_took_effect_is_not_run_again_for_its_key(
    client: Client, stage: Stage
) -> None:
    recorder = client.get_or_create(Recorder, ["a"]).with_options(idempotency_key="k")

    assert await items_of(recorder.record("one", "two")) == (["one", "two"], "")
    assert await items_of(recorder.record("one", "two")) == ([], "action.turn_interrupted")
    assert await items_of(recorder.record("other")) == ([], "idempotency.key_reused")

    assert await recorder.lines() == ["one", "two", "closed"]


async def test_a_stream_whose_second_step_fails_is_used_up(client: Client, stage: Stage) -> None:
    recorder = client.get_or_create(Recorder, ["a"]).with_options(idempotency_key="k")

    assert await items_of(recorder.record("one", "raise")) == (["one"], "user.refused")
    assert await items_of(recorder.record("one", "raise")) == ([], "action.turn_interrupted")


async def test_a_stream_whose_first_step_fails_is_answered_alike(
    client: Client, stage: Stage
) -> None:
    recorder = client.get_or_create(Recorder, ["a"]).with_options(idempotency_key="k")

    assert await items_of(recorder.record("raise")) == ([], "user.refused")
    assert await items_of(recorder.record("raise")) == ([], "user.refused")

    assert stage.log == ["closed"]


async def test_a_stream_without_effect_runs_again_for_its_key(client: Client) -> None:
    recorder = client.get_or_create(Recorder, ["a"]).with_options(idempotency_key="k")

    assert await items_of(recorder.watch(3)) == ([0, 1, 2], "")
    assert await items_of(recorder.watch(3)) == ([0, 1, 2], "")


async def test_a_retry_waits_for_the_stream_under_way(client: Client, stage: Stage) -> None:
    recorder = client.get_or_create(Recorder, ["a"]).with_options(idempotency_key="k")
    first = recorder.record("one", "wait")
    assert await anext(first) == "one"
    await stage.reached("wait")
    retry = asyncio.create_task(items_of(recorder.record("one", "wait")))
    async with tasks(retry):
        stage.let("wait")
        assert await items_of(first) == (["wait"], "")

        assert await retry == ([], "action.turn_interrupted")
    assert await recorder.lines() == ["one", "wait", "closed"]
