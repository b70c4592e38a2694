"""The bounds of an actor's mailbox and of the server: refusals are plain, nothing is lost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import grpc
import pytest

from holdfast import Actor, Client, Context, action, setup
from holdfast.v1 import actor_pb2, actor_service_pb2
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Connect, Start
from tests.server.outcomes import Refusal, refusal_of, wire_refusal
from tests.server.probe import activation_of, until, until_waiting
from tests.server.stage import Stage, stage, tasks
from tests.server.virtual import World, run
from tests.server.wire import Wire, numbered, result, target

CALLS = 10_000


@dataclass
class Sum:
    total: int = 0


class Adder(Actor[Sum]):
    state = Sum

    @action
    async def add(self, c: Context[Sum], by: int) -> int:
        c.state.total += by
        return c.state.total

    @action
    async def hold(self, c: Context[Sum], point: str) -> None:
        await stage.pause(point)

    @action(read_only=True)
    def total(self, c: Context[Sum]) -> int:
        return c.state.total


class Narrow(Adder):
    mailbox_max = 2


class Asker(Actor):
    @action
    async def ask(self, c: Context, key: str) -> int:
        return await c.client.get_or_create(Narrow, [key]).add(1)

    @action
    async def tell(self, c: Context, key: str) -> None:
        c.send(Narrow, [key], "add", 1)


registry = setup(use={"adder": Adder, "narrow": Narrow, "asker": Asker})


async def add(wire: Wire, name: str, by: int, **fields: object) -> int | Refusal:
    """What one call comes to."""
    try:
        return int(result(await wire.invoke(target(name, "a"), "add", by, **fields)))
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)


async def test_of_ten_thousand_calls_at_once_none_is_lost(
    start: Start, connect: Connect, stage: Stage
) -> None:
    server, _ = await start(registry, store=MemoryStore())
    wire = connect(server)
    holding = asyncio.create_task(wire.invoke(target("adder", "a"), "hold", "h"))
    await stage.reached("h")
    refused = 0

    async def call(number: int) -> int | Refusal:
        nonlocal refused
        outcome = await add(wire, "adder", 1, client_sequence=numbered(number + 1))
        refused += isinstance(outcome, Refusal)
        return outcome

    calls = [asyncio.create_task(call(number)) for number in range(CALLS)]
    async with tasks(holding, *calls):
        await until(lambda: refused == CALLS - 1000)
        stage.let("h")
        outcomes = await asyncio.gather(*calls)
        await holding

    refusals = [each for each in outcomes if isinstance(each, Refusal)]
    assert {(each.status, each.reason) for each in refusals} == {
        ("RESOURCE_EXHAUSTED", "ACTOR_OVERLOADED")
    }
    assert all(each.retry_after_s for each in refusals)
    # Those that were taken ran once each, in some order of their arrival.
    assert sorted(each for each in outcomes if isinstance(each, int)) == list(range(1, 1001))
    assert result(await wire.invoke(target("adder", "a"), "total")) == 1000
    # What was refused left nothing behind: its number is free to be tried again.
    number = next(n for n, each in enumerate(outcomes) if isinstance(each, Refusal))
    assert await add(wire, "adder", 1, client_sequence=numbered(number + 1)) == 1001


async def test_a_flood_without_a_block_adds_up(start: Start, connect: Connect) -> None:
    server, _ = await start(registry, mailbox_max=5)
    wire = connect(server)

    outcomes = await asyncio.gather(*(add(wire, "adder", 1) for _ in range(500)))

    done = sorted(each for each in outcomes if isinstance(each, int))
    assert done == list(range(1, len(done) + 1))
    assert result(await wire.invoke(target("adder", "a"), "total")) == len(done)


async def test_a_class_may_have_a_bound_of_its_own(
    start: Start, connect: Connect, stage: Stage
) -> None:
    server, client = await start(registry, store=MemoryStore())
    wire = connect(server)
    holding = asyncio.create_task(wire.invoke(target("narrow", "a"), "hold", "h"))
    await stage.reached("h")
    waiting = [asyncio.create_task(add(wire, "narrow", 1)) for _ in range(2)]
    async with tasks(holding, *waiting):
        await until_waiting(server, 2, "narrow", "a")

        refusal = await add(wire, "narrow", 100)

        assert isinstance(refusal, Refusal)
        assert (refusal.status, refusal.reason) == ("RESOURCE_EXHAUSTED", "ACTOR_OVERLOADED")
        assert refusal.retry_after_s
        # Others are not held up, and readers wait in no line.
        assert result(await wire.invoke(target("narrow", "b"), "add", 1)) == 1
        assert await client.get(Narrow, ["a"]).total() == 0
        stage.let("h")
        assert sorted(await asyncio.gather(*waiting)) == [1, 2]  # type: ignore[type-var]


async def test_a_caller_that_gives_up_makes_room(
    start: Start, connect: Connect, stage: Stage
) -> None:
    server, _ = await start(registry, store=MemoryStore())
    wire = connect(server)
    holding = asyncio.create_task(wire.invoke(target("narrow", "a"), "hold", "h"))
    await stage.reached("h")
    waiting = [asyncio.create_task(add(wire, "narrow", 10**n)) for n in range(2)]
    async with tasks(holding, *waiting):
        await until_waiting(server, 2, "narrow", "a")
        waiting[0].cancel()
        await until_waiting(server, 1, "narrow", "a")

        third = asyncio.create_task(add(wire, "narrow", 100))
        await until_waiting(server, 2, "narrow", "a")
        stage.let("h")

        assert await waiting[1] == 10
        assert await third == 110


async def test_whether_an_actor_exists_is_told_beside_its_turns(
    start: Start, connect: Connect, stage: Stage
) -> None:
    server, _ = await start(registry, store=MemoryStore())
    wire = connect(server)
    key = actor_pb2.ActorKey(name="narrow", key=["a"])

    async def make(key_of_call: str) -> tuple[str, bool]:
        request = actor_service_pb2.GetOrCreateActorRequest(actor=key, idempotency_key=key_of_call)
        answer = await wire.actors.GetOrCreateActor(request, timeout=10)
        return answer.actor.actor_id, answer.created

    actor_id, created = await make("first")
    assert created
    holding = asyncio.create_task(wire.invoke(target("narrow", "a"), "hold", "h"))
    await stage.reached("h")
    async with tasks(holding):
        assert await make("") == (actor_id, False)
        assert await make("second") == await make("second") == (actor_id, False)
        # The answer to the call that made it stays what it was.
        assert await make("first") == (actor_id, True)
        assert not holding.done()
        stage.let("h")
        await holding


async def test_a_client_tries_again_until_there_is_room(start: Start, stage: Stage) -> None:
    server, client = await start(registry, store=MemoryStore())
    narrow = client.get_or_create(Narrow, ["a"])
    holding = asyncio.create_task(narrow.hold("h"))
    await stage.reached("h")
    calls = [asyncio.create_task(narrow.add(1)) for _ in range(6)]
    async with tasks(holding, *calls):
        await until_waiting(server, 2, "narrow", "a")

        stage.let("h")

        assert sorted(await asyncio.gather(*calls)) == [1, 2, 3, 4, 5, 6]


async def test_an_actor_meets_the_bound_of_another(
    start: Start, connect: Connect, stage: Stage
) -> None:
    """A caller must not be told to try again what ran in part."""
    server, client = await start(registry, store=MemoryStore(), outbox_backoff_s=0.01)
    wire = connect(server)
    holding = asyncio.create_task(wire.invoke(target("narrow", "a"), "hold", "h"))
    await stage.reached("h")
    waiting = [asyncio.create_task(add(wire, "narrow", 1)) for _ in range(2)]
    async with tasks(holding, *waiting):
        await until_waiting(server, 2, "narrow", "a")
        # A send is none of the caller's worry: it waits for room.
        await client.get_or_create(Asker, ["a"]).tell("a")

        refusal = await wire_refusal(wire.invoke(target("asker", "a"), "ask", "a"))

        assert (refusal.reason, refusal.retry_after_s) == ("INTERNAL_ERROR", None)
        stage.let("h")
        await asyncio.gather(*waiting)
    await until_total(client, 3)


async def until_total(client: Client, wanted: int) -> None:
    """Wait until sends have arrived."""
    async with asyncio.timeout(10):
        while await client.get(Narrow, ["a"]).total() != wanted:
            pass


@pytest.mark.parametrize("kind", ["exclusive", "read_only", "create"])
async def test_the_server_takes_so_many_calls_at_once(
    start: Start, connect: Connect, stage: Stage, kind: str
) -> None:
    server, _ = await start(registry, store=MemoryStore(), calls_max=2)
    wire = connect(server)
    await wire.invoke(target("adder", "free"), "add", 1)
    holding = [
        asyncio.create_task(wire.invoke(target("adder", key), "hold", key)) for key in ("a", "b")
    ]
    async with tasks(*holding):
        await stage.reached("a")
        await stage.reached("b")
        call = {
            "exclusive": wire.invoke(target("adder", "free"), "add", 1),
            "read_only": wire.invoke(target("adder", "free"), "total"),
            "create": wire.invoke(target("adder", "new"), "add", 1),
        }
        wanted = call.pop(kind)
        for other in call.values():
            other.close()

        refusal = await wire_refusal(wanted)

        assert (refusal.status, refusal.reason) == ("RESOURCE_EXHAUSTED", "SERVER_OVERLOADED")
        assert refusal.retry_after_s
        stage.let("a", "b")
        await asyncio.gather(*holding)
    assert result(await wire.invoke(target("adder", "free"), "add", 1)) == 2
    assert activation_of(server, "adder", "new") is None


def test_a_waiting_call_that_is_cancelled_in_the_tick_of_its_turn_leaves_the_actor_free() -> None:
    stage.clear()

    async def body(world: World) -> None:
        start = asyncio.get_running_loop().create_task
        holding = start(world.call("hold", "here", name="adder"))
        await stage.reached("here")
        waiting = start(world.call("add", 1, name="adder"))
        await asyncio.sleep(0)
        # The turn of the one ends before the other learns that it was cancelled.
        stage.let("here")
        waiting.cancel()
        await asyncio.wait([holding, waiting])

        assert waiting.cancelled()
        async with asyncio.timeout(1):
            assert await world.call("add", 2, name="adder") == 2

    run(registry, body)
