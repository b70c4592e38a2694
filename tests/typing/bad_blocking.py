"""Calls by the blocking client that type checkers must refuse."""

from __future__ import annotations

from ok_actor import ChatRoom, Room, RoomShelf

from holdfast.blocking import Client


def use(client: Client) -> None:
    room = client.get_or_create(ChatRoom, "general")
    room.call(ChatRoom.send, 1)  # error
    room.call(ChatRoom.send)  # error
    room.call(ChatRoom.send, texts="x")  # error
    room.call(ChatRoom.render, 3)  # error
    room.call("send", "x")  # error
    text: str = room.call(ChatRoom.send, "x")  # error
    for _ in room.call(ChatRoom.send, "x"):  # error
        pass
    client.get(RoomShelf).call(RoomShelf.put, "x", 3)  # error
    room.with_options(timout=1.0)  # error
    client.get(3)  # error
    client.get(Room)  # error
    client.get(ChatRoom, [3])  # error
    client.create(ChatRoom, timeout="1")  # error
    assert text
