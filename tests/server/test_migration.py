"""State of an older version: migrated on wake, or left as it is where it does not fit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from holdfast import Actor, Client, Context, UserError, action, setup
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Start
from tests.server.outcomes import refused
from tests.server.stage import Stage, stage


@dataclass
class Old:
    name: str = "ada"


@dataclass
class New:
    first: str
    count: int = 0


class OldActor(Actor[Old]):
    state = Old

    @action
    async def rename(self, c: Context[Old], name: str) -> None:
        c.state.name = name
        await c.kv.put("k", name)

    @action
    async def look(self, c: Context[Old]) -> str:
        return c.state.name


class NewActor(Actor[New]):
    state_schema_version = 2

    async def create_state(self, c: Context[New], input: Any) -> New:
        return New("created")

    def migrate_state(self, old_version: int, data: Any) -> New:
        stage.log.append(f"migrate {old_version}")
        way = stage.kept.get("way")
        if way == "bug":
            raise KeyError("secret")
        if way == "user":
            raise UserError("no", code="refused")
        if way == "exit":
            raise SystemExit(1)
        if way == "cancelled":
            raise asyncio.CancelledError
        if way == "wrong":
            return {"first": 3}  # type: ignore[return-value]
        if way == "large":
            return New("x" * 2000)
        return New(first=data["name"])

    async def on_destroy(self, c: Context[New]) -> None:
        stage.log.append("on_destroy")

    @action
    async def look(self, c: Context[New]) -> str:
        return c.state.first

    @action
    async def count(self, c: Context[New]) -> int:
        c.state.count += 1
        return c.state.count


class Unversioned(Actor[New]):
    """The type has changed, and nobody thought of the version."""

    async def create_state(self, c: Context[New], input: Any) -> New:
        return New("created")

    @action
    async def look(self, c: Context[New]) -> str:
        return c.state.first


class Unmigrated(Unversioned):
    state_schema_version = 2


class Restarted:
    """One data directory, served by one generation of a class after the other."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._running: Any = None

    async def serve(self, cls: type[Actor[Any, Any]]) -> Client:
        if self._running is not None:
            server, client = self._running
            await client.close()
            await server.stop()
        self._running = await self._start(setup(use={"thing": cls}), state_bytes_max=1000)
        client: Client = self._running[1]
        return client


@pytest.fixture
async def restarted(start: Start) -> Restarted:
    """An actor of the old class was served."""
    served = Restarted(start)
    client = await served.serve(OldActor)
    await client.get_or_create("thing", ["a"]).rename("grace")
    return served


async def test_state_is_migrated_once_and_stored_at_its_new_version(
    restarted: Restarted, stage: Stage
) -> None:
    client = await restarted.serve(NewActor)
    assert await client.get("thing", ["a"]).look() == "grace"
    assert await client.get("thing", ["a"]).count() == 1

    client = await restarted.serve(NewActor)

    assert await client.get("thing", ["a"]).look() == "grace"
    assert await client.get("thing", ["a"]).count() == 2
    assert stage.log == ["migrate 1"]


async def test_the_migration_is_stored_without_any_change_after_it(
    restarted: Restarted, stage: Stage
) -> None:
    client = await restarted.serve(NewActor)
    await client.get("thing", ["a"]).look()

    client = await restarted.serve(NewActor)
    await client.get("thing", ["a"]).look()

    assert stage.log == ["migrate 1"]


@pytest.mark.parametrize("way", ["bug", "user", "exit", "cancelled", "wrong", "large"])
async def test_a_migration_that_fails_changes_nothing(
    restarted: Restarted, stage: Stage, way: str
) -> None:
    client = await restarted.serve(NewActor)
    stage.kept["way"] = way
    expected = {"wrong": "value.not_encodable", "large": "state.too_large"}

    error = await refused(client.get("thing", ["a"]).look())

    assert f"{error.group}.{error.code}" == expected.get(way, "state.undecodable")
    client = await restarted.serve(OldActor)
    assert await client.get("thing", ["a"]).look() == "grace"


@pytest.mark.parametrize("cls", [Unversioned, Unmigrated])
async def test_state_that_stops_decoding_is_left_as_it_is(
    restarted: Restarted, cls: type[Actor[Any, Any]]
) -> None:
    client = await restarted.serve(cls)

    for _ in range(2):
        error = await refused(client.get_or_create("thing", ["a"]).look())
        assert (error.group, error.code) == ("state", "undecodable")
        assert "state" in error.message

    assert [info.key async for info in client.list("thing")] == [("a",)]
    client = await restarted.serve(OldActor)
    assert await client.get("thing", ["a"]).look() == "grace"


@pytest.mark.parametrize("way", ["", "bug", "user", "exit", "cancelled", "wrong", "large"])
async def test_what_does_not_migrate_can_be_destroyed(
    restarted: Restarted, stage: Stage, way: str
) -> None:
    client = await restarted.serve(NewActor)
    actor_id = await client.get("thing", ["a"]).resolve()
    stage.kept["way"] = way

    assert await client.destroy("thing", ["a"]) == actor_id

    assert stage.log == (["migrate 1"] if way else ["migrate 1", "on_destroy"])
    assert [info async for info in client.list("thing")] == []
    assert await client.get_or_create("thing", ["a"]).look() == "created"


async def test_what_has_gone_back_to_an_older_class_is_not_read_as_it(start: Start) -> None:
    store = MemoryStore()
    _, client = await start(setup(use={"thing": NewActor}), store=store)
    await client.get_or_create("thing", ["a"]).look()
    _, client = await start(setup(use={"thing": OldActor}), store=store)

    error = await refused(client.get("thing", ["a"]).look())

    assert (error.group, error.code) == ("state", "undecodable")
