"""Calls by the blocking client that type checkers must accept, with the types they must find."""

from __future__ import annotations

from typing import reveal_type

from ok_actor import ChatRoom, Room, RoomShelf, Vip

from holdfast.blocking import Client


def use() -> None:
    with Client("127.0.0.1:6430", timeout=None) as client:
        reveal_type(client)  # Client
        room = client.get_or_create(ChatRoom, ["org-acme", "general"], input=Room("rust"))
        reveal_type(room)  # Handle[ChatRoom]
        reveal_type(room.call(ChatRoom.send, "x"))  # int
        reveal_type(room.call(ChatRoom.history, limit=3))  # list[str]
        reveal_type(room.call(ChatRoom.count))  # int
        reveal_type(room.call(ChatRoom.render, width=3))  # bytes
        reveal_type(room.with_options(timeout=1.0).call(ChatRoom.send, "x"))  # int
        for token in room.call(ChatRoom.tell, "x"):
            reveal_type(token)  # str
        for item in room.action_stream("tell", "x"):
            reveal_type(item)  # Any
        reveal_type(room.action("send", "x"))  # Any
        # Without `call` a blocking handle is untyped.
        reveal_type(room.send("x"))  # Any
        reveal_type(room.resolve())  # str
        reveal_type(client.get(Vip).call(Vip.send, "x"))  # int
        reveal_type(client.get(RoomShelf).call(RoomShelf.put, "x", Room()))  # Room
        reveal_type(client.get_for_id(ChatRoom, "id"))  # Handle[ChatRoom]
        reveal_type(client.create(ChatRoom))  # Handle[ChatRoom]
        reveal_type(client.get("chat-room"))  # Handle[Any]
        reveal_type(client.create("chat-room"))  # Handle[Any]
        reveal_type(client.destroy(room))  # str
        for info in client.list(ChatRoom):
            reveal_type(info.actor_id)  # str
        with room.connect(params={"user": "ada"}) as conn:
            reveal_type(conn)  # Connection[ChatRoom]
            reveal_type(conn.call(ChatRoom.send, "x"))  # int
            conn.status.upper()
            conn.on("message", print, slow_reader="conflate")
            for event in conn.events("message"):
                reveal_type(event.args)  # tuple[Any, ...]
        client.renew_token("other")
