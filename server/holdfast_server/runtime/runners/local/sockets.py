"""What the SDK's WebSocket is carried by in this process: a link, seen by one activation.

Any code of the actor may send; only the handler of the socket receives. What is sent in a
turn leaves with that turn, whoever's it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from holdfast.connection import Connection
from holdfast.websocket import WebSocket, WebSocketClosed
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.raw import Headers
from holdfast_server.runtime.fronts import SocketClosed
from holdfast_server.runtime.runners.local.current import turn_of
from holdfast_server.runtime.runners.local.failure import actor_error
from holdfast_server.runtime.sockets import Accept

if TYPE_CHECKING:
    from holdfast.context import Host
    from holdfast_server.runtime.runners.local.instance import LocalInstance
    from holdfast_server.runtime.runners.local.raw import LocalCourse
    from holdfast_server.runtime.serving import SocketLink


class LinkHost:
    """SocketHost over a link."""

    def __init__(self, instance: LocalInstance, link: SocketLink, host: Host) -> None:
        self.instance = instance
        self._link = link
        self._host = host
        # The run of the handler; None while it hibernates.
        self.course: LocalCourse | None = None

    @property
    def subprotocol(self) -> str | None:
        return self._link.subprotocol

    @property
    def conn(self) -> Connection[Any] | None:
        conn = self._link.conn
        return None if conn is None else Connection(self._host, conn)

    @property
    def ended(self) -> tuple[int, str] | None:
        ended = self._link.ended
        return None if ended is None else (ended.code, ended.reason)

    async def accept(self, subprotocol: str | None, headers: Headers) -> None:
        with self._surfacing():
            self._link.accept(Accept(subprotocol, headers))

    async def receive(self) -> str | bytes:
        with self._surfacing():
            return await self._link.receive()

    async def send(self, message: str | bytes) -> None:
        turn = turn_of(self.instance)
        with self._surfacing():
            if turn is None:
                await self._link.outlet.room()
            self._link.send(turn, message)

    async def drain(self) -> None:
        with self._surfacing():
            await self._link.drain()

    async def close(self, code: int, reason: str) -> None:
        with self._surfacing():
            self._link.end(turn_of(self.instance), code, reason)

    @contextmanager
    def _surfacing(self) -> Iterator[None]:
        try:
            yield
        except SocketClosed as closed:
            raise WebSocketClosed(closed.code, closed.reason) from None
        except HoldfastError as error:
            shown = actor_error(error)
            raise (shown if self.course is None else self.course.known(shown, error)) from None


def websocket_of(instance: LocalInstance, link: SocketLink, host: Host) -> WebSocket:
    """The WebSocket of a link, one object for the whole activation."""
    if link.face is None or link.face.host.instance is not instance:
        head = link.head
        link.face = WebSocket(
            LinkHost(instance, link, host),
            head.target,
            head.headers,
            scheme="wss" if head.scheme == "https" else "ws",
            subprotocols=head.subprotocols,
            client=head.client,
        )
    return cast(WebSocket, link.face)


def sockets_of(instance: LocalInstance, host: Host) -> list[WebSocket]:
    """The WebSockets of an actor that are open."""
    raw = instance.activation.node.raw
    links = cast("list[SocketLink]", raw.sockets_of(instance.actor_id))
    return [websocket_of(instance, link, host) for link in links if link.ended is None]
