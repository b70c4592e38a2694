"""`on_websocket` in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from holdfast.websocket import WebSocketClosed
from holdfast_server.runtime.runners.local.host import LocalHost
from holdfast_server.runtime.runners.local.raw import LocalCourse
from holdfast_server.runtime.runners.local.sockets import LinkHost, websocket_of

if TYPE_CHECKING:
    from holdfast_server.runtime.course import Course
    from holdfast_server.runtime.runners.local.instance import LocalInstance
    from holdfast_server.runtime.serving import SocketLink


class LocalSocket(LocalCourse):
    """One run of the handler of a socket."""

    def __init__(self, instance: LocalInstance, course: Course, link: SocketLink) -> None:
        super().__init__(instance, course, "on_websocket")
        self._link = link

    async def run(self) -> None:
        """Run the handler."""
        # Its connection is seen by whichever turn asks, not only by the handler's.
        websocket = websocket_of(self.instance, self._link, LocalHost(self.instance, None))
        websocket.resumed = self._link.resumed
        host = cast(LinkHost, websocket.host)
        host.course = self
        with self.handling():
            try:
                await self.instance.actor.on_websocket(self.context, websocket)
            except WebSocketClosed:
                # As good an end as any, if it is this socket that has closed.
                if self._link.ended is None:
                    raise
