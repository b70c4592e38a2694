"""The session of a client: many calls, connections and subscriptions over one stream.

A session is opened when something first wants it, and again when it broke while
something lasting (a connection, a subscription) is open in it. Calls do not last: when
a link breaks, each is told, and is sent again by whoever made it, by the rules of every
retry and under its own key, so that it takes effect once. Lasting streams are opened
again by the session, each from where it stands; the resume token lets connections go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio

from holdfast._retry import Backoff
from holdfast._session_link import PING_S, Link
from holdfast._session_streams import Stream, local_error, renewed
from holdfast._status import to_actor_error
from holdfast.errors import HoldfastError
from holdfast.v1 import session_service_pb2 as pb

PROTOCOL: Final = 1


class Unoffered(Exception):
    """The server has no sessions."""


class Session:
    """See the module. For one event loop.

    `connect` starts an OpenSession stream, and `passing` says what a failure to open a
    session is to count as. Streams are opened with `open`, also while there is no link:
    they wait for the next. `beat` is called at each ping.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        *,
        client_id: bytes,
        namespace: str,
        backoff: Callable[[], Backoff] = Backoff,
        opened: Callable[[], None] = lambda: None,
        ping_s: float = PING_S,
        passing: Callable[[grpc.aio.AioRpcError], grpc.aio.AioRpcError] = lambda error: error,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._ping_s = ping_s
        self._client_id = client_id
        self._namespace = namespace
        self._backoff = backoff
        self._opened = opened
        self._passing = passing
        self._beat = beat
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        # Links that take nothing new, until they end.
        self._leaving: set[Link] = set()
        self._waiting: dict[Stream, None] = {}
        self._lasting: dict[Stream, None] = {}
        self._token = b""
        self._opener: asyncio.Task[None] | None = None
        self._delays: Backoff | None = None
        self._hurry = asyncio.Event()
        self._closed = False
        self.offered: bool = True

    def open(self, stream: Stream) -> None:
        """Open a stream now, or on the next link; lasting ones again on every later one."""
        if self._closed:
            raise HoldfastError("the client is closed")
        if not self.offered:
            raise Unoffered
        if stream.lasting:
            self._lasting[stream] = None
        link = self._link
        if link is not None and link.usable and not self._waiting and not link.full:
            link.open(stream)
            return
        self._waiting[stream] = None
        if link is None or not link.usable:
            if not stream.lasting or self._delays is None:
                # A call has its own pauses between tries.
                self._hurry.set()
            self._start()

    def holds(self, stream: Stream) -> bool:
        """Whether a lasting stream is open, or will be on the next link."""
        return stream in self._lasting

    def drop(self, stream: Stream) -> None:
        """End a stream from this side; it hears nothing more."""
        self._waiting.pop(stream, None)
        self._lasting.pop(stream, None)
        if stream.link is not None:
            stream.link.drop(stream)

    def finish(self, stream: Stream) -> bool:
        """Ask the server to end a lasting stream; whether it will say that it has."""
        self.ended(stream)
        if stream.link is None:
            return False
        stream.link.cancel(stream.number)
        return True

    def ended(self, stream: Stream) -> None:
        """A lasting stream is over; it is not opened again."""
        self._lasting.pop(stream, None)
        self._waiting.pop(stream, None)

    def pause(self) -> float:
        """Seconds until a lasting stream may be tried again."""
        return self._backoff().next()

    def carries(self, size: int) -> bool:
        """Whether payloads of this size fit into a session, as far as is known."""
        return self._link is None or self._link.carries(size)

    def renew(self, token: str) -> None:
        """Go on with another token."""
        if self._link is not None and self._link.usable:
            self._link.command(0).token.token = token

    def close(self) -> None:
        """End it; what is open in it is cut."""
        if self._closed:
            return
        self._closed = True
        if self._opener is not None:
            self._opener.cancel()
        error = HoldfastError("the client is closed")
        for link in (*self._leaving, *([self._link] if self._link is not None else [])):
            link.fail(error)
        self._cut_waiting(error)
        self._cut_lasting(error)
        self._lasting.clear()

    async def closed(self) -> None:
        """Wait, after `close`, until nothing of it is left: a channel that anything refers
        to keeps gRPC's thread, which a fork does not survive."""
        links = [*self._leaving, *([self._link] if self._link is not None else [])]
        self._link = None
        self._leaving.clear()
        tasks = [task for link in links for task in link.tasks]
        if self._opener is not None:
            tasks.append(self._opener)
        if tasks:
            await asyncio.wait(tasks)
        for link in links:
            link.forget()

    def _start(self) -> None:
        if self._opener is None and not self._closed:
            self._opener = self._loop.create_task(self._open_links())

    async def _open_links(self) -> None:
        try:
            while self._waiting or self._lasting:
                if self._delays is not None:
                    await self._wait(self._delays.next())
                self._hurry.clear()
                try:
                    await self._open_link()
                    return
                except grpc.aio.AioRpcError as error:
                    self._refused(self._passing(error))
        except HoldfastError as error:
            # This process or loop cannot use the client, or its token is none.
            self._cut_waiting(error)
            self._cut_lasting(error)
        except asyncio.CancelledError:
            if not self._closed:
                self._cut_waiting(local_error(grpc.StatusCode.UNAVAILABLE, "the loop ends"))
            raise
        finally:
            self._opener = None

    async def _wait(self, delay: float) -> None:
        if self._hurry.is_set():
            return
        try:
            async with asyncio.timeout(delay):
                await self._hurry.wait()
        except TimeoutError:
            pass

    async def _open_link(self) -> None:
        link = Link(
            await self._connect(),
            ping_s=self._ping_s,
            changed=self._changed,
            ended=self._ended,
            beat=self._beat,
        )
        hello = pb.SessionHello(
            protocol=PROTOCOL,
            namespace=self._namespace,
            client_id=self._client_id,
            resume_token=self._token,
        )
        welcome = await link.handshake(hello)
        self._opened()
        self._token = welcome.resume_token
        self._link = link
        waiting, self._waiting = list(self._waiting), {}
        for stream in self._lasting:
            if stream.link is not None:
                stream.link.leave(stream)
            link.open(stream)
        for left in [left for left in self._leaving if not left.streams]:
            self._leaving.discard(left)
            left.close()
        for stream in waiting:
            if stream.lasting:
                continue
            if link.full:
                self._waiting[stream] = None
            else:
                link.open(stream)

    def _refused(self, error: grpc.aio.AioRpcError) -> None:
        failure = to_actor_error(error)
        if failure.status == "UNIMPLEMENTED" and failure.reason == "UNIMPLEMENTED":
            self.offered = False
            self._cut_waiting(Unoffered())
            self._cut_lasting(Unoffered())
            self._lasting.clear()
            return
        if _forgets(error):
            self._token = b""
        self._delays = self._delays or self._backoff()
        self._cut_waiting(error)
        if not failure.retryable:
            self._cut_lasting(error)

    def _cut_lasting(self, error: Exception) -> None:
        for stream in list(self._lasting):
            stream.cut(renewed(error))

    def _cut_waiting(self, error: Exception) -> None:
        waiting, self._waiting = list(self._waiting), {}
        for stream in waiting:
            if not stream.lasting:
                stream.cut(renewed(error))

    def _changed(self, link: Link) -> None:
        # A stream has ended, or the server wants to see the client go.
        if link.leaving:
            if link is self._link:
                self._link = None
                self._leaving.add(link)
                if self._waiting or self._lasting:
                    self._delays = self._delays or self._backoff()
                    self._start()
            if not link.streams and link in self._leaving:
                self._leaving.discard(link)
                link.close()
            return
        while self._waiting and link is self._link and not link.full:
            stream = next(iter(self._waiting))
            del self._waiting[stream]
            link.open(stream)

    def _ended(self, link: Link, error: Exception) -> None:
        self._leaving.discard(link)
        if link.proved:
            self._delays = None
        if link is not self._link or self._closed:
            return
        self._link = None
        if link.superseded or _forgets(error):
            self._token = b""
        if self._waiting or self._lasting:
            self._delays = self._delays or self._backoff()
            self._start()


def _forgets(error: Exception) -> bool:
    """Whether the resume token may be what the server did not understand."""
    if not isinstance(error, grpc.aio.AioRpcError):
        return False
    return to_actor_error(error).reason == "SESSION_INVALID"


__all__ = ["Session", "Unoffered"]
