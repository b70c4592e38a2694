"""Calls by the async client that type checkers must accept, with the types they must find."""

from __future__ import annotations

import math
from typing import reveal_type

from ok_actor import ChatRoom, Room, RoomShelf

from holdfast import ActorError, Client, EventsTrimmed, TlsConfig


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


async def live(client: Client) -> None:
    room = client.get_or_create(ChatRoom, ["general"])
    connection = room.connect(params={"user": "ada"})
    reveal_type(connection)  # ActorConnection[ChatRoom]
    reveal_type(connection.connection_id)  # str | None
    connection.on_open(lambda: None)
    connection.on_error(lambda error: None)
    connection.on_status_change(lambda status: status.upper())
    async with connection as conn:
        reveal_type(conn)  # ChatRoom
        reveal_type(await conn.send("x"))  # int
        reveal_type(await conn.with_options(timeout=1.0).send("x"))  # int
        async for token in conn.tell("x"):
            reveal_type(token)  # str
        remove = conn.on("message", print, slow_reader="conflate")
        remove()
        conn.once("message", print)
        async for event in conn.events("message", from_sequence=1, slow_reader="end"):
            reveal_type(event.args)  # tuple[Any, ...]
            reveal_type(event.sequence)  # int
    async with room.connect() as other:
        reveal_type(other)  # ChatRoom
    async with client.get("chat-room").connect({"user": "ada"}) as untyped:
        reveal_type(await untyped.send("x"))  # Any
    try:
        async for event in room.events():
            reveal_type(event.name)  # str
    except EventsTrimmed as gap:
        reveal_type(gap.oldest_sequence)  # int


async def token() -> str:
    return "token"


async def renew(client: Client) -> None:
    client.renew_token("other")
    client.renew_token(token)
    client.renew_token(lambda: "other")
    Client("127.0.0.1:6430", token=token)
