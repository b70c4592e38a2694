"""A server that the tests of a module share, and what a session hears from it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from holdfast import Client
from holdfast.v1 import actor_pb2, event_pb2
from holdfast.v1 import session_service_pb2 as pb
from holdfast_server.app import Server
from holdfast_server.config import load
from holdfast_server.store.memory import MemoryStore
from tests.server.event_actors import registry
from tests.server.session import RawSession, opened
from tests.server.wire import target

_keys = itertools.count()


class Place:
    """A server, its client, and an actor that no other test uses."""

    def __init__(self, server: Server, client: Client) -> None:
        self.server = server
        self.client = client
        self.key = f"k{next(_keys)}"

    def on(self, name: str = "room", *, create: bool = True) -> actor_pb2.ActorTarget:
        return target(name, self.key, create=create)

    async def tell(self, action: str, *args: Any, name: str = "room") -> Any:
        return await self.client.get_or_create(name, [self.key]).action(action, *args)

    @asynccontextmanager
    async def session(self, **fields: Any) -> AsyncIterator[RawSession]:
        async with opened(self.server, **fields) as session:
            yield session


@asynccontextmanager
async def shared_server(data: Path) -> AsyncIterator[tuple[Server, Client]]:
    """A server of the actors that tell events, and a client of it."""
    flags: dict[str, Any] = {"data": str(data), "grpc": "127.0.0.1:0", "drain_timeout_s": 2.0}
    server = Server(registry, load({}, **flags), MemoryStore())
    await server.start()
    client = Client(f"127.0.0.1:{server.port}")
    yield server, client
    await client.close()
    await server.stop()


def steps(answers: list[pb.SessionAnswer]) -> list[tuple[int, int]]:
    """The numbers of events, each with the one that it names as the one before."""
    events = [each.event.event for each in answers]
    return [(event.sequence, event.previous_sequence) for event in events]


async def events_of(session: RawSession, stream: int, count: int) -> list[pb.SessionAnswer]:
    found = [await session.answer(stream) for _ in range(count)]
    assert {each.WhichOneof("answer") for each in found} <= {"event"}
    return found


async def start_of(session: RawSession, stream: int) -> event_pb2.EventCursor:
    answer = await session.answer(stream)
    assert answer.WhichOneof("answer") == "subscribed", answer
    return answer.subscribed.cursor
