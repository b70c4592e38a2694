"""The frames of a session: those of the SDK counted, and bare ones of the same sizes.

A frame costs far more than a call in it, so a session is only comparable with an echo
of frames that hold as many calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import grpc.aio
import uvloop

from bench.echo_server import ANSWER_BYTES, SESSIONS
from holdfast import Client

_METHOD = f"/{SESSIONS}/OpenSession"
T = TypeVar("T")


@cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the loop that all clients of the benchmarks use.

    There is one for the life of a process: gRPC's poller goes on waking one that closed.
    """
    return _runner().run(main)


class _Counted:
    """An OpenSession stream of the SDK, as its link uses it."""

    def __init__(self, rpc: Any, tap: Tap) -> None:
        self._rpc = rpc
        self._tap = tap
        self.cancel = rpc.cancel

    async def write(self, frame: Any) -> None:
        self._tap.sent += 1
        if self._tap.weighs:
            self._tap.sent_bytes += frame.ByteSize()
        await self._rpc.write(frame)

    async def read(self) -> Any:
        frame = await self._rpc.read()
        self._tap.received += 1
        if self._tap.weighs and frame is not grpc.aio.EOF:
            self._tap.received_bytes += frame.ByteSize()
        return frame


class Tap:
    """Counts the frames of a client's session, and weighs them when asked to."""

    def __init__(self, client: Client) -> None:
        self.sent = self.received = 0
        self.sent_bytes = self.received_bytes = 0
        self.weighs = False
        transport: Any = client.transport
        sessions: Any = transport._sessions
        opened: Callable[..., Any] = sessions.OpenSession
        sessions.OpenSession = lambda **options: _Counted(opened(**options), self)

    @property
    def frames(self) -> float:
        """Frames, of both directions alike."""
        return (self.sent + self.received) / 2


@dataclass(frozen=True, slots=True)
class Weight:
    """Bytes of one call on the wire, there and back."""

    request: float
    answer: float


@dataclass(frozen=True, slots=True)
class Echoed:
    """What one run of the echo measured."""

    frames: int
    seconds: float
    client_cpu: float
    latencies: list[float]


class Echo:
    """A bare stream: frames of one size there, and of another back."""

    def __init__(self, channel: grpc.aio.Channel, request: bytes, answer_bytes: int) -> None:
        self._frame = request
        opened: Any = channel.stream_stream(_METHOD)
        self._rpc = opened(metadata=((ANSWER_BYTES, str(answer_bytes)),))

    async def run(self, in_flight: int, *, seconds: float = 0.0, frames: int = 0) -> Echoed:
        """Keep `in_flight` frames open until the time has passed, or for that many."""
        read, write, frame, clock = self._rpc.read, self._rpc.write, self._frame, time.perf_counter
        latencies: list[float] = []
        began, cpu = clock(), time.process_time()
        ends = began + seconds if seconds else float("inf")
        left = (frames or 1 << 62) - in_flight
        for _ in range(in_flight):
            await write(frame)
        sent = at = began
        answered, open_frames = 0, in_flight
        while open_frames:
            await read()
            answered += 1
            at = clock()
            if in_flight == 1:
                latencies.append(at - sent)
            if at < ends and left > 0:
                left -= 1
                sent = at
                await write(frame)
            else:
                open_frames -= 1
        return Echoed(answered, at - began, time.process_time() - cpu, latencies)

    def close(self) -> None:
        self._rpc.cancel()


@asynccontextmanager
async def echo(port: int, weight: Weight, calls: float) -> AsyncIterator[Echo]:
    """A stream to the echo server, of frames as large as that many calls."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        frame = bytes(round(weight.request * calls))
        stream = Echo(channel, frame, round(weight.answer * calls))
        try:
            yield stream
        finally:
            stream.close()
