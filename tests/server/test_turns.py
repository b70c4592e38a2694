"""Exclusive turns: one at a time in order, all or nothing, and only what changed is written."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfast import Actor, Client, Context, UserError, action, setup
from holdfast.v1 import actor_pb2
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Connect, Start
from tests.server.outcomes import code_of, refused, wire_refusal
from tests.server.stage import Stage, stage
from tests.server.wire import result, target


@dataclass
class Book:
    lines: list[str] = field(default_factory=list)
    nested: dict[str, dict[str, list[int]]] = field(default_factory=dict)


class Ledger(Actor[Book]):
    state = Book
    vars = list

    @action
    async def enter(self, c: Context[Book], name: str) -> None:
        stage.log.append(f"in {name}")
        await stage.pause(name)
        stage.log.append(f"out {name}")

    @action
    async def write(self, c: Context[Book], line: str) -> int:
        c.state.lines.append(line)
        return len(c.state.lines)

    @action
    async def replace(self, c: Context[Book], *lines: str) -> None:
        c.state = Book(list(lines))

    @action
    async def deepen(self, c: Context[Book], number: int) -> None:
        c.state.nested.setdefault("a", {}).setdefault("b", []).append(number)

    @action
    async def spoil(self, c: Context[Book], how: str) -> None:
        c.state.lines.append("spoilt")
        c.state.nested["x"] = {"y": [1]}
        await c.kv.put("spoilt", "yes")
        await c.kv.delete("kept")
        c.send(Ledger, ["other"], "write", "from a failed turn")
        c.vars.append("spoilt")
        await asyncio.sleep(0)
        if how == "replaced":
            c.state = Book(["another"])
        if how == "user":
            raise UserError("no", code="refused")
        raise KeyError(how)

    @action
    async def keep(self, c: Context[Book]) -> None:
        await c.kv.put("kept", "yes")

    @action
    async def look(self, c: Context[Book]) -> dict[str, Any]:
        entries = dict(await c.kv.list())
        return {"state": c.state, "kv": entries, "vars": c.vars}

    @action
    async def touch(self, c: Context[Book]) -> int:
        return len(c.state.lines)

    @action
    async def ignore(self, c: Context[Book]) -> None:
        """Does nothing at all."""

    @action
    async def waver(self, c: Context[Book]) -> None:
        c.state.lines.append("x")
        c.state.lines.pop()

    @action
    async def alias(self, c: Context[Book], line: str) -> bool:
        before = c.state
        before.lines.append(line)
        return c.state is before


class Crowd(Actor):
    @action
    async def rush(self, c: Context, names: list[str]) -> None:
        ledger = c.client.get_or_create(Ledger, ["a"])
        await asyncio.gather(*(ledger.enter(name) for name in names))


registry = setup(use={"ledger": Ledger, "crowd": Crowd})


@pytest.fixture
async def client(start: Start) -> Client:
    return (await start(registry, store=MemoryStore()))[1]


async def test_turns_run_one_at_a_time_in_the_order_of_their_calls(
    client: Client, stage: Stage
) -> None:
    names = [str(n) for n in range(20)]
    stage.let(*names)

    await client.get_or_create(Crowd, ["c"]).rush(names)

    assert stage.log == [f"{way} {name}" for name in names for way in ("in", "out")]


async def test_a_turn_that_waits_keeps_the_others_out(client: Client, stage: Stage) -> None:
    ledger = client.get_or_create(Ledger, ["a"])
    first = asyncio.create_task(ledger.enter("first"))
    await stage.reached("first")
    second = asyncio.create_task(ledger.enter("second"))
    # A call to another actor goes through meanwhile: the server is not waiting.
    await client.get_or_create(Ledger, ["b"]).write("x")
    assert not stage.is_reached("second")

    stage.let("first", "second")
    await asyncio.gather(first, second)

    assert stage.log == ["in first", "out first", "in second", "out second"]


@pytest.mark.parametrize("how", ["user", "bug", "replaced"])
async def test_a_turn_that_raises_leaves_no_trace(client: Client, how: str) -> None:
    ledger, other = client.get_or_create(Ledger, ["a"]), client.get_or_create(Ledger, ["other"])
    await ledger.write("before")
    await ledger.keep()

    code = await code_of(ledger.spoil(how))

    assert code == ("user.refused" if how == "user" else "internal.internal_error")
    seen = await ledger.look()
    assert seen["state"] == {"lines": ["before"], "nested": {}}
    assert seen["kv"] == {"kept": "yes"}
    # The next send of this actor to the same target would come after a lost one.
    assert (await other.look())["state"]["lines"] == []


async def test_vars_are_not_rolled_back(client: Client) -> None:
    ledger = client.get_or_create(Ledger, ["a"])
    await refused(ledger.spoil("user"))

    assert (await ledger.look())["vars"] == ["spoilt"]


async def test_the_first_turn_of_an_actor_may_fail(client: Client) -> None:
    ledger = client.get_or_create(Ledger, ["a"])

    assert await code_of(ledger.spoil("user")) == "user.refused"

    assert (await ledger.look())["state"] == {"lines": [], "nested": {}}
    assert await ledger.write("x") == 1


async def test_state_can_be_replaced_and_changed_in_depth(start: Start) -> None:
    server, client = await start(registry)
    ledger = client.get_or_create(Ledger, ["a"])
    await ledger.replace("one", "two")
    await ledger.deepen(0)
    await ledger.deepen(1)
    assert await ledger.alias("three")
    await client.close()
    await server.stop()

    _, client = await start(registry)

    seen = await client.get(Ledger, ["a"]).look()
    assert seen["state"] == {"lines": ["one", "two", "three"], "nested": {"a": {"b": [0, 1]}}}


@pytest.mark.parametrize(
    ("name", "written"), [("ignore", False), ("touch", False), ("waver", False), ("keep", True)]
)
async def test_only_changes_are_written(
    start: Start, connect: Connect, name: str, written: bool
) -> None:
    server, client = await start(registry, store=MemoryStore())
    wire, ledger = connect(server), target("ledger", "a")
    await client.get_or_create(Ledger, ["a"]).write("x")

    answer = await wire.invoke(ledger, name)

    expected = actor_pb2.DURABILITY_SYNCED if written else actor_pb2.DURABILITY_NONE
    assert answer.durability == expected
    assert not answer.replayed


async def test_an_answer_names_the_actor_that_gave_it(start: Start, connect: Connect) -> None:
    server, client = await start(registry, store=MemoryStore())
    wire = connect(server)

    answer = await wire.invoke(target("ledger", "a"), "write", "x")

    assert result(answer) == 1
    assert answer.actor_id == await client.get(Ledger, ["a"]).resolve()


async def test_an_internal_error_tells_nothing_but_that(start: Start, connect: Connect) -> None:
    server, _ = await start(registry, store=MemoryStore())

    refusal = await wire_refusal(connect(server).invoke(target("ledger", "a"), "spoil", "secret"))

    assert (refusal.status, refusal.reason) == ("INTERNAL", "INTERNAL_ERROR")
    assert "secret" not in refusal.message
    assert refusal.metadata == {"group": "internal", "code": "internal_error"}
