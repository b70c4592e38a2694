"""Memory follows the working set: the idle leave it and come back, the busy never do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Actor, Client, Context, action, setup
from holdfast_server.app import Server
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Connect, Start
from tests.server.outcomes import code_of, wire_refusal
from tests.server.probe import activation_of, until
from tests.server.stage import Stage, stage, tasks
from tests.server.wire import by_id, result, target


class Sleeper(Actor[list[str]]):
    state = list

    async def create_vars(self, c: Context[list[str]]) -> list[str]:
        return []

    async def on_wake(self, c: Context[list[str]]) -> None:
        stage.log.append(f"wake {c.key[0]}")

    @action
    async def write(self, c: Context[list[str]], line: str) -> list[Any]:
        c.state.append(line)
        c.vars.append(line)
        return [c.state, c.vars]

    @action
    async def hold(self, c: Context[list[str]], point: str) -> str:
        await stage.pause(point)
        c.state.append("held")
        return point

    @action
    async def chain(self, c: Context[list[str]], keys: list[str]) -> int:
        if not keys:
            return 1
        return 1 + await c.client.get_or_create(Sleeper, [keys[0]]).chain(keys[1:])

    @action
    async def tell(self, c: Context[list[str]], count: int) -> None:
        for number in range(count):
            c.send(Sleeper, [f"told {number}"], "write", "x")

    @action
    async def leave_a_task(self, c: Context[list[str]]) -> None:
        async def later() -> None:
            async with c.turn():
                await stage.pause("turn")
                c.state.append("from a task")
            stage.mark("turned")

        stage.kept["task"] = asyncio.create_task(later())


class Restless(Sleeper):
    sleep_timeout_s = 0


registry = setup(use={"sleeper": Sleeper, "restless": Restless})


async def started(start: Start, **settings: object) -> tuple[Server, Client]:
    return await start(registry, store=MemoryStore(), **settings)


async def test_the_longest_idle_leave_and_come_back(start: Start, stage: Stage) -> None:
    server, client = await started(start, activations_max=3)
    for key in ("a", "b", "c"):
        await client.get_or_create(Sleeper, [key]).write(key)
    await client.get(Sleeper, ["a"]).write("again")

    await client.get_or_create(Sleeper, ["d"]).write("d")

    assert len(server.node.catalog) == 3
    assert activation_of(server, "sleeper", "b") is None
    assert activation_of(server, "sleeper", "d") is not None
    # What it remembers is there, what it only thought is not.
    assert await client.get(Sleeper, ["b"]).write("more") == [["b", "more"], ["more"]]
    assert stage.log == ["wake a", "wake b", "wake c", "wake d", "wake b"]


async def test_many_more_actors_than_room(start: Start, stage: Stage) -> None:
    server, client = await started(start, activations_max=10)
    for _ in range(3):
        for key in range(40):
            await client.get_or_create(Sleeper, [str(key)]).write("x")
            assert len(server.node.catalog) <= 10

    states = [await client.get(Sleeper, [str(key)]).write("y") for key in range(40)]

    assert [state for state, _ in states] == [["x", "x", "x", "y"]] * 40


async def test_the_busy_stay_and_nobody_else_comes_in(
    start: Start, connect: Connect, stage: Stage
) -> None:
    server, client = await started(start, activations_max=2)
    wire = connect(server)
    await client.get_or_create(Sleeper, ["c"]).write("x")
    holding = [
        asyncio.create_task(client.get_or_create(Sleeper, [key]).hold(key)) for key in ("a", "b")
    ]
    async with tasks(*holding):
        await stage.reached("a")
        await stage.reached("b")

        refusal = await wire_refusal(wire.invoke(target("sleeper", "c"), "write", "y"))

        assert (refusal.status, refusal.reason) == ("RESOURCE_EXHAUSTED", "SERVER_OVERLOADED")
        assert refusal.retry_after_s
        assert len(server.node.catalog) == 2
        stage.let("a", "b")
        assert await asyncio.gather(*holding) == ["a", "b"]
    assert result(await wire.invoke(target("sleeper", "c"), "write", "y"))[0] == ["x", "y"]
    assert (await client.get(Sleeper, ["a"]).write("z"))[0] == ["held", "z"]


async def test_a_client_waits_for_room(start: Start, stage: Stage) -> None:
    _, client = await started(start, activations_max=1)
    holding = asyncio.create_task(client.get_or_create(Sleeper, ["a"]).hold("a"))
    async with tasks(holding):
        await stage.reached("a")
        other = asyncio.create_task(client.get_or_create(Sleeper, ["b"]).write("x"))

        stage.let("a")

        assert await other == [["x"], ["x"]]
        await holding


async def test_a_chain_longer_than_the_room_fails_and_leaves_it(start: Start) -> None:
    server, client = await started(start, activations_max=3)
    first = client.get_or_create(Sleeper, ["a"])

    assert await first.chain(["b", "c"]) == 3
    # Its caller cannot help it by trying again: each try would hold what it waits for.
    assert await code_of(first.chain(["b", "c", "d"])) == "internal.internal_error"

    assert await first.chain(["d", "e"]) == 3
    assert len(server.node.catalog) <= 3


async def test_sends_find_room_one_after_the_other(start: Start, stage: Stage) -> None:
    server, client = await started(start, activations_max=2, outbox_backoff_s=0.01)

    await client.get_or_create(Sleeper, ["a"]).tell(20)

    async with asyncio.timeout(20):
        while len([info async for info in client.list(Sleeper)]) < 21:
            pass
    assert len(server.node.catalog) <= 2
    for number in range(20):
        assert (await client.get(Sleeper, [f"told {number}"]).write("y"))[0] == ["x", "y"]


async def test_a_task_with_a_turn_keeps_its_actor(start: Start, stage: Stage) -> None:
    server, client = await started(start, activations_max=2)
    await client.get_or_create(Sleeper, ["a"]).leave_a_task()
    await stage.reached("turn")
    for key in ("b", "c", "d"):
        await client.get_or_create(Sleeper, [key]).write("x")
    assert activation_of(server, "sleeper", "a") is not None

    stage.let("turn")
    await stage.reached("turned")

    await client.get_or_create(Sleeper, ["e"]).write("x")
    assert (await client.get(Sleeper, ["a"]).write("y"))[0] == ["from a task", "y"]


async def test_who_does_not_want_to_linger_leaves_at_once(start: Start, stage: Stage) -> None:
    server, client = await started(start)
    restless, patient = client.get_or_create(Restless, ["a"]), client.get_or_create(Sleeper, ["a"])
    await restless.write("1")
    await patient.write("1")
    holding = asyncio.create_task(client.get_or_create(Restless, ["busy"]).hold("h"))
    async with tasks(holding):
        await stage.reached("h")

        await until(lambda: activation_of(server, "restless", "a") is None)

        assert activation_of(server, "restless", "busy") is not None
        assert activation_of(server, "sleeper", "a") is not None
        stage.let("h")
        assert await holding == "h"
    assert await restless.write("2") == [["1", "2"], ["2"]]


@pytest.mark.parametrize("keyed", [False, True])
async def test_calls_to_nobody_leave_nothing_in_memory(
    start: Start, connect: Connect, keyed: bool
) -> None:
    server, client = await started(start)
    wire, fields = connect(server), {"idempotency_key": "k"} if keyed else {}
    actor_id = await client.get_or_create(Sleeper, ["a"]).resolve()
    await client.destroy(Sleeper, ["a"])
    before = len(server.node.catalog)
    wanted = [
        *(target("sleeper", str(number), create=False) for number in range(200)),
        *(by_id(actor_id[:-4] + f"{number:04}") for number in range(100, 200)),
    ]

    for each in wanted:
        refusal = await wire_refusal(wire.invoke(each, "write", "x", **fields))
        assert refusal.status in ("NOT_FOUND", "INVALID_ARGUMENT")
    for number in range(50):
        assert await code_of(client.destroy(Sleeper, [str(number)])) == "actor.not_found"
        assert await code_of(client.get(Sleeper, [str(number)]).resolve()) == "actor.not_found"
        await wire_refusal(wire.invoke(target("sleeper", f"n{number}"), "no_such_action"))
        await wire_refusal(wire.invoke(target("sleeper", f"n{number}"), "write", 1, 2, 3))

    # An actor that a bad call has made is one; the others never were.
    made = [info.key async for info in client.list(Sleeper)]
    assert len(server.node.catalog) - before == len(made)
    assert not server.node.flights
