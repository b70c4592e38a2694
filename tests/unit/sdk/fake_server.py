"""A gRPC server that answers as told, to see what the client sends and retries."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from holdfast import payload
from holdfast.actor import Actor, action
from holdfast.client import Client
from holdfast.context import Context
from holdfast.v1 import actor_pb2, kv_service_pb2, payload_pb2
from holdfast.v1 import actor_service_pb2 as pb
from holdfast.v1.actor_service_pb2_grpc import (
    ActorServiceServicer,
    add_ActorServiceServicer_to_server,
)
from holdfast.v1.kv_service_pb2_grpc import KvServiceServicer, add_KvServiceServicer_to_server
from holdfast.v1.session_service_pb2_grpc import (
    SessionServiceServicer,
    add_SessionServiceServicer_to_server,
)


@dataclass
class Point:
    x: int
    y: int


class Geometry(Actor):
    @action
    async def mirror(self, c: Context, point: Point) -> Point:
        return Point(point.y, point.x)

    @action(name="echoAll")
    def echo_all(self, c: Context, *values: Any, **named: Any) -> list[Any]:
        return [list(values), named]

    @action
    async def count(self, c: Context, up_to: int) -> AsyncIterator[int]:
        for number in range(up_to):
            yield number


@dataclass
class Failure:
    """What the next calls are answered with."""

    code: grpc.StatusCode
    reason: str = ""
    metadata: dict[str, str] | None = None
    retry_after_s: float | None = None


def _pack(message: Any) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


class Server(ActorServiceServicer, KvServiceServicer):
    """Remembers requests; fails as often as `failures` says, then answers."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.requests: list[Any] = []
        self.metadata: list[dict[str, Any]] = []
        self.failures: list[Failure] = []
        self.hold: asyncio.Event | None = None
        self.arrived = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def _enter(self, request: Any, context: Any) -> None:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.arrived.set()
        if not self.failures:
            return
        failure = self.failures.pop(0)
        status = status_pb2.Status(code=failure.code.value[0], message="told to fail")
        if failure.reason:
            info = error_details_pb2.ErrorInfo(
                domain="holdfast.dev", reason=failure.reason, metadata=failure.metadata or {}
            )
            status.details.append(_pack(info))
        if failure.retry_after_s is not None:
            delay = Duration()
            delay.FromNanoseconds(int(failure.retry_after_s * 1e9))
            status.details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
        await context.abort(
            failure.code,
            "told to fail",
            (("grpc-status-details-bin", status.SerializeToString()),),
        )

    async def InvokeAction(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        if self.hold is not None:
            try:
                await self.hold.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if request.action == "count":
            self.failures.append(Failure(grpc.StatusCode.INVALID_ARGUMENT, "ACTION_WRONG_KIND"))
            await self._enter(request, context)
        encoding = request.accept_encoding
        args = payload.decode(request.args.data, encoding) if request.args.data else []
        kwargs = payload.decode(request.kwargs.data, encoding) if request.kwargs.data else {}
        if request.action == "nothing":
            return pb.InvokeActionResponse(actor_id="A1")
        value: Any = [args, kwargs]
        if request.action == "mirror":
            value = {"x": args[0]["y"], "y": args[0]["x"]}
        data = payload.encode(value, encoding)
        result = payload_pb2.Payload(encoding=encoding, data=data)
        return pb.InvokeActionResponse(result=result, actor_id="A1")

    async def StreamAction(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._enter(request, context)
        encoding = request.accept_encoding
        (up_to,) = payload.decode(request.args.data, encoding)
        try:
            for number in range(up_to):
                data = payload.encode(number, encoding)
                item = payload_pb2.Payload(encoding=encoding, data=data)
                yield pb.StreamActionResponse(items=[item])
            if self.hold is not None:
                await self.hold.wait()
            if self.failures:
                await self._enter(request, context)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def CreateActor(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return pb.CreateActorResponse(actor=actor_pb2.Actor(actor_id="A1"))

    async def GetOrCreateActor(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return pb.GetOrCreateActorResponse(actor=actor_pb2.Actor(actor_id="A1"), created=True)

    async def GetActor(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        actor = actor_pb2.Actor(
            actor_id="A1", name=request.actor.name, key=request.actor.key, namespace="default"
        )
        actor.created_at.FromSeconds(1_700_000_000)
        return pb.GetActorResponse(actor=actor)

    async def ListActors(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        first = not request.page_token
        ids = ("A1", "A2") if first else ("A3",)
        actors = [actor_pb2.Actor(actor_id=i, name=request.name, key=[i]) for i in ids]
        return pb.ListActorsResponse(actors=actors, next_page_token="more" if first else "")

    async def DestroyActor(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return pb.DestroyActorResponse(actor_id=request.target.actor_id or "A1")

    async def DescribeActors(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return pb.DescribeActorsResponse()

    async def GetKvEntries(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        found = [kv_service_pb2.KvEntry(key=b"last", value=b"hi", text=True)]
        return kv_service_pb2.GetKvEntriesResponse(entries=found if b"last" in request.keys else [])

    async def ListKvEntries(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        entry = kv_service_pb2.KvEntry(key=b"b\xff", value=b"\x00")
        return kv_service_pb2.ListKvEntriesResponse(entries=[entry])


async def _start(
    server: Server, sessions: SessionServiceServicer | None = None
) -> tuple[grpc.aio.Server, str]:
    listener = grpc.aio.server()
    if sessions is not None:
        add_SessionServiceServicer_to_server(sessions, listener)
    add_ActorServiceServicer_to_server(server, listener)
    add_KvServiceServicer_to_server(server, listener)
    port = listener.add_insecure_port("127.0.0.1:0")
    await listener.start()
    return listener, f"127.0.0.1:{port}"


@asynccontextmanager
async def running(
    sessions: SessionServiceServicer | None = None, **options: Any
) -> AsyncIterator[tuple[Server, Client]]:
    """A server, with sessions if there are any, and a client of it."""
    server = Server()
    listener, address = await _start(server, sessions)
    async with Client(address, **options) as client:
        client.register(Geometry, "geometry")
        try:
            yield server, client
        finally:
            await listener.stop(None)


@contextmanager
def running_in_thread(
    sessions: Callable[[], SessionServiceServicer] | None = None,
) -> Iterator[tuple[Server, str]]:
    """For callers without a loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    async def make() -> Any:
        server = Server()
        return server, *(await _start(server, sessions() if sessions is not None else None))

    server, listener, address = run(make())
    try:
        yield server, address
    finally:
        run(listener.stop(None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def unavailable_address() -> str:
    """An address on which nothing listens any more."""
    listener, address = await _start(Server())
    await listener.stop(None)
    return address
