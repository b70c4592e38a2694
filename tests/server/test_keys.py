"""Idempotency keys: a call takes effect once, and its retries are told the same."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from holdfast import Actor, Client, Context, UserError, action, setup
from holdfast.v1 import actor_pb2
from holdfast_server.app import Server
from holdfast_server.core.ids import Address
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Connect, Start
from tests.server.outcomes import Refusal, code_of, wire_refusal
from tests.server.stage import Stage, stage, tasks
from tests.server.wire import Wire, as_json, by_id, numbered, pb, result, target


@dataclass
class Sum:
    value: int = 0


class Till(Actor[Sum]):
    """Adds; what runs is written to the stage's log."""

    async def create_state(self, c: Context[Sum], input: int | None) -> Sum:
        if input is not None and input < 0:
            stage.log.append("refused input")
            raise UserError("below zero", code="negative", metadata={"input": input})
        return Sum(input or 0)

    @action
    async def add(self, c: Context[Sum], by: int) -> dict[str, Any]:
        stage.log.append(f"add {by}")
        c.state.value += by
        return {"value": c.state.value, "luck": c.random.random()}

    @action
    async def wait(self, c: Context[Sum], name: str) -> int:
        stage.log.append(f"wait {name}")
        c.state.value += 1
        try:
            await stage.pause(name)
        except asyncio.CancelledError:
            stage.mark(f"{name} is cut")
            raise
        return c.state.value

    @action
    async def fail(self, c: Context[Sum], how: str) -> None:
        stage.log.append(f"fail {how}")
        c.state.value += 100
        if how == "user":
            raise UserError("no", code="refused", metadata={"n": len(stage.log)})
        raise ValueError(how)

    @action
    async def finish(self, c: Context[Sum]) -> str:
        stage.log.append("finish")
        c.destroy()
        return "bye"

    @action(read_only=True)
    def value(self, c: Context[Sum]) -> int:
        return c.state.value


registry = setup(use={"till": Till})
A = target("till", "a")


@pytest.fixture
async def running(start: Start) -> tuple[Server, Client]:
    return await start(registry, store=MemoryStore())


@pytest.fixture
def wire(running: tuple[Server, Client], connect: Connect, stage: Stage) -> Wire:
    return connect(running[0])


@pytest.fixture(autouse=True)
async def nothing_in_flight(running: tuple[Server, Client]) -> Any:
    """Whatever became of the calls, no key of theirs is kept in memory as in flight."""
    yield
    assert running[0].node.flights == {}


def same(one: Any, two: Any) -> None:
    """Two answers are equal to the byte, and the second says that it is a repetition."""
    assert (one.replayed, two.replayed) == (False, True)
    assert one.result.SerializeToString() == two.result.SerializeToString()
    assert one.actor_id == two.actor_id


async def evict(server: Server) -> None:
    """Put the till out of memory; nobody calls it now."""
    assert server.node.catalog.evict(Address("default", "till", ("a",)))


KEYS: list[dict[str, Any]] = [{"idempotency_key": "k"}, {"client_sequence": numbered(1)}]
each_key = pytest.mark.parametrize("key", KEYS, ids=["own", "numbered"])


@each_key
async def test_a_retry_is_answered_with_the_same_bytes(wire: Wire, key: dict[str, Any]) -> None:
    first = await wire.invoke(A, "add", 1, **key)

    same(first, await wire.invoke(A, "add", 1, **key))

    assert stage.log == ["add 1"]
    assert result(await wire.invoke(A, "value")) == 1


@each_key
async def test_a_key_is_of_one_action_with_one_argument(wire: Wire, key: dict[str, Any]) -> None:
    await wire.invoke(A, "add", 1, **key)

    calls: list[tuple[Any, ...]] = [("add", 2), ("add", 1.0), ("wait", "x"), ("finish",)]
    for name, *args in calls:
        refusal = await wire_refusal(wire.invoke(A, name, *args, **key))
        assert (refusal.status, refusal.reason) == ("INVALID_ARGUMENT", "IDEMPOTENCY_KEY_REUSED")
    by_name = pb.InvokeActionRequest(target=A, action="add", kwargs=as_json({"by": 1}), **key)
    refusal = await wire_refusal(wire.actors.InvokeAction(by_name))
    assert refusal.reason == "IDEMPOTENCY_KEY_REUSED"

    assert stage.log == ["add 1"]


async def test_keys_of_actors_and_of_clients_are_their_own(wire: Wire) -> None:
    for client in ("c", "d"):
        await wire.invoke(A, "add", 1, client_sequence=numbered(1, client=client))
    await wire.invoke(A, "add", 1, idempotency_key="k")
    await wire.invoke(target("till", "b"), "add", 1, idempotency_key="k")

    assert stage.log == ["add 1"] * 4


@each_key
async def test_calls_with_a_key_in_flight_join(wire: Wire, key: dict[str, Any]) -> None:
    first = asyncio.create_task(wire.invoke(A, "wait", "x", **key))
    await stage.reached("x")
    others = [asyncio.create_task(wire.invoke(A, "wait", "x", **key)) for _ in range(5)]
    reused = await wire_refusal(wire.invoke(A, "wait", "y", **key))
    stage.let("x")

    assert reused.reason == "IDEMPOTENCY_KEY_REUSED"
    answer = await first
    for other in others:
        same(answer, await other)
    assert stage.log == ["wait x"]


async def test_one_that_joined_runs_when_the_first_caller_cancels(wire: Wire) -> None:
    first = asyncio.create_task(wire.invoke(A, "wait", "x", idempotency_key="k"))
    await stage.reached("x")
    others = [
        asyncio.create_task(wire.invoke(A, "wait", "x", idempotency_key="k")) for _ in range(3)
    ]
    async with tasks(first, *others):
        # All of them are there: calls on one channel come in the order they left in.
        await wire.invoke(target("till", "b"), "add", 1)
        first.cancel()
        await stage.reached("x is cut")
        stage.let("x")

        answers = await asyncio.gather(*others)

    # The first was rolled back, one of the others ran, and the rest are told its answer.
    assert [result(answer) for answer in answers] == [1, 1, 1]
    assert sorted(answer.replayed for answer in answers) == [False, True, True]
    assert stage.log == ["wait x", "add 1", "wait x"]


async def test_one_that_joined_gives_up_at_its_own_deadline(wire: Wire) -> None:
    first = asyncio.create_task(wire.invoke(A, "wait", "x", idempotency_key="k"))
    async with tasks(first):
        await stage.reached("x")
        refusal = await wire_refusal(wire.invoke(A, "wait", "x", idempotency_key="k", timeout=0.05))
        assert refusal.status == "DEADLINE_EXCEEDED"
        stage.let("x")

        assert result(await first) == 1


@each_key
async def test_a_retry_outlives_the_actor(
    running: tuple[Server, Client], wire: Wire, key: dict[str, Any]
) -> None:
    first = await wire.invoke(A, "add", 1, **key)
    await running[1].destroy(Till, ["a"])

    same(first, await wire.invoke(A, "add", 1, **key))
    same(first, await wire.invoke(target("till", "a", create=False), "add", 1, **key))
    same(first, await wire.invoke(by_id(first.actor_id), "add", 1, **key))

    gone = await wire_refusal(wire.invoke(by_id(first.actor_id), "add", 1, idempotency_key="new"))
    assert gone.reason == "ACTOR_NOT_FOUND"
    # None of the retries has made an actor.
    assert await code_of(running[1].get(Till, ["a"]).resolve()) == "actor.not_found"


async def test_a_retry_after_the_action_destroyed_its_actor(
    running: tuple[Server, Client], wire: Wire
) -> None:
    await wire.invoke(A, "add", 1)
    actor_id = await running[1].get(Till, ["a"]).resolve()

    first = await wire.invoke(by_id(actor_id), "finish", idempotency_key="k")

    same(first, await wire.invoke(by_id(actor_id), "finish", idempotency_key="k"))
    assert stage.log == ["add 1", "finish"]


@each_key
async def test_a_retry_after_eviction(
    running: tuple[Server, Client], wire: Wire, key: dict[str, Any]
) -> None:
    first = await wire.invoke(A, "add", 1, **key)
    await evict(running[0])

    same(first, await wire.invoke(A, "add", 1, **key))

    assert stage.log == ["add 1"]


async def test_a_retry_after_a_restart(
    start: Start, connect: Connect, running: object, stage: Stage
) -> None:
    server, client = await start(registry)
    first = await connect(server).invoke(A, "add", 1, idempotency_key="k")
    failed = await wire_refusal(connect(server).invoke(A, "fail", "user", idempotency_key="f"))
    await client.close()
    await server.stop()

    server, client = await start(registry)
    wire = connect(server)

    same(first, await wire.invoke(A, "add", 1, idempotency_key="k"))
    assert failed == await wire_refusal(wire.invoke(A, "fail", "user", idempotency_key="f"))
    assert stage.log == ["add 1", "fail user"]
    assert server.node.flights == {}


async def test_a_user_error_is_an_answer_and_is_kept(wire: Wire) -> None:
    refusals: list[Refusal] = [
        await wire_refusal(wire.invoke(A, "fail", "user", idempotency_key="k")) for _ in range(2)
    ]

    assert refusals[0] == refusals[1]
    assert refusals[0].metadata["metadata_json"] == '{"n":1}'
    assert result(await wire.invoke(A, "value")) == 0


async def test_a_user_error_of_create_state_is_kept(
    running: tuple[Server, Client], wire: Wire
) -> None:
    on = actor_pb2.ActorTarget(
        get_or_create=actor_pb2.ActorKey(name="till", key=["a"]), input=as_json(-1)
    )
    first = await wire_refusal(wire.invoke(on, "add", 1, idempotency_key="k"))
    await evict(running[0])

    assert await wire_refusal(wire.invoke(on, "add", 1, idempotency_key="k")) == first
    assert (first.reason, first.metadata["code"]) == ("USER_ERROR", "negative")
    assert stage.log == ["refused input"]
    assert await code_of(running[1].get(Till, ["a"]).resolve()) == "actor.not_found"


async def test_any_other_error_is_not_kept(wire: Wire) -> None:
    for _ in range(2):
        refusal = await wire_refusal(wire.invoke(A, "fail", "bug", idempotency_key="k"))
        assert refusal.reason == "INTERNAL_ERROR"
    bad = await wire_refusal(wire.invoke(A, "add", "x", idempotency_key="k"))
    assert bad.reason == "ACTION_INVALID_ARGUMENT"

    assert stage.log == ["fail bug"] * 2
    assert not (await wire.invoke(A, "add", 1, idempotency_key="k")).replayed


async def test_a_keyed_creation_is_repeated_as_it_was(
    running: tuple[Server, Client], wire: Wire
) -> None:
    name = actor_pb2.ActorKey(name="till", key=["a"])
    create = pb.CreateActorRequest(actor=name, idempotency_key="create")
    find = pb.GetOrCreateActorRequest(actor=name, client_sequence=numbered(1))
    created = await wire.actors.CreateActor(create)
    found = await wire.actors.GetOrCreateActor(find)
    assert not found.created
    destroy = pb.DestroyActorRequest(
        target=by_id(created.actor.actor_id), idempotency_key="destroy"
    )
    destroyed = await wire.actors.DestroyActor(destroy)
    # Another actor lives there now, and nothing of what is told is its.
    await wire.invoke(A, "add", 1)

    for _ in range(2):
        assert await wire.actors.CreateActor(create) == created
        assert await wire.actors.GetOrCreateActor(find) == found
        assert await wire.actors.DestroyActor(destroy) == destroyed
        await evict(running[0])
    assert result(await wire.invoke(A, "value")) == 1
    other = await wire_refusal(
        wire.actors.CreateActor(
            pb.CreateActorRequest(actor=name, input=as_json(5), idempotency_key="create")
        )
    )
    assert other.reason == "IDEMPOTENCY_KEY_REUSED"


async def test_a_keyed_get_or_create_that_created_says_so_again(wire: Wire) -> None:
    find = pb.GetOrCreateActorRequest(
        actor=actor_pb2.ActorKey(name="till", key=["a"]), client_sequence=numbered(1)
    )
    first = await wire.actors.GetOrCreateActor(find)

    assert first.created
    assert await wire.actors.GetOrCreateActor(find) == first


@pytest.mark.parametrize(
    "fields",
    [
        {"idempotency_key": "k", "client_sequence": numbered(1)},
        {"idempotency_key": "k" * 256},
        {"client_sequence": actor_pb2.ClientSequence(client_id=b"short", number=1)},
        {"client_sequence": numbered(0)},
        {"client_sequence": numbered(1, acknowledged_below=2)},
    ],
)
async def test_a_malformed_key_is_refused(wire: Wire, fields: dict[str, Any]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await wire.invoke(A, "add", 1, **fields)

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert stage.log == []
