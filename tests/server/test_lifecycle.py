"""How an actor begins, wakes and ends: the order of its hooks, and what their failures do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfast import Actor, ActorError, Client, Context, UserError, action, setup
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Connect, Start
from tests.server.outcomes import code_of, refused, wire_refusal
from tests.server.probe import activation_of
from tests.server.stage import Stage, stage
from tests.server.wire import result, target


@dataclass
class Plan:
    topic: str = ""
    failing: str = ""
    """"hook:way", of the hook that fails and the way in which it does."""
    lines: list[str] = field(default_factory=list)


async def fail(way: str) -> None:
    if way == "user":
        raise UserError("no", code="refused", metadata={"n": 1})
    if way == "bug":
        raise KeyError("secret")
    if way == "exit":
        raise SystemExit(3)
    if way == "cancelled":
        raise asyncio.CancelledError
    if way == "slow":
        await asyncio.Event().wait()
    if way == "callee":
        # An error of the catalogue that does not pass by itself.
        raise ActorError("actor", "not_found", "gone", reason="ACTOR_NOT_FOUND")


class Hooked(Actor[Plan]):
    """Every hook is written down, and fails when the test or the input says so."""

    async def _enter(self, name: str) -> None:
        stage.log.append(name)
        failing = str(stage.kept.get("failing", ""))
        if failing.startswith(f"{name}:"):
            await fail(failing.partition(":")[2])

    async def create_state(self, c: Context[Plan], input: Plan | None) -> Plan:
        await self._enter("create_state")
        return Plan() if input is None else input

    async def on_create(self, c: Context[Plan], input: Plan | None) -> None:
        await self._enter("on_create")
        c.state.lines.append("created")
        await c.kv.put("created", "yes")
        if stage.kept.get("destroys") == "on_create":
            c.send("listener", ["l"], "hear", "from on_create")
            c.destroy()

    async def create_vars(self, c: Context[Plan]) -> list[str]:
        await self._enter("create_vars")
        return [c.state.topic]

    async def on_wake(self, c: Context[Plan]) -> None:
        await self._enter("on_wake")
        c.vars.append("woken")
        if stage.kept.get("destroys") == "on_wake":
            c.destroy()

    async def on_destroy(self, c: Context[Plan]) -> None:
        c.send("listener", ["l"], "hear", f"destroyed {c.state.topic}")
        await self._enter("on_destroy")

    @action
    async def look(self, c: Context[Plan]) -> dict[str, Any]:
        stage.log.append("look")
        return {"state": c.state, "kv": dict(await c.kv.list()), "vars": c.vars}

    @action
    async def finish(self, c: Context[Plan]) -> str:
        c.destroy()
        return "bye"


class Listener(Actor[list[str]]):
    state = list

    @action
    async def hear(self, c: Context[list[str]], what: str) -> None:
        c.state.append(what)
        stage.mark(what)

    @action(read_only=True)
    def heard(self, c: Context[list[str]]) -> list[str]:
        return c.state


class Bare(Actor):
    """Defines neither state nor vars."""

    @action
    async def use(self, c: Context, what: str) -> Any:
        return getattr(c, what)

    @action
    async def assign(self, c: Context) -> None:
        c.state = 1


class Shared(Actor[dict[str, list[int]]]):
    state = {"numbers": []}
    vars = {"seen": []}

    @action
    async def add(self, c: Context[dict[str, list[int]]], number: int) -> list[Any]:
        c.state["numbers"].append(number)
        c.vars["seen"].append(number)
        return [c.state["numbers"], c.vars["seen"]]


registry = setup(use={"hooked": Hooked, "listener": Listener, "bare": Bare, "shared": Shared})

BEGIN = ["create_state", "on_create", "create_vars", "on_wake"]


@pytest.fixture
async def client(start: Start) -> Client:
    return (await start(registry, store=MemoryStore(), hook_timeout_s=0.05))[1]


async def test_hooks_run_in_their_order_at_creation_and_at_wake(start: Start, stage: Stage) -> None:
    server, client = await start(registry)
    hooked = client.get_or_create(Hooked, ["a"], input=Plan("rust"))

    seen = await hooked.look()

    assert stage.log == [*BEGIN, "look"]
    assert seen["state"] == {"topic": "rust", "failing": "", "lines": ["created"]}
    assert seen["kv"] == {"created": "yes"}
    assert seen["vars"] == ["rust", "woken"]
    stage.log.clear()
    await client.close()
    await server.stop()

    _, client = await start(registry)

    assert await client.get(Hooked, ["a"]).look() == seen
    assert stage.log == ["create_vars", "on_wake", "look"]


async def test_create_runs_the_hooks_once_and_a_second_create_none(
    client: Client, stage: Stage
) -> None:
    await client.create(Hooked, ["a"], input=Plan("rust"))

    assert await code_of(client.create(Hooked, ["a"], input=Plan("go"))) == "actor.duplicate_key"

    seen = await client.get_or_create(Hooked, ["a"], input=Plan("go")).look()
    assert seen["state"]["topic"] == "rust"
    assert stage.log == [*BEGIN, "look"]


@pytest.mark.parametrize("way", ["user", "bug", "exit", "cancelled", "slow", "callee"])
@pytest.mark.parametrize("hook", BEGIN)
async def test_a_creation_that_fails_leaves_nothing(
    client: Client, stage: Stage, hook: str, way: str
) -> None:
    stage.kept["failing"] = f"{hook}:{way}"
    expected = {"user": "user.refused", "callee": "actor.not_found"}

    error = await refused(client.get_or_create(Hooked, ["a"]).look())

    assert f"{error.group}.{error.code}" == expected.get(way, "actor.start_failed")
    assert "secret" not in error.message
    if way == "user":
        assert error.metadata == {"n": 1}
    elif way != "callee":
        assert error.metadata == {"hook": hook}
        assert hook in error.message
    assert stage.log == BEGIN[: BEGIN.index(hook) + 1]
    assert [info async for info in client.list(Hooked)] == []
    assert await code_of(client.get(Hooked, ["a"]).look()) == "actor.not_found"

    del stage.kept["failing"]
    seen = await client.get_or_create(Hooked, ["a"]).look()
    assert seen["state"]["lines"] == ["created"]
    assert seen["vars"] == ["", "woken"]


@pytest.mark.parametrize("way", ["user", "bug", "slow", "cancelled", "callee"])
async def test_an_actor_that_does_not_wake_is_kept_and_can_be_destroyed(
    start: Start, stage: Stage, way: str
) -> None:
    server, client = await start(registry, store=MemoryStore(), hook_timeout_s=0.05)
    await client.get_or_create(Hooked, ["a"], input=Plan("rust")).look()
    await client.get_or_create(Hooked, ["b"], input=Plan("go")).look()
    for key in ("a", "b"):
        activation = activation_of(server, "hooked", key)
        assert activation is not None
        assert server.node.catalog.evict(activation.address)
    stage.kept["failing"] = f"on_wake:{way}"
    for key in ("a", "b"):
        await refused(client.get(Hooked, [key]).look())

    await client.destroy(Hooked, ["b"])
    del stage.kept["failing"]

    assert (await client.get(Hooked, ["a"]).look())["state"]["topic"] == "rust"
    assert [info.key async for info in client.list(Hooked)] == [("a",)]
    assert await code_of(client.get(Hooked, ["b"]).look()) == "actor.not_found"
    assert (await client.get_or_create(Hooked, ["b"]).look())["state"]["topic"] == ""


@pytest.mark.parametrize(
    "value", [3, "text", [1], {"topic": 3}, {"topic": "x", "lines": [None]}, {"lines": "x"}]
)
async def test_input_of_the_wrong_type_creates_nothing(
    client: Client, stage: Stage, value: object
) -> None:
    handle = client.get_or_create("hooked", ["a"], input=value)

    error = await refused(handle.look())

    assert (error.group, error.code) == ("actor", "invalid_input")
    assert error.message.startswith("input")
    assert await code_of(client.create("hooked", ["a"], input=value)) == "actor.invalid_input"
    assert stage.log == []
    assert [info async for info in client.list(Hooked)] == []


@pytest.mark.parametrize("what", ["state", "vars"])
async def test_what_a_class_does_not_define_is_not_enabled(client: Client, what: str) -> None:
    error = await refused(client.get_or_create(Bare, ["a"]).use(what))

    assert (error.group, error.code) == ("actor", "not_enabled")
    assert error.metadata == {"what": what}


async def test_state_cannot_be_assigned_where_none_is_defined(client: Client) -> None:
    assert await code_of(client.get_or_create(Bare, ["a"]).assign()) == "actor.not_enabled"


async def test_static_state_and_vars_are_each_actors_own(client: Client) -> None:
    one, two = client.get_or_create(Shared, ["1"]), client.get_or_create(Shared, ["2"])

    assert await one.add(1) == [[1], [1]]
    assert await two.add(2) == [[2], [2]]
    assert await one.add(3) == [[1, 3], [1, 3]]
    assert Shared.state == {"numbers": []}
    assert Shared.vars == {"seen": []}


@pytest.mark.parametrize("hook", ["on_create", "on_wake"])
async def test_an_actor_may_destroy_itself_at_its_start(
    client: Client, stage: Stage, hook: str
) -> None:
    stage.kept["destroys"] = hook

    error = await refused(client.get_or_create(Hooked, ["a"], input=Plan("x")).look())

    assert (error.group, error.code) == ("actor", "destroyed")
    assert "look" not in stage.log
    assert stage.log[-1] == "on_destroy"
    assert [info async for info in client.list(Hooked)] == []
    # What it said is out all the same: its turn was no failure.
    await stage.reached("destroyed x")
    del stage.kept["destroys"]
    assert (await client.get_or_create(Hooked, ["a"]).look())["state"]["topic"] == ""


async def test_what_destroys_itself_is_created_once_for_a_key(
    start: Start, connect: Connect, stage: Stage
) -> None:
    server, client = await start(registry, store=MemoryStore())
    stage.kept["destroys"] = "on_create"

    ids = [
        await (await client.create(Hooked, ["a"], idempotency_key="k")).resolve() for _ in range(2)
    ]
    refusals = [
        await wire_refusal(
            connect(server).invoke(target("hooked", "b"), "look", idempotency_key="k")
        )
        for _ in range(2)
    ]

    assert ids[0] == ids[1]
    assert [each.reason for each in refusals] == ["ACTOR_DESTROYED", "TURN_INTERRUPTED"]
    assert stage.log.count("on_create") == 2
    assert [info async for info in client.list(Hooked)] == []


async def test_destroying_what_destroys_itself_on_wake_succeeds(start: Start, stage: Stage) -> None:
    server, client = await start(registry, store=MemoryStore())
    await client.get_or_create(Hooked, ["a"]).look()
    activation = activation_of(server, "hooked", "a")
    assert activation is not None
    actor_id = await client.get(Hooked, ["a"]).resolve()
    assert server.node.catalog.evict(activation.address)
    stage.kept["destroys"] = "on_wake"

    assert await client.destroy(Hooked, ["a"], idempotency_key="k") == actor_id

    assert await client.destroy(Hooked, ["a"], idempotency_key="k") == actor_id
    assert stage.log.count("on_destroy") == 1
    assert await code_of(client.get(Hooked, ["a"]).look()) == "actor.not_found"


@pytest.mark.parametrize("way", ["", "user", "bug", "slow", "exit", "cancelled", "callee"])
@pytest.mark.parametrize("by", ["itself", "client"])
async def test_on_destroy_cannot_prevent_the_end(
    client: Client, stage: Stage, by: str, way: str
) -> None:
    hooked = client.get_or_create(Hooked, ["a"], input=Plan("x"))
    await hooked.look()
    stage.kept["failing"] = f"on_destroy:{way}"

    if by == "itself":
        assert await hooked.finish() == "bye"
    else:
        await client.destroy(Hooked, ["a"])

    assert stage.log.count("on_destroy") == 1
    assert await code_of(client.get(Hooked, ["a"]).look()) == "actor.not_found"
    await stage.reached("destroyed x")
    assert await client.get(Listener, ["l"]).heard() == ["destroyed x"]


async def test_a_keyed_creation_that_failed_is_refused_the_same_way_again(
    start: Start, connect: Connect, stage: Stage
) -> None:
    server, _ = await start(registry, store=MemoryStore())
    wire, hooked = connect(server), target("hooked", "a")
    stage.kept["failing"] = "on_create:user"
    with pytest.raises(Exception, match="no"):
        await wire.invoke(hooked, "look", idempotency_key="k")
    del stage.kept["failing"]

    with pytest.raises(Exception, match="no"):
        await wire.invoke(hooked, "look", idempotency_key="k")

    assert stage.log == ["create_state", "on_create"]
    assert result(await wire.invoke(hooked, "look", idempotency_key="other"))["vars"] == [
        "",
        "woken",
    ]
