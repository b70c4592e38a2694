"""Interleaved turns: they overlap at each await, and all but the state stays atomic."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfast import Actor, ActorError, Client, Context, UserError, action, setup
from holdfast_server.app import Server
from holdfast_server.store.memory import MemoryStore
from holdfast_server.store.verify import check_rows
from tests.server.conftest import Start
from tests.server.outcomes import code_of
from tests.server.probe import until_waiting
from tests.server.stage import Stage, stage, tasks


@dataclass
class Board:
    lines: list[str] = field(default_factory=list)


class Shared(Actor[Board]):
    state = Board

    @action(interleave=True)
    async def write(self, c: Context[Board], name: str) -> list[str]:
        """Writes, waits, and writes again; gives what it then saw in KV."""
        c.state.lines.append(f"{name} begins")
        await c.kv.put(name, "half")
        await stage.pause(name)
        c.state.lines.append(f"{name} ends")
        await c.kv.put(name, "done")
        return [f"{key} {value!s}" for key, value in await c.kv.list()]

    @action(interleave=True)
    async def fail(self, c: Context[Board], name: str) -> None:
        c.state.lines.append(f"{name} fails")
        await c.kv.put(name, "lost")
        c.send(Shared, ["other"], "exclude", "lost")
        await stage.pause(name)
        raise UserError("no", code="refused")

    @action(interleave=True)
    async def commit(self, c: Context[Board], name: str) -> str:
        await stage.pause(name)
        c.state.lines.append(name)
        try:
            await c.commit()
        except ActorError as error:
            return error.code
        return "committed"

    @action(interleave=True)
    async def spoil(self, c: Context[Board]) -> None:
        c.state.lines.append(object())  # type: ignore[arg-type]

    @action(interleave=True)
    async def finish(self, c: Context[Board]) -> None:
        c.destroy()

    @action
    async def exclude(self, c: Context[Board], name: str) -> None:
        c.state.lines.append(f"{name} alone")
        stage.log.append(f"in {name}")
        await stage.pause(name)
        stage.log.append(f"out {name}")

    @action(interleave=True)
    async def visit(self, c: Context[Board], name: str) -> None:
        stage.log.append(f"in {name}")
        await stage.pause(name)
        stage.log.append(f"out {name}")

    @action(read_only=True)
    def lines(self, c: Context[Board]) -> list[str]:
        return c.state.lines

    @action
    async def entries(self, c: Context[Board]) -> dict[str, Any]:
        return dict(await c.kv.list())


class AllShared(Actor[Board]):
    state = Board
    interleave = True

    @action
    async def meet(self, c: Context[Board], name: str, other: str) -> None:
        c.state.lines.append(name)
        stage.mark(name)
        await stage.reached(other)

    @action(read_only=True)
    async def lines(self, c: Context[Board]) -> list[str]:
        return c.state.lines


registry = setup(use={"shared": Shared, "all-shared": AllShared})


@pytest.fixture
async def running(start: Start) -> tuple[Server, Client]:
    return await start(registry, store=MemoryStore())


@pytest.fixture
def client(running: tuple[Server, Client]) -> Client:
    return running[1]


async def test_turns_overlap_on_one_state(client: Client, stage: Stage) -> None:
    shared = client.get_or_create(Shared, ["a"])
    one = asyncio.create_task(shared.write("one"))
    await stage.reached("one")
    two = asyncio.create_task(shared.write("two"))
    async with tasks(one, two):
        await stage.reached("two")
        stage.let("two")

        # Its own writes it sees; those of the turn that is still going on it does not.
        assert await two == ["two done"]
        # The state went with it, and with it the half of the other.
        assert await shared.lines() == ["one begins", "two begins", "two ends"]
        assert await client.get(Shared, ["a"]).lines() == await shared.lines()
        stage.let("one")
        assert await one == ["one done", "two done"]
    assert await shared.lines() == ["one begins", "two begins", "two ends", "one ends"]


async def test_a_class_may_interleave_all_its_actions(client: Client, stage: Stage) -> None:
    shared = client.get_or_create(AllShared, ["a"])

    await asyncio.gather(shared.meet("one", "two"), shared.meet("two", "one"))

    assert sorted(await shared.lines()) == ["one", "two"]


async def test_a_failed_turn_commits_the_state_alone(start: Start, stage: Stage) -> None:
    server, client = await start(registry)
    shared = client.get_or_create(Shared, ["a"])
    stage.let("one")

    assert await code_of(shared.fail("one")) == "user.refused"
    assert await shared.entries() == {}
    await client.close()
    await server.stop()

    _, client = await start(registry)
    assert await client.get(Shared, ["a"]).lines() == ["one fails"]
    assert await code_of(client.get(Shared, ["other"]).lines()) == "actor.not_found"


async def test_what_others_have_half_done_goes_with_a_failed_turn(
    client: Client, stage: Stage
) -> None:
    shared = client.get_or_create(Shared, ["a"])
    writing = asyncio.create_task(shared.write("one"))
    async with tasks(writing):
        await stage.reached("one")
        stage.let("two")
        assert await code_of(shared.fail("two")) == "user.refused"
        assert await shared.lines() == ["one begins", "two fails"]

        stage.let("one")
        await writing

    assert await shared.lines() == ["one begins", "two fails", "one ends"]
    assert await shared.entries() == {"one": "done"}


async def test_a_state_that_cannot_be_stored_fails_all_who_had_part_in_it(
    client: Client, stage: Stage
) -> None:
    shared = client.get_or_create(Shared, ["a"])
    writing = asyncio.create_task(shared.write("one"))
    visiting = asyncio.create_task(shared.visit("two"))
    async with tasks(writing, visiting):
        await stage.reached("one")
        await stage.reached("two")
        assert await code_of(shared.spoil()) == "value.not_encodable"
        stage.let("one", "two")

        # Its half is gone with the rest of that state, and it is told so.
        assert await code_of(writing) == "value.not_encodable"
        await visiting

    assert await shared.lines() == []
    assert await shared.entries() == {}
    stage.let("three")
    await shared.write("three")
    assert await shared.lines() == ["three begins", "three ends"]


async def test_exclusive_turns_wait_for_interleaved_ones_and_the_reverse(
    running: tuple[Server, Client], stage: Stage
) -> None:
    server, client = running
    shared = client.get_or_create(Shared, ["a"])
    calls: list[asyncio.Task[None]] = []

    stage.let("e1", "i3", "i4", "e2")
    hold = asyncio.create_task(shared.exclude("hold"))
    async with tasks(hold):
        await stage.reached("hold")
        # Nobody overtakes: neither kind can starve the other.
        for waiting, name in enumerate(("i1", "i2", "e1", "i3", "e2", "i4"), 1):
            action = "exclude" if name[0] == "e" else "visit"
            calls.append(asyncio.create_task(shared.action(action, name)))
            await until_waiting(server, waiting, "shared", "a")
        stage.let("hold")
        await stage.reached("i1")
        await stage.reached("i2")
        stage.let("i1", "i2")
        await asyncio.gather(hold, *calls)

    assert stage.log == [
        "in hold", "out hold",
        "in i1", "in i2", "out i1", "out i2",
        "in e1", "out e1",
        "in i3", "out i3",
        "in e2", "out e2",
        "in i4", "out i4",
    ]  # fmt: skip


async def test_an_interleaved_turn_does_not_overtake_a_waiting_exclusive_one(
    running: tuple[Server, Client], stage: Stage
) -> None:
    server, client = running
    shared = client.get_or_create(Shared, ["a"])
    first = asyncio.create_task(shared.visit("i1"))
    await stage.reached("i1")
    alone = asyncio.create_task(shared.exclude("e1"))
    await until_waiting(server, 1, "shared", "a")
    later = asyncio.create_task(shared.visit("i2"))
    await until_waiting(server, 2, "shared", "a")

    stage.let("i1", "e1", "i2")
    await asyncio.gather(first, alone, later)

    assert stage.log == ["in i1", "out i1", "in e1", "out e1", "in i2", "out i2"]


async def test_turns_of_a_destroyed_actor_leave_nothing_behind(start: Start, stage: Stage) -> None:
    store = MemoryStore()
    _, client = await start(registry, store=store)
    shared = client.get_or_create(Shared, ["a"])
    writing = asyncio.create_task(shared.write("one"))
    committing = asyncio.create_task(shared.commit("two"))
    async with tasks(writing, committing):
        await stage.reached("one")
        await stage.reached("two")
        await shared.finish()
        stage.let("one", "two")

        assert await code_of(writing) == "actor.destroyed"
        assert await code_of(committing) == "actor.destroyed"

    assert await code_of(client.get(Shared, ["a"]).lines()) == "actor.not_found"
    assert check_rows(store) == []
