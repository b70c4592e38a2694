"""Actors with raw WebSockets, for the tests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from holdfast import (
    Actor,
    Context,
    UserError,
    WebSocket,
    WebSocketClosed,
    action,
    setup,
)
from holdfast.connection import Connection
from tests.server.stage import stage


@dataclass
class Room:
    log: list[str] = field(default_factory=list)


@dataclass
class Who:
    name: str = ""
    said: int = 0


class Line(Actor[Room]):
    """Echoes what it is told, and does what a message says."""

    state = Room
    action_timeout_s = 5

    async def on_websocket(self, c: Context[Room], websocket: WebSocket) -> None:
        if websocket.path == "/quiet":
            return
        if websocket.path == "/chosen":
            await websocket.accept("two", {"x-chosen": "two"})
        await websocket.send("hello")
        async for message in websocket:
            await self.hear(c, websocket, message)
        c.state.log.append(f"closed {websocket.close_code} {websocket.close_reason}".rstrip())

    async def hear(self, c: Context[Room], websocket: WebSocket, message: str | bytes) -> None:
        c.state.log.append(str(message))
        if message == "close":
            await websocket.send("bye")
            await websocket.close(4001, "done")
        elif message == "refuse":
            raise UserError("no", code="refused")
        elif message == "crash":
            raise ZeroDivisionError("a secret")
        elif message == "pause":
            await stage.pause("pause")
        elif message == "timed":
            await websocket.send(await asyncio.wait_for(websocket.receive(), 2))
        elif message == "all":
            for other in c.websockets:
                if other is not websocket:
                    await other.send(f"all of {len(c.websockets)}")
        elif message == "many":
            for _ in range(5):
                await websocket.send(b"x" * 400)
                await websocket.drain()
        elif message == "large":
            await websocket.send(b"x" * 5000)
        elif message == "two tasks":
            first = asyncio.create_task(websocket.receive())
            await asyncio.sleep(0)
            try:
                await websocket.receive()
            finally:
                await websocket.send(await first)
        else:
            await websocket.send(message)

    @action
    async def tell(self, c: Context[Room], text: str, fails: bool = False) -> int:
        """Send to every socket."""
        for websocket in c.websockets:
            await websocket.send(text)
        if fails:
            raise UserError("no")
        return len(c.websockets)

    @action
    async def hang_up(self, c: Context[Room]) -> None:
        for websocket in c.websockets:
            await websocket.close(4000, "everybody out")

    @action
    async def tell_later(self, c: Context[Room], text: str) -> None:
        """Send outside any turn."""

        async def later() -> None:
            await stage.pause("later")
            for websocket in c.websockets:
                await websocket.send(text)

        c.wait_until(later())

    @action
    async def rest(self, c: Context[Room]) -> None:
        c.sleep()

    @action
    async def end(self, c: Context[Room]) -> None:
        c.destroy()

    @action(read_only=True)
    def page(self, c: Context[Room]) -> list[str]:
        return list(c.state.log)


class Nap(Actor[Room, Who]):
    """Whose sockets stay open while it sleeps."""

    state = Room
    hibernate_websockets = True
    sleep_timeout_s = 30

    async def create_conn_state(self, c: Context[Room, Who], params: Any) -> Who:
        if params.get("name") == "mallory":
            raise UserError("you are not on the list", code="denied")
        return Who(params.get("name", ""))

    async def on_connect(self, c: Context[Room, Who], conn: Connection[Who]) -> None:
        if conn.state.name:
            c.state.log.append(f"+{conn.state.name}")

    async def on_disconnect(self, c: Context[Room, Who], conn: Connection[Who]) -> None:
        if conn.state.name:
            c.state.log.append(f"-{conn.state.name}")

    async def on_wake(self, c: Context[Room, Who]) -> None:
        c.state.log.append("wake")

    async def on_sleep(self, c: Context[Room, Who]) -> None:
        c.state.log.append("sleep")

    async def on_websocket(self, c: Context[Room, Who], websocket: WebSocket) -> None:
        who = c.conn.state
        if not websocket.resumed:
            await websocket.send(f"hello {who.name}")
        try:
            async for message in websocket:
                if message == "pause":
                    await stage.pause("pause")
                if message == "crash":
                    raise ZeroDivisionError("a secret")
                c.conn.state.said += 1
                c.state.log.append(f"{who.name} {message!s}")
                await websocket.send(f"{who.name} {c.conn.state.said} {message!s}")
        finally:
            stage.log.append("finally")
        c.state.log.append(f"{who.name} closed {websocket.close_code}")

    @action
    async def tell(self, c: Context[Room, Who], text: str) -> list[str]:
        names = []
        for websocket in c.websockets:
            assert websocket.conn is not None
            names.append(websocket.conn.state.name)
            await websocket.send(text)
        return names

    @action
    async def rest(self, c: Context[Room, Who]) -> None:
        c.sleep()

    @action
    async def end(self, c: Context[Room, Who]) -> None:
        c.destroy()

    @action
    async def wait(self, c: Context[Room, Who]) -> None:
        await stage.pause("wait")

    @action(read_only=True)
    def page(self, c: Context[Room, Who]) -> list[str]:
        return list(c.state.log)


class Raising(Actor[Room]):
    """Whose handler waits with `receive`, and lets its end out."""

    state = Room

    async def on_websocket(self, c: Context[Room], websocket: WebSocket) -> None:
        try:
            while True:
                c.state.log.append(str(await websocket.receive()))
        except WebSocketClosed as closed:
            c.state.log.append(f"{closed.code} {closed.reason}")
            raise

    @action(read_only=True)
    def page(self, c: Context[Room]) -> list[str]:
        return list(c.state.log)


class Deaf(Actor):
    """Without on_websocket."""


registry = setup(use={"line": Line, "nap": Nap, "raising": Raising, "deaf": Deaf})
