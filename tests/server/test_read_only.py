"""Read-only actions: beside other turns, on the last finished one, changing nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfast import Actor, ActorError, Client, Context, action, setup
from holdfast_server.app import Server
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Connect, Start
from tests.server.outcomes import code_of, wire_refusal
from tests.server.stage import Stage, stage, tasks
from tests.server.wire import target


@dataclass
class Note:
    lines: list[str] = field(default_factory=list)


async def change(c: Context[Note], how: str) -> None:
    """One of the things that a read-only action may not do."""
    match how:
        case "state in depth":
            c.state.lines.append("changed")
        case "state":
            c.state = Note(["changed"])
        case "put":
            await c.kv.put("k", "changed")
        case "delete":
            await c.kv.delete("k")
        case "delete_range":
            await c.kv.delete_range("a", "z")
        case "send":
            c.send(Notes, ["other"], "write", "changed")
        case "destroy":
            c.destroy()
        case "commit":
            await c.commit()


CHANGES = (
    "state in depth", "state", "put", "delete", "delete_range", "send", "destroy", "commit",
)  # fmt: skip


class Notes(Actor[Note]):
    state = Note

    @action
    async def write(self, c: Context[Note], line: str) -> None:
        c.state.lines.append(line)
        await c.kv.put("k", line)

    @action
    async def write_slowly(self, c: Context[Note], line: str) -> None:
        c.state.lines.append(line)
        await c.kv.put("k", line)
        await stage.pause(line)

    @action(read_only=True)
    def read(self, c: Context[Note]) -> list[str]:
        return c.state.lines

    @action(read_only=True)
    async def read_async(self, c: Context[Note]) -> dict[str, Any]:
        return {"lines": c.state.lines, "kv": await c.kv.get("k")}

    @action(read_only=True)
    async def read_twice(self, c: Context[Note]) -> list[list[str]]:
        before = list(c.state.lines)
        await stage.pause("between")
        return [before, c.state.lines]

    @action(read_only=True)
    async def cheat(self, c: Context[Note], how: str) -> None:
        await change(c, how)

    @action(read_only=True)
    async def cheat_and_hide(self, c: Context[Note], how: str) -> str:
        try:
            await change(c, how)
        except ActorError as error:
            return error.code
        return "nothing"

    @action(read_only=True)
    def cheat_plainly(self, c: Context[Note], then: str) -> None:
        c.state.lines.append("changed")
        if then == "raise":
            raise ValueError(then)

    @action(read_only=True)
    async def cheat_and_raise(self, c: Context[Note]) -> None:
        c.state.lines.append("changed")
        raise ValueError

    @action(read_only=True)
    async def wait(self, c: Context[Note]) -> None:
        await stage.pause("waiting")


registry = setup(use={"notes": Notes})


@pytest.fixture
async def running(start: Start) -> tuple[Server, Client]:
    return await start(registry, store=MemoryStore(), read_only_max=1)


@pytest.fixture
def client(running: tuple[Server, Client]) -> Client:
    return running[1]


async def unchanged(client: Client, lines: list[str]) -> bool:
    notes = client.get(Notes, ["a"])
    kept = {"lines": lines, "kv": lines[-1]}
    return await notes.read() == lines and await notes.read_async() == kept


@pytest.mark.parametrize("how", CHANGES)
async def test_a_change_is_refused(client: Client, how: str) -> None:
    await client.get_or_create(Notes, ["a"]).write("one")

    assert await code_of(client.get(Notes, ["a"]).cheat(how)) == "action.read_only"

    assert await unchanged(client, ["one"])
    assert await code_of(client.get(Notes, ["other"]).read()) == "actor.not_found"


@pytest.mark.parametrize("how", [how for how in CHANGES if how != "state in depth"])
async def test_a_change_is_refused_where_it_is_made(client: Client, how: str) -> None:
    await client.get_or_create(Notes, ["a"]).write("one")

    assert await client.get(Notes, ["a"]).cheat_and_hide(how) == "read_only"

    assert await unchanged(client, ["one"])


@pytest.mark.parametrize(
    ("then", "code"), [("return", "action.read_only"), ("raise", "internal.internal_error")]
)
async def test_a_plain_reader_changes_nothing(client: Client, then: str, code: str) -> None:
    await client.get_or_create(Notes, ["a"]).write("one")

    assert await code_of(client.get(Notes, ["a"]).cheat_plainly(then)) == code

    assert await unchanged(client, ["one"])
    await client.get(Notes, ["a"]).write("two")
    assert await unchanged(client, ["one", "two"])


async def test_a_reader_that_raises_leaves_nothing(client: Client) -> None:
    await client.get_or_create(Notes, ["a"]).write("one")

    assert await code_of(client.get(Notes, ["a"]).cheat_and_raise()) == "internal.internal_error"

    assert await unchanged(client, ["one"])


async def test_readers_see_the_last_finished_turn(client: Client, stage: Stage) -> None:
    notes = client.get_or_create(Notes, ["a"])
    await notes.write("one")
    writing = asyncio.create_task(notes.write_slowly("two"))
    async with tasks(writing):
        await stage.reached("two")
        # The turn has changed state and KV, and waits: half of it is seen by nobody.
        assert await unchanged(client, ["one"])

        stage.let("two")
        await writing

        assert await unchanged(client, ["one", "two"])


async def test_readers_of_a_turn_that_fails_never_saw_it(client: Client, stage: Stage) -> None:
    notes = client.get_or_create(Notes, ["a"])
    await notes.write("one")
    writing = asyncio.create_task(notes.write_slowly("two"))
    await stage.reached("two")
    assert await notes.read() == ["one"]

    writing.cancel()
    await asyncio.wait([writing])

    # The next exclusive turn begins once the cancelled one is over.
    await notes.write("three")
    assert await unchanged(client, ["one", "three"])


async def test_a_reader_sees_one_state_from_beginning_to_end(client: Client, stage: Stage) -> None:
    notes = client.get_or_create(Notes, ["a"])
    await notes.write("one")
    reading = asyncio.create_task(notes.read_twice())
    async with tasks(reading):
        await stage.reached("between")
        await notes.write("two")
        stage.let("between")

        assert await reading == [["one"], ["one"]]


async def test_readers_run_beside_each_other_up_to_a_limit(
    running: tuple[Server, Client], connect: Connect, stage: Stage
) -> None:
    server, client = running
    waiting = asyncio.create_task(client.get_or_create(Notes, ["a"]).wait())
    async with tasks(waiting):
        await stage.reached("waiting")

        refusal = await wire_refusal(connect(server).invoke(target("notes", "a"), "read"))

        assert (refusal.status, refusal.reason) == ("RESOURCE_EXHAUSTED", "ACTOR_OVERLOADED")
        assert refusal.retry_after_s is not None
        await client.get(Notes, ["a"]).write("exclusive turns have places of their own")
        stage.let("waiting")
        await waiting
    assert await client.get(Notes, ["a"]).read() == ["exclusive turns have places of their own"]


async def test_a_reader_may_be_the_first_to_come(client: Client) -> None:
    assert await client.get_or_create(Notes, ["a"]).read() == []
    assert await code_of(client.create(Notes, ["a"])) == "actor.duplicate_key"
