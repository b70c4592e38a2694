"""The simulated network between the SDK's client and the server's handlers.

It is the harness's channel, gRPC without HTTP/2, with what a network does to it: calls take
time, each another, and so overtake each other; they are lost on the way there or back, or come
twice, also late; sessions break, and lose what was under way. Messages of one stream stay in
order, as TCP keeps them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import grpc.aio

from holdfast.testing.faults import Faults
from holdfast_server.testing.channel import DuplexCall, InProcessChannel, _Duplex, broken
from holdfast_server.testing.duplex import Pipe
from holdfast_server.testing.wire import Server, Subject, Wire


@dataclass(frozen=True)
class Weather:
    """How bad the network is. Probabilities are for each call or message."""

    delay_s: float = 0.002
    # How often a message takes much longer, and up to how long.
    stalled: float = 0.0
    stall_s: float = 0.0
    drop_call: float = 0.0
    drop_reply: float = 0.0
    duplicate_call: float = 0.0
    # A copy of the call that comes once more, after up to `late_s`.
    late_copy: float = 0.0
    late_s: float = 5.0


class SimWire(Wire):
    """Whose faults are drawn."""

    def __init__(self, weather: Weather, rng: Random) -> None:
        super().__init__(Faults())
        self.weather = weather
        self._rng = rng
        # Nothing goes through before this moment.
        self.cut_until = 0.0

    def take(self, kind: str, method: str, data: bytes) -> bool:
        return self._rng.random() < getattr(self.weather, kind)

    def hits(self, kind: str, subject: Subject) -> bool:
        return self._rng.random() < getattr(self.weather, kind)

    def delay_s(self) -> float:
        """How long one message takes."""
        rng, weather = self._rng, self.weather
        if weather.stalled and rng.random() < weather.stalled:
            return rng.random() * weather.stall_s
        return rng.random() ** 2 * weather.delay_s

    def copies_late(self) -> bool:
        """Whether a copy of this call comes once more."""
        return self._rng.random() < self.weather.late_copy

    def lateness_s(self) -> float:
        """When it comes."""
        return self._rng.random() * self.weather.late_s

    @property
    def is_cut(self) -> bool:
        """Whether nothing goes through."""
        return asyncio.get_running_loop().time() < self.cut_until

    def cut(self, for_s: float) -> None:
        """Break everything that is under way, and let nothing through for a while."""
        self.cut_until = asyncio.get_running_loop().time() + for_s
        if self.server is not None:
            for rpc in list(self.server.rpcs.values()):
                rpc.end(broken("the connection broke: cut"), True)


class LaggingPipe(Pipe):
    """Messages one way, each of which takes its time, in order."""

    def __init__(self, wire: SimWire) -> None:
        super().__init__()
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._arrives = 0.0

    async def get(self) -> bytes | None:
        # Whatever has been put meanwhile has waited for this one too.
        if not self._closed:
            await asyncio.sleep(self._wire.delay_s())
        return await super().get()

    def close(self, error: Exception | None) -> None:
        if error is not None:
            # What was under way is lost.
            self._items.clear()
        super().close(error)


class SimChannel(InProcessChannel):
    """A channel through a network."""

    wire: SimWire

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        **_: Any,
    ) -> Callable[..., DuplexCall]:
        def call(*, metadata: Any = (), timeout: float | None = None) -> DuplexCall:
            server = None if self.wire.is_cut else self.wire.server
            rpc = None
            if server is not None:
                rpc = _Duplex(self, server, timeout, tuple(metadata or ()))
                rpc.up, rpc.down = LaggingPipe(self.wire), LaggingPipe(self.wire)
            return DuplexCall(method, rpc, request_serializer, response_deserializer)

        return call

    def _begin(self, method: str, data: bytes) -> Server:
        if self.wire.is_cut:
            raise broken("failed to connect: the network is cut")
        return super()._begin(method, data)

    async def _unary(
        self, method: str, data: bytes, timeout: float | None, *more: Any, copy: bool = False
    ) -> bytes:
        if not copy and self.wire.copies_late():
            asyncio.get_running_loop().create_task(self._late(method, data, more[0]))
        await asyncio.sleep(self.wire.delay_s())
        answer = await super()._unary(method, data, timeout, *more)
        await asyncio.sleep(self.wire.delay_s())
        return answer

    async def _late(self, method: str, data: bytes, metadata: Any) -> None:
        await asyncio.sleep(self.wire.lateness_s())
        with contextlib.suppress(grpc.aio.AioRpcError):
            await self._unary(method, data, 60.0, metadata, [], copy=True)


__all__ = ["SimChannel", "SimWire", "Weather"]
