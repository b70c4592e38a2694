"""Clients of connections without a transport: they attach to a server's node directly."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast import payload
from holdfast_server.app import Server
from holdfast_server.core.call import Answer, Call, Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.events import Connect, Message
from holdfast_server.core.ids import Address
from holdfast_server.core.values import Encoding, Value
from holdfast_server.runtime.readers import Link
from tests.server.probe import until

SESSION = b"s" * 16
MSGPACK = Encoding.MSGPACK


def encoded(value: object) -> Value:
    return Value(MSGPACK, payload.encode(value, MSGPACK))


class TestPeer:
    """Remembers what it hears, in order."""

    __test__ = False

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.messages: list[Message] = []
        self.link: Link | None = None
        self.end: tuple[HoldfastError | None, str] | None = None

    async def opening(self, link: Link) -> None:
        self.heard.append("opening")

    def connected(self, link: Link) -> None:
        self.heard.append("connected")
        self.link = link

    def message(self, link: Link, message: Message) -> None:
        self.messages.append(message)
        args = payload.decode(message.args.data, message.args.encoding)
        self.heard.append((message.name, *args))

    def closed(self, link: Link, error: HoldfastError | None, reason: str) -> None:
        self.end = (error, reason)
        self.heard.append("closed" if error is None else f"closed: {error.group}.{error.code}")

    @property
    def said(self) -> list[Any]:
        """The messages, without what happened to the connection."""
        return [item for item in self.heard if isinstance(item, tuple)]

    @property
    def numbers(self) -> list[tuple[int, int]]:
        return [(message.number, message.previous) for message in self.messages]

    @property
    def open_link(self) -> Link:
        assert self.link is not None
        return self.link

    async def until_said(self, count: int) -> None:
        await until(lambda: len(self.messages) >= count)

    async def until_closed(self) -> None:
        await until(lambda: self.end is not None)


def target(actor: str, *key: str, create: bool = True) -> Target:
    return Target(address=Address("default", actor, key), create=create)


async def attach(
    server: Server,
    actor: str,
    *key: str,
    params: object = None,
    peer: TestPeer | None = None,
    **request: Any,
) -> TestPeer:
    """Connect to an actor; HoldfastError when that is refused."""
    peer = TestPeer() if peer is None else peer
    given = params if params is None or isinstance(params, Value) else encoded(params)
    request.setdefault("session", SESSION)
    await server.node.connect(Connect(target=target(actor, *key), params=given, **request), peer)
    return peer


async def resume(
    server: Server, before: TestPeer, *, peer: TestPeer | None = None, **request: Any
) -> TestPeer:
    """Attach another client to the connection of one that is gone."""
    link, peer = before.open_link, TestPeer() if peer is None else peer
    request.setdefault("session", SESSION)
    request.setdefault("received", before.messages[-1].number if before.messages else 0)
    connect = Connect(target=Target(actor_id=link.actor_id), resume=link.connection_id, **request)
    await server.node.connect(connect, peer)
    return peer


async def call_on(server: Server, peer: TestPeer, action: str, *args: object) -> Any:
    """Call an action on a connection."""
    link = peer.open_link
    answer: Answer = await server.node.invoke(
        Call(
            target=Target(actor_id=link.actor_id),
            action=action,
            args=encoded(list(args)),
            connection=link.connection_id,
        )
    )
    return payload.decode(answer.value.data, answer.value.encoding)


async def rejected(attempt: Any) -> str:
    """Group and code of what refuses a connection."""
    try:
        await attempt
    except HoldfastError as error:
        return f"{error.group}.{error.code}"
    raise AssertionError("the connection was not refused")


async def several(server: Server, count: int, actor: str, *key: str) -> list[TestPeer]:
    """Many connections at once."""
    return list(await asyncio.gather(*(attach(server, actor, *key) for _ in range(count))))
