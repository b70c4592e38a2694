"""Actors that connect to other actors, and listen to them."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast import Actor, ActorError, Context, Event, HoldfastError, UserError, action, setup
from tests.server.live_actors import Book, Ledger, Line, Salon
from tests.server.stage import stage


class Watcher(Actor[Book]):
    """Goes to a salon, in each of the ways of going there; the salon is its key."""

    state = Book
    emits = {"seen": Event(str)}

    async def run(self, c: Context[Book]) -> None:
        """Connected as long as the actor is awake."""
        if c.key[-1] != "watches":
            return
        salon = c.client.get_or_create(Salon, [c.key[0]])
        async with salon.connect({"name": "watcher"}) as conn:
            events = conn.events("line")
            conn.on("whisper", lambda text: stage.log.append(f"whispered {text}"))
            await conn.say("watching")
            stage.mark("watching")
            async for event in events:
                line: Line = event.args[0]
                async with c.turn():
                    c.state.lines.append(line.text)
        stage.log.append("left")

    @action
    async def visit(self, c: Context[Book], name: str, *texts: str) -> list[Any]:
        """Connect within a turn, say things, and hear them."""
        salon = c.client.get_or_create(Salon, [c.key[0]])
        heard: list[Any] = []
        connection = salon.connect({"name": name})
        connection.on("welcome", lambda name: heard.append(f"welcome {name}"))
        connection.on("joined", lambda name: heard.append(f"joined {name}"))
        async with connection as conn:
            events = conn.events("line")
            for text in texts:
                heard.append(await conn.say(text))
                heard.append((await anext(events)).args[0].text)
            heard += [item async for item in conn.count(2)]
        heard.append(connection.status)
        c.state.lines.append(name)
        return heard

    @action
    async def meet_itself(self, c: Context[Book], how: str) -> str:
        """Connect to the very actor whose turn this is."""
        me = c.client.get(type(self), c.key)
        if how == "ready":
            async with me.connect() as conn:
                await conn.entries()
        elif how == "call":
            await me.entries()
        elif how == "leave":
            async with me.connect():
                pass
        return "done"

    @action
    async def meet_through(self, c: Context[Book], other: str) -> str:
        """Ask another watcher to connect to this one."""
        return await c.client.get_or_create(type(self), [other]).connect_to(c.key)

    @action
    async def connect_to(self, c: Context[Book], key: list[str]) -> str:
        """Connect to another watcher, and call it."""
        async with c.client.get(type(self), key).connect() as conn:
            await conn.entries()
        return "done"

    @action
    async def listen(self, c: Context[Book], name: str) -> None:
        """Listen without a connection, after this turn too."""

        def hear(line: Line) -> None:
            stage.log.append(line.text)

        c.client.get_or_create(Salon, [c.key[0]]).on(name, hear)

    @action
    async def read(self, c: Context[Book], count: int, start: int | None) -> list[Any]:
        """Read events without a connection."""
        events = c.client.get_or_create(Salon, [c.key[0]]).events(from_sequence=start)
        return [(e.name, e.sequence) for e in [await anext(events) for _ in range(count)]]

    @action
    async def hold(self, c: Context[Book], count: int) -> int:
        """Open connections that nobody closes."""
        opened = 0
        for number in range(count):
            connection = c.client.get_or_create(Salon, [c.key[0]]).connect({"name": f"v{number}"})
            await connection.__aenter__()
            await connection.ready()
            opened += 1
        return opened

    @action(thread=True)
    def from_thread(self, c: Context[Book], what: str) -> None:
        """Where there is no loop."""
        salon = c.client.get_or_create(Salon, [c.key[0]])
        if what == "connect":
            salon.connect()
        else:
            salon.events()

    @action
    async def refused(self, c: Context[Book]) -> str:
        """Connect as somebody who is not let in."""
        try:
            async with c.client.get_or_create(Salon, [c.key[0]]).connect({"name": "eve"}):
                pass
        except ActorError as error:
            return f"{error.group}.{error.code}"
        raise UserError("let in")

    @action
    async def outlast(self, c: Context[Book]) -> str:
        """Stay while the salon sends this guest away, and is destroyed."""
        salon = c.client.get_or_create(Salon, [c.key[0]])
        async with salon.connect({"name": "away"}) as conn:
            events = conn.events("line")
            await conn.say("here")
            await salon.dismiss("away", "enough")
            found: list[Any] = [event.args[0].text async for event in events]
            try:
                await conn.say("late")
            except HoldfastError as error:
                found.append(str(error))
        events = salon.events("x", from_sequence=1)
        await salon.emit("x", 1)
        await anext(events)
        await salon.close_down()
        try:
            await anext(events)
        except ActorError as error:
            found.append(error.code)
        return str(found)

    @action
    async def nap(self, c: Context[Book]) -> None:
        """Go to sleep."""
        c.sleep()

    @action(read_only=True)
    def entries(self, c: Context[Book]) -> list[str]:
        """What was written down."""
        return c.state.lines


class Doorman(Watcher):
    """Its connections are turns of its own."""

    async def on_connect(self, c: Context[Book], conn: Any) -> None:
        c.state.lines.append("connected")

    async def on_disconnect(self, c: Context[Book], conn: Any) -> None:
        c.state.lines.append("disconnected")
        await asyncio.sleep(0)


registry = setup(use={"watcher": Watcher, "doorman": Doorman, "salon": Salon, "ledger": Ledger})
