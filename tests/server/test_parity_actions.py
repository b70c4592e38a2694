"""What the driver suite of RivetKit asks of actions and of state; see tests/PARITY.md."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import pydantic
import pytest

from holdfast import Actor, Context, action, setup
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Start
from tests.server.outcomes import code_of
from tests.server.stage import Stage, stage


@dataclass
class Seen:
    count: int = 0
    name: str = ""
    names: list[str] = field(default_factory=list)


class Counter(Actor[Seen]):
    state = Seen

    async def on_wake(self, c: Context[Seen]) -> None:
        c.state.name = c.name

    @action
    def increment(self, c: Context[Seen], by: int = 1) -> int:
        c.state.count += by
        return c.state.count

    @action(read_only=True)
    def info(self, c: Context[Seen]) -> dict[str, Any]:
        return {"count": c.state.count, "name": c.name, "kept": c.state.name, "key": c.key}

    @action
    def reset(self, c: Context[Seen]) -> None:
        c.state.count = 0

    @action(name="calculator.add")
    async def add(self, c: Context[Seen], by: int) -> int:
        c.state.count += by
        return c.state.count

    @action
    async def at_once(self, c: Context[Seen]) -> str:
        return "at once"

    @action
    async def delayed(self, c: Context[Seen]) -> str:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        loop.call_soon(future.set_result, "delayed")
        return await future

    @action
    async def rejected(self, c: Context[Seen]) -> str:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, ValueError("mine"))
        return await future

    @action
    async def same(self, c: Context[Seen]) -> list[bool]:
        state = c.state
        state.count += 1
        return [c.state is state, c.state.names is state.names, c.state.count == state.count]


class Hasty(Counter):
    """Its turns have 50 ms."""

    action_timeout_s = 0.05

    @action
    async def hang(self, c: Context[Seen]) -> None:
        await asyncio.Event().wait()

    @action
    def block(self, c: Context[Seen], seconds: float) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        return "blocked"


class Patient(Hasty):
    """Its turns have the server's time."""

    action_timeout_s = 60

    @action
    async def until_let(self, c: Context[Seen]) -> str:
        await stage.pause("patient")
        return "done"


registry = setup(use={"counter": Counter, "hasty": Hasty, "patient": Patient})


@pytest.fixture
async def client(start: Start, stage: Stage) -> Any:
    return (await start(registry, store=MemoryStore()))[1]


async def test_plain_functions_are_actions(client: Any) -> None:
    counter = client.get_or_create(Counter, ["a"])
    assert await counter.increment() == 1
    assert await counter.increment(5) == 6
    assert (await counter.info())["count"] == 6
    await counter.reset()
    assert (await counter.info())["count"] == 0


async def test_what_an_action_awaits_becomes_its_result_or_its_error(client: Any) -> None:
    counter = client.get_or_create(Counter, ["a"])
    assert await counter.at_once() == "at once"
    assert await counter.delayed() == "delayed"
    assert await code_of(counter.rejected()) == "internal.internal_error"
    assert await counter.increment() == 1


async def test_a_name_with_a_dot_is_called_by_it(client: Any) -> None:
    counter = client.get_or_create(Counter, ["a"])
    assert await counter.add(2) == 2
    assert await client.get("counter", ["a"]).action("calculator.add", 3) == 5
    refused = client.get("counter", ["a"]).action("calculator.add", "many")
    assert await code_of(refused) == "action.invalid_argument"
    assert await code_of(client.get("counter", ["a"]).action("calculator.sub", 1)) == (
        "action.not_found"
    )


async def test_each_class_has_its_own_time_limit(client: Any, stage: Stage) -> None:
    hasty, patient = (client.get_or_create(cls, ["a"]) for cls in (Hasty, Patient))
    waiting = asyncio.create_task(patient.until_let())
    await stage.reached("patient")

    assert await code_of(hasty.hang()) == "action.timed_out"

    # The one with the longer limit has been at it for longer.
    assert not waiting.done()
    stage.let("patient")
    assert await waiting == "done"
    assert await hasty.increment() == 1


async def test_the_servers_time_limit_is_that_of_classes_without_one(
    start: Start, stage: Stage
) -> None:
    class Plain(Actor):
        @action
        async def hang(self, c: Context) -> None:
            await asyncio.Event().wait()

        @action
        async def quick(self, c: Context) -> str:
            return "quick"

    use = setup(use={"plain": Plain})
    _, client = await start(use, store=MemoryStore(), action_timeout_s=0.05)
    plain = client.get_or_create(Plain, ["a"])

    assert await code_of(plain.hang()) == "action.timed_out"
    assert await plain.quick() == "quick"


async def test_a_plain_function_is_never_cut_short(client: Any) -> None:
    assert await client.get_or_create(Hasty, ["a"]).block(0.06) == "blocked"


async def test_an_actor_knows_its_name_and_key(client: Any) -> None:
    info = await client.get_or_create(Counter, ["org", "a"]).info()
    assert info == {"count": 0, "name": "counter", "kept": "counter", "key": ["org", "a"]}


async def test_the_state_of_a_turn_is_one_object(client: Any) -> None:
    assert await client.get_or_create(Counter, ["a"]).same() == [True, True, True]


# Changes


class Big(pydantic.BaseModel):
    """Counts how often it is encoded."""

    numbers: list[int] = pydantic.Field(default_factory=lambda: [0] * 20_000)
    told: int = 0

    @pydantic.field_serializer("told")
    def count(self, told: int) -> int:
        stage.log.append("encoded")
        return told


class Watched(Actor[Big]):
    state = Big

    def on_state_change(self, c: Context[Big], state: Big) -> None:
        stage.log.append("told")
        state.told += 1

    @action
    async def burst(self, c: Context[Big], count: int) -> int:
        for number in range(count):
            c.state.numbers[number] += 1
        return sum(c.state.numbers)

    @action
    async def told(self, c: Context[Big]) -> int:
        return c.state.told

    @action
    async def total(self, c: Context[Big]) -> int:
        return sum(c.state.numbers)


async def test_a_burst_of_changes_costs_no_more_than_one(start: Start, stage: Stage) -> None:
    _, client = await start(setup(use={"watched": Watched}), store=MemoryStore())
    watched = client.get_or_create(Watched, ["a"])
    before = await watched.told()
    work = []
    for count in (1, 200):
        stage.log.clear()
        await watched.burst(count)
        work.append(list(stage.log))

    # However large the state and however many its changes, it is encoded and told as often.
    assert work[0] == work[1]
    assert work[1].count("told") == 1
    assert await watched.told() == before + 2
    stage.log.clear()
    assert await watched.total() == 201
    assert "told" not in stage.log
