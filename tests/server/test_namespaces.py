"""Namespaces keep their actors apart: by key, by id, in lists, and from each other's actors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from holdfast import Actor, ActorError, Client, Context, action, setup
from holdfast.v1 import kv_service_pb2
from holdfast_server.app import Server
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Connect, Start
from tests.server.outcomes import code_of, wire_refusal
from tests.server.wire import by_id, pb, target


class Tenant(Actor[list[str]]):
    state = list

    @action
    async def write(self, c: Context[list[str]], line: str) -> list[str]:
        c.state.append(line)
        await c.kv.put(line, c.namespace)
        return c.state

    @action
    async def read_by_id(self, c: Context[list[str]], actor_id: str) -> str:
        other = c.client.get_for_id(Tenant, actor_id)
        for call in (other.write("x"), c.client.destroy(c.client.get_for_id("tenant", actor_id))):
            try:
                await call
            except ActorError as error:
                found = f"{error.group}.{error.code}"
            else:
                return "found"
        return found

    @action
    async def pass_on(self, c: Context[list[str]], line: str) -> list[Any]:
        c.send(Tenant, ["told"], "write", line)
        asked = await c.client.get_or_create(Tenant, ["asked"]).write(line)
        listed = [info.namespace async for info in c.client.list(Tenant)]
        return [asked, c.client.namespace, listed]


registry = setup(use={"tenant": Tenant})
In = Callable[[str], Client]


@pytest.fixture
async def server(start: Start) -> Server:
    return (await start(registry, store=MemoryStore(), namespaces="one,two"))[0]


@pytest.fixture
async def within(server: Server) -> AsyncIterator[In]:
    """A client of a namespace."""
    clients: list[Client] = []

    def client(namespace: str) -> Client:
        clients.append(Client(f"127.0.0.1:{server.port}", namespace=namespace))
        return clients[-1]

    yield client
    for each in clients:
        await each.close()


async def test_one_key_in_two_namespaces_is_two_actors(within: In) -> None:
    one, two = within("one"), within("two")

    assert await one.get_or_create(Tenant, ["a"]).write("1") == ["1"]
    assert await two.get_or_create(Tenant, ["a"]).write("2") == ["2"]

    assert await one.get(Tenant, ["a"]).write("3") == ["1", "3"]
    ids = {await client.get(Tenant, ["a"]).resolve() for client in (one, two)}
    assert len(ids) == 2
    await one.destroy(Tenant, ["a"])
    assert await two.get(Tenant, ["a"]).write("4") == ["2", "4"]


async def test_lists_are_apart(within: In) -> None:
    one, two = within("one"), within("two")
    for key in ("a", "b"):
        await one.get_or_create(Tenant, [key]).write("x")
    await two.get_or_create(Tenant, ["b"]).write("x")

    listed = {
        client.namespace: [(info.key, info.namespace) async for info in client.list(Tenant)]
        for client in (one, two)
    }

    assert listed == {"one": [(("a",), "one"), (("b",), "one")], "two": [(("b",), "two")]}


async def test_an_id_of_another_namespace_is_not_found(
    server: Server, within: In, connect: Connect
) -> None:
    one, two, wire = within("one"), within("two"), connect(server)
    await one.get_or_create(Tenant, ["a"]).write("x")
    actor_id = await one.get(Tenant, ["a"]).resolve()

    assert await code_of(two.get_for_id(Tenant, actor_id).write("y")) == "actor.not_found"
    assert await code_of(two.destroy(two.get_for_id("tenant", actor_id))) == "actor.not_found"
    requests = [
        wire.actors.GetActor(pb.GetActorRequest(namespace="two", actor_id=actor_id)),
        wire.kv.ListKvEntries(
            kv_service_pb2.ListKvEntriesRequest(namespace="two", target=by_id(actor_id))
        ),
        wire.kv.GetKvEntries(
            kv_service_pb2.GetKvEntriesRequest(namespace="two", target=by_id(actor_id), keys=[b"x"])
        ),
    ]
    for request in requests:
        assert (await wire_refusal(request)).reason == "ACTOR_NOT_FOUND"
    assert await one.get_for_id(Tenant, actor_id).write("y") == ["x", "y"]


async def test_a_key_used_for_an_id_tells_another_namespace_nothing(within: In) -> None:
    """Stored replies outlive their actor, and must not be found by guessing its id."""
    one, two = within("one"), within("two")
    await one.get_or_create(Tenant, ["a"]).write("x")
    actor_id = await one.get(Tenant, ["a"]).resolve()
    theirs = one.get_for_id(Tenant, actor_id).with_options(idempotency_key="k")
    await theirs.write("secret")
    ours = two.get_for_id(Tenant, actor_id).with_options(idempotency_key="k")

    assert await code_of(ours.write("secret")) == "actor.not_found"
    await one.destroy(Tenant, ["a"])
    assert await theirs.write("secret") == ["x", "secret"]
    assert await code_of(ours.write("secret")) == "actor.not_found"


async def test_one_idempotency_key_in_two_namespaces_is_two(within: In) -> None:
    for namespace in ("one", "two"):
        tenant = within(namespace).get_or_create(Tenant, ["a"])
        assert await tenant.with_options(idempotency_key="k").write(namespace) == [namespace]


@pytest.mark.parametrize("name", ["three", "default", "one/two", "ONE", "", "o\u0301ne", "x" * 999])
async def test_a_namespace_that_does_not_exist(
    server: Server, within: In, connect: Connect, name: str
) -> None:
    client, wire = within(name), connect(server)

    async def listed() -> list[Any]:
        return [info async for info in client.list(Tenant)]

    for call in (
        client.get_or_create(Tenant, ["a"]).write("x"),
        client.create(Tenant, ["a"]),
        client.get(Tenant, ["a"]).resolve(),
        client.destroy(Tenant, ["a"]),
        listed(),
    ):
        assert await code_of(call) == "namespace.not_found"
    request = kv_service_pb2.ListKvEntriesRequest(
        namespace=name, target=target("tenant", "a", create=False)
    )
    assert (await wire_refusal(wire.kv.ListKvEntries(request))).reason == "NAMESPACE_NOT_FOUND"
    assert len(server.node.catalog) == 0


async def test_an_actor_stays_in_its_namespace(within: In) -> None:
    one, two = within("one"), within("two")
    await two.get_or_create(Tenant, ["b"]).write("x")
    theirs = await two.get(Tenant, ["b"]).resolve()
    tenant = one.get_or_create(Tenant, ["a"])

    asked, namespace, listed = await tenant.pass_on("x")

    assert (asked, namespace, set(listed)) == (["x"], "one", {"one"})
    assert await tenant.read_by_id(theirs) == "actor.not_found"
    async with asyncio.timeout(10):
        while ("told",) not in [info.key async for info in one.list(Tenant)]:
            pass
    assert [info.key async for info in two.list(Tenant)] == [("b",)]
