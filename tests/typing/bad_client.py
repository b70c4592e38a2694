"""Calls by the async client that type checkers must refuse."""

from __future__ import annotations

from ok_actor import ChatRoom, Room

from holdfast import Client


async def use(client: Client) -> None:
    Client(6430)  # error
    Client("127.0.0.1:6430", tls="yes")  # error
    Client("127.0.0.1:6430", timeout="1")  # error
    client.get(3)  # error
    client.get(Room)  # error
    client.get(ChatRoom, 3)  # error
    client.get(ChatRoom, [3])  # error
    client.get(ChatRoom, input=Room())  # error
    client.get_or_create(ChatRoom, inptu=Room())  # error
    await client.create(ChatRoom, timeout="1")  # error
    await client.destroy(3)  # error
    number: int = client.get(ChatRoom)  # error
    room: ChatRoom = client.get("chat-room")  # error
    assert number
    assert room


async def live(client: Client, room: ChatRoom) -> None:
    Client("127.0.0.1:6430", token=b"bytes")  # error
    client.renew_token(3)  # error
    client.renew_token(lambda: 3)  # error
    room.connect(param={"user": "ada"})  # error
    room.events("message", from_sequence="1")  # error
    room.events("message", slow_reader="drop")  # error
    room.on("message")  # error
    room.on("message", print, slow_reader="drop")  # error
    async with room.connect() as conn:
        await conn.send(1)  # error
        conn.on(1, print)  # error
        conn.absent()  # error
    with room.connect():  # error
        pass
