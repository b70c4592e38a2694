"""Calls that type checkers must refuse: each line marked `error` and no other."""

from __future__ import annotations

from ok_actor import ChatRoom


async def calls(room: ChatRoom) -> None:
    await room.send(1)  # error
    await room.send()  # error
    await room.send("x", "y")  # error
    await room.send(texts="x")  # error
    await room.history(limit="3")  # error
    text: str = await room.send("x")  # error
    await room.tell("x")  # error
    await room.with_options(timout=1.0).send("x")  # error
    assert text
