"""One OpenSession stream: one writer, one reader, and the streams that are open on it.

Everything that is ready within one tick of the loop goes out in one frame; while a
frame is being written, the next one fills. A link never recovers: when it ends, each of
its streams is cut, and the session makes the next link.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

import grpc
import grpc.aio

from holdfast._session_frames import Frames, Joiner
from holdfast._session_streams import Stream, local_error, renewed
from holdfast.v1 import session_service_pb2 as pb

PING_S: Final = 20.0
HANDSHAKE_S: Final = 10.0
_OF_THE_SESSION: Final = (
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
    # Of the token: whether there is another shows when the next one is opened.
    grpc.StatusCode.UNAUTHENTICATED,
)
# gRPC's own words for a stream that ended while something was written to it, whose status
# it then no longer tells.
_UNTOLD: Final = "Internal error from Core"


def _of_the_peer(error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
    """What a stream failed with; the next one is told what gRPC did not hear of this one."""
    if error.code() is grpc.StatusCode.INTERNAL and error.details() == _UNTOLD:
        return local_error(grpc.StatusCode.UNAVAILABLE, "the session has ended")
    return error


class Link:
    """See the module. `ended` is called once, with what the stream failed with."""

    def __init__(
        self,
        rpc: Any,
        *,
        ping_s: float,
        changed: Callable[[Link], None],
        ended: Callable[[Link, Exception], None],
        beat: Callable[[], None],
    ) -> None:
        self._rpc = rpc
        self._ping_s = ping_s
        self._loop = asyncio.get_running_loop()
        self._changed = changed
        self._ended = ended
        self._on_beat = beat
        self._frames = Frames()
        self._joiner = Joiner()
        self._next = 1
        self._owing: dict[Stream, None] = {}
        # Streams that wait for the command of their connection, by its number.
        self._behind: dict[int, dict[Stream, None]] = {}
        self._idle: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ping: asyncio.TimerHandle | None = None
        self._pinged = 0
        self._ponged = 0
        self._over = False
        self.streams: dict[int, Stream] = {}
        self.welcome: pb.SessionWelcome | None = None
        self.leaving: bool = False
        # Whether another session has presented the token of this one.
        self.superseded: bool = False
        # Whether the server has answered anything after the handshake.
        self.proved: bool = False

    async def handshake(self, hello: pb.SessionHello) -> pb.SessionWelcome:
        """Open the session; AioRpcError where the server refuses, or says nothing."""
        frame = pb.OpenSessionRequest()
        frame.commands.add().hello.CopyFrom(hello)
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                with contextlib.suppress(asyncio.InvalidStateError):
                    await self._rpc.write(frame)
                answer = await self._rpc.read()
        except TimeoutError:
            self._rpc.cancel()
            text = f"the server did not open a session within {HANDSHAKE_S:g} s"
            raise local_error(grpc.StatusCode.UNAVAILABLE, text) from None
        except grpc.aio.AioRpcError as error:
            self._rpc.cancel()
            raise _of_the_peer(error) from None
        except BaseException:
            self._rpc.cancel()
            raise
        answers = [] if answer is grpc.aio.EOF else list(answer.answers)
        if not answers or not answers[0].HasField("welcome"):
            self._rpc.cancel()
            raise local_error(grpc.StatusCode.UNAVAILABLE, "the server opened no session")
        welcome: pb.SessionWelcome = answers[0].welcome
        self.welcome = welcome
        self._frames.chunk_bytes = welcome.chunk_bytes or self._frames.chunk_bytes
        self._reader = self._loop.create_task(self._read(answers[1:]))
        self._writer = self._loop.create_task(self._write())
        self._ping = self._loop.call_later(self._ping_s, self._beat)
        return welcome

    @property
    def usable(self) -> bool:
        """Whether a stream may be opened here."""
        return self.welcome is not None and not self.leaving and not self._over

    @property
    def full(self) -> bool:
        """Whether as many streams are open as the server allows."""
        assert self.welcome is not None
        allowed = self.welcome.streams_max
        return bool(allowed) and len(self.streams) >= allowed

    def carries(self, size: int) -> bool:
        """Whether a command with payloads of this size fits into the server's limit."""
        allowed = self.welcome.message_bytes_max if self.welcome is not None else 0
        return not allowed or size + 4096 <= allowed

    def open(self, stream: Stream) -> None:
        """Give a stream its number here, and send the command that opens it."""
        size, parent = stream.size(), stream.parent()
        stream.link = self
        if parent is not None and self._frames.waits(parent.number):
            # It gets its number when its connection has gone out: numbers rise on the wire.
            self._behind.setdefault(parent.number, {})[stream] = None
            return
        stream.number = number = self._next
        self._next += 1
        self.streams[number] = stream
        if size + 4096 > self._frames.chunk_bytes:
            command = pb.SessionCommand(stream=number)
            stream.fill(command)
            self._frames.add_large(command)
        else:
            stream.fill(self._frames.add(number, size))
        self._wake()

    def drop(self, stream: Stream) -> None:
        """End a stream from this side; it hears nothing more."""
        if stream.link is not self:
            return
        number = stream.number
        if self._take_out(stream) and not self._over:
            self.cancel(number)
            self._changed(self)

    def leave(self, stream: Stream) -> None:
        """Forget a stream that another link takes over."""
        self._take_out(stream)

    def cancel(self, number: int) -> None:
        """Ask the server to end a stream."""
        self._frames.cancel(number)
        self._wake()

    def command(self, number: int) -> pb.SessionCommand:
        """A small command, to be filled in at once."""
        self._wake()
        return self._frames.add(number)

    def owe(self, stream: Stream) -> None:
        """Ask the stream, once, what it owes the server when the next frame goes out."""
        self._owing[stream] = None
        self._wake()

    def close(self) -> None:
        """End the link without a word to its streams."""
        self._over = True
        for running in self.tasks:
            running.cancel()
        if self._ping is not None:
            self._ping.cancel()
        self._rpc.cancel()

    def forget(self) -> None:
        """Let go of what refers back to it, once its tasks have ended."""
        self._reader = self._writer = self._rpc = None

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What runs for this link."""
        return [each for each in (self._reader, self._writer) if each is not None]

    def fail(self, error: Exception) -> None:
        """End the link: each stream is cut."""
        if self._over:
            return
        self.close()
        streams = [*self.streams.values(), *(s for b in self._behind.values() for s in b)]
        self.streams.clear()
        self._behind.clear()
        for stream in streams:
            stream.link = None
        self._ended(self, error)
        for stream in streams:
            stream.cut(renewed(error))

    def _take_out(self, stream: Stream) -> bool:
        """Forget a stream; whether the server knows it."""
        stream.link = None
        self._owing.pop(stream, None)
        for behind in self._behind.values():
            if behind.pop(stream, self) is None:
                return False
        return self.streams.pop(stream.number, None) is not None

    def _wake(self) -> None:
        idle = self._idle
        if idle is not None and not idle.done():
            idle.set_result(None)

    async def _write(self) -> None:
        while True:
            if not self._frames and not self._owing:
                self._idle = self._loop.create_future()
                await self._idle
            if self._owing:
                owing, self._owing = list(self._owing), {}
                for stream in owing:
                    stream.owed(self)
            if not self._frames:
                continue
            frame = self._frames.take()
            while self._frames.whole:
                for stream in self._behind.pop(self._frames.whole.pop(), ()):
                    self.open(stream)
            try:
                await self._rpc.write(frame)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return  # the reader learns why

    async def _read(self, first: list[pb.SessionAnswer]) -> None:
        read = self._rpc.read
        try:
            for answer in first:
                self._dispatch(answer)
            while True:
                frame = await read()
                if frame is grpc.aio.EOF:
                    break
                self.proved = True
                for answer in frame.answers:
                    self._dispatch(answer)
            error: Exception = local_error(grpc.StatusCode.UNAVAILABLE, "the session has ended")
        except asyncio.CancelledError:
            if self._over:
                return
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # Whoever ends the loop ends its tasks.
                self._over = True
                raise
            error = local_error(grpc.StatusCode.UNAVAILABLE, "the session was cut off")
        except grpc.aio.AioRpcError as failed:
            error = failed = _of_the_peer(failed)
            self.superseded = failed.code() is grpc.StatusCode.ABORTED
            if failed.code() in _OF_THE_SESSION:
                # What has become of the session is nothing that its calls failed with.
                error = local_error(grpc.StatusCode.UNAVAILABLE, failed.details() or "")
        self._reader = None
        self.fail(error)

    def _dispatch(self, answer: pb.SessionAnswer) -> None:
        kind = answer.WhichOneof("answer")
        streams = self.streams
        if kind == "result":
            stream = streams.pop(answer.stream, None)
            if stream is not None:
                stream.link = None
                stream.result(answer.result)
                self._changed(self)
        elif kind == "event":
            event = answer.event.event
            for number in answer.event.streams:
                stream = streams.get(number)
                if stream is not None:
                    stream.event(event)
        elif kind == "end":
            stream = streams.pop(answer.stream, None)
            if stream is not None:
                stream.link = None
                self._owing.pop(stream, None)
                stream.end(answer.end)
                self._changed(self)
        elif kind == "chunk":
            whole = self._joiner.add(answer.stream, answer.chunk)
            if whole is not None:
                self._dispatch(whole)
        elif kind == "pong":
            self._ponged = answer.pong.number
        elif kind == "go_away":
            self.leaving = True
            self._changed(self)
        elif kind is not None:
            stream = streams.get(answer.stream)
            if stream is not None and kind in ("items", "connected", "subscribed", "message"):
                getattr(stream, kind)(getattr(answer, kind))

    def _beat(self) -> None:
        if self._ponged < self._pinged:
            text = f"the server has not answered a ping for {self._ping_s:g} s"
            self.fail(local_error(grpc.StatusCode.UNAVAILABLE, text))
            return
        self._on_beat()
        self._pinged += 1
        self.command(0).ping.number = self._pinged
        self._ping = self._loop.call_later(self._ping_s, self._beat)


__all__ = ["HANDSHAKE_S", "PING_S", "Link"]
