"""A reader of SubscribeEvents, event by event, that checks what every reader may rely on."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import pytest

from holdfast.v1 import actor_pb2, event_pb2, event_service_pb2, payload_pb2
from tests.server.outcomes import Refusal, refusal_of
from tests.server.wire import Wire

pb = event_service_pb2

END = event_pb2.SLOW_READER_END
CONFLATE = event_pb2.SLOW_READER_CONFLATE


class Listener:
    """One subscription. The cursor never falls back, and each event names the one before."""

    def __init__(self, wire: Wire, on: actor_pb2.ActorTarget, **fields: Any) -> None:
        fields.setdefault("accept_encoding", payload_pb2.PAYLOAD_ENCODING_JSON)
        request = pb.SubscribeEventsRequest(target=on, **fields)
        self.rpc = wire.events.SubscribeEvents(request)
        self.cursor = event_pb2.EventCursor()
        self.answers = 0
        self._ready: deque[event_pb2.Event] = deque()
        self._place = 0

    async def opened(self) -> Listener:
        """Wait for the first answer, which says where it starts."""
        first = await self.rpc.read()
        if first is grpc.aio.EOF:
            raise AssertionError((await self.refusal()).reason)
        assert not first.events
        self.cursor = first.cursor
        self._place = first.cursor.sequence
        return self

    async def read(self) -> bool:
        """Take in one more answer; False at the end."""
        answer = await self.rpc.read()
        if answer is grpc.aio.EOF:
            return False
        assert (answer.cursor.actor_id, answer.cursor.incarnation) == (
            self.cursor.actor_id,
            self.cursor.incarnation,
        )
        assert answer.cursor.sequence >= self.cursor.sequence
        for event in answer.events:
            if event.sequence:
                assert event.previous_sequence == self._place
                self._place = event.sequence
            self._ready.append(event)
        self._place = answer.cursor.sequence
        self.cursor = answer.cursor
        self.answers += 1
        return True

    async def next(self) -> event_pb2.Event:
        """The next event."""
        while not self._ready:
            if not await self.read():
                raise AssertionError(f"ended: {await self.refusal()}")
        return self._ready.popleft()

    async def take(self, count: int) -> list[tuple[int, str, list[Any]]]:
        """The next events: number, name, arguments."""
        return [plain(await self.next()) for _ in range(count)]

    async def until(self, last: Callable[[event_pb2.Event], bool]) -> list[event_pb2.Event]:
        """Events through the first for which `last` is true."""
        events = [await self.next()]
        while not last(events[-1]):
            events.append(await self.next())
        return events

    async def refusal(self) -> Refusal:
        """What the stream must end with, whatever events come before."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while await self.read():
                pass
        return refusal_of(caught.value)

    def leave(self) -> None:
        with suppress(Exception):
            self.rpc.cancel()


def plain(event: event_pb2.Event) -> tuple[int, str, list[Any]]:
    """An event with JSON arguments as a tuple."""
    return event.sequence, event.name, json.loads(event.args.data)


async def listen(wire: Wire, on: actor_pb2.ActorTarget, **fields: Any) -> Listener:
    """An open subscription."""
    return await Listener(wire, on, **fields).opened()
