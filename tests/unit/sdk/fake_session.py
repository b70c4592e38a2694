"""The other side of a session, in memory: actors with a log, connections with messages.

It is what provokes faults: `cut_after` counts frames, in and out, and then the stream
breaks, with what was under way lost; what commands did stays done. Stored answers make
a repeated call harmless, as at a real server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from holdfast._channel import open_channel
from holdfast._retry import Backoff
from holdfast._session_transport import SessionTransport
from holdfast.client import BaseClient
from holdfast.v1 import session_service_pb2 as pb
from holdfast.v1.session_service_pb2_grpc import (
    SessionServiceServicer,
    add_SessionServiceServicer_to_server,
)
from tests.unit.sdk.fake_actors import Actor, Connection, Reader, Refusal, decode, encode


class Sessions(SessionServiceServicer):
    """See the module. `on_connect(connection)` runs where a connection is opened."""

    def __init__(self) -> None:
        self.hellos: list[pb.SessionHello] = []
        self.metadata: list[dict[str, Any]] = []
        self.frames: list[list[str]] = []
        self.calls: list[pb.SessionCall] = []
        self.connects: list[pb.SessionConnect] = []
        self.subscribes: list[pb.SessionSubscribe] = []
        self.cancelled: list[int] = []
        self.failures: list[Refusal] = []
        self.refusals: list[tuple[grpc.StatusCode, str]] = []
        self.actors: dict[tuple[str, ...], Actor] = {}
        self.connections: dict[str, Connection] = {}
        self.stored: dict[Any, pb.SessionResult] = {}
        self.ran: list[Any] = []
        self.runs: list[Run] = []
        self.left = asyncio.Event()
        self.hold: asyncio.Event | None = None
        self.arrived = asyncio.Event()
        self.on_connect: Callable[[Connection], None] = lambda connection: None
        self.cut_after: Callable[[], bool] = lambda: False
        self.streams_max = 1000
        self.chunk_bytes = 64 * 1024
        self.message_bytes_max = 4 << 20
        self.silent = False
        # No session is opened while this is not set.
        self.gate = asyncio.Event()
        self.gate.set()

    def actor(self, *key: str) -> Actor:
        return self.actors.setdefault(key, Actor("A-" + "-".join(key)))

    def cut(self) -> None:
        """Break what is open now."""
        for run in self.runs:
            run.cut.set()

    async def stay_cut(self) -> None:
        """Break what is open, and let nothing be opened until `gate` is set."""
        self.gate.clear()
        self.cut()
        while self.runs:
            self.left.clear()
            await self.left.wait()

    async def OpenSession(self, request_iterator: Any, context: Any) -> None:
        self.metadata.append(dict(context.invocation_metadata()))
        await self.gate.wait()
        if self.refusals:
            code, text = self.refusals.pop(0)
            await context.abort(code, text)
        run = Run(self, context)
        self.runs.append(run)
        try:
            await run.serve()
        finally:
            self.runs.remove(run)
            self.left.set()


def cuts(budget: list[int]) -> Callable[[], bool]:
    """Cuts after so many frames, again after so many more, and then never."""

    def cut() -> bool:
        if not budget:
            return False
        budget[0] -= 1
        if budget[0] > 0:
            return False
        budget.pop(0)
        return True

    return cut


@asynccontextmanager
async def impatient(sessions: Sessions) -> AsyncIterator[BaseClient]:
    """A client that tries again at once."""
    listener = grpc.aio.server()
    add_SessionServiceServicer_to_server(sessions, listener)
    port = listener.add_insecure_port("127.0.0.1:0")
    await listener.start()
    channel = open_channel(f"127.0.0.1:{port}", False)
    transport = SessionTransport(channel, backoff=lambda: Backoff(lambda: -1.0))
    try:
        yield BaseClient(transport)
    finally:
        await transport.close()
        await listener.stop(None)


class Run:
    """One OpenSession stream."""

    def __init__(self, sessions: Sessions, context: Any) -> None:
        self.sessions = sessions
        self.context = context
        self.cut = asyncio.Event()
        self._out: list[pb.SessionAnswer] = []
        self._ready = asyncio.Event()
        self.readers: dict[int, Reader] = {}
        self.connections: dict[int, Connection] = {}
        self.client_id = b""
        self._last = 0
        self._whole: set[int] = set()
        self._parts: dict[int, list[bytes]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def send(self, stream: int = 0, **answer: Any) -> None:
        if self.cut.is_set():
            return
        message = pb.SessionAnswer(stream=stream, **answer)
        data = message.SerializeToString()
        if len(data) <= self.sessions.chunk_bytes:
            self._out.append(message)
        else:
            size = self.sessions.chunk_bytes
            for at in range(0, len(data), size):
                chunk = pb.SessionChunk(data=data[at : at + size], last=at + size >= len(data))
                self._out.append(pb.SessionAnswer(stream=stream, chunk=chunk))
        self._ready.set()

    def refuse(self, stream: int, refusal: Refusal) -> None:
        self.close(stream)
        self.send(stream, end=refusal.end())

    def close(self, stream: int) -> None:
        reader = self.readers.pop(stream, None)
        if reader is not None:
            reader.actor.readers.remove(reader)

    async def serve(self) -> None:
        loops = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        cut = asyncio.create_task(self.cut.wait())
        try:
            await asyncio.wait([*loops, cut], return_when=asyncio.FIRST_COMPLETED)
            for loop in loops:
                if loop.done() and not loop.cancelled() and loop.exception() is not None:
                    raise loop.exception()  # type: ignore[misc]
        finally:
            for task in [*loops, cut, *self._tasks.values()]:
                task.cancel()
            for reader in self.readers.values():
                reader.actor.readers.remove(reader)
            for connection in self.connections.values():
                if connection.run is self:
                    connection.run = None
        if self.cut.is_set():
            await self.context.abort(grpc.StatusCode.UNAVAILABLE, "cut")

    async def _read(self) -> None:
        while True:
            frame = await self.context.read()
            if frame is grpc.aio.EOF:
                return
            if self.sessions.cut_after():
                self.cut.set()
                return
            kinds = [command.WhichOneof("command") or "" for command in frame.commands]
            self.sessions.frames.append(kinds)
            for command in frame.commands:
                self._command(command)

    async def _write(self) -> None:
        while True:
            await self._ready.wait()
            self._ready.clear()
            out, self._out = self._out, []
            for at in range(0, len(out), 16):
                if self.sessions.cut_after():
                    self.cut.set()
                    return
                await self.context.write(pb.OpenSessionResponse(answers=out[at : at + 16]))

    def _command(self, command: pb.SessionCommand) -> None:
        kind = command.WhichOneof("command")
        number = command.stream
        if kind in ("call", "connect", "subscribe") or (
            kind == "chunk" and number not in self._parts
        ):
            if number <= self._last and number not in self._whole:
                raise AssertionError(f"stream {number} after {self._last}")
            self._last = max(self._last, number)
        if kind == "hello":
            self._hello(command.hello)
        elif kind == "chunk":
            parts = self._parts.setdefault(number, [])
            parts.append(command.chunk.data)
            if command.chunk.last:
                self._whole.add(number)
                whole = pb.SessionCommand.FromString(b"".join(self._parts.pop(number)))
                self._command(whole)
        elif kind == "ping" and not self.sessions.silent:
            self.send(pong=pb.SessionPong(number=command.ping.number))
        elif kind == "call":
            self.sessions.calls.append(command.call)
            self._tasks[number] = asyncio.create_task(self._call(number, command.call))
        elif kind in ("connect", "subscribe"):
            try:
                getattr(self, f"_{kind}")(number, getattr(command, kind))
            except Refusal as refusal:
                self.refuse(number, refusal)
        elif kind == "cancel":
            self._parts.pop(number, None)
            self._cancel(number)
        elif kind == "credit" and number in self.readers:
            self.readers[number].credit += command.credit.bytes
            self.readers[number].advance()
        elif kind == "acknowledge" and number in self.connections:
            connection = self.connections[number]
            handled = command.acknowledge.message
            connection.kept = [m for m in connection.kept if m.number > handled]

    def _hello(self, hello: pb.SessionHello) -> None:
        sessions = self.sessions
        sessions.hellos.append(hello)
        self.client_id = hello.client_id
        if sessions.silent:
            return
        self.send(
            welcome=pb.SessionWelcome(
                protocol=1,
                resume_token=b"token-%d" % len(sessions.hellos),
                streams_max=sessions.streams_max,
                chunk_bytes=sessions.chunk_bytes,
                message_bytes_max=sessions.message_bytes_max,
                connection_grace_s=30,
            )
        )

    def _cancel(self, number: int) -> None:
        self.sessions.cancelled.append(number)
        task = self._tasks.pop(number, None)
        if task is not None:
            task.cancel()
        self.close(number)
        connection = self.connections.pop(number, None)
        if connection is not None:
            self.sessions.connections.pop(connection.connection_id, None)
        self.send(number, end=pb.SessionEnd())

    def _find(self, target: Any) -> Actor:
        kind = target.WhichOneof("target")
        if kind == "actor_id":
            return next(a for a in self.sessions.actors.values() if a.actor_id == target.actor_id)
        return self.sessions.actor(*getattr(target, kind).key)

    def _connect(self, number: int, request: pb.SessionConnect) -> None:
        sessions = self.sessions
        sessions.connects.append(request)
        if request.resume_connection_id:
            found = sessions.connections.get(request.resume_connection_id)
            if found is None:
                raise Refusal("NOT_FOUND", "CONNECTION_NOT_FOUND")
            connection = found
        else:
            if sessions.failures:
                raise sessions.failures.pop(0)
            made = f"C{len(sessions.connects)}"
            connection = Connection(made, self._find(request.target), decode(request.params))
            sessions.connections[made] = connection
        connection.run, connection.stream = self, number
        self.connections[number] = connection
        self.send(
            number,
            connected=pb.SessionConnected(
                connection_id=connection.connection_id, actor_id=connection.actor.actor_id
            ),
        )
        for message in connection.kept:
            if message.number > request.received_message:
                self.send(number, message=message)
        if not request.resume_connection_id:
            # After the commands of the same frame: their subscriptions are part of it.
            asyncio.get_running_loop().call_soon(sessions.on_connect, connection)

    def _subscribe(self, number: int, request: pb.SessionSubscribe) -> None:
        self.sessions.subscribes.append(request)
        if request.connection:
            connection = self.connections.get(request.connection)
            if connection is None:
                raise Refusal("NOT_FOUND", "CONNECTION_NOT_FOUND")
            actor = connection.actor
        else:
            actor = self._find(request.target)
        start = request.WhichOneof("start")
        at = actor.last
        if start == "from_sequence":
            at = request.from_sequence - 1
        elif start == "after":
            at = request.after.sequence
            if (request.after.actor_id, request.after.incarnation) != (
                actor.actor_id,
                actor.incarnation,
            ):
                raise Refusal("OUT_OF_RANGE", "CURSOR_STALE")
        reader = Reader(
            self,
            number,
            actor,
            frozenset(request.names),
            at,
            request.window_bytes or 256 * 1024,
            request.connection,
            at,
        )
        self.readers[number] = reader
        actor.readers.append(reader)
        if at + 1 >= actor.first:
            self.send(number, subscribed=pb.SessionSubscribed(cursor=reader.cursor()))
        reader.advance()

    async def _call(self, number: int, call: pb.SessionCall) -> None:
        sessions = self.sessions
        sessions.arrived.set()
        key = call.idempotency_key or (self.client_id, call.number)
        try:
            if sessions.failures:
                raise sessions.failures.pop(0)
            if sessions.hold is not None:
                await sessions.hold.wait()
            if call.streaming:
                await self._items(number, call)
                return
            if key not in sessions.stored:
                sessions.stored[key] = pb.SessionResult(
                    result=encode(self._run(call)), actor_id="A1"
                )
            self.send(number, result=sessions.stored[key])
        except Refusal as refusal:
            self.refuse(number, refusal)

    def _run(self, call: pb.SessionCall) -> Any:
        args = decode(call.args) or []
        self.sessions.ran.append((call.action, args))
        if call.action == "emit":
            connection = self.connections.get(call.connection)
            actor = connection.actor if connection is not None else self._find(call.target)
            actor.emit(*args)
        elif call.action == "tell" and call.connection in self.connections:
            self.connections[call.connection].send(*args)
        elif call.action == "big":
            return b"x" * int(args[0])
        return [args, decode(call.kwargs) or {}]

    async def _items(self, number: int, call: pb.SessionCall) -> None:
        (up_to,) = decode(call.args)
        for item in range(up_to):
            self.send(number, items=pb.SessionItems(items=[encode(item)]))
            await asyncio.sleep(0)
        self.send(number, end=pb.SessionEnd())
