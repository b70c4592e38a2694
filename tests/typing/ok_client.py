"""Calls by the async client that type checkers must accept, with the types they must find."""

from __future__ import annotations

import math
from typing import reveal_type

from ok_actor import ChatRoom, Room, RoomShelf

from holdfast import ActorError, Client, TlsConfig


async def use() -> None:
    async with Client("127.0.0.1:6430", token=None, tls=TlsConfig(ca="ca.pem")) as client:
        reveal_type(client)  # Client
        room = client.get_or_create(ChatRoom, ["org-acme", "general"], input=Room("rust"))
        reveal_type(room)  # ChatRoom
        reveal_type(await room.send("x"))  # int
        reveal_type(client.get(ChatRoom))  # ChatRoom
        reveal_type(client.get(ChatRoom, "general"))  # ChatRoom
        reveal_type(client.get_for_id(ChatRoom, "id"))  # ChatRoom
        reveal_type(await client.create(ChatRoom, ("a",), idempotency_key="k"))  # ChatRoom
        reveal_type(await client.get_or_create(RoomShelf).all())  # list[Room]
        reveal_type(await client.destroy(room))  # str
        reveal_type(await client.destroy(ChatRoom, "general", timeout=1.0))  # str
        async for info in client.list(ChatRoom, key_prefix="org-acme"):
            reveal_type(info.key)  # tuple[str, ...]
        untyped = client.get_or_create("chat-room", ["general"])
        reveal_type(untyped)  # ActorHandle
        reveal_type(await untyped.send("x"))  # Any
        reveal_type(await untyped.with_options(timeout=math.inf).anything(1, b=2))  # Any
        reveal_type(await client.create("chat-room"))  # ActorHandle
        try:
            await room.send("x")
        except ActorError as error:
            reveal_type(error.code)  # str
            reveal_type(error.status)  # str
            reveal_type(error.retryable)  # bool
            reveal_type(error.retry_after_s)  # float | None
