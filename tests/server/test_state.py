"""State: which kinds there are, what is refused at the end of a turn, and its hook."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pydantic
import pytest

from holdfast import Actor, Client, Context, Registry, UserError, action, setup
from holdfast_server.app import Server
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Connect, Start
from tests.server.outcomes import code_of, refused, wire_refusal
from tests.server.wire import target


@dataclass
class Part:
    number: int = 0


@dataclass
class Data:
    tags: set[str] = field(default_factory=set)
    parts: list[Part] = field(default_factory=list)
    number: int = 0
    anything: Any = None


@dataclass
class Special(Part):
    more: str = ""


@dataclass
class Exact:
    """Every position has a type."""

    number: int = 0
    ratio: float = 0.0
    parts: list[Part] = field(default_factory=list)
    by_name: dict[str, Part] = field(default_factory=dict)


class Struct(msgspec.Struct):
    tags: set[str] = set()
    number: int = 0


class Model(pydantic.BaseModel):
    tags: set[str] = set()
    number: int = 0


class Kinds(Actor[Any]):
    """Changes whatever state it has."""

    @action
    async def change(self, c: Context[Any]) -> None:
        match c.state:
            case dict() as state:
                state["number"] = state.get("number", 0) + 1
            case list() as state:
                state.append(1)
            case int() as state:
                c.state = state + 1
            case state:
                state.tags.add("a")
                state.number += 1

    @action(read_only=True)
    async def seen(self, c: Context[Any]) -> Any:
        return c.state


class Datas(Kinds):
    state = Data


class Structs(Kinds):
    state = Struct(tags={"first"})


class Models(Kinds):
    state = Model


class Dicts(Kinds):
    state = {"list": [1]}


class Lists(Kinds):
    state = [7]


class Numbers(Kinds):
    state = 41


class Nothing(Actor):
    @action
    async def use(self, c: Context) -> None:
        c.state.x = 1

    @action
    async def assign(self, c: Context) -> None:
        c.state = 1


class Loose(Actor[Data]):
    """Leaves things in an untyped place that MessagePack would change."""

    state = Data

    @action
    async def leave(self, c: Context[Data], what: str) -> None:
        c.state.tags.add("left")
        await c.kv.put("left", what)
        match what:
            case "object":
                c.state.anything = {"a": [0, {"b": object()}]}
            case "tuple":
                c.state.anything = (1, 2)
            case "cycle":
                c.state.anything = []
                c.state.anything.append(c.state.anything)
            case "text for a number":
                c.state.parts.append(Part("one"))  # type: ignore[arg-type]

    @action
    async def grow(self, c: Context[Data], size: int) -> None:
        c.state.anything = "x" * size

    @action
    async def look(self, c: Context[Data]) -> tuple[Data, list[str]]:
        return c.state, [key for key, _ in await c.kv.list()]


class Strict(Actor[Exact]):
    """Leaves things in typed places that are not of that type."""

    state = Exact

    @action
    async def leave(self, c: Context[Any], what: str) -> None:
        match what:
            case "text for a number":
                c.state.number = "one"
            case "deep text for a number":
                c.state.parts.append(Part("one"))  # type: ignore[arg-type]
            case "a dict for a part":
                c.state.parts.append({"number": 1})
            case "a subclass":
                c.state.by_name["a b"] = Special(1, "more")
            case "a tuple for a list":
                c.state.parts = (Part(1),)
            case "a dict for the whole":
                c.state = {"number": 1}
            case "nothing":
                c.state = None

    @action
    async def mix(self, c: Context[Exact]) -> None:
        c.state.ratio = 1
        c.state.by_name["nan"] = Part(2)

    @action
    async def look(self, c: Context[Exact]) -> Exact:
        return c.state


class Watcher(Actor[dict[str, Any]]):
    state = {"calls": 0, "sum": 0, "parts": []}
    vars = list

    def on_state_change(self, c: Context[Any], state: dict[str, Any]) -> None:
        c.vars.append("told")
        assert c.state is state
        state["calls"] += 1
        state["sum"] = sum(state["parts"])
        if state["sum"] < 0:
            raise UserError("too low", code="negative")
        if state["sum"] > 1000:
            raise ValueError("too high")

    @action
    async def add(self, c: Context[Any], *numbers: int) -> None:
        for number in numbers:
            c.state["parts"].append(number)

    @action
    async def read(self, c: Context[Any]) -> dict[str, Any]:
        return {**c.state, "told": len(c.vars)}


KINDS = {
    "data": Datas,
    "struct": Structs,
    "model": Models,
    "dict": Dicts,
    "list": Lists,
    "number": Numbers,
}
kinds_registry = setup(use=KINDS)
registry = setup(use={"loose": Loose, "strict": Strict, "watcher": Watcher, "nothing": Nothing})


@pytest.fixture
async def running(start: Start) -> tuple[Server, Client]:
    return await start(registry, store=MemoryStore(), state_bytes_max=10_000)


@pytest.fixture
def client(running: tuple[Server, Client]) -> Client:
    return running[1]


async def restarted(start: Start, server: Server, client: Client, classes: Registry) -> Client:
    await client.close()
    await server.stop()
    return (await start(classes))[1]


AFTER = {
    "data": {"tags": ["a"], "parts": [], "number": 1, "anything": None},
    "struct": {"tags": ["a", "first"], "number": 1},
    "model": {"tags": ["a"], "number": 1},
    "dict": {"list": [1], "number": 1},
    "list": [7, 1],
    "number": 42,
}


async def test_every_kind_of_state_is_kept_and_each_actor_has_its_own(start: Start) -> None:
    server, client = await start(kinds_registry)
    fresh = {name: await client.get_or_create(name, ["b"]).seen() for name in KINDS}
    for name in KINDS:
        await client.get_or_create(name, ["a"]).change()

    client = await restarted(start, server, client, kinds_registry)

    for name in KINDS:
        after = await client.get(name, ["a"]).seen()
        if isinstance(after, dict) and "tags" in after:
            after["tags"].sort()
        assert after == AFTER[name]
        assert await client.get(name, ["b"]).seen() == fresh[name]


@pytest.mark.parametrize(
    ("what", "path"),
    [
        ("object", "state.anything.a[1].b"),
        ("tuple", "state.anything"),
        ("cycle", "state.anything"),
        ("text for a number", "state.parts[0].number"),
    ],
)
async def test_what_cannot_be_stored_is_refused_with_its_path(
    client: Client, what: str, path: str
) -> None:
    loose = client.get_or_create(Loose, ["a"])

    error = await refused(loose.leave(what))

    assert (error.group, error.code) == ("value", "not_encodable")
    assert error.metadata is not None
    assert error.metadata["path"].startswith(path)
    assert path in error.message
    assert await loose.look() == (Data(), [])


@pytest.mark.parametrize(
    ("what", "path"),
    [
        ("text for a number", "state.number"),
        ("deep text for a number", "state.parts[0].number"),
        ("a dict for a part", "state.parts[0]"),
        ("a subclass", 'state.by_name["a b"]'),
        ("a tuple for a list", "state.parts"),
        ("a dict for the whole", "state"),
        ("nothing", "state"),
    ],
)
async def test_what_is_not_of_the_declared_type_is_refused_with_its_path(
    client: Client, what: str, path: str
) -> None:
    strict = client.get_or_create(Strict, ["a"])

    error = await refused(strict.leave(what))

    assert (error.group, error.code) == ("value", "not_encodable")
    assert error.metadata == {"path": path}
    assert await strict.look() == Exact()


async def test_an_integer_is_a_number_too(client: Client) -> None:
    strict = client.get_or_create(Strict, ["a"])
    await strict.mix()

    assert await strict.look() == Exact(ratio=1.0, by_name={"nan": Part(2)})


async def test_a_state_over_the_limit_is_refused_by_size(
    running: tuple[Server, Client], connect: Connect
) -> None:
    server, client = running
    loose = client.get_or_create(Loose, ["a"])
    await loose.grow(9_000)

    refusal = await wire_refusal(connect(server).invoke(target("loose", "a"), "grow", 10_001))

    assert (refusal.status, refusal.reason) == ("RESOURCE_EXHAUSTED", "STATE_TOO_LARGE")
    assert refusal.metadata["limit"] == "10000"
    # Trying again does not help, so that nobody is told to.
    assert refusal.retry_after_s is None
    assert len((await loose.look())[0].anything) == 9_000


@pytest.mark.parametrize("name", ["use", "assign"])
async def test_an_actor_without_state_has_none(client: Client, name: str) -> None:
    nothing = client.get_or_create("nothing", ["a"])

    assert await code_of(nothing.action(name)) == "actor.not_enabled"


async def test_on_state_change_runs_once_a_turn_and_its_changes_count(client: Client) -> None:
    watcher = client.get_or_create(Watcher, ["a"])
    before = await watcher.read()

    await watcher.add(1, 2, 3)
    after = await watcher.read()
    await watcher.add()

    assert after["calls"] - before["calls"] == 1
    assert after["sum"] == 6
    # A turn that read, or changed nothing, has told nobody.
    assert (await watcher.read())["told"] == after["told"] == before["told"] + 1


@pytest.mark.parametrize(
    ("number", "code"), [(-100, "user.negative"), (1001, "internal.internal_error")]
)
async def test_a_raise_in_on_state_change_fails_the_turn(
    client: Client, number: int, code: str
) -> None:
    watcher = client.get_or_create(Watcher, ["a"])
    await watcher.add(5)
    before = await watcher.read()

    assert await code_of(watcher.add(number)) == code

    assert {**await watcher.read(), "told": 0} == {**before, "told": 0}
