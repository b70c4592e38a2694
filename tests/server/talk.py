"""An actor whose clients talk: it tells everybody, by events and by messages."""

from __future__ import annotations

from typing import Any

from holdfast import Actor, Connection, Context, action, setup
from tests.server.rooms import Seen, Visitor
from tests.server.stage import stage


class Talk(Actor[Seen, Visitor]):
    """Tells everybody, and the one who speaks."""

    state = Seen

    async def create_conn_state(self, c: Context[Seen, Visitor], params: dict[str, Any]) -> Visitor:
        return Visitor(params.get("name", "nobody"))

    async def on_connect(self, c: Context[Seen, Visitor], conn: Connection[Visitor]) -> None:
        stage.log.append(f"connect {conn.state.name}")
        c.state.log.append(f"+{conn.state.name}")

    async def on_disconnect(self, c: Context[Seen, Visitor], conn: Connection[Visitor]) -> None:
        stage.log.append(f"disconnect {conn.state.name}")
        c.state.log.append(f"-{conn.state.name}")

    @action
    async def say(self, c: Context[Seen, Visitor], text: str) -> int:
        c.state.log.append(text)
        c.broadcast("said", text)
        for conn in c.conns:
            if conn.params:
                conn.state.notes.append(text[:10])
                conn.send("heard", text)
        return len(c.state.log)

    @action
    async def say_slowly(self, c: Context[Seen, Visitor], text: str) -> int:
        await stage.pause(text)
        return await Talk.say.function(self, c, text)

    @action
    async def doze(self, c: Context[Seen, Visitor]) -> None:
        c.sleep()

    @action
    async def notes(self, c: Context[Seen, Visitor]) -> list[str]:
        return c.conn.state.notes

    @action
    async def log(self, c: Context[Seen, Visitor]) -> list[str]:
        return c.state.log


registry = setup(use={"talk": Talk})
