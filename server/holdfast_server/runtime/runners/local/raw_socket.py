"""`on_websocket` in this process: what the SDK's WebSocket is carried by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.websocket import WebSocket, WebSocketClosed
from holdfast_server.core.raw import Headers
from holdfast_server.runtime.fronts import SocketClosed
from holdfast_server.runtime.runners.local.current import turn_of
from holdfast_server.runtime.runners.local.raw import LocalCourse
from holdfast_server.runtime.sockets import Accept

if TYPE_CHECKING:
    from holdfast_server.runtime.course import Course
    from holdfast_server.runtime.runners.local.instance import LocalInstance
    from holdfast_server.runtime.serving import SocketLink


class LocalSocket(LocalCourse):
    """SocketHost over a link: its handler's side, which other turns of the actor share."""

    def __init__(self, instance: LocalInstance, course: Course, link: SocketLink) -> None:
        super().__init__(instance, course, "on_websocket")
        self._link = link

    async def run(self) -> None:
        """Run the handler."""
        head = self._link.head
        websocket = WebSocket(
            self,
            head.target,
            head.headers,
            scheme="wss" if head.scheme == "https" else "ws",
            subprotocols=head.subprotocols,
            client=head.client,
            resumed=self._link.resumed,
        )
        with self.handling():
            try:
                await self.instance.actor.on_websocket(self.context, websocket)
            except WebSocketClosed:
                # As good an end as any, if it is this socket that has closed.
                if self._link.ended is None:
                    raise

    @property
    def subprotocol(self) -> str | None:
        return self._link.subprotocol

    @property
    def ended(self) -> tuple[int, str] | None:
        ended = self._link.ended
        return None if ended is None else (ended.code, ended.reason)

    async def accept(self, subprotocol: str | None, headers: Headers) -> None:
        with self.surfacing():
            self._link.accept(Accept(subprotocol, headers))

    async def receive(self) -> str | bytes:
        with self.surfacing():
            try:
                return await self._link.receive()
            except SocketClosed as closed:
                raise WebSocketClosed(closed.code, closed.reason) from None

    async def send(self, message: str | bytes) -> None:
        turn = turn_of(self.instance)
        with self.surfacing():
            if turn is None:
                await self._link.outlet.room()
            try:
                self._link.send(turn, message)
            except SocketClosed as closed:
                raise WebSocketClosed(closed.code, closed.reason) from None

    async def drain(self) -> None:
        with self.surfacing():
            await self._link.drain()

    async def close(self, code: int, reason: str) -> None:
        with self.surfacing():
            self._link.end(turn_of(self.instance), code, reason)
