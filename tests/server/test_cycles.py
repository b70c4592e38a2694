"""Call cycles fail when they close, with the chain; what is no cycle never fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast import Actor, ActorError, Client, Context, action, setup
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Connect, Start
from tests.server.outcomes import code_of, refused, wire_refusal
from tests.server.probe import until_waiting
from tests.server.stage import Stage, stage, tasks
from tests.server.wire import target


class Node(Actor[list[str]]):
    """Calls along a path; each step of it is the key of the next actor."""

    state = list

    @action
    async def walk(self, c: Context[list[str]], path: list[str]) -> list[str]:
        c.state.append("visited")
        if not path:
            return c.key
        step = c.client.get_or_create(type(self), [path[0]])
        return [*c.key, *await step.walk(path[1:])]

    @action(interleave=True)
    async def weave(self, c: Context[list[str]], path: list[str]) -> list[str]:
        if not path:
            return c.key
        return [*c.key, *await c.client.get_or_create(type(self), [path[0]]).weave(path[1:])]

    @action(interleave=True)
    async def weave_slowly(self, c: Context[list[str]], other: str) -> list[str]:
        await stage.pause("weaving")
        return [*c.key, *await c.client.get_or_create(type(self), [other]).weave(c.key)]

    @action(read_only=True)
    async def peek(self, c: Context[list[str]], path: list[str]) -> int:
        if not path:
            return len(c.state)
        return await c.client.get_or_create(type(self), [path[0]]).peek(path[1:])

    @action
    async def peek_from_turn(self, c: Context[list[str]], path: list[str]) -> int:
        c.state.append("not committed")
        return await c.client.get_or_create(type(self), [path[0]]).peek(path[1:])

    @action
    async def fan_out(self, c: Context[list[str]], middle: list[str], end: str) -> list[list[str]]:
        steps = (c.client.get_or_create(type(self), [each]).walk([end]) for each in middle)
        return await asyncio.gather(*steps)

    @action
    async def meet(self, c: Context[list[str]], other: str) -> str:
        await stage.pause(c.key[0])
        try:
            await c.client.get_or_create(type(self), [other]).walk([])
        except ActorError as error:
            stage.log.append(f"{error.group}.{error.code}")
            return "refused"
        return "passed"

    @action
    async def recover(self, c: Context[list[str]]) -> str:
        try:
            await c.client.get_or_create(type(self), c.key).walk([])
        except ActorError as error:
            return f"{error.group}.{error.code}"
        return "passed"

    @action
    async def end(self, c: Context[list[str]], key: str) -> None:
        await c.client.destroy(type(self), [key])

    @action
    async def remains(self, c: Context[list[str]]) -> list[str]:
        return c.state


class Reentrant(Node):
    reentrant = True


class Rooted(Node):
    """Walks the path in its key's tail before anybody may call it."""

    async def on_create(self, c: Context[list[str]], input: Any) -> None:
        if len(c.key) > 1:
            # Whoever asks this actor from here asks one that is not there yet.
            await c.client.get_or_create(Root, ["helper"]).ask(c.key, read_only="ro" in c.key)


class Waker(Node):
    async def on_wake(self, c: Context[list[str]]) -> None:
        if len(c.key) > 1:
            await c.client.get_or_create(Root, ["helper"]).ask(c.key, read_only="ro" in c.key)


class Root(Actor):
    @action
    async def ask(self, c: Context, key: list[str], read_only: bool) -> Any:
        cls = Waker if "wake" in key else Rooted
        there = c.client.get_or_create(cls, key)
        return await (there.peek([]) if read_only else there.walk([]))


registry = setup(
    use={"node": Node, "reentrant": Reentrant, "rooted": Rooted, "waker": Waker, "root": Root}
)


@pytest.fixture
async def client(start: Start) -> Client:
    return (await start(registry, store=MemoryStore()))[1]


@pytest.mark.parametrize("path", [["a"], ["b", "a"], ["b", "c", "a"], ["b", "b"], [*"bcdefghb"]])
async def test_a_call_that_closes_a_circle_fails_with_the_chain(
    client: Client, path: list[str]
) -> None:
    error = await refused(client.get_or_create(Node, ["a"]).walk(path))

    assert (error.group, error.code) == ("actor", "call_cycle")
    assert error.metadata is not None
    chain = error.metadata["chain"].split(" -> ")
    asked = path[path.index(path[-1]) :] if path[-1] in path[:-1] else ["a", *path]
    # From the actor whose call closed the circle, all the way round.
    wanted = [f"default/node/[{key!r}]" for key in [asked[-2], *asked[1:]]]
    assert chain == [wanted[0], wanted[-1], *wanted[1:-1]]
    assert error.metadata["chain"] in error.message
    for key in {"a", *path}:
        assert await client.get_or_create(Node, [key]).remains() == []


async def test_the_caller_hears_of_it_without_the_sdk(start: Start, connect: Connect) -> None:
    server, _ = await start(registry, store=MemoryStore())

    refusal = await wire_refusal(connect(server).invoke(target("node", "a"), "walk", ["b", "a"]))

    assert (refusal.status, refusal.reason) == ("FAILED_PRECONDITION", "CALL_CYCLE")
    assert "default/node/['a']" in refusal.metadata["chain"]
    assert refusal.retry_after_s is None


async def test_a_handler_may_catch_it_and_go_on(client: Client) -> None:
    assert await client.get_or_create(Node, ["a"]).recover() == "actor.call_cycle"


@pytest.mark.parametrize("path", [["a"], ["b", "a"]])
async def test_a_reentrant_actor_is_called_back(client: Client, path: list[str]) -> None:
    first = client.get_or_create(Reentrant, ["a"])

    assert await first.walk(path) == ["a", *path]

    assert await first.remains() == ["visited", "visited"]


async def test_interleaved_turns_call_in_a_circle(client: Client) -> None:
    assert await client.get_or_create(Node, ["a"]).weave(["b", "a", "b"]) == [*"abab"]


async def test_a_waiting_exclusive_turn_does_not_cut_an_interleaved_circle(
    start: Start, stage: Stage
) -> None:
    server, client = await start(registry, store=MemoryStore())
    node = client.get_or_create(Node, ["a"])
    first = asyncio.create_task(node.weave_slowly("b"))
    await stage.reached("weaving")
    exclusive = asyncio.create_task(node.walk([]))
    async with tasks(first, exclusive):
        await until_waiting(server, 1, "node", "a")

        stage.let("weaving")

        assert await first == [*"aba"]
        assert await exclusive == ["a"]


async def test_read_only_calls_may_go_in_a_circle(client: Client) -> None:
    node = client.get_or_create(Node, ["a"])
    await node.walk([])

    assert await node.peek(["b", "a"]) == 1
    # They see the last finished turn, not the one that asks.
    assert await node.peek_from_turn(["b", "a"]) == 1


@pytest.mark.parametrize("way", ["exclusive", "ro"])
@pytest.mark.parametrize("hook", ["create", "wake"])
async def test_a_circle_through_a_hook_of_the_start_is_found(
    client: Client, hook: str, way: str
) -> None:
    cls = Rooted if hook == "create" else Waker

    error = await refused(client.get_or_create(cls, ["a", hook, way]).walk([]))

    assert (error.group, error.code) == ("actor", "call_cycle")
    assert [info async for info in client.list(cls)] == []


async def test_an_actor_cannot_wait_for_its_own_end(client: Client) -> None:
    node = client.get_or_create(Node, ["a"])
    await node.walk([])

    assert await code_of(node.end("a")) == "actor.call_cycle"

    assert await node.remains() == ["visited"]


async def test_of_two_chains_that_meet_one_is_refused(client: Client, stage: Stage) -> None:
    first = asyncio.create_task(client.get_or_create(Node, ["a"]).meet("b"))
    second = asyncio.create_task(client.get_or_create(Node, ["b"]).meet("a"))
    async with tasks(first, second):
        await stage.reached("a")
        await stage.reached("b")

        stage.let("a", "b")

        assert sorted(await asyncio.gather(first, second)) == ["passed", "refused"]
    assert stage.log == ["actor.call_cycle"]


async def test_diamonds_and_crowds_are_no_cycles(client: Client) -> None:
    middle = [f"m{n}" for n in range(20)]

    found = await client.get_or_create(Node, ["a"]).fan_out(middle, "end")

    assert found == [[each, "end"] for each in middle]
    crowd = (client.get_or_create(Node, [f"c{n}"]).walk(["m0", "end"]) for n in range(50))
    assert await asyncio.gather(*crowd) == [[f"c{n}", "m0", "end"] for n in range(50)]


async def test_several_calls_of_one_turn_to_one_actor_are_no_cycle(client: Client) -> None:
    found = await client.get_or_create(Node, ["a"]).fan_out(["b"] * 20, "end")

    assert found == [["b", "end"]] * 20
