"""on_sleep: a turn like any other, at the end of an activation; and when there is none yet."""

from __future__ import annotations

import asyncio
import logging

import pytest

from holdfast import Actor, Context, UserError, action, setup
from tests.server.conftest import Start
from tests.server.outcomes import code_of
from tests.server.sleepers import Counts, asleep, awake, spin, started
from tests.server.stage import Stage, stage


@pytest.mark.parametrize("hook", ["on_create", "on_wake"])
async def test_an_actor_that_starts_cannot_sleep_yet(start: Start, hook: str) -> None:
    found: list[str] = []

    class Early(Actor[Counts]):
        state = Counts

        async def on_create(self, c: Context[Counts], input: None) -> None:
            if hook == "on_create":
                await self._try(c)

        async def on_wake(self, c: Context[Counts]) -> None:
            if hook == "on_wake":
                await self._try(c)

        async def _try(self, c: Context[Counts]) -> None:
            async def sleep() -> None:
                c.sleep()

            found.append(await code_of(sleep()))

        @action
        async def call(self, c: Context[Counts]) -> int:
            return 1

    server, client = await started(start, setup(use={"early": Early}))

    assert await client.get_or_create(Early, ["a"]).call() == 1
    assert found == ["actor.no_turn"]
    await spin()
    assert awake(server, "early", "a")


class Last(Actor[Counts]):
    """Does in on_sleep what `what` says."""

    state = Counts

    async def on_wake(self, c: Context[Counts]) -> None:
        c.state.wakes += 1

    async def on_sleep(self, c: Context[Counts]) -> None:
        await getattr(self, f"_{stage.kept['what']}")(c)

    async def _raise(self, c: Context[Counts]) -> None:
        c.state.sleeps += 1
        raise ValueError("mine")

    async def _refuse(self, c: Context[Counts]) -> None:
        raise UserError("no", code="no")

    async def _commit_and_raise(self, c: Context[Counts]) -> None:
        c.state.sleeps += 1
        await c.kv.put("slept", "1")
        await c.commit()
        c.state.sleeps += 100
        await c.kv.put("slept", "2")
        raise ValueError("mine")

    async def _write(self, c: Context[Counts]) -> None:
        c.state.sleeps += 1
        await c.kv.put("slept", "1")
        c.send(Last, ["other"], "note")
        await c.client.get_or_create(Last, ["third"]).note()

    async def _hang(self, c: Context[Counts]) -> None:
        c.state.sleeps += 1
        await stage.pause("hanging")

    async def _refuse_to_end(self, c: Context[Counts]) -> None:
        c.state.sleeps += 1
        try:
            await stage.pause("hanging")
        except asyncio.CancelledError:
            await stage.pause("no")

    async def _ask_itself(self, c: Context[Counts]) -> None:
        stage.log.append(await code_of(c.client.get(Last, c.key).note()))
        stage.log.append(str(await c.client.get(Last, c.key).found()))

    async def _ask_through_another(self, c: Context[Counts]) -> None:
        stage.log.append(str(await c.client.get_or_create(Last, ["b"]).ask_back(c.key[0])))

    async def _sleep_again(self, c: Context[Counts]) -> None:
        c.state.sleeps += 1
        c.sleep()

    async def _destroy(self, c: Context[Counts]) -> None:
        async def destroy() -> None:
            c.destroy()

        stage.log.append(await code_of(destroy()))
        stage.log.append(await code_of(c.client.destroy(Last, c.key)))

    @action
    async def ask_back(self, c: Context[Counts], key: str) -> str:
        return await code_of(c.client.get(Last, [key]).note())

    @action
    async def note(self, c: Context[Counts]) -> None:
        c.state.calls += 1

    @action(read_only=True)
    async def found(self, c: Context[Counts]) -> list[object]:
        return [c.state.wakes, c.state.sleeps, c.state.calls, await c.kv.get("slept")]

    @action
    async def doze(self, c: Context[Counts]) -> None:
        c.sleep()


last = setup(use={"last": Last})


@pytest.mark.parametrize(
    ("what", "found", "logged"),
    [
        ("raise", [2, 0, 0, None], "on_sleep of default/last"),
        ("refuse", [2, 0, 0, None], "on_sleep of default/last"),
        ("commit_and_raise", [2, 1, 0, "1"], "on_sleep of default/last"),
        ("write", [2, 1, 0, "1"], ""),
        ("sleep_again", [2, 1, 0, None], ""),
    ],
)
async def test_what_on_sleep_leaves(
    start: Start,
    stage: Stage,
    caplog: pytest.LogCaptureFixture,
    what: str,
    found: list[object],
    logged: str,
) -> None:
    server, client = await started(start, last)
    stage.kept["what"] = what
    actor = client.get_or_create(Last, ["a"])
    await actor.doze()
    await asleep(server, "last", "a")

    assert await actor.found() == found
    errors = [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]
    assert any(logged in each for each in errors) if logged else errors == []
    if what == "write":
        other = client.get_or_create(Last, ["other"])
        async with asyncio.timeout(20):
            while (await other.found())[2] != 1:
                pass
        assert (await client.get(Last, ["third"]).found())[2] == 1


@pytest.mark.parametrize("what", ["hang", "refuse_to_end"])
async def test_on_sleep_that_hangs_ends_with_the_grace(
    start: Start, stage: Stage, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    _, client = await started(start, last, sleep_grace_s=0.05)
    stage.kept["what"] = what
    actor = client.get_or_create(Last, ["a"])
    await actor.doze()
    await stage.reached("hanging")

    # A call that comes meanwhile is answered when the time is up.
    assert await actor.found() == [2, 0, 0, None]

    assert "took too long" in caplog.text
    assert stage.is_reached("no") == (what == "refuse_to_end")
    # What goes on behind its actor's back can do nothing any more.
    stage.let("no")
    await spin()
    assert await actor.found() == [2, 0, 0, None]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        # Its own turn would wait for on_sleep; a reader does not.
        ("ask_itself", ["actor.call_cycle", "[1, 0, 0, None]"]),
        ("ask_through_another", ["actor.call_cycle"]),
        ("destroy", ["actor.stopping", "actor.call_cycle"]),
    ],
)
async def test_what_on_sleep_asks_of_itself_never_hangs(
    start: Start, stage: Stage, what: str, said: list[str]
) -> None:
    server, client = await started(start, last)
    stage.kept["what"] = what
    actor = client.get_or_create(Last, ["a"])
    await actor.doze()
    await asleep(server, "last", "a")

    assert stage.log == said
    assert await actor.found() == [2, 0, 0, None]
