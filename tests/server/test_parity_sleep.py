"""What the driver suite of RivetKit asks of sleep and destroy; see tests/PARITY.md."""

from __future__ import annotations

from typing import Any

from holdfast import Actor, Context, action, setup
from tests.server.conftest import Start
from tests.server.outcomes import code_of
from tests.server.peers import attach, call_on
from tests.server.sleepers import Counts, asleep, started
from tests.server.stage import Stage


class Announcer(Actor[Counts]):
    """Says good night to all who listen and to each connection."""

    state = Counts

    async def create_vars(self, c: Context[Counts]) -> list[str]:
        return []

    async def on_wake(self, c: Context[Counts]) -> None:
        c.state.wakes += 1

    async def on_sleep(self, c: Context[Counts]) -> None:
        c.state.sleeps += 1
        c.broadcast("asleep", c.state.sleeps)
        for conn in c.conns:
            conn.send("night", c.state.sleeps)

    @action
    async def doze(self, c: Context[Counts]) -> None:
        c.sleep()

    @action
    async def counts(self, c: Context[Counts]) -> list[int]:
        return [c.state.wakes, c.state.sleeps, len(c.conns)]

    @action
    async def remember(self, c: Context[Counts], what: str) -> list[str]:
        c.vars.append(what)
        return list(c.vars)

    @action
    async def destroy_and_send(self, c: Context[Counts], times: int) -> None:
        c.abort_signal  # noqa: B018 - somebody has asked for it
        for _ in range(times):
            c.send(Announcer, ["other"], "counts")
        c.destroy()


registry = setup(use={"announcer": Announcer})


async def test_on_sleep_tells_subscribers_and_connections(start: Start, stage: Stage) -> None:
    server, client = await started(start, registry)
    peer = await attach(server, "announcer", "a")
    for number in (1, 2):
        await call_on(server, peer, "doze")
        await asleep(server, "announcer", "a")
        await peer.until_said(number)

    # The connection went on through both sleeps, and was told of being open once.
    assert peer.heard == ["opening", "connected", ("night", 1), ("night", 2)]
    assert await call_on(server, peer, "counts") == [3, 2, 1]
    events = client.get(Announcer, ["a"]).events("asleep", from_sequence=1)
    assert [(await anext(events)).args for _ in range(2)] == [(1,), (2,)]


async def test_a_connection_that_closes_during_the_sleep_is_gone_afterwards(
    start: Start, stage: Stage
) -> None:
    server, _ = await started(start, registry)
    old = await attach(server, "announcer", "a")
    await call_on(server, old, "doze")
    await asleep(server, "announcer", "a")

    await old.open_link.disconnect("")

    new = await attach(server, "announcer", "a")
    assert (await call_on(server, new, "counts"))[2] == 1


async def test_vars_are_fresh_after_a_destroy(start: Start, stage: Stage) -> None:
    _, client = await started(start, registry)
    actor: Any = client.get_or_create(Announcer, ["a"])
    assert await actor.remember("old") == ["old"]

    await client.destroy(Announcer, ["a"])

    assert await actor.remember("new") == ["new"]


async def test_a_destroy_that_fails_at_its_commit_puts_to_sleep(start: Start, stage: Stage) -> None:
    server, client = await started(start, registry, outbox_rows_max=1)
    actor: Any = client.get_or_create(Announcer, ["a"])

    assert await code_of(actor.destroy_and_send(2)) == "outbox.full"

    # What was told to stop stops; the actor is kept, and wakes anew.
    await asleep(server, "announcer", "a")
    assert (await actor.counts())[:2] == [2, 1]
