"""Actor code that would end the process: it fails as any other does, and the server goes on."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast import Actor, ActorError, Client, Context, action, setup
from holdfast_server.process.going_on import run_to_its_end
from holdfast_server.process.system import loop_factory
from tests.server.conftest import Start
from tests.server.outcomes import code_of
from tests.server.probe import until
from tests.server.process import ServerProcess

EXITS: dict[str, type[BaseException]] = {"exit": SystemExit, "interrupt": KeyboardInterrupt}


class Leaver(Actor[list[str]]):
    state = list

    @action
    def plain(self, c: Context[list[str]], kind: str) -> None:
        raise EXITS[kind]

    @action
    async def waiting(self, c: Context[list[str]], kind: str) -> None:
        c.state.append("lost")
        await asyncio.sleep(0)
        raise EXITS[kind]

    @action(read_only=True)
    def reading(self, c: Context[list[str]], kind: str) -> None:
        raise EXITS[kind]

    @action(thread=True)
    def threaded(self, c: Context[list[str]], kind: str) -> None:
        raise EXITS[kind]

    @action(thread=True)
    def waits_in_thread(self, c: Context[list[str]], kind: str) -> None:
        c.wait(self._leave(kind))

    @action
    async def stream(self, c: Context[list[str]], kind: str) -> AsyncIterator[int]:
        yield 1
        raise EXITS[kind]

    @action
    async def wait_until(self, c: Context[list[str]], kind: str) -> None:
        c.wait_until(self._leave(kind))

    @action
    async def keep_awake(self, c: Context[list[str]], kind: str) -> None:
        c.keep_awake(self._leave(kind))

    @action
    async def later(self, c: Context[list[str]], kind: str) -> None:
        c.schedule.after(0, "waiting", kind)

    @action(read_only=True)
    def lines(self, c: Context[list[str]]) -> list[str]:
        return c.state

    async def _leave(self, kind: str) -> None:
        await asyncio.sleep(0)
        raise EXITS[kind]


class Runner(Actor):
    async def run(self, c: Context) -> None:
        raise EXITS[c.key[0]]

    @action
    async def hello(self, c: Context) -> str:
        return "hello"


class Hooked(Actor):
    async def on_wake(self, c: Context) -> None:
        raise EXITS[c.key[0]]

    @action
    async def hello(self, c: Context) -> str:
        return "hello"


registry = setup(use={"leaver": Leaver, "runner": Runner, "hooked": Hooked})


@pytest.mark.parametrize("kind", EXITS)
async def test_what_an_action_raises_is_an_internal_error(
    start: Start, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, client = await start(registry)
    leaver = client.get_or_create(Leaver, ["a"])
    for name in ("plain", "waiting", "reading", "threaded", "waits_in_thread"):
        assert await code_of(leaver.action(name, kind)) == "internal.internal_error"
        assert f"action {name} of default/leaver" in caplog.text
    with pytest.raises(ActorError, match="Internal error"):
        async for _ in leaver.stream(kind):
            pass
    assert await leaver.lines() == []


@pytest.mark.parametrize("kind", EXITS)
@pytest.mark.parametrize("work", ["wait_until", "keep_awake"])
async def test_what_background_work_raises_is_reported(
    start: Start, work: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, client = await start(registry)
    leaver = client.get_or_create(Leaver, ["a"])
    await leaver.action(work, kind)
    await until(lambda: f"{work} of default/leaver" in caplog.text)
    assert await leaver.lines() == []


@pytest.mark.parametrize("kind", EXITS)
async def test_a_run_that_exits_has_crashed(
    start: Start, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, client = await start(registry)
    runner = client.get_or_create(Runner, [kind])
    assert await runner.hello() == "hello"
    await until(lambda: "run of default/runner" in caplog.text)
    assert await runner.hello() == "hello"
    assert await code_of(client.get_or_create(Hooked, [kind]).hello()) == "actor.start_failed"


@pytest.mark.parametrize("kind", EXITS)
async def test_a_timer_s_turn_that_exits_has_failed(
    start: Start, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, client = await start(registry)
    leaver = client.get_or_create(Leaver, ["a"])
    await leaver.later(kind)
    await until(lambda: "action waiting of default/leaver" in caplog.text)
    assert await leaver.lines() == []


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("kind", EXITS)
def test_a_task_that_exits_leaves_the_main_task_to_go_on(
    loop: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def leave() -> None:
        raise EXITS[kind]("stray")

    async def main() -> str:
        stray = [asyncio.create_task(leave()) for _ in range(3)]
        asyncio.get_running_loop().call_soon(_raise, EXITS[kind]("callback"))
        await asyncio.wait(stray)
        await asyncio.to_thread(str)
        assert all(isinstance(task.exception(), EXITS[kind]) for task in stray)
        return "done"

    with caplog.at_level(logging.ERROR):
        assert run_to_its_end(main(), loop_factory(loop), lambda: True) == "done"
    # uvloop tells only the last of those that come in one round of it.
    told = [r for r in caplog.records if "the server goes on" in r.message]
    assert len(told) == 4 if loop == "asyncio" else told


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_main_task_s_own_exit_is_one(loop: str) -> None:
    async def main() -> None:
        await asyncio.sleep(0)
        raise SystemExit(7)

    with pytest.raises(SystemExit, match="7"):
        run_to_its_end(main(), loop_factory(loop), lambda: True)


def test_ctrl_c_before_signals_are_ours_ends_it() -> None:
    ended: list[str] = []

    async def main() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            ended.append("main")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_to_its_end(main(), loop_factory("asyncio"), lambda: False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == ["main"]


APP = """
import asyncio
from holdfast import Actor, Context, action, setup

class Stray(Actor):
    @action
    async def leave(self, c: Context) -> None:
        async def leave() -> None:
            raise SystemExit(7)
        self.task = asyncio.create_task(leave())

    @action
    async def hello(self, c: Context) -> str:
        return "hello"

registry = setup(use={"stray": Stray})
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_server_whose_actor_s_own_task_exits_goes_on_and_still_drains(
    tmp_path: Path, number: signal.Signals
) -> None:
    with ServerProcess(tmp_path, app=APP) as server:
        port = await asyncio.to_thread(lambda: server.port)
        async with Client(f"127.0.0.1:{port}") as client:
            stray = client.get_or_create("stray", ["a"])
            await stray.leave()
            assert await stray.hello() == "hello"
        await asyncio.to_thread(server.wait_for, "the server goes on")
        server.signal(number)
        assert await asyncio.to_thread(server.wait) == 0
        assert "drained" in server.output


def _raise(error: BaseException) -> None:
    raise error
