"""Code that type checkers must refuse: each line marked `error` and no other."""

from __future__ import annotations

from ok_actor import ChatRoom, Room, RoomShelf, Visitor

from holdfast import Actor, Connection, Context, action


class Wrong(Actor[Room]):
    @action  # error
    async def no_context(self, text: str) -> None: ...

    @action(read_only="yes")  # error
    async def option(self, c: Context[Room]) -> None: ...

    @action(durability="eventual")  # error
    async def literal(self, c: Context[Room]) -> None: ...

    @action
    async def go(self, c: Context[Room]) -> int:
        c.state.topics.append("x")  # error
        c.client.get_or_create(ChatRoom, 3)  # error
        return c.state.topic  # error


class WrongRoom(Actor[Room, Visitor]):
    async def create_conn_state(self, c: Context[Room, Visitor], params: object) -> Room:  # error
        return Room()

    async def on_connect(self, c: Context[Room, Visitor], conn: Connection[Visitor]) -> None:
        conn.state.name = "ada"  # error
        conn.send(1)  # error

    @action
    async def who(self, c: Context[Room, Visitor]) -> str:
        c.conns["x"].state = Room()  # error
        return c.conn.state.name  # error


async def calls(room: ChatRoom, shelf: RoomShelf) -> None:
    await room.send(1)  # error
    await room.send()  # error
    await room.send("x", "y")  # error
    await room.send(texts="x")  # error
    await room.history(limit="3")  # error
    await room.render(3)  # error
    await room.tell_all(1, upper=True).__anext__()  # error
    text: str = await room.send("x")  # error
    await room.tell("x")  # error
    async for _ in room.send("x"):  # error
        pass
    await room.absent()  # error
    await room.with_options(timout=1.0).send("x")  # error
    await room.with_options(timeout="1").send("x")  # error
    await shelf.put("x", 3)  # error
    assert text
