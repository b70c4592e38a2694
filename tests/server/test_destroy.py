"""The end of an actor: what waits for it, what runs on after it, and what is left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Actor, ActorError, Client, Context, UserError, action, setup
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Connect, Start
from tests.server.outcomes import code_of, wire_refusal
from tests.server.probe import until_waiting
from tests.server.stage import Stage, stage, tasks
from tests.server.wire import by_id, result, target


class Mortal(Actor[list[str]]):
    state = list

    @action
    async def write(self, c: Context[list[str]], *lines: str) -> int:
        for line in lines:
            c.state.append(line)
            await c.kv.put(line, line)
        return len(c.state)

    @action
    async def look(self, c: Context[list[str]]) -> dict[str, Any]:
        return {"state": c.state, "kv": [key for key, _ in await c.kv.list()]}

    @action
    async def finish(self, c: Context[list[str]], point: str = "") -> str:
        c.destroy()
        if point:
            await stage.pause(point)
        return "bye"

    @action
    async def go_on(self, c: Context[list[str]]) -> list[Any]:
        c.destroy()
        c.state.append("after")
        await c.kv.put("after", "x")
        c.send("mortal", ["heir"], "write", "inherited")
        other = await c.client.get_or_create(Mortal, ["other"]).write("asked")
        try:
            await c.commit()
        except ActorError as error:
            return [c.state, await c.kv.get("after"), other, f"{error.group}.{error.code}"]
        return []

    @action
    async def think_better_of_it(self, c: Context[list[str]]) -> None:
        c.destroy()
        raise UserError("no", code="refused")

    @action(interleave=True)
    async def linger(self, c: Context[list[str]]) -> None:
        await stage.pause("linger")
        c.state.append("lingered")
        await c.kv.put("lingered", "x")

    @action(interleave=True)
    async def finish_beside(self, c: Context[list[str]]) -> None:
        c.destroy()

    @action(read_only=True)
    async def read(self, c: Context[list[str]]) -> list[str]:
        before = list(c.state)
        await stage.pause("read")
        return before + c.state

    @action
    async def leave_behind(self, c: Context[list[str]]) -> None:
        async def outlive() -> None:
            await stage.pause("outlive")
            for use in (self._use_state, self._open_turn):
                try:
                    await use(c)
                except ActorError as error:
                    stage.log.append(f"{error.group}.{error.code}")
            stage.mark("outlived")

        stage.kept["task"] = asyncio.create_task(outlive())
        c.destroy()

    async def _use_state(self, c: Context[list[str]]) -> None:
        c.state.append("late")

    async def _open_turn(self, c: Context[list[str]]) -> None:
        async with c.turn():
            c.state.append("late")


registry = setup(use={"mortal": Mortal})


@pytest.fixture
async def client(start: Start) -> Client:
    return (await start(registry, store=MemoryStore()))[1]


NOTHING = {"state": [], "kv": []}


async def test_all_of_it_goes_and_its_key_is_free(start: Start) -> None:
    server, client = await start(registry)
    mortal = client.get_or_create(Mortal, ["a"])
    await mortal.write(*(str(n) for n in range(200)))
    old = await mortal.resolve()

    assert await mortal.finish() == "bye"

    assert await code_of(client.get(Mortal, ["a"]).look()) == "actor.not_found"
    assert await code_of(client.get_for_id(Mortal, old).look()) == "actor.not_found"
    await client.close()
    await server.stop()
    _, client = await start(registry)
    assert [info async for info in client.list(Mortal)] == []
    assert await client.get_or_create(Mortal, ["a"]).look() == NOTHING
    assert await client.get(Mortal, ["a"]).resolve() != old
    assert await code_of(client.get_for_id(Mortal, old).look()) == "actor.not_found"


async def test_calls_that_wait_meet_the_next_actor_or_none(start: Start, stage: Stage) -> None:
    server, client = await start(registry, store=MemoryStore())
    mortal = client.get_or_create(Mortal, ["a"])
    await mortal.write("old")
    old = await mortal.resolve()
    ending = asyncio.create_task(mortal.finish("end"))
    await stage.reached("end")
    waiting: list[asyncio.Task[Any]] = []
    handles = (client.get(Mortal, ["a"]), client.get_for_id(Mortal, old), mortal)
    async with tasks(ending):
        for number, handle in enumerate(handles):
            waiting.append(asyncio.create_task(handle.write("new")))
            await until_waiting(server, number + 1, "mortal", "a")

        stage.let("end")

        assert await ending == "bye"
        assert await code_of(waiting[0]) == "actor.not_found"
        assert await code_of(waiting[1]) == "actor.not_found"
        assert await waiting[2] == 1
    assert await mortal.look() == {"state": ["new"], "kv": ["new"]}
    assert await mortal.resolve() != old


async def test_a_turn_goes_on_after_its_destroy_and_only_what_it_tells_others_stays(
    client: Client,
) -> None:
    mortal = client.get_or_create(Mortal, ["a"])
    await mortal.write("before")

    assert await mortal.go_on() == [["before", "after"], "x", 1, "actor.no_turn"]

    assert await mortal.look() == NOTHING
    async with asyncio.timeout(10):
        while ("heir",) not in [info.key async for info in client.list(Mortal)]:
            pass
    assert await client.get(Mortal, ["heir"]).look() == {
        "state": ["inherited"],
        "kv": ["inherited"],
    }


async def test_a_turn_that_raises_after_its_destroy_destroys_nothing(client: Client) -> None:
    mortal = client.get_or_create(Mortal, ["a"])
    await mortal.write("kept")
    actor_id = await mortal.resolve()

    assert await code_of(mortal.think_better_of_it()) == "user.refused"

    assert await mortal.look() == {"state": ["kept"], "kv": ["kept"]}
    assert await mortal.resolve() == actor_id


async def test_an_interleaved_turn_that_is_left_over_is_refused(
    client: Client, stage: Stage
) -> None:
    mortal = client.get_or_create(Mortal, ["a"])
    lingering = asyncio.create_task(mortal.linger())
    async with tasks(lingering):
        await stage.reached("linger")
        await mortal.finish_beside()

        stage.let("linger")

        assert await code_of(lingering) == "actor.destroyed"
    assert await mortal.look() == NOTHING


async def test_the_destroy_of_a_client_waits_for_the_turn_in_progress(
    start: Start, stage: Stage
) -> None:
    server, client = await start(registry, store=MemoryStore())
    mortal = client.get_or_create(Mortal, ["a"])
    lingering = asyncio.create_task(mortal.linger())
    await stage.reached("linger")
    destroying = asyncio.create_task(client.destroy(Mortal, ["a"]))
    async with tasks(lingering, destroying):
        await until_waiting(server, 1, "mortal", "a")

        stage.let("linger")

        await lingering
        await destroying
    assert await mortal.look() == NOTHING


async def test_a_reader_in_progress_sees_what_it_began_with(client: Client, stage: Stage) -> None:
    mortal = client.get_or_create(Mortal, ["a"])
    await mortal.write("old")
    reading = asyncio.create_task(mortal.read())
    async with tasks(reading):
        await stage.reached("read")
        await client.destroy(Mortal, ["a"])
        await mortal.write("new")

        stage.let("read")

        assert await reading == ["old", "old"]


async def test_a_task_that_outlives_its_actor_can_do_nothing(client: Client, stage: Stage) -> None:
    mortal = client.get_or_create(Mortal, ["a"])
    await mortal.leave_behind()
    await mortal.write("new")

    stage.let("outlive")
    await stage.reached("outlived")

    assert stage.log == ["actor.no_turn", "actor.destroyed"]
    assert await mortal.look() == {"state": ["new"], "kv": ["new"]}


async def test_destroy_is_told_the_id_once_and_then_finds_nothing(client: Client) -> None:
    mortal = client.get_or_create(Mortal, ["a"])
    actor_id = await mortal.resolve()

    assert await client.destroy(Mortal, ["a"]) == actor_id

    assert await code_of(client.destroy(Mortal, ["a"])) == "actor.not_found"
    # A handle of an id means that very actor, not its heir.
    await mortal.write("new")
    by_id = client.get_for_id("mortal", actor_id)
    assert await code_of(client.destroy(by_id)) == "actor.not_found"
    assert await mortal.look() == {"state": ["new"], "kv": ["new"]}


@pytest.mark.parametrize("way", ["key", "id"])
async def test_a_destroy_with_one_key_takes_effect_once(client: Client, way: str) -> None:
    mortal = client.get_or_create(Mortal, ["a"])
    actor_id = await mortal.resolve()
    handle = client.get("mortal", ["a"]) if way == "key" else client.get_for_id("mortal", actor_id)

    assert await client.destroy(handle, idempotency_key="k") == actor_id
    await mortal.write("heir")

    assert await client.destroy(handle, idempotency_key="k") == actor_id
    assert (await mortal.look())["state"] == ["heir"]


async def test_destroys_at_once_with_one_key_are_one(client: Client) -> None:
    mortal = client.get_or_create(Mortal, ["a"])
    actor_id = await mortal.resolve()

    ids = await asyncio.gather(
        *(client.destroy(Mortal, ["a"], idempotency_key="k") for _ in range(20))
    )

    assert ids == [actor_id] * 20


async def test_an_action_that_destroyed_is_answered_again_under_its_key(
    start: Start, connect: Connect
) -> None:
    server, client = await start(registry, store=MemoryStore())
    wire, mortal = connect(server), target("mortal", "a")
    first = await wire.invoke(mortal, "finish", idempotency_key="k")
    await client.get_or_create(Mortal, ["a"]).write("heir")

    for on in (mortal, by_id(first.actor_id)):
        again = await wire.invoke(on, "finish", idempotency_key="k")
        assert (result(again), again.replayed, again.actor_id) == ("bye", True, first.actor_id)

    refusal = await wire_refusal(
        wire.invoke(by_id(first.actor_id), "finish", idempotency_key="other")
    )
    assert refusal.reason == "ACTOR_NOT_FOUND"
    assert (await client.get(Mortal, ["a"]).look())["state"] == ["heir"]


async def test_a_race_of_creates_and_destroys_adds_up(client: Client) -> None:
    async def outcome(call: Any) -> str:
        try:
            await call
        except ActorError as error:
            return error.code
        return "done"

    creates = [outcome(client.create(Mortal, ["a"])) for _ in range(60)]
    destroys = [outcome(client.destroy(Mortal, ["a"])) for _ in range(60)]
    mixed = [call for pair in zip(creates, destroys, strict=True) for call in pair]

    outcomes = await asyncio.gather(*mixed)

    made, ended = outcomes[::2], outcomes[1::2]
    assert set(made) <= {"done", "duplicate_key"}
    assert set(ended) <= {"done", "not_found"}
    left = [info async for info in client.list(Mortal)]
    assert made.count("done") - ended.count("done") == len(left)
    assert made.count("done") > 0
