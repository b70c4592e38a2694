"""Turns that end too late, too soon or oddly: each is undone, and the actor goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast import Actor, ActorError, Client, Context, UserError, action, setup
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Start
from tests.server.outcomes import code_of, refused
from tests.server.probe import until_waiting
from tests.server.stage import Stage, stage, tasks

AWAITS = ["begin", "changed", "stored", "sent", "asking", "end"]


class Odd(BaseException):
    """What no handler is expected to raise."""


def misbehave(kind: str) -> None:
    if kind == "recursion":
        misbehave(kind)
    raise {
        "cancelled": asyncio.CancelledError(),
        "exit": SystemExit(0),
        "generator": GeneratorExit(),
        "memory": MemoryError(),
        "stop": StopIteration(),
        "async_stop": StopAsyncIteration(),
        "timeout": TimeoutError(),
        "group": ExceptionGroup("two", [KeyError("a"), UserError("b")]),
        "base": Odd(),
    }[kind]


KINDS = [
    *("cancelled", "exit", "generator", "memory", "stop", "async_stop"),
    *("timeout", "group", "base", "recursion"),
]


class Turner(Actor[list[str]]):
    state = list

    @action
    async def steps(self, c: Context[list[str]]) -> str:
        """Stops at each of `AWAITS`, in order."""
        try:
            await stage.pause("begin")
            c.state.append("spoilt")
            await stage.pause("changed")
            await c.kv.put("spoilt", "x")
            await stage.pause("stored")
            c.send(Turner, ["told"], "write", "spoilt")
            await stage.pause("sent")
            await c.client.get_or_create(Turner, ["asked"]).hold("asking")
            await stage.pause("end")
        except asyncio.CancelledError:
            stage.log.append("cancelled")
            stage.mark("cancelled")
            raise
        return "done"

    @action
    async def hold(self, c: Context[list[str]], point: str) -> None:
        c.state.append("held")
        try:
            await stage.pause(point)
        except asyncio.CancelledError:
            stage.log.append(f"{point} cancelled")
            raise

    @action
    async def write(self, c: Context[list[str]], line: str) -> list[str]:
        c.state.append(line)
        return c.state

    @action(read_only=True)
    async def look(self, c: Context[list[str]]) -> list[Any]:
        return [c.state, [key for key, _ in await c.kv.list()]]

    @action(timeout_s=0.1)
    async def swallow(self, c: Context[list[str]]) -> str:
        c.state.append("begun")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            c.state.append("ended")
        return "finished all the same"

    @action
    async def swallow_cancel(self, c: Context[list[str]]) -> None:
        try:
            await stage.pause("swallow")
        except asyncio.CancelledError:
            c.state.append("finished")

    @action(timeout_s=0.1)
    async def too_slow(self, c: Context[list[str]]) -> None:
        c.state.append("spoilt")
        await c.kv.put("spoilt", "x")
        await asyncio.Event().wait()

    @action
    async def awaited(self, c: Context[list[str]], kind: str) -> None:
        c.state.append("spoilt")
        await asyncio.sleep(0)
        misbehave(kind)

    @action
    def plain(self, c: Context[list[str]], kind: str) -> None:
        c.state.append("spoilt")
        misbehave(kind)

    @action
    async def streamed(self, c: Context[list[str]], kind: str) -> AsyncIterator[int]:
        yield 1
        c.state.append("spoilt")
        misbehave(kind)

    @action
    async def await_another(self, c: Context[list[str]]) -> None:
        """Meets the CancelledError of a task that is not its own."""
        c.state.append("spoilt")
        other = asyncio.create_task(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(other.cancel)
        await other

    @action
    async def left(self, c: Context[list[str]]) -> float | None:
        return c.deadline

    @action(timeout_s=5)
    async def left_of_five(self, c: Context[list[str]]) -> float | None:
        return c.deadline

    @action
    async def ask(self, c: Context[list[str]], name: str, timeout: float) -> str:
        """Asks another with a time limit of its own, and goes on without an answer."""
        other = c.client.get_or_create(Turner, ["asked"]).with_options(timeout=timeout)
        try:
            await other.action(name, "asking")
        except ActorError as error:
            c.state.append(f"{error.group}.{error.code}")
        return c.state[-1]

    @action
    async def ask_left(self, c: Context[list[str]]) -> list[float | None]:
        asked = await c.client.get_or_create(Turner, ["asked"]).left()
        return [c.deadline, asked]

    @action
    async def ask_starting(self, c: Context[list[str]], timeout: float) -> str:
        other = c.client.get_or_create(Slow, ["s"]).with_options(timeout=timeout)
        try:
            return await other.look()
        except ActorError as error:
            return f"{error.group}.{error.code}"


class Slow(Actor):
    async def on_create(self, c: Context, input: Any) -> None:
        await stage.pause("starting")

    @action(read_only=True)
    async def look(self, c: Context) -> str:
        return "there"


registry = setup(use={"turner": Turner, "slow": Slow})

NOTHING: list[Any] = [[], []]


@pytest.fixture
async def client(start: Start) -> Client:
    return (await start(registry, store=MemoryStore()))[1]


@pytest.mark.parametrize("point", AWAITS)
async def test_a_handler_cancelled_at_any_of_its_awaits_is_undone(
    client: Client, stage: Stage, point: str
) -> None:
    turner = client.get_or_create(Turner, ["a"])
    stage.let(*AWAITS[: AWAITS.index(point)])
    call = asyncio.create_task(turner.steps())
    async with tasks(call):
        await stage.reached(point)

        call.cancel()

        await stage.reached("cancelled")
        with pytest.raises(asyncio.CancelledError):
            await call
    # The caller's cancellation reaches whoever works for it.
    assert stage.log == (["asking cancelled"] if point == "asking" else []) + ["cancelled"]
    assert await turner.look() == NOTHING
    assert await turner.write("next") == ["next"]
    assert await client.get_or_create(Turner, ["told"]).write("next") == ["next"]
    # What it had asked for before is done.
    asked = await client.get_or_create(Turner, ["asked"]).look()
    assert asked == ([["held"], []] if point == "end" else NOTHING)


async def test_a_call_that_expires_in_the_mailbox_never_runs(start: Start, stage: Stage) -> None:
    server, client = await start(registry, store=MemoryStore())
    turner = client.get_or_create(Turner, ["a"])
    holding = asyncio.create_task(turner.hold("h"))
    async with tasks(holding):
        await stage.reached("h")

        assert await code_of(turner.with_options(timeout=0.1).write("late")) == "action.timed_out"

        await until_waiting(server, 0, "turner", "a")
        stage.let("h")
        await holding
    assert await turner.write("next") == ["held", "next"]


async def test_a_call_that_has_expired_does_not_even_wait(client: Client, stage: Stage) -> None:
    stage.let("asking")

    assert await client.get_or_create(Turner, ["a"]).ask("hold", 1e-9) == "action.timed_out"

    assert not stage.is_reached("asking")
    assert await code_of(client.get(Turner, ["asked"]).look()) == "actor.not_found"


async def test_an_actor_may_give_up_on_another_and_go_on(client: Client, stage: Stage) -> None:
    assert await client.get_or_create(Turner, ["a"]).ask("hold", 0.1) == "action.timed_out"

    assert stage.log == ["asking cancelled"]
    assert await client.get(Turner, ["asked"]).look() == NOTHING
    assert await client.get(Turner, ["a"]).look() == [["action.timed_out"], []]


async def test_who_waits_for_the_start_of_an_actor_may_give_up(
    client: Client, stage: Stage
) -> None:
    creating = asyncio.create_task(client.create(Slow, ["s"]))
    async with tasks(creating):
        await stage.reached("starting")

        assert await client.get_or_create(Turner, ["a"]).ask_starting(0.1) == "action.timed_out"

        assert not creating.done()
        stage.let("starting")
        await creating
    assert await client.get(Slow, ["s"]).look() == "there"


async def test_an_action_has_a_time_limit_of_its_own(client: Client) -> None:
    turner = client.get_or_create(Turner, ["a"])

    assert await code_of(turner.too_slow()) == "action.timed_out"

    assert await turner.look() == NOTHING
    assert await turner.write("next") == ["next"]


async def test_the_deadline_is_the_earliest_of_all(client: Client) -> None:
    turner = client.get_or_create(Turner, ["a"])
    bounds = [
        (turner.with_options(timeout=30).left, 30),
        (turner.with_options(timeout=30).left_of_five, 5),
        (turner.with_options(timeout=3).left_of_five, 3),
        (turner.left, 60),
    ]
    for call, most in bounds:
        left = await call()
        assert left is not None
        # On its way a deadline is rounded up.
        assert 0 < left < most + 1
    # A callee has no more time than its caller.
    ours, theirs = await turner.with_options(timeout=20).ask_left()
    assert ours is not None
    assert theirs is not None
    assert 0 < ours <= theirs < 21


async def test_a_handler_that_ends_well_after_its_deadline_is_answered(client: Client) -> None:
    """It was told, and chose to finish: what it did counts."""
    turner = client.get_or_create(Turner, ["a"])

    assert await turner.swallow() == "finished all the same"

    assert await turner.look() == [["begun", "ended"], []]


async def test_a_handler_may_finish_though_its_caller_has_gone(
    client: Client, stage: Stage
) -> None:
    turner = client.get_or_create(Turner, ["a"])
    call = asyncio.create_task(turner.swallow_cancel())
    async with tasks(call):
        await stage.reached("swallow")

    assert await turner.write("next") == ["finished", "next"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["awaited", "plain"])
async def test_whatever_a_handler_raises_is_an_answer(client: Client, name: str, kind: str) -> None:
    turner = client.get_or_create(Turner, ["a"])

    error = await refused(turner.action(name, kind))

    assert (error.group, error.code) == ("internal", "internal_error")
    assert error.metadata is None
    assert await turner.look() == NOTHING
    assert await turner.write("next") == ["next"]


@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_a_stream_raises_ends_it(client: Client, kind: str) -> None:
    turner, items = client.get_or_create(Turner, ["a"]), []

    with pytest.raises(ActorError) as caught:
        async for item in turner.streamed(kind):
            items.append(item)

    assert (caught.value.group, caught.value.code) == ("internal", "internal_error")
    assert items == [1]
    assert await turner.look() == NOTHING
    assert await turner.write("next") == ["next"]


async def test_the_cancellation_of_another_task_is_an_error(client: Client) -> None:
    turner = client.get_or_create(Turner, ["a"])

    assert await code_of(turner.await_another()) == "internal.internal_error"

    assert await turner.look() == NOTHING
