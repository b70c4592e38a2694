"""What was let in by an activation that is asleep when it comes to run: it runs in the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from holdfast import Client, Connection, Context, Event, action, setup
from holdfast_server.app import Server
from tests.server.clock import MovedClock
from tests.server.conftest import Connect, Start
from tests.server.listening import Listener
from tests.server.peers import attach, rejected
from tests.server.probe import until, until_waiting
from tests.server.sleepers import Counts, Plain, asleep, started
from tests.server.stage import Stage, stage, tasks
from tests.server.wire import Wire, as_json, result, target

WAIT = as_json({"at": "door"})


class Door(Plain):
    """Lets clients in as slowly as their params say."""

    emits = {"secret": Event(str, can_subscribe=lambda self, c: self.may_hear(c))}

    async def on_before_connect(self, c: Context[Counts], params: Any) -> None:
        if params:
            stage.log.append("let in")
            await stage.pause(params["at"])

    async def may_hear(self, c: Context[Counts]) -> bool:
        stage.log.append("asked")
        await stage.pause("door")
        return True

    @action
    async def tell(self, c: Context[Counts]) -> None:
        c.broadcast("secret", "told")

    @action
    async def begin(self, c: Context[Counts], kind: str) -> None:
        async def work() -> None:
            await stage.pause("working")
            async with c.turn():
                c.state.calls += 10

        getattr(c, kind)(work())


class Stubborn(Door):
    """Its first on_sleep does not end when it is cancelled, and has the actor meanwhile."""

    async def on_sleep(self, c: Context[Counts]) -> None:
        if stage.is_reached("sleeping"):
            return
        stage.mark("sleeping")
        try:
            await stage.pause("never")
        except asyncio.CancelledError:
            await stage.pause("asleep")


class Greeter(Door):
    async def on_connect(self, c: Context[Counts], conn: Connection[Any]) -> None:
        stage.log.append(f"connect in life {c.state.wakes}")

    @action
    async def names(self, c: Context[Counts]) -> list[Any]:
        return [conn.params for conn in c.conns if conn.params]


class Mayfly(Plain):
    state_ttl_s = 60

    @action
    async def send_to(self, c: Context[Counts], key: str) -> None:
        c.send(Mayfly, [key], "note")

    @action
    async def note(self, c: Context[Counts]) -> None:
        c.state.calls += 10
        stage.mark("noted")


registry = setup(use={"door": Door, "stubborn": Stubborn, "greeter": Greeter, "mayfly": Mayfly})


async def invoke(wire: Wire, actor: str, **fields: Any) -> Any:
    return result(await wire.invoke(target(actor, "a"), "call", params=WAIT, **fields))


async def stream(wire: Wire, actor: str, **fields: Any) -> Any:
    items = wire.stream(target(actor, "a"), "count", 2, params=WAIT, **fields)
    return [item async for item in items]


async def doze(server: Server, client: Client, actor: str) -> None:
    await client.get(actor, ["a"]).action("doze")
    await asleep(server, actor, "a")


@pytest.mark.parametrize("fields", [{}, {"idempotency_key": "k"}], ids=["plain", "keyed"])
@pytest.mark.parametrize(("ask", "answer"), [(invoke, [2, 0, 2]), (stream, [0, 1])])
async def test_a_call_that_is_let_in_while_its_actor_falls_asleep_runs_once(
    start: Start,
    connect: Connect,
    stage: Stage,
    ask: Callable[..., Awaitable[Any]],
    answer: object,
    fields: dict[str, str],
) -> None:
    server, client = await started(start, registry)
    # The bare wire retries nothing: it is the server that does.
    asking = asyncio.create_task(ask(connect(server), "door", **fields))
    async with tasks(asking):
        await stage.reached("door")
        await doze(server, client, "door")

        stage.let("door")

        assert await asking == answer
    assert stage.log == ["wake a", "let in", "wake a", "let in"]


async def test_calls_behind_an_on_sleep_that_is_given_up_run_once(
    start: Start, connect: Connect, stage: Stage
) -> None:
    server, client = await started(start, registry, sleep_grace_s=0.05)
    wire = connect(server)
    asking = [asyncio.create_task(ask(wire, "stubborn")) for ask in (invoke, stream)]
    async with tasks(*asking):
        await until(lambda: stage.log.count("let in") == 2)
        await client.get("stubborn", ["a"]).action("doze")
        await stage.reached("sleeping")
        stage.let("door")
        await until_waiting(server, 2, "stubborn", "a")
        await asleep(server, "stubborn", "a")

        stage.let("asleep")

        assert await asyncio.gather(*asking) in ([[2, 0, n], [0, 1]] for n in (2, 3, 4))


@pytest.mark.parametrize("kind", ["keep_awake", "wait_until"])
async def test_work_that_a_waiting_turn_begins_has_its_time(
    start: Start, stage: Stage, kind: str
) -> None:
    server, client = await started(start, registry)
    door = client.get_or_create(Door, ["a"])
    dozing = asyncio.create_task(door.doze_later("point"))
    await stage.reached("point")
    beginning = asyncio.create_task(door.begin(kind))
    async with tasks(dozing, beginning):
        await until_waiting(server, 1, "door", "a")
        stage.let("point")
        # It runs when its actor goes to sleep already, as the last one before.
        await beginning
        await stage.reached("working")
        stage.let("working")
    assert await door.call() == [2, 0, 11]


async def test_a_subscription_that_is_let_in_while_its_actor_falls_asleep_is_made(
    start: Start, connect: Connect, stage: Stage
) -> None:
    server, client = await started(start, registry)
    listener = Listener(connect(server), target("door", "a"), names=["secret"])
    opening = asyncio.create_task(listener.opened())
    async with tasks(opening):
        await stage.reached("door")
        await doze(server, client, "door")

        stage.let("door")

        await opening
    await client.get(Door, ["a"]).tell()
    assert await listener.take(1) == [(1, "secret", ["told"])]
    assert stage.log == ["wake a", "asked", "wake a", "asked"]
    listener.leave()


async def test_a_subscription_to_one_that_fell_asleep_and_was_destroyed_meanwhile_is_refused(
    start: Start, connect: Connect, stage: Stage
) -> None:
    server, client = await started(start, registry)
    await client.get_or_create(Door, ["a"]).call()
    listener = Listener(connect(server), target("door", "a", create=False), names=["secret"])
    opening = asyncio.create_task(listener.refusal())
    async with tasks(opening):
        await stage.reached("door")
        await doze(server, client, "door")
        await client.destroy(Door, ["a"])

        stage.let("door")

        assert (await opening).reason == "ACTOR_NOT_FOUND"


async def test_a_connection_that_is_let_in_while_its_actor_falls_asleep_opens_once(
    start: Start, stage: Stage
) -> None:
    server, client = await started(start, registry)
    connecting = asyncio.create_task(attach(server, "greeter", "a", params={"at": "door"}))
    async with tasks(connecting):
        await stage.reached("door")
        await doze(server, client, "greeter")

        stage.let("door")

        peer = await connecting
    assert peer.heard == ["opening", "connected"]
    assert stage.log.count("let in") == 1
    assert [line for line in stage.log if line.startswith("connect")][-1] == "connect in life 2"
    assert await client.get(Greeter, ["a"]).names() == [{"at": "door"}]


async def test_a_connection_to_one_that_fell_asleep_and_was_destroyed_meanwhile_is_refused(
    start: Start, stage: Stage
) -> None:
    server, client = await started(start, registry)
    connecting = asyncio.create_task(attach(server, "greeter", "a", params={"at": "door"}))
    async with tasks(connecting):
        await stage.reached("door")
        await doze(server, client, "greeter")
        await client.destroy(Greeter, ["a"])
        stage.let("door")

        assert await rejected(connecting) == "actor.destroyed"
    assert await client.get_or_create(Greeter, ["a"]).names() == []
    assert not len(server.node.links)


async def test_a_send_that_meets_a_sleep_is_no_failed_try(start: Start, stage: Stage) -> None:
    server, client = await started(start, registry, outbox_attempts_max=1)
    clock, mayfly = MovedClock(server), client.get_or_create(Mayfly, ["a"])
    await mayfly.call()
    holding = asyncio.create_task(mayfly.doze_later("point"))
    async with tasks(holding):
        await stage.reached("point")
        clock.ahead_s = 61
        await client.get_or_create(Mayfly, ["b"]).send_to("a")
        # The state has expired: the send has to destroy the actor first, and is refused that
        # because it goes to sleep just now.
        await until_waiting(server, 1, "mayfly", "a")
        stage.let("point")
        await holding

    await stage.reached("noted")
    assert await mayfly.call() == [1, 0, 11]
