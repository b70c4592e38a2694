"""A raw client of SessionService: no SDK, so that a test sees every answer.

    async with opened(server) as session:
        session.send(call(1, target("counter", "a"), "increment", 2))
        assert value_of(await session.answer(1)) == 2

Answers are kept by stream until they are asked for; an event is kept for each of its
streams. The client answers no pings, gives no credit and retries nothing by itself.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from holdfast.v1 import actor_pb2
from holdfast.v1 import session_service_pb2 as pb
from holdfast.v1.session_service_pb2_grpc import SessionServiceStub
from holdfast_server.app import Server
from tests.server.outcomes import Refusal, refusal_of
from tests.server.wire import as_json

CLIENT_ID = b"c" * 16
JSON: Any = 1


def hello(**fields: Any) -> pb.SessionCommand:
    """Hello of protocol 1 with a client id, for JSON; `fields` replace some of it."""
    said = {"protocol": 1, "client_id": CLIENT_ID, "accept_encoding": JSON, **fields}
    return pb.SessionCommand(hello=pb.SessionHello(**said))


def call(
    stream: int, on: actor_pb2.ActorTarget | None, action: str, *args: Any, **fields: Any
) -> pb.SessionCommand:
    """A call with JSON arguments; `fields` are further ones of SessionCall."""
    said = pb.SessionCall(target=on, action=action, args=as_json(args), **fields)
    return pb.SessionCommand(stream=stream, call=said)


def connect(
    stream: int, on: actor_pb2.ActorTarget | None, params: Any = None, **fields: Any
) -> pb.SessionCommand:
    """A connection with JSON parameters; `fields` are further ones of SessionConnect."""
    if params is not None:
        fields["params"] = as_json(params)
    return pb.SessionCommand(stream=stream, connect=pb.SessionConnect(target=on, **fields))


def resume(stream: int, before: pb.SessionConnected, received: int = 0) -> pb.SessionCommand:
    """Goes on with a connection of an earlier session."""
    on = actor_pb2.ActorTarget(actor_id=before.actor_id)
    return connect(stream, on, resume_connection_id=before.connection_id, received_message=received)


def subscribe(
    stream: int, on: actor_pb2.ActorTarget | None, *names: str, **fields: Any
) -> pb.SessionCommand:
    """A subscription; `fields` are further ones of SessionSubscribe."""
    said = pb.SessionSubscribe(target=on, names=names, **fields)
    return pb.SessionCommand(stream=stream, subscribe=said)


def acknowledge(stream: int, number: int) -> pb.SessionCommand:
    return pb.SessionCommand(stream=stream, acknowledge=pb.SessionAcknowledge(message=number))


def cancel(stream: int) -> pb.SessionCommand:
    return pb.SessionCommand(stream=stream, cancel=pb.SessionCancel())


def credit(stream: int, count: int) -> pb.SessionCommand:
    return pb.SessionCommand(stream=stream, credit=pb.SessionCredit(bytes=count))


def ping(number: int) -> pb.SessionCommand:
    return pb.SessionCommand(ping=pb.SessionPing(number=number))


def chunked(command: pb.SessionCommand, size: int) -> list[pb.SessionCommand]:
    """The same command in parts of `size` bytes."""
    data = command.SerializeToString()
    return [
        pb.SessionCommand(
            stream=command.stream,
            chunk=pb.SessionChunk(data=data[at : at + size], last=at + size >= len(data)),
        )
        for at in range(0, len(data), size)
    ]


def value_of(answer: pb.SessionAnswer) -> Any:
    """The value of a result that is JSON; an end that failed raises."""
    assert answer.WhichOneof("answer") == "result", answer
    return json.loads(answer.result.result.data)


def items_of(answers: list[pb.SessionAnswer]) -> list[Any]:
    """The JSON items in answers."""
    return [json.loads(item.data) for answer in answers for item in answer.items.items]


def end_of(answer: pb.SessionAnswer) -> Refusal:
    """The failure that a stream ended with."""
    assert answer.WhichOneof("answer") == "end", answer
    status, info, after_s = status_pb2.Status(), error_details_pb2.ErrorInfo(), None
    status.ParseFromString(answer.end.details)
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            after_s = retry.retry_delay.ToNanoseconds() / 1e9
    names = {code.value[0]: code.name for code in grpc.StatusCode}
    return Refusal(
        names[answer.end.code], info.reason, answer.end.message, dict(info.metadata), after_s
    )


def said(answer: pb.SessionAnswer) -> tuple[Any, ...]:
    """An answer in short: its kind, and what tells it from others of its kind."""
    which = answer.WhichOneof("answer")
    if which == "event":
        event = answer.event.event
        return "event", event.sequence, event.name, *json.loads(event.args.data)
    if which == "message":
        message = answer.message
        return "message", message.number, message.name, *json.loads(message.args.data)
    if which == "subscribed":
        return "subscribed", answer.subscribed.cursor.sequence
    if which == "result":
        return "result", value_of(answer)
    if which == "end":
        refusal = end_of(answer) if answer.end.code else None
        return "end", refusal.reason if refusal else answer.end.message
    return (str(which),)


class RawSession:
    """One OpenSession stream; `welcome` once it is open."""

    def __init__(
        self,
        server: Server | str,
        metadata: tuple[tuple[str, str], ...] = (),
        options: tuple[tuple[str, Any], ...] = (),
    ) -> None:
        address = server if isinstance(server, str) else f"127.0.0.1:{server.port}"
        # A connection of its own: to close it is to vanish.
        options = (("grpc.use_local_subchannel_pool", 1), *options)
        self.channel = grpc.aio.insecure_channel(address, options=options)
        stub: Any = SessionServiceStub(self.channel)
        self._rpc = stub.OpenSession(metadata=metadata)
        self._outgoing: asyncio.Queue[pb.OpenSessionRequest | None] = asyncio.Queue()
        self._arrived: dict[int, deque[pb.SessionAnswer]] = defaultdict(deque)
        self._chunks: dict[int, bytes] = defaultdict(bytes)
        self._changed = asyncio.Condition()
        self._reading = asyncio.Event()
        self._reading.set()
        # Every frame as it came, and every answer in order, chunks put together.
        self.frames: list[pb.OpenSessionResponse] = []
        self.answers: list[pb.SessionAnswer] = []
        # Take no more frames after so many.
        self.frames_max: int | None = None
        self.ended = False
        self.error: grpc.aio.AioRpcError | None = None
        self.welcome = pb.SessionWelcome()
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]

    # Saying

    def send(self, *commands: pb.SessionCommand) -> None:
        """Send commands, all in one frame."""
        self._outgoing.put_nowait(pb.OpenSessionRequest(commands=commands))

    def send_frames(self, *commands: pb.SessionCommand) -> None:
        """Send commands, each in a frame of its own."""
        for command in commands:
            self.send(command)

    async def flush(self) -> None:
        """Wait until everything that was sent has left."""
        await self._outgoing.join()

    def finish(self) -> None:
        """Send no more."""
        self._outgoing.put_nowait(None)

    def pause(self) -> None:
        """Take no more frames."""
        self._reading.clear()

    def go_on(self) -> None:
        """Take frames again."""
        self._reading.set()

    async def cut(self) -> None:
        """Vanish, as a client whose network breaks."""
        await self.channel.close(None)
        await self.close()

    async def close(self) -> None:
        """Cancel the RPC and forget it."""
        self._rpc.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.channel.close()

    # Hearing

    async def answer(self, stream: int) -> pb.SessionAnswer:
        """The next answer of a stream; the session's failure is raised if none comes."""
        arrived = self._arrived[stream]
        async with self._changed:
            await self._changed.wait_for(lambda: arrived or self.ended)
        if not arrived:
            if self.error is not None:
                raise self.error
            raise AssertionError(f"the session ended without an answer on stream {stream}")
        return arrived.popleft()

    async def answers_to_end(self, stream: int) -> list[pb.SessionAnswer]:
        """The answers of a stream up to its result or end."""
        found = [await self.answer(stream)]
        while found[-1].WhichOneof("answer") not in ("result", "end"):
            found.append(await self.answer(stream))
        return found

    def waiting(self, stream: int) -> int:
        """How many answers of a stream have come and were not asked for."""
        return len(self._arrived[stream])

    async def hear(self, stream: int, count: int = 1) -> list[tuple[Any, ...]]:
        """The next answers of a stream in short."""
        return [said(await self.answer(stream)) for _ in range(count)]

    async def connected(self, stream: int) -> pb.SessionConnected:
        """What a connection's first answer says."""
        answer = await self.answer(stream)
        assert answer.WhichOneof("answer") == "connected", answer
        return answer.connected

    async def heard(self, count: int) -> None:
        """Wait until so many frames have come."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.frames) >= count or self.ended)

    async def pong(self) -> None:
        """Wait for the answer to a ping that is sent now; what was said before has come."""
        self.send(ping(7))
        while (await self.answer(0)).pong.number != 7:
            pass

    async def failure(self) -> Refusal:
        """What the session fails with."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.ended)
        assert self.error is not None, "the session ended well"
        return refusal_of(self.error)

    async def done(self) -> None:
        """Wait until the server has ended the session, and nothing failed."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.ended)
        if self.error is not None:
            raise self.error

    async def _write(self) -> None:
        try:
            while (frame := await self._outgoing.get()) is not None:
                await self._rpc.write(frame)
                self._outgoing.task_done()
            await self._rpc.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the reader hears why

    async def _read(self) -> None:
        try:
            while True:
                await self._reading.wait()
                frame = await self._rpc.read()
                if frame is grpc.aio.EOF:
                    break
                async with self._changed:
                    self.frames.append(frame)
                    for answer in frame.answers:
                        self._keep(answer)
                    self._changed.notify_all()
                    if len(self.frames) == self.frames_max:
                        self.pause()
            code = await self._rpc.code()
            if code is not grpc.StatusCode.OK:
                await self._rpc.read()
        except grpc.aio.AioRpcError as error:
            self.error = error
        async with self._changed:
            self.ended = True
            self._changed.notify_all()

    def _keep(self, answer: pb.SessionAnswer) -> None:
        which = answer.WhichOneof("answer")
        if which == "chunk":
            self._chunks[answer.stream] += answer.chunk.data
            if not answer.chunk.last:
                return
            answer = pb.SessionAnswer.FromString(self._chunks.pop(answer.stream))
            which = answer.WhichOneof("answer")
        self.answers.append(answer)
        streams = answer.event.streams if which == "event" else [answer.stream]
        for stream in streams:
            self._arrived[stream].append(answer)


@asynccontextmanager
async def raw_session(
    server: Server | str,
    *first: pb.SessionCommand,
    token: str | None = None,
    options: tuple[tuple[str, Any], ...] = (),
) -> AsyncIterator[RawSession]:
    """A session whose first frame is `first`, closed at the end of the block."""
    metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
    session = RawSession(server, metadata, options)
    try:
        if first:
            session.send(*first)
        yield session
    finally:
        await session.close()


@asynccontextmanager
async def opened(
    server: Server | str,
    *,
    token: str | None = None,
    options: tuple[tuple[str, Any], ...] = (),
    **fields: Any,
) -> AsyncIterator[RawSession]:
    """A session that has said hello, with `fields`, and was welcomed."""
    async with raw_session(server, hello(**fields), token=token, options=options) as session:
        session.welcome = (await session.answer(0)).welcome
        yield session
