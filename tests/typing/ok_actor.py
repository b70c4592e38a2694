"""Calls that type checkers must accept, with the types they must find."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, reveal_type

from holdfast.actor import Actor, action

if TYPE_CHECKING:
    from holdfast.context import Context


@dataclass
class Room:
    topic: str = ""


class ChatRoom(Actor[Room]):
    sleep_timeout_s = 30
    state = Room

    async def on_create(self, c: Context[Any, Any], input: Room | None) -> None: ...

    @action
    async def send(self, c: Context[Any, Any], text: str) -> int:
        return await self.count.inline(c)

    @action(read_only=True)
    def history(self, c: Context[Any, Any], limit: int = 50) -> list[str]:
        return []

    @action(name="countAll")
    async def count(self, c: Context[Any, Any]) -> int:
        return 1

    @action
    async def tell(self, c: Context[Any, Any], prompt: str) -> AsyncIterator[str]:
        yield prompt


async def calls(room: ChatRoom) -> None:
    reveal_type(await room.send("x"))  # int
    reveal_type(await room.with_options(timeout=1.0).send("x"))  # int
    reveal_type(await room.history(limit=3))  # list[str]
    reveal_type(await room.resolve())  # str
    reveal_type(ChatRoom.send.name)  # str
    async for token in room.tell("x"):
        reveal_type(token)  # str
