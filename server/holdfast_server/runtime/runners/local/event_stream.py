"""The actor's side of an EventStream: what turns send waits in an outlet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.sse import KEEP_ALIVE
from holdfast_server.core.errors import HoldfastError
from holdfast_server.runtime.outlets import Outlet
from holdfast_server.runtime.runners.local.current import turn_of
from holdfast_server.runtime.runners.local.failure import actor_error

if TYPE_CHECKING:
    from holdfast_server.runtime.runners.local.instance import LocalInstance

# Nothing comes after it.
_END = b""


class LocalEventStream:
    """EventStreamHost of one stream."""

    def __init__(self, instance: LocalInstance) -> None:
        self._instance = instance
        self._loop = instance.activation.node.loop
        self._arrived: asyncio.Future[None] | None = None
        self.outlet: Outlet[bytes] = Outlet(
            self._loop,
            instance.activation.node.limits.event_stream_bytes_max,
            wake=self._wake,
            overflow=lambda: self.outlet.end(drop=True),
        )

    @property
    def closed(self) -> bool:
        return self.outlet.over

    async def send(self, data: bytes) -> None:
        turn = turn_of(self._instance)
        if turn is None:
            await self.outlet.room()
            self.outlet.put([(data, len(data))])
        elif not self.outlet.over:
            try:
                turn.output(self.outlet, data, len(data))
            except HoldfastError as error:
                raise actor_error(error) from None

    def close(self) -> None:
        turn = turn_of(self._instance)
        if turn is None:
            self.outlet.end()
        else:
            turn.output(self.outlet, _END, 0)

    async def read(self, keepalive_s: float | None) -> bytes:
        """What is sent next: a comment after silence, empty at the end."""
        self.outlet.left()
        while self.outlet.empty:
            if self.outlet.over:
                return b""
            self._arrived = self._loop.create_future()
            try:
                async with asyncio.timeout(keepalive_s):
                    await self._arrived
            except TimeoutError:
                return KEEP_ALIVE
            finally:
                self._arrived = None
        data = self.outlet.take()
        if data == _END:
            self.outlet.end(drop=True)
        return data

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)
