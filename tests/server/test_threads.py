"""Plain actions on a thread: what `c` does there, and what is left of one that is too late."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from holdfast import Actor, ActorError, Client, Context, HoldfastError, UserError, action, setup
from holdfast_server.store.memory import MemoryStore
from tests.server.conftest import Start
from tests.server.outcomes import code_of, refused
from tests.server.stage import Stage, stage, tasks


class Gates:
    """Points at which threads wait; a stage is for code on the loop."""

    def __init__(self) -> None:
        self._reached: dict[str, threading.Event] = {}
        self._open: dict[str, threading.Event] = {}

    def pause(self, name: str) -> None:
        """In the thread: be here, and wait to be let on."""
        self._reached.setdefault(name, threading.Event()).set()
        self._open.setdefault(name, threading.Event()).wait(20)

    async def reached(self, name: str) -> None:
        await asyncio.to_thread(self._reached.setdefault(name, threading.Event()).wait, 20)

    def is_reached(self, name: str) -> bool:
        return self._reached.setdefault(name, threading.Event()).is_set()

    def let(self, name: str) -> None:
        self._open.setdefault(name, threading.Event()).set()

    def let_all(self) -> None:
        for name in list(self._reached):
            self.let(name)


def raise_it(kind: str) -> None:
    if kind == "user":
        raise UserError("no", code="refused")
    raise {
        "bug": KeyError("secret"),
        "exit": SystemExit(1),
        "stop": StopIteration(),
        "cancelled": asyncio.CancelledError(),
        "generator": GeneratorExit(),
    }[kind]


class Worker(Actor[list[str]]):
    state = list

    @action
    async def write(self, c: Context[list[str]], line: str) -> int:
        c.state.append(line)
        return len(c.state)

    @action(read_only=True)
    async def look(self, c: Context[list[str]]) -> dict[str, Any]:
        return {"state": c.state, "kv": dict(await c.kv.list())}

    @action(thread=True)
    def work(self, c: Context[list[str]], line: str) -> list[Any]:
        c.state.append(line)
        c.wait(c.kv.put("k", line))
        c.send(Worker, ["told"], "write", line)
        asked = c.wait(c.client.get_or_create(Worker, ["asked"]).write(line))
        on_loop = threading.current_thread() is threading.main_thread()
        return [c.key, c.wait(c.kv.get("k")), asked, on_loop, c.deadline is not None]

    @action(thread=True)
    def fail(self, c: Context[list[str]], kind: str) -> None:
        c.state.append("spoilt")
        c.wait(c.kv.put("spoilt", "x"))
        raise_it(kind)

    @action(thread=True, timeout_s=0.1)
    def overrun(self, c: Context[list[str]]) -> None:
        kept = c.state
        kept.append("before")
        c.wait(c.kv.put("before", "x"))
        gates().pause("overrun")
        kept.append("through a kept reference")
        late: list[Callable[[], Any]] = [
            lambda: c.state,
            lambda: setattr(c, "state", ["late"]),
            lambda: c.wait(c.kv.put("late", "x")),
            lambda: c.wait(c.kv.get("before")),
            lambda: c.send(Worker, ["told"], "write", "late"),
            lambda: c.destroy(),
            lambda: c.wait(c.commit()),
        ]
        for attempt in late:
            try:
                attempt()
            except ActorError as error:
                stage.log.append(f"{error.group}.{error.code}")
            else:
                stage.log.append("passed")
        gates().pause("over")

    @action(thread=True)
    def hold(self, c: Context[list[str]], name: str) -> str:
        stage.log.append(f"in {name}")
        gates().pause(name)
        stage.log.append(f"out {name}")
        c.state.append(name)
        return name

    @action(thread=True, read_only=True)
    def count(self, c: Context[list[str]]) -> int:
        return len(c.state)

    @action(thread=True, read_only=True)
    def cheat(self, c: Context[list[str]], how: str) -> None:
        if how == "state":
            c.state.append("x")
        elif how == "kv":
            c.wait(c.kv.put("x", "x"))
        else:
            c.send(Worker, ["told"], "write", "x")

    @action(thread=True)
    def call_myself(self, c: Context[list[str]]) -> int:
        return c.wait(c.client.get_or_create(Worker, c.key).write("x"))

    @action
    async def wait_on_the_loop(self, c: Context[list[str]]) -> str:
        try:
            c.wait(c.kv.get("k"))
        except HoldfastError as error:
            return str(error)
        return ""


def gates() -> Gates:
    found = stage.kept["gates"]
    assert isinstance(found, Gates)
    return found


registry = setup(use={"worker": Worker})


@pytest.fixture
def doors(stage: Stage) -> Iterator[Gates]:
    made = stage.kept["gates"] = Gates()
    yield made
    made.let_all()


@pytest.fixture
async def client(start: Start, doors: Gates) -> Client:
    return (await start(registry, store=MemoryStore()))[1]


NOTHING: dict[str, Any] = {"state": [], "kv": {}}


async def test_everything_of_c_works_off_the_loop(client: Client) -> None:
    worker = client.get_or_create(Worker, ["a"])

    assert await worker.work("x") == [["a"], "x", 1, False, True]

    assert await worker.look() == {"state": ["x"], "kv": {"k": "x"}}
    async with asyncio.timeout(10):
        while (await client.get_or_create(Worker, ["told"]).look())["state"] != ["x"]:
            pass


@pytest.mark.parametrize("kind", ["user", "bug", "exit", "stop", "cancelled", "generator"])
async def test_a_thread_that_raises_is_rolled_back(client: Client, kind: str) -> None:
    worker = client.get_or_create(Worker, ["a"])

    code = await code_of(worker.fail(kind))

    assert code == ("user.refused" if kind == "user" else "internal.internal_error")
    assert await worker.look() == NOTHING
    assert await worker.write("next") == 1


async def test_a_thread_past_its_deadline_has_no_effect_any_more(
    client: Client, stage: Stage, doors: Gates
) -> None:
    worker = client.get_or_create(Worker, ["a"])

    assert await code_of(worker.overrun()) == "action.timed_out"

    # The actor goes on, while the thread is still there.
    assert await worker.look() == NOTHING
    assert await worker.write("next") == 1
    doors.let("overrun")
    await doors.reached("over")
    assert stage.log == ["actor.no_turn"] * 7
    assert await worker.look() == {"state": ["next"], "kv": {}}
    assert await code_of(client.get(Worker, ["told"]).look()) == "actor.not_found"


async def test_one_thread_serves_all_in_turn(start: Start, stage: Stage, doors: Gates) -> None:
    _, client = await start(registry, store=MemoryStore(), action_threads_max=1)
    names = [str(n) for n in range(8)]
    for name in names:
        doors.let(name)

    found = await asyncio.gather(
        *(client.get_or_create(Worker, [name]).hold(name) for name in names)
    )

    assert found == names
    order = [line.removeprefix("in ") for line in stage.log[::2]]
    assert sorted(order) == names
    assert stage.log == [f"{way} {name}" for name in order for way in ("in", "out")]


async def test_a_call_that_expires_before_it_has_a_thread_never_runs(
    start: Start, stage: Stage, doors: Gates
) -> None:
    _, client = await start(registry, store=MemoryStore(), action_threads_max=1)
    holding = asyncio.create_task(client.get_or_create(Worker, ["a"]).hold("a"))
    async with tasks(holding):
        await doors.reached("a")
        late = client.get_or_create(Worker, ["b"])

        assert await code_of(late.with_options(timeout=0.1).hold("b")) == "action.timed_out"

        # It gave its place in the mailbox back, and the loop is not held.
        assert await late.write("next") == 1
        doors.let("a")
        assert await holding == "a"
    doors.let("c")
    assert await client.get_or_create(Worker, ["c"]).hold("c") == "c"
    assert not doors.is_reached("b")
    assert await late.look() == {"state": ["next"], "kv": {}}


async def test_a_thread_may_read_beside_a_turn(client: Client, doors: Gates) -> None:
    worker = client.get_or_create(Worker, ["a"])
    await worker.write("x")
    holding = asyncio.create_task(worker.hold("a"))
    async with tasks(holding):
        await doors.reached("a")

        assert await worker.count() == 1

        doors.let("a")
        await holding
    assert await worker.count() == 2


@pytest.mark.parametrize("how", ["state", "kv", "send"])
async def test_a_reading_thread_changes_nothing(client: Client, how: str) -> None:
    worker = client.get_or_create(Worker, ["a"])
    await worker.write("kept")

    assert await code_of(worker.cheat(how)) == "action.read_only"

    assert await worker.look() == {"state": ["kept"], "kv": {}}


async def test_a_circle_through_a_thread_is_found(client: Client) -> None:
    error = await refused(client.get_or_create(Worker, ["a"]).call_myself())

    assert (error.group, error.code) == ("actor", "call_cycle")


async def test_wait_on_the_loop_says_what_to_do_instead(client: Client) -> None:
    """It would hold the whole server for ever."""
    assert "await" in await client.get_or_create(Worker, ["a"]).wait_on_the_loop()
