"""Connections of a harness's client: the SDK's and the server's own, by the test clock."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast import Actor, ActorError, Connection, Context, HoldfastError, UserError, action, setup
from holdfast.testing import Harness, blocking_harness, harness

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Talk:
    lines: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


@dataclass
class Guest:
    name: str


class Lobby(Actor[Talk, Guest]):
    """Takes its time to greet."""

    state = Talk

    async def create_conn_state(self, c: Context, params: dict[str, Any]) -> Guest:
        if params.get("name") == "":
            raise UserError("who are you?", code="nameless")
        return Guest(params.get("name", ""))

    async def on_connect(self, c: Context, conn: Connection[Guest]) -> None:
        # A call without a connection has no name here.
        if conn.state.name:
            await asyncio.sleep(3)
            c.broadcast("joined", conn.state.name)

    async def on_disconnect(self, c: Context, conn: Connection[Guest]) -> None:
        if conn.state.name:
            await asyncio.sleep(1)
            c.state.left.append(f"{conn.state.name} {c.now():%H:%M:%S}")

    @action
    async def say(self, c: Context, text: str) -> int:
        c.state.lines.append(text)
        c.broadcast("said", c.conn.state.name if c.conn else "?", text)
        return len(c.state.lines)

    @action
    async def whisper(self, c: Context, name: str, text: str) -> None:
        for conn in c.conns:
            if conn.state.name == name:
                conn.send("whispered", text)

    @action
    async def remind(self, c: Context, days: float) -> None:
        c.schedule.after(timedelta(days=days), "ring")

    @action
    async def ring(self, c: Context) -> None:
        c.broadcast("rung", c.now())

    @action
    async def chat(self, c: Context, days: int) -> None:
        c.broadcast("chatted", days)
        if days > 1:
            c.schedule.after(timedelta(days=1), "chat", days - 1)

    @action
    async def count(self, c: Context, to: int) -> Any:
        for number in range(to):
            yield number

    @action(read_only=True)
    def left(self, c: Context) -> list[str]:
        return c.state.left


class Follower(Actor[Talk]):
    """Is connected to a lobby as long as it is awake."""

    state = Talk

    async def run(self, c: Context) -> None:
        async with c.client.get_or_create(Lobby, c.key).connect({"name": "follower"}) as conn:
            async for event in conn.events("said", "rung"):
                async with c.turn():
                    c.state.lines.append(f"{event.name} {event.args[-1]}")

    @action(read_only=True)
    def lines(self, c: Context) -> list[str]:
        return c.state.lines

    @action
    async def nap(self, c: Context) -> None:
        c.sleep()


registry = setup(use={"lobby": Lobby, "follower": Follower})


def lobby(h: Harness) -> Lobby:
    return h.client.get_or_create(Lobby, ["a"])


async def test_a_connection_is_opened_and_closed_by_the_test_clock() -> None:
    async with harness(registry, start=START) as h:
        heard: list[str] = []
        async with lobby(h).connect({"name": "ada"}) as ada:
            ada.on("joined", heard.append)
            await ada.ready()
            assert h.now() == START + timedelta(seconds=3)
            await h.settle()
            assert heard == ["ada"]
        assert h.now() == START + timedelta(seconds=4)
        assert await lobby(h).left() == ["ada 12:00:04"]


async def test_calls_events_and_messages_of_several() -> None:
    async with (
        harness(registry) as h,
        lobby(h).connect({"name": "ada"}) as ada,
        lobby(h).connect({"name": "bob"}) as bob,
    ):
        whispers: list[tuple[str, str]] = []
        ada.on("whispered", lambda text: whispers.append(("ada", text)))
        bob.on("whispered", lambda text: whispers.append(("bob", text)))
        said = await h.events(bob, "said")

        assert await ada.say("hello") == 1
        await bob.whisper("ada", "psst")
        assert [number async for number in bob.count(3)] == [0, 1, 2]
        await h.settle()

        assert [event.args for event in said] == [("ada", "hello")]
        assert whispers == [("ada", "psst")]


async def test_what_a_timer_tells_months_later_is_heard() -> None:
    async with harness(registry, start=START) as h, lobby(h).connect({"name": "ada"}) as ada:
        rings: list[datetime] = []
        ada.on("rung", rings.append)
        await ada.remind(90)
        due = h.now() + timedelta(days=90)

        await h.advance(days=89)
        assert rings == []
        await h.advance(days=2)

        assert rings == [due]


@pytest.mark.parametrize("end", ["crash", "restart"])
async def test_what_a_chatty_actor_forgets_is_no_gap_of_a_rare_event(end: str) -> None:
    async with harness(registry, start=START) as h, lobby(h).connect({"name": "ada"}) as ada:
        rung = await h.events(ada, "rung")
        await ada.remind(210)
        await ada.chat(201)
        await h.advance(days=201)
        await getattr(h, end)()
        await h.advance(days=10)

        assert [event.args for event in rung] == [(START + timedelta(days=210, seconds=3),)]


async def test_it_goes_on_through_crash_and_restart() -> None:
    async with harness(registry) as h, lobby(h).connect({"name": "ada"}) as ada:
        said = await h.events(ada, "said")
        await ada.ready()
        connection_id = ada.connection_id
        await ada.say("one")
        await h.crash()
        await ada.say("two")
        await h.restart()
        await ada.say("three")
        await h.settle()

        assert ada.connection_id == connection_id
        assert [event.args[1] for event in said] == ["one", "two", "three"]
        assert await lobby(h).left() == []


@pytest.mark.parametrize("fault", ["drop_call", "drop_reply", "crash_after_commit"])
async def test_a_fault_of_a_call_on_a_connection_leaves_its_effect_once(fault: str) -> None:
    async with harness(registry) as h, lobby(h).connect({"name": "ada"}) as ada:
        said = await h.events(ada, "said")
        await ada.say("before")
        with getattr(h.faults, fault)(lobby(h), Lobby.say):
            assert await ada.say("once") == 2
        await h.settle()

        assert [event.args[1] for event in said] == ["before", "once"]


async def test_who_is_refused_is_told() -> None:
    async with harness(registry) as h:
        async with lobby(h).connect({"name": ""}) as nobody:
            with pytest.raises(ActorError) as refusal:
                await nobody.ready()
        assert refusal.value.code == "nameless"


async def test_a_client_that_has_gone_for_good_is_disconnected_after_the_grace() -> None:
    async with (
        harness(registry, connection_grace_s=10) as h,
        lobby(h).connect({"name": "ada"}) as ada,
    ):
        await ada.ready()
        # As its process would, when it is killed.
        await h.client.transport.end()  # type: ignore[attr-defined]
        await h.advance(seconds=9)
        assert await lobby(h).left() == []
        await h.advance(seconds=3)
        assert len(await lobby(h).left()) == 1
        ada.on_error(lambda error: None)
        with pytest.raises(HoldfastError, match="closed"):
            await ada.say("late")


async def test_a_connection_that_outlives_its_harness_is_closed() -> None:
    async with harness(registry) as h:
        connection = lobby(h).connect({"name": "ada"})
        ada = await connection.__aenter__()
        await ada.ready()
    assert ada.status == "closed"
    with pytest.raises(HoldfastError, match="the harness has ended"):
        lobby(h).connect()


async def test_listeners_registered_before_the_harness_starts_hear_the_first_event() -> None:
    h = harness(registry)
    heard: list[str] = []
    async with lobby(h).connect({"name": "ada"}) as ada:
        ada.on("joined", heard.append)
        await ada.say("hello")
        await h.settle()
        assert heard == ["ada"]
    await h.close()


async def test_over_grpc() -> None:
    async with harness(registry, grpc=True) as h, lobby(h).connect({"name": "ada"}) as ada:
        heard: list[tuple[str, str]] = []
        ada.on("said", lambda *args: heard.append(args))
        assert await ada.say("hello") == 1
        await h.advance(hours=1)
        assert await ada.say("again") == 2
        await h.settle()
        assert heard == [("ada", "hello"), ("ada", "again")]


def test_in_plain_functions() -> None:
    with blocking_harness(registry) as h:
        room = h.client.get_or_create(Lobby, ["a"])
        heard: list[str] = []
        with room.connect({"name": "ada"}) as ada:
            ada.on("said", lambda name, text: heard.append(text))
            ada.say("hello")
            h.settle()
            assert heard == ["hello"]
            assert list(ada.count(2)) == [0, 1]
        assert len(room.left()) == 1


async def test_an_actor_that_is_connected_to_another() -> None:
    async with harness(registry, start=START) as h:
        follower = h.client.get_or_create(Follower, ["a"])
        assert await follower.lines() == []
        await h.advance(seconds=5)
        await lobby(h).say("hello")
        await lobby(h).remind(1)
        await h.advance(days=2)
        assert await follower.lines() == ["said hello", "rung 2026-03-02 12:00:05+00:00"]
        assert await lobby(h).left() == []
        await follower.nap()
        await h.advance(seconds=10)
        assert await lobby(h).left() == ["follower 12:00:06"]
