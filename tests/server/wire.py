"""Calls without the SDK: nothing is retried and no key is added."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import grpc

from holdfast.v1 import actor_pb2, actor_service_pb2, kv_service_pb2, payload_pb2
from holdfast.v1.actor_service_pb2_grpc import ActorServiceStub
from holdfast.v1.event_service_pb2_grpc import EventServiceStub
from holdfast.v1.kv_service_pb2_grpc import KvServiceStub

pb = actor_service_pb2


def as_json(value: Any) -> payload_pb2.Payload:
    """A JSON payload."""
    encoding = payload_pb2.PAYLOAD_ENCODING_JSON
    return payload_pb2.Payload(encoding=encoding, data=json.dumps(value).encode())


def target(actor: str, *key: str, create: bool = True) -> actor_pb2.ActorTarget:
    """An actor by name and key."""
    named = actor_pb2.ActorKey(name=actor, key=key)
    if create:
        return actor_pb2.ActorTarget(get_or_create=named)
    return actor_pb2.ActorTarget(get=named)


def by_id(actor_id: str) -> actor_pb2.ActorTarget:
    """An actor by id."""
    return actor_pb2.ActorTarget(actor_id=actor_id)


def numbered(
    number: int, acknowledged_below: int = 0, client: str = "c"
) -> actor_pb2.ClientSequence:
    """What an SDK client puts into its requests."""
    return actor_pb2.ClientSequence(
        client_id=client.encode().ljust(16, b"-"),
        number=number,
        acknowledged_below=acknowledged_below,
    )


class Wire:
    """The bare services behind one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.actors: Any = ActorServiceStub(channel)
        self.events: Any = EventServiceStub(channel)
        self.kv: Any = KvServiceStub(channel)

    async def invoke(
        self,
        on: actor_pb2.ActorTarget,
        action: str,
        *args: Any,
        timeout: float | None = None,
        **fields: Any,
    ) -> pb.InvokeActionResponse:
        """InvokeAction with JSON arguments; `fields` are further ones of the request."""
        request = pb.InvokeActionRequest(target=on, action=action, args=as_json(args), **fields)
        answer: pb.InvokeActionResponse = await self.actors.InvokeAction(request, timeout=timeout)
        return answer

    async def stream(
        self,
        on: actor_pb2.ActorTarget,
        action: str,
        *args: Any,
        timeout: float | None = None,
        **fields: Any,
    ) -> AsyncIterator[Any]:
        """The items of StreamAction with JSON arguments."""
        request = pb.StreamActionRequest(target=on, action=action, args=as_json(args), **fields)
        rpc = self.actors.StreamAction(request, timeout=timeout)
        try:
            async for answer in rpc:
                for item in answer.items:
                    yield json.loads(item.data)
        finally:
            rpc.cancel()

    async def kv_entries(self, on: actor_pb2.ActorTarget) -> dict[bytes, bytes]:
        """What ListKvEntries shows, one page."""
        request = kv_service_pb2.ListKvEntriesRequest(target=on, page_size=1000)
        answer = await self.kv.ListKvEntries(request)
        return {entry.key: entry.value for entry in answer.entries}


def result(answer: pb.InvokeActionResponse) -> Any:
    """The value in an answer whose result is JSON."""
    return json.loads(answer.result.data)
