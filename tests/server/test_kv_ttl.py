"""KV entries with a time to live: gone for every reader at their time, and swept."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from holdfast import Actor, ActorError, Context, action, setup
from holdfast_server.core.call import Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.ids import Address
from holdfast_server.store import keys
from tests.server.virtual import World, run


class Cache(Actor):
    """Keeps entries for a while."""

    @action
    async def put(self, c: Context, key: str, value: str, ttl: float | None = None) -> None:
        await c.kv.put(key, value, ttl=ttl)

    @action
    async def put_many(self, c: Context, count: int, ttl: float) -> None:
        for first in range(0, count, 100):
            entries = {f"{number:05}": "x" for number in range(first, min(first + 100, count))}
            await c.kv.put_batch(entries, ttl=ttl)

    @action
    async def wrong(self, c: Context, which: int) -> str:
        ttl: Any = (0, -1, float("nan"), float("inf"), "5", True, timedelta.max, 1e15)[which]
        try:
            await c.kv.put("k", "v", ttl=ttl)
        except ActorError as error:
            return f"{error.group}.{error.code}"
        return "ok"

    @action
    async def get(self, c: Context, key: str) -> str | bytes | None:
        return await c.kv.get(key)

    @action
    async def list(self, c: Context, limit: int | None = None, reverse: bool = False) -> Any:
        return [key for key, _ in await c.kv.list(limit=limit, reverse=reverse)]

    @action
    async def range(self, c: Context, start: str, end: str) -> Any:
        return [key for key, _ in await c.kv.range(start, end)]

    @action
    async def inside(self, c: Context) -> Any:
        """A turn sees its own entries, and they too expire for it."""
        await c.kv.put("own", "x", ttl=3600)
        return [await c.kv.get("own"), [key for key, _ in await c.kv.list()]]

    @action
    async def delete(self, c: Context, start: str, end: str | None = None) -> None:
        await (c.kv.delete(start) if end is None else c.kv.delete_range(start, end))

    @action
    async def later(self, c: Context, delay: float) -> None:
        c.schedule.after(delay, "put", "scheduled", "x", 5)

    @action
    async def destroy(self, c: Context) -> None:
        c.destroy()


registry = setup(use={"alarm": Cache})


def rows(world: World, kind: str) -> int:
    return len(world.rows.scan(*keys.kind_range(keys.Kind[kind]), limit=100_000))


def test_an_entry_is_gone_at_its_time_and_swept() -> None:
    async def body(world: World) -> None:
        await world.call("put", "a", "1", 60)
        await world.call("put", "b", "2")
        assert await world.call("get", "a") == "1"
        assert await world.call("list") == ["a", "b"]
        await world.pass_by(59.9)
        assert await world.call("get", "a") == "1"
        await world.pass_by(0.2)
        assert await world.call("get", "a") is None
        assert await world.call("list") == ["b"]
        assert rows(world, "KV") == 1
        assert rows(world, "KV_EXPIRY") == rows(world, "TIMER") == 0

    run(registry, body)


def test_no_reader_sees_an_expired_entry_that_is_not_swept() -> None:
    async def body(world: World) -> None:
        for number in range(6):
            await world.call("put", f"k{number}", "x", 60 if number % 2 else None)
        world.node.timers.stop()
        await world.pass_by(61)
        assert rows(world, "KV") == 6
        assert await world.call("get", "k1") is None
        assert await world.call("list") == ["k0", "k2", "k4"]
        assert await world.call("list", 2) == ["k0", "k2"]
        assert await world.call("list", 2, True) == ["k4", "k2"]
        assert await world.call("range", "k1", "k4") == ["k2"]
        assert await world.call("inside") == ["x", ["k0", "k2", "k4", "own"]]
        target = Target(address=Address("default", "alarm", ("a",)))
        node = world.node
        assert await node.lookup.kv_get(target, [b"k0", b"k1"]) == [(b"k0", b"tx")]
        for reverse in (False, True):
            found = await node.lookup.kv_list(target, b"", None, 2, reverse)
            assert [key for key, _ in found] == ([b"own", b"k4"] if reverse else [b"k0", b"k2"])
        world.node.timers.start()
        await world.pass_by(0.1)
        assert rows(world, "KV") == 4

    run(registry, body)


def test_what_is_put_again_lives_as_the_last_put_says() -> None:
    async def body(world: World) -> None:
        await world.call("put", "longer", "1", 10)
        await world.call("put", "longer", "2", 100)
        await world.call("put", "for ever", "1", 10)
        await world.call("put", "for ever", "2")
        await world.call("put", "shorter", "1", 100)
        await world.call("put", "shorter", "2", 10)
        assert rows(world, "KV_EXPIRY") == 2
        await world.pass_by(11)
        assert await world.call("list") == ["for ever", "longer"]
        await world.pass_by(90)
        assert await world.call("list") == ["for ever"]
        assert rows(world, "KV_EXPIRY") == rows(world, "TIMER") == 0

    run(registry, body)


def test_what_is_deleted_leaves_no_row_behind() -> None:
    async def body(world: World) -> None:
        for key in ("a", "b", "c", "d"):
            await world.call("put", key, "x", 100)
        await world.call("delete", "a")
        await world.call("delete", "b", "d")
        assert rows(world, "KV_EXPIRY") == 1
        await world.call("destroy")
        for kind in ("KV", "KV_EXPIRY", "TIMER", "AGENDA"):
            assert rows(world, kind) == 0

    run(registry, body)


def test_many_that_expire_at_once_go_in_batches() -> None:
    async def body(world: World) -> None:
        await world.call("put_many", 1000, 60)
        await world.call("put", "stays", "x")
        await world.pass_by(61)
        assert await world.call("list") == ["stays"]
        await world.pass_by(1)
        assert rows(world, "KV") == 1

    run(registry, body, kv_expire_batch_max=64)


def test_entries_outlive_a_crash_for_as_long_as_they_live() -> None:
    async def body(world: World) -> None:
        await world.call("put", "a", "1", 60)
        world.crash()
        assert await world.call("get", "a") == "1"
        world.node.timers.stop()
        await world.pass_by(61)
        world.crash()
        assert await world.call("get", "a") is None
        await world.pass_by(1)
        assert rows(world, "KV") == 0

    run(registry, body)


def test_a_clock_set_back_gives_no_swept_entry_back_and_sweeps_none_too_soon() -> None:
    async def body(world: World) -> None:
        await world.call("put", "a", "1", 60)
        await world.call("put", "b", "1", 4000)
        world.set_clock(3600)
        await world.pass_by(11)
        assert await world.call("list") == ["b"]
        world.set_clock(0)
        await world.pass_by(11)
        assert await world.call("list") == ["b"]

    run(registry, body)


@pytest.mark.parametrize("which", range(8))
def test_what_is_no_length_of_time_is_refused(which: int) -> None:
    async def body(world: World) -> None:
        assert await world.call("wrong", which) == "kv.invalid_ttl"
        assert await world.call("list") == []

    run(registry, body)


def test_a_fire_may_put_entries_that_expire() -> None:
    async def body(world: World) -> None:
        await world.call("later", 10)
        await world.pass_by(11)
        assert await world.call("list") == ["scheduled"]
        await world.pass_by(5)
        assert await world.call("list") == []

    run(registry, body)


def test_storage_that_expired_can_be_used_again() -> None:
    async def body(world: World) -> None:
        await world.call("put", "a", "x" * 800, 60)
        with pytest.raises(HoldfastError) as caught:
            await world.call("put", "b", "x" * 800)
        assert caught.value.reason.code == "storage_full"
        await world.pass_by(61)
        await world.call("put", "b", "x" * 800)

    run(registry, body, kv_storage_bytes_max=1000)
