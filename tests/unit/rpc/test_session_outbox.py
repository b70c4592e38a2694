"""What a session has to say: order, events that several share, and the bytes counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from holdfast.v1 import session_service_pb2 as pb
from holdfast_server.core.events import Delivery, Event
from holdfast_server.core.values import Encoding, Value
from holdfast_server.rpc.session.outbox import Outbox


def delivery(number: int, size: int = 1) -> Delivery:
    return Delivery(Event("e", Value(Encoding.JSON, b"x" * size), number), number - 1)


class Client:
    """Takes what an outbox writes, one frame a tick, and puts parts together."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._answers: list[pb.SessionAnswer] = []
        self._chunk = b""

    async def send(self, frame: pb.OpenSessionResponse) -> None:
        await asyncio.sleep(0)
        for answer in frame.answers:
            if answer.HasField("chunk"):
                self._chunk += answer.chunk.data
                if not answer.chunk.last:
                    continue
                answer, self._chunk = pb.SessionAnswer.FromString(self._chunk), b""
            self._answers.append(answer)

    async def take(self) -> list[pb.SessionAnswer]:
        """Every answer that has been put since."""
        await self._outbox.at_most(0)
        assert self._outbox.size == 0
        answers, self._answers = self._answers, []
        return answers


@asynccontextmanager
async def opened(chunk_bytes: int = 1000) -> AsyncIterator[tuple[Outbox, Client]]:
    outbox = Outbox(asyncio.get_running_loop(), chunk_bytes)
    client = Client(outbox)
    writing = asyncio.create_task(outbox.write(client.send))
    yield outbox, client
    writing.cancel()


def short(answers: list[pb.SessionAnswer]) -> list[Any]:
    return [
        (each.event.event.sequence, list(each.event.streams))
        if each.HasField("event")
        else each.stream
        for each in answers
    ]


async def test_an_event_is_shared_until_its_frame_leaves() -> None:
    event = delivery(1)
    async with opened() as (outbox, client):
        for stream in (1, 2):
            outbox.event(stream, event, after=0)
        assert short(await client.take()) == [(1, [1, 2])]
        outbox.event(3, event, after=0)
        assert short(await client.take()) == [(1, [3])]


async def test_a_shared_event_comes_before_nothing_that_its_stream_was_told() -> None:
    one, two = delivery(1), delivery(2)
    async with opened() as (outbox, client):
        places = {1: outbox.event(1, one, after=0)}
        places[2] = outbox.event(2, two, after=0)
        # Stream 2 has been told the second: the first of stream 1 is too early for it.
        places[2] = outbox.event(2, one, after=places[2])
        places[1] = outbox.event(1, two, after=places[1])
        outbox.open(3, 0).end.code = 0
        assert places[2] > places[1]
        assert short(await client.take()) == [(1, [1]), (2, [2, 1]), (1, [2]), 3]


async def test_all_bytes_are_counted_until_they_have_left() -> None:
    large = delivery(1, 5000)
    async with opened(chunk_bytes=100) as (outbox, client):
        outbox.open(7, 0).end.code = 0
        for stream in range(1, 500):
            outbox.event(stream, large, after=0)
        outbox.open(8, 0).end.code = 0
        assert outbox.size > 5000
        first, event, last = await client.take()
        assert (first.stream, last.stream) == (7, 8)
        assert list(event.event.streams) == list(range(1, 500))
