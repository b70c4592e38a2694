"""c.turn(): turns of tasks that outlive the action that started them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfast import Actor, ActorError, Client, Context, UserError, action, setup
from holdfast_server.app import Server
from holdfast_server.core.ids import Address
from holdfast_server.store.memory import MemoryStore
from holdfast_server.store.verify import check_rows
from tests.server.conftest import Start
from tests.server.outcomes import code_of
from tests.server.probe import until_waiting
from tests.server.stage import Stage, stage, tasks


@dataclass
class Log:
    lines: list[str] = field(default_factory=list)


class Keeper(Actor[Log]):
    """Starts a task and returns; the task works when the stage lets it."""

    state = Log

    @action
    async def begin(self, c: Context[Log], what: str) -> None:
        c.state.lines.append(f"begin {what}")
        stage.kept[what] = asyncio.create_task(getattr(self, f"_{what}")(c))

    @action
    async def begin_and_hold(self, c: Context[Log], what: str) -> None:
        await self.begin.inline(c, what)
        await stage.pause("hold")
        c.state.lines.append("held")

    @action
    async def begin_and_raise(self, c: Context[Log], what: str) -> None:
        await self.begin.inline(c, what)
        raise UserError("no", code="refused")

    async def _work(self, c: Context[Log]) -> list[str]:
        await stage.pause("work")
        async with c.turn():
            c.state.lines.append("work")
            await c.kv.put("work", "done")
            c.send(Keeper, ["other"], "note", "work")
            await c.commit()
            c.state.lines.append("more")
        return [await outside(c)]

    async def _fail(self, c: Context[Log]) -> str:
        await stage.pause("fail")
        try:
            async with c.turn():
                c.state.lines.append("lost")
                await c.kv.put("lost", "1")
                c.send(Keeper, ["other"], "note", "lost")
                raise ValueError("mine")
        except ValueError as error:
            return str(error)

    async def _spoil(self, c: Context[Log]) -> str:
        try:
            async with c.turn():
                c.state.lines.append(object())  # type: ignore[arg-type]
        except ActorError as error:
            return f"{error.group}.{error.code}"
        return "committed"

    async def _many(self, c: Context[Log]) -> None:
        for number in range(5):
            async with c.turn():
                c.state.lines.append(str(number))

    async def _nest(self, c: Context[Log]) -> list[str]:
        found = []
        async with c.turn():
            found.append(await nested(c))
            c.state.lines.append("nest")
        # The turn may be opened again once it is over.
        async with c.turn():
            found.append(str(len(c.state.lines)))
        return found

    async def _ask(self, c: Context[Log]) -> list[Any]:
        await stage.pause("ask")
        me = c.client.get(Keeper, c.key)
        await me.note("through the client")
        await c.client.get_or_create(Keeper, ["other"]).note("from a task")
        return [await me.lines(), await code_of(c.client.get(Keeper, ["none"]).lines())]

    async def _destroy(self, c: Context[Log]) -> None:
        async with c.turn():
            c.destroy()

    @action
    async def nested(self, c: Context[Log]) -> str:
        return await nested(c)

    @action
    async def note(self, c: Context[Log], line: str) -> None:
        c.state.lines.append(line)

    @action
    async def hold(self, c: Context[Log]) -> None:
        await stage.pause("hold")
        c.state.lines.append("held")

    @action(read_only=True)
    def lines(self, c: Context[Log]) -> list[str]:
        return c.state.lines

    @action(read_only=True)
    async def entries(self, c: Context[Log]) -> list[str]:
        return [key for key, _ in await c.kv.list()]


async def nested(c: Context[Any]) -> str:
    try:
        async with c.turn():
            raise AssertionError("a turn inside a turn")
    except ActorError as error:
        return f"{error.group}.{error.code}"


async def outside(c: Context[Any]) -> str:
    """What code outside a turn meets, which must all be the same."""
    codes = set()
    for use in (lambda: c.state, lambda: c.send(Keeper, ["x"], "note", "x"), c.destroy):
        try:
            use()
            codes.add("allowed")
        except ActorError as error:
            codes.add(f"{error.group}.{error.code}")
    for wait in (c.commit, lambda: c.kv.get("x"), lambda: c.kv.put("x", "x"), c.kv.list):
        codes.add(await code_of(wait()))
    try:
        c.state = Log()
        codes.add("allowed")
    except ActorError as error:
        codes.add(f"{error.group}.{error.code}")
    return " ".join(sorted(codes))


registry = setup(use={"keeper": Keeper})


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def running(start: Start, store: MemoryStore, stage: Stage) -> tuple[Server, Client]:
    return await start(registry, store=store)


@pytest.fixture
def keeper(running: tuple[Server, Client]) -> Keeper:
    return running[1].get_or_create(Keeper, ["a"])


async def done(what: str) -> Any:
    """What a task of an actor has come to."""
    task = stage.kept[what]
    assert isinstance(task, asyncio.Task)
    return await task


async def failed(what: str) -> str:
    return await code_of(done(what))


async def test_a_task_commits_by_turns_of_its_own(
    running: tuple[Server, Client], keeper: Keeper, store: MemoryStore
) -> None:
    await keeper.begin("work")
    await keeper.note("between")
    stage.let("work")

    assert await done("work") == ["actor.no_turn"]

    assert await keeper.lines() == ["begin work", "between", "work", "more"]
    assert await keeper.entries() == ["work"]
    other = running[1].get_or_create(Keeper, ["other"])
    while not (found := await other.lines()):
        pass
    assert found == ["work"]
    # From the store it is the same.
    assert running[0].node.catalog.evict(Address("default", "keeper", ("a",)))
    assert await keeper.lines() == ["begin work", "between", "work", "more"]
    assert check_rows(store) == []


async def test_a_turn_that_raises_is_rolled_back_and_the_error_is_the_tasks(
    running: tuple[Server, Client], keeper: Keeper
) -> None:
    await keeper.begin("fail")
    stage.let("fail")

    assert await done("fail") == "mine"

    assert await keeper.lines() == ["begin fail"]
    assert await keeper.entries() == []
    await keeper.begin("work")
    stage.let("work")
    other = running[1].get_or_create(Keeper, ["other"])
    while not (found := await other.lines()):
        pass
    assert found == ["work"]


async def test_a_state_that_cannot_be_stored_is_told_to_the_task(keeper: Keeper) -> None:
    await keeper.begin("spoil")

    assert await done("spoil") == "value.not_encodable"
    assert await keeper.lines() == ["begin spoil"]


async def test_a_task_may_take_many_turns(keeper: Keeper) -> None:
    await keeper.begin("many")
    await done("many")

    assert await keeper.lines() == ["begin many", *"01234"]


async def test_a_turn_inside_a_turn_is_refused(keeper: Keeper) -> None:
    assert await keeper.nested() == "actor.no_turn"
    await keeper.begin("nest")

    assert await done("nest") == ["actor.no_turn", "2"]


async def test_a_task_waits_for_the_turn_that_started_it(
    running: tuple[Server, Client], keeper: Keeper
) -> None:
    stage.let("work")
    holding = asyncio.create_task(keeper.begin_and_hold("work"))
    async with tasks(holding):
        await stage.reached("hold")
        await until_waiting(running[0], 1, "keeper", "a")
        stage.let("hold")
        await holding

    await done("work")
    assert await keeper.lines() == ["begin work", "held", "work", "more"]


async def test_a_task_waits_for_a_later_turn(
    running: tuple[Server, Client], keeper: Keeper
) -> None:
    await keeper.begin("work")
    holding = asyncio.create_task(keeper.hold())
    async with tasks(holding):
        await stage.reached("hold")
        stage.let("work")
        await until_waiting(running[0], 1, "keeper", "a")
        stage.let("hold")
        await holding

    await done("work")
    assert await keeper.lines() == ["begin work", "held", "work", "more"]


async def test_the_task_of_a_failed_turn_still_may_work(keeper: Keeper) -> None:
    assert await code_of(keeper.begin_and_raise("work")) == "user.refused"
    stage.let("work")

    await done("work")
    assert await keeper.lines() == ["work", "more"]


async def test_a_task_that_is_cancelled_in_line_leaves_the_line(
    running: tuple[Server, Client], keeper: Keeper
) -> None:
    await keeper.begin("work")
    holding = asyncio.create_task(keeper.hold())
    async with tasks(holding):
        await stage.reached("hold")
        stage.let("work")
        await until_waiting(running[0], 1, "keeper", "a")
        task = stage.kept["work"]
        assert isinstance(task, asyncio.Task)
        task.cancel()
        await until_waiting(running[0], 0, "keeper", "a")
        stage.let("hold")
        await holding

    assert await keeper.lines() == ["begin work", "held"]
    # It holds nothing: the actor can go out of memory.
    assert running[0].node.catalog.evict(Address("default", "keeper", ("a",)))


async def test_after_eviction_the_task_has_no_turn(
    running: tuple[Server, Client], keeper: Keeper
) -> None:
    await keeper.begin("work")
    assert running[0].node.catalog.evict(Address("default", "keeper", ("a",)))
    await keeper.note("woken")
    stage.let("work")

    assert await failed("work") == "actor.no_turn"
    assert await keeper.lines() == ["begin work", "woken"]
    # The new life is not touched by the end of the old one.
    assert running[0].node.catalog.evict(Address("default", "keeper", ("a",)))


@pytest.mark.parametrize("again", [False, True])
async def test_after_destroy_the_task_has_no_turn(
    running: tuple[Server, Client], keeper: Keeper, again: bool
) -> None:
    client = running[1]
    await keeper.begin("work")
    await client.destroy(Keeper, ["a"])
    if again:
        await keeper.note("another")
    stage.let("work")

    assert await failed("work") == "actor.destroyed"
    if again:
        assert await keeper.lines() == ["another"]
    else:
        assert await code_of(client.get(Keeper, ["a"]).lines()) == "actor.not_found"


async def test_a_task_may_destroy_its_actor(
    running: tuple[Server, Client], keeper: Keeper, store: MemoryStore
) -> None:
    await keeper.begin("destroy")
    await done("destroy")

    assert await code_of(running[1].get(Keeper, ["a"]).lines()) == "actor.not_found"
    assert check_rows(store) == []


async def test_a_task_calls_other_actors_and_its_own(
    running: tuple[Server, Client], keeper: Keeper
) -> None:
    await keeper.begin("ask")
    stage.let("ask")

    assert await done("ask") == [["begin ask", "through the client"], "actor.not_found"]
    assert await running[1].get(Keeper, ["other"]).lines() == ["from a task"]


async def test_after_eviction_the_client_of_a_task_still_calls(
    running: tuple[Server, Client], keeper: Keeper
) -> None:
    await keeper.begin("ask")
    assert running[0].node.catalog.evict(Address("default", "keeper", ("a",)))
    stage.let("ask")

    assert (await done("ask"))[0] == ["begin ask", "through the client"]
