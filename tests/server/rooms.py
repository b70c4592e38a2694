"""Actors with connections, for the server's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from holdfast import Actor, Connection, Context, Event, UserError, action, setup
from tests.server.stage import stage


@dataclass
class Seen:
    log: list[str] = field(default_factory=list)


@dataclass
class Visitor:
    name: str
    notes: list[str] = field(default_factory=list)


class Room(Actor[Seen, Visitor]):
    """Writes down what its connections do; `params` say where it is to fail."""

    state = Seen

    async def on_before_connect(self, c: Context[Seen, Visitor], params: dict[str, Any]) -> None:
        stage.log.append(f"before {params.get('name')} conns={len(c.conns)} conn={c.conn}")
        await self._at("before", params)

    async def create_conn_state(self, c: Context[Seen, Visitor], params: dict[str, Any]) -> Visitor:
        stage.log.append(f"create {params.get('name')} conns={len(c.conns)}")
        await self._at("create", params)
        if "big" in params:
            return Visitor("x" * params["big"])
        if "odd" in params:
            return Visitor(3)  # type: ignore[arg-type]
        return Visitor(params.get("name", "nobody"))

    async def on_connect(self, c: Context[Seen, Visitor], conn: Connection[Visitor]) -> None:
        stage.log.append(f"connect {conn.state.name} conns={len(c.conns)} {conn in c.conns}")
        assert c.conn == conn
        c.state.log.append(f"+{conn.state.name}")
        conn.send("welcome", conn.state.name)
        await self._at("connect", conn.params)
        if conn.params.get("commit"):
            await c.commit()
        if conn.params.get("kick"):
            conn.disconnect("not today")

    async def on_disconnect(self, c: Context[Seen, Visitor], conn: Connection[Visitor]) -> None:
        stage.log.append(f"disconnect {conn.state.name} conns={len(c.conns)} {conn in c.conns}")
        c.state.log.append(f"-{conn.state.name}")
        await self._at("disconnect", conn.params)

    async def _at(self, where: str, params: dict[str, Any]) -> None:
        if params.get("pause") == where:
            await stage.pause(where)
        how = params.get(where)
        if how == "user":
            raise UserError("no", code="refused", metadata={"at": where})
        if how == "bug":
            raise ValueError(where)

    @action
    async def log(self, c: Context[Seen, Visitor]) -> list[str]:
        return c.state.log

    @action(read_only=True)
    def peek(self, c: Context[Seen, Visitor]) -> list[str]:
        return c.state.log

    @action
    async def fail(self, c: Context[Seen, Visitor]) -> None:
        c.state.log.append("failed")
        c.conn.state.notes.append("failed")
        raise UserError("no", code="refused")

    @action
    async def count_to(self, c: Context[Seen, Visitor], count: int) -> AsyncIterator[int]:
        for number in range(count):
            c.state.log.append(f"{number} {c.conn.state.name}")
            yield number
        c.state.log.append("end")

    @action(read_only=True)
    async def read_to(self, c: Context[Seen, Visitor], count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number


class Hall(Actor[Seen, Visitor]):
    """Connections without hooks, and what actions can do with them."""

    state = Seen
    conn_state = Visitor("nobody")

    @action
    async def names(self, c: Context[Seen, Visitor]) -> list[str]:
        return [conn.state.name for conn in c.conns]

    @action(read_only=True)
    def names_now(self, c: Context[Seen, Visitor]) -> list[str]:
        return [conn.state.name for conn in c.conns]

    @action
    async def rename(self, c: Context[Seen, Visitor], name: str, how: str = "") -> None:
        c.conn.state.name = name
        if how == "replace":
            c.conn.state = Visitor(name, ["replaced"])
        if how == "fail":
            raise UserError("no", code="refused")
        if how == "odd":
            c.conn.state.name = 3  # type: ignore[assignment]

    @action(interleave=True)
    async def note(self, c: Context[Seen, Visitor], text: str, how: str = "") -> None:
        await stage.pause(f"{text} begins")
        c.conn.state.notes.append(text)
        await stage.pause(text)
        if how == "fail":
            raise UserError("no", code="refused")

    @action
    async def note_steps(self, c: Context[Seen, Visitor], count: int) -> AsyncIterator[int]:
        kept = c.conn.state
        for number in range(count):
            kept.notes.append(str(number))
            yield number

    @action
    async def me(self, c: Context[Seen, Visitor]) -> list[Any]:
        return [c.conn.state.name, c.conn.state.notes]

    @action(read_only=True)
    def cheat(self, c: Context[Seen, Visitor]) -> None:
        c.conn.state.name = "cheat"

    @action
    async def look_up(self, c: Context[Seen, Visitor], conn_id: str) -> list[bool]:
        found = c.conns.get(conn_id)
        try:
            same = c.conns[conn_id] == found
        except KeyError:
            same = found is None
        return [found is not None, conn_id in c.conns, same, found in c.conns]

    @action
    async def others(self, c: Context[Seen, Visitor]) -> list[str]:
        return [conn.id for conn in c.conns.others]

    @action
    async def whose(self, c: Context[Seen, Visitor]) -> Any:
        return [c.conn.id, c.conn.params, c.conn in c.conns, len(c.conns)]

    @action
    async def tell(
        self, c: Context[Seen, Visitor], conn_id: str, name: str, values: list[Any]
    ) -> None:
        for value in values:
            c.conns[conn_id].send(name, value)

    @action
    async def tell_map(self, c: Context[Seen, Visitor], conn_id: str) -> None:
        c.conns[conn_id].send("text", {True: "no JSON"})

    @action
    async def tell_all(self, c: Context[Seen, Visitor], text: str) -> int:
        for conn in c.conns:
            conn.send("text", text)
        return len(c.conns)

    @action
    async def tell_and_fail(self, c: Context[Seen, Visitor], text: str) -> None:
        for conn in c.conns:
            conn.send("text", text)
        raise UserError("no", code="refused")

    @action
    async def tell_midway(self, c: Context[Seen, Visitor], text: str) -> None:
        c.conn.send("text", text)
        await c.commit()
        await stage.pause("committed")

    @action(thread=True)
    def tell_from_thread(self, c: Context[Seen, Visitor], text: str) -> int:
        c.conn.state.name = "threaded"
        for conn in c.conns:
            conn.send("text", text)
        return len(c.conns)

    @action
    async def tell_later(self, c: Context[Seen, Visitor], text: str) -> None:
        async def later() -> None:
            await stage.pause("later")
            async with c.turn():
                c.conn.send("text", f"{c.conn.state.name}: {text}")
            stage.mark("told")

        stage.kept["later"] = asyncio.create_task(later())

    @action
    async def whisper(self, c: Context[Seen, Visitor], text: str) -> None:
        for conn in c.conns:
            conn.send("whisper", text, ephemeral=True)

    @action(read_only=True)
    def whisper_now(self, c: Context[Seen, Visitor], text: str, ephemeral: bool = True) -> None:
        for conn in c.conns:
            conn.send("whisper", text, ephemeral=ephemeral)

    @action
    async def kick(
        self, c: Context[Seen, Visitor], conn_id: str, reason: str, times: int = 1
    ) -> int:
        conn = c.conns[conn_id]
        for _ in range(times):
            conn.disconnect(reason)
        assert conn not in c.conns
        return len(c.conns)

    @action
    async def kick_and_fail(self, c: Context[Seen, Visitor], conn_id: str) -> None:
        c.conns[conn_id].disconnect("x")
        raise UserError("no", code="refused")

    @action
    async def leave(self, c: Context[Seen, Visitor], reason: str) -> None:
        c.conn.send("text", "bye")
        c.conn.disconnect(reason)

    @action
    async def end(self, c: Context[Seen, Visitor]) -> None:
        c.destroy()

    async def on_disconnect(self, c: Context[Seen, Visitor], conn: Connection[Visitor]) -> None:
        stage.log.append(f"disconnect {conn.state.name} {len(c.conns)}")
        if conn.params.get("disconnect") == "bug":
            c.state.log.append("bug")
            raise ValueError("disconnect")

    @action
    async def log(self, c: Context[Seen, Visitor]) -> list[str]:
        return c.state.log


def _is_friend(actor: Any, c: Context[Seen, Visitor]) -> bool:
    stage.log.append(f"asked {c.conn.state.name}")
    return c.conn.state.name != "eve"


class Lounge(Actor[Seen, Visitor]):
    """Broadcasts who comes and goes, to friends."""

    state = Seen
    emits = {"joined": Event(str, can_subscribe=_is_friend), "left": Event(str)}

    async def create_conn_state(self, c: Context[Seen, Visitor], params: dict[str, Any]) -> Visitor:
        return Visitor(params["name"])

    async def on_connect(self, c: Context[Seen, Visitor], conn: Connection[Visitor]) -> None:
        conn.send("welcome")
        c.broadcast("joined", conn.state.name)
        if conn.params.get("connect") == "user":
            raise UserError("no", code="refused")

    async def on_disconnect(self, c: Context[Seen, Visitor], conn: Connection[Visitor]) -> None:
        c.broadcast("left", conn.state.name)

    @action
    async def leave(self, c: Context[Seen, Visitor]) -> None:
        c.broadcast("left", "bye")
        c.conn.disconnect("enough")

    @action
    async def end(self, c: Context[Seen, Visitor]) -> None:
        c.destroy()


class Plain(Actor[Seen]):
    """Knows nothing of connections."""

    state = Seen

    @action
    async def add(self, c: Context[Seen], text: str) -> int:
        c.state.log.append(text)
        return len(c.state.log)

    @action
    async def state_of_conn(self, c: Context[Seen]) -> Any:
        return c.conn.state

    @action
    async def send_on(self, c: Context[Seen], text: str) -> None:
        c.send("plain", c.key, "sent", text)

    @action
    async def sent(self, c: Context[Seen], text: str) -> None:
        c.state.log.append(f"{text} {c.conn}")

    @action
    async def call_room(self, c: Context[Seen], params: Any) -> list[str]:
        room = c.client.get_or_create(Room, ["called"], params=params)
        return await room.log()

    @action
    async def log(self, c: Context[Seen]) -> list[str]:
        return c.state.log


class Sleeper(Plain):
    """Leaves memory at once, whoever is connected."""

    sleep_timeout_s = 0


class Waker(Plain):
    """Stays in memory while somebody is connected."""

    sleep_timeout_s = 0
    hibernate_connections = False


registry = setup(
    use={
        "room": Room,
        "hall": Hall,
        "lounge": Lounge,
        "plain": Plain,
        "sleeper": Sleeper,
        "waker": Waker,
    }
)
