"""Actors that type checkers must accept, with the types they must find in them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, reveal_type

from holdfast import Actor, BigInt, Event, Response, UserError, action, asgi_handler, setup

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from holdfast import Connection, Context, Request, WebSocket
    from holdfast.asgi import Receive, Send


@dataclass
class Room:
    topic: str = ""
    messages: list[str] = field(default_factory=list[str])


@dataclass
class Visitor:
    user_id: str


class Lobby(Actor[Room, Visitor]):
    state = Room
    hibernate_connections = False

    async def on_before_connect(self, c: Context[Room, Visitor], params: dict[str, str]) -> None:
        reveal_type(c.conns.others)  # list[Connection[Visitor]]

    async def create_conn_state(self, c: Context[Room, Visitor], params: dict[str, str]) -> Visitor:
        return Visitor(params["user"])

    async def on_connect(self, c: Context[Room, Visitor], conn: Connection[Visitor]) -> None:
        reveal_type(conn.state)  # Visitor
        conn.state = Visitor("ada")

    async def on_disconnect(self, c: Context[Room, Visitor], conn: Connection[Visitor]) -> None:
        reveal_type(conn.id)  # str

    @action
    async def who(self, c: Context[Room, Visitor]) -> str:
        for each in c.conns:
            reveal_type(each.state.user_id)  # str
            each.send("who", c.conn.state.user_id, ephemeral=True)
        reveal_type(c.conns.get("x"))  # Connection[Visitor] | None
        c.conn.disconnect("bye")
        return c.conn.state.user_id


class Site(Actor[Room, Visitor]):
    state = Room
    hibernate_websockets = True

    async def create_conn_state(self, c: Context[Room, Visitor], params: dict[str, str]) -> Visitor:
        return Visitor(params["user"])

    async def on_request(self, c: Context[Room, Visitor], request: Request) -> Response:
        reveal_type(request.query["a"])  # str
        async for part in request.stream(limit=10):
            reveal_type(part)  # bytes
        return Response(self.parts(), status=201, headers={"x-a": "b"})

    async def parts(self) -> AsyncIterator[str]:
        yield ""

    async def on_websocket(self, c: Context[Room, Visitor], websocket: WebSocket) -> None:
        async for message in websocket:
            reveal_type(message)  # str | bytes
            for other in c.websockets:
                await other.send(message)


async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None: ...


class Mounted(Actor):
    on_request = on_websocket = asgi_handler(app)


class ChatRoom(Actor[Room]):
    sleep_timeout_s = 30
    state = Room

    async def on_create(self, c: Context[Room], input: Room | None) -> None:
        reveal_type(c.state)  # Room

    async def on_wake(self, c: Context[Any, Any]) -> None: ...

    def on_state_change(self, c: Context[Room], state: Room) -> None: ...

    @action
    async def send(self, c: Context[Room], text: str) -> int:
        reveal_type(c.state.messages)  # list[str]
        reveal_type(c.key)  # list[str]
        reveal_type(await self.count.inline(c))  # int
        reveal_type(await self.history.inline(c, 3))  # list[str]
        other = c.client.get_or_create(Stats, [c.key[0]])
        reveal_type(other)  # Stats
        reveal_type(await other.add(1))  # float
        reveal_type(await other.exact(BigInt(1)))  # BigInt
        c.send(Stats, ["a"], "add", 1)
        if not text:
            raise UserError("empty", code="empty", metadata={"text": text})
        return len(c.state.messages)

    @action(read_only=True)
    def history(self, c: Context[Room], limit: int = 50) -> list[str]:
        return c.state.messages[:limit]

    @action(name="countAll", timeout_s=1.0)
    async def count(self, c: Context[Room]) -> int:
        return 1

    @action
    async def tell(self, c: Context[Room], prompt: str) -> AsyncIterator[str]:
        yield prompt

    @action(name="tell.all", durability="buffered")
    async def tell_all(self, c: Context, *prompts: str, upper: bool = False) -> AsyncIterator[str]:
        yield prompts[0]

    @action(thread=True)
    def render(self, c: Context[Room], *, width: int) -> bytes:
        return b""


class Stats(Actor):
    @action(interleave=True)
    async def add(self, c: Context, by: int) -> float:
        return 1.0

    @action
    async def exact(self, c: Context, amount: BigInt) -> BigInt:
        reveal_type(amount + 1)  # int
        c.broadcast("exact", BigInt(7))
        return BigInt(amount + 1)


class Vip(ChatRoom):
    """An actor that derives from another."""

    @action
    async def invite(self, c: Context[Room], who: str) -> bool:
        return await self.send.inline(c, who) > 0


T = TypeVar("T")


class Shelf(Actor[dict[str, T]], Generic[T]):
    """A base for actors of many types."""

    @action
    async def put(self, c: Context[dict[str, T]], name: str, item: T) -> T:
        c.state[name] = item
        return item

    @action(read_only=True)
    def all(self, c: Context[dict[str, T]]) -> list[T]:
        return list(c.state.values())


class RoomShelf(Shelf[Room]):
    state = dict


class Teller(Actor[Room]):
    state = Room

    def may_listen(self, c: Context[Room]) -> bool:
        return c.state.topic == "open"

    emits = {
        "told": Event(str, int, retention_s=60, can_subscribe=may_listen),
        "typing": Event(bool, ephemeral=True),
    }

    @action
    async def tell(self, c: Context[Room]) -> None:
        c.broadcast("told", "x", 1)
        c.broadcast("typing", True, ephemeral=True)


registry = setup(use={"chat-room": ChatRoom, "stats": Stats, "shelf": RoomShelf})


async def calls(room: ChatRoom, vip: Vip, shelf: RoomShelf) -> None:
    reveal_type(await room.send("x"))  # int
    reveal_type(await room.send(text="x"))  # int
    reveal_type(await room.with_options(timeout=1.0).send("x"))  # int
    reveal_type(await room.history(limit=3))  # list[str]
    reveal_type(await room.count())  # int
    reveal_type(await room.render(width=3))  # bytes
    reveal_type(await room.resolve())  # str
    reveal_type(await room.action("send", "x", y=1))  # Any
    reveal_type(ChatRoom.send.name)  # str
    async for token in room.tell("x"):
        reveal_type(token)  # str
    async for token in room.tell_all("x", "y", upper=True):
        reveal_type(token)  # str
    async for item in room.action_stream("tell", "x"):
        reveal_type(item)  # Any
    reveal_type(await vip.invite("x"))  # bool
    reveal_type(await vip.send("x"))  # int
    reveal_type(vip.with_options(idempotency_key="k"))  # Vip
    reveal_type(await shelf.put("x", Room()))  # Room
    reveal_type(await shelf.all())  # list[Room]
