"""`state_ttl_s`: an actor whose state has not changed for so long is gone, and destroyed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from holdfast import Actor, Context, RegistrationError, action, setup
from holdfast_server.core.call import Call, Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import Address
from holdfast_server.runtime.lifecycle import DESTROY
from holdfast_server.store import keys
from tests.server.virtual import World, run

destroyed: list[str] = []


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    destroyed.clear()
    yield
    destroyed.clear()


@dataclass
class Count:
    value: int = 0


class Session(Actor[Count]):
    """Lives for a minute after its last change."""

    state = Count
    state_ttl_s = 60

    async def on_destroy(self, c: Context[Count]) -> None:
        destroyed.append(c.key[0])

    @action
    async def add(self, c: Context[Count]) -> int:
        c.state.value += 1
        return c.state.value

    @action(read_only=True)
    def look(self, c: Context[Count]) -> int:
        return c.state.value

    @action
    async def whoami(self, c: Context[Count]) -> str:
        return c.actor_id

    @action
    async def slow(self, c: Context[Count], seconds: float) -> int:
        await asyncio.sleep(seconds)
        c.state.value += 1
        return c.state.value

    @action
    async def prepare(self, c: Context[Count]) -> None:
        await c.kv.put("k", "v", ttl=10)
        await c.kv.put("l", "v")
        c.schedule.after(3600, "add")

    @action
    async def stream(self, c: Context[Count]) -> AsyncIterator[int]:
        yield c.state.value


class Ageless(Session):
    """A version without the option."""

    state_ttl_s = None


registry = setup(use={"alarm": Session})
ageless = setup(use={"alarm": Ageless})
GET = Target(address=Address("default", "alarm", ("a",)))


async def exists(world: World) -> bool:
    """Whether it is there for those who look from outside, who must agree."""
    there = True
    try:
        await world.node.lookup.get(GET)
    except HoldfastError:
        there = False
    listed, _ = await world.node.lookup.list_actors("default", "alarm", (), b"", 10)
    assert bool(listed) == there
    return there


def test_it_lives_as_long_as_it_changes_and_then_is_new() -> None:
    async def body(world: World) -> None:
        first = await world.call("whoami")
        for count in range(1, 5):
            await world.pass_by(50)
            assert await world.call("add") == count
        await world.pass_by(59)
        assert await exists(world)
        # To look is no change.
        assert await world.call("look") == 4
        await world.pass_by(2)
        assert not await exists(world)
        assert destroyed == ["a"]
        assert await world.call("look") == 0
        assert await world.call("whoami") != first

    run(registry, body)


@pytest.mark.parametrize("how", ["call", "get", "read", "destroy"])
def test_nobody_sees_one_that_has_expired_and_is_not_swept(how: str) -> None:
    async def body(world: World) -> None:
        await world.call("add")
        actor_id, _ = await world.node.lookup.get(GET)
        world.node.timers.stop()
        await world.pass_by(61)
        assert not await exists(world)
        if how == "call":
            assert await world.call("add") == 1
        elif how == "read":
            assert await world.call("look") == 0
        elif how == "get":
            with pytest.raises(HoldfastError):
                await world.node.lookup.kv_get(Target(actor_id=actor_id), [b"k"])
        else:
            with pytest.raises(HoldfastError) as caught:
                await world.node.destroy(Call(target=Target(actor_id=actor_id), action=DESTROY))
            assert caught.value.reason.code == "not_found"

    run(registry, body)


def test_everything_it_had_goes_with_it() -> None:
    async def body(world: World) -> None:
        await world.call("add")
        await world.call("prepare")
        await world.pass_by(11)
        assert await exists(world)
        await world.pass_by(50)
        for kind in ("ACTOR", "STATE", "KV", "KV_EXPIRY", "SCHEDULE", "TIMER", "AGENDA"):
            assert world.rows.scan(*keys.kind_range(keys.Kind[kind]), limit=1) == [], kind

    run(registry, body)


def test_it_expires_while_the_server_is_down_and_asleep() -> None:
    async def body(world: World) -> None:
        await world.call("add")
        world.node.timers.stop()
        await world.pass_by(3600)
        world.crash()
        assert not await exists(world)
        await world.pass_by(1)
        assert destroyed == ["a"]

    run(registry, body)


def test_a_turn_under_way_when_the_time_comes_is_not_cut_and_keeps_it_alive() -> None:
    async def body(world: World) -> None:
        await world.call("add")
        await world.pass_by(50)
        assert await world.call("slow", 30) == 2
        await world.pass_by(1)
        assert destroyed == []
        assert await world.call("look") == 2
        await world.pass_by(60)
        assert destroyed == ["a"]

    run(registry, body)


def test_a_version_without_the_option_keeps_what_is_there() -> None:
    async def body(world: World) -> None:
        await world.call("add")
        world.crash(ageless)
        await world.pass_by(600)
        assert await world.call("look") == 1
        assert destroyed == []

    run(registry, body)


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), True, "60", 1e11])
def test_an_option_that_is_no_length_of_time_is_refused(ttl: Any) -> None:
    class Wrong(Actor[Count]):
        state = Count
        state_ttl_s = ttl

    with pytest.raises(RegistrationError, match="state_ttl_s"):
        setup(use={"wrong": Wrong})


def test_a_class_without_state_has_none_that_expires() -> None:
    class Stateless(Actor):
        state_ttl_s = 60

    with pytest.raises(RegistrationError, match="state_ttl_s"):
        setup(use={"wrong": Stateless})
