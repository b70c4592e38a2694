"""One connection as its client holds it: its status, its listeners, its subscriptions.

    idle --begin--> connecting --opened--> connected
    connecting --lost--> connecting            (opened anew, with fresh parameters)
    connected --cut--> disconnected --opened--> connected
    disconnected --lost--> connecting
    any --closed--> closed

The subscriptions go on where they stand, through all of it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, Final

from holdfast._actions import encode_value
from holdfast._events import Decode
from holdfast._feed import Buffer, Events, Feed, StopReading
from holdfast._listeners import Function, Listeners, last_of, log_error
from holdfast._transport import Call, Connect, Encoded, Reply, Subscribe
from holdfast.errors import ActorError, DecodeError, HoldfastError
from holdfast.events import DeliveredEvent, EventsTrimmed

if TYPE_CHECKING:
    from holdfast._session_transport import SessionTransport

SLOW_READERS: Final = {"end": 1, "conflate": 2}


class Named:
    """The listeners of one name: a sink of its feed, while there are any."""

    def __init__(self, errors: Callable[[Exception], None]) -> None:
        self.listeners = Listeners(errors)
        self.feed: Feed | None = None
        self._errors = errors

    def event(self, event: DeliveredEvent, size: int) -> None:
        feed = self.feed
        self.listeners.call(*event.args, done=lambda: feed.taken(size) if feed else None)

    def misfit(self, error: DecodeError, size: int) -> None:
        self._errors(error)
        if self.feed is not None:
            self.feed.taken(size)

    def trimmed(self, error: EventsTrimmed) -> None:
        self._errors(error)

    def failed(self, error: Exception) -> None:
        self._errors(error)


class ConnectionCore:
    """See the module. `params` is a value, or a function that gives one, also a coroutine
    function, called for each opening. `decode` gives the arguments of what arrives."""

    def __init__(
        self,
        transport: SessionTransport,
        request: Connect,
        params: Any,
        timeout: float | None,
        decode: Decode,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._request = request
        self._params = params
        self._timeout = timeout
        self._decode = decode
        self._stream = transport.connection(request, self)
        # By the name, and the policy for a slow reader.
        self._named: dict[tuple[str, str], Named] = {}
        self._feeds: dict[Feed, None] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._opening: asyncio.Task[None] | None = None
        self._begun = False
        self._reported_params = False
        self._error: Exception | None = None
        # Whether somebody has been told of the error.
        self.told: bool = False
        self.status: str = "idle"
        self.actor_id: str | None = None
        self.connection_id: str | None = None
        self.on_error: Listeners = Listeners(log_error("an on_error listener"))
        self.on_open: Listeners = Listeners(self.failed)
        self.on_close: Listeners = Listeners(self.failed)
        self.on_status: Listeners = Listeners(self.failed)

    # The user's side

    def begin(self) -> None:
        """Open soon: with all listeners registered before the caller next waits."""
        if self._begun:
            raise HoldfastError("a connection is opened once: connect again for another")
        self._begun = True
        self._set("connecting")
        self._loop.call_soon(self._open)

    async def ready(self, timeout: float | None) -> None:
        """Wait until it is open; raises what it was closed for."""
        if not self._begun:
            raise HoldfastError("the connection is not open: use `async with` on it")
        if self.status == "connected":
            return
        try:
            async with asyncio.timeout(timeout):
                while self.status != "connected":
                    if self.status == "closed":
                        self.told = True
                        raise self._closed_error()
                    waiting: asyncio.Future[None] = self._loop.create_future()
                    self._waiting.append(waiting)
                    await waiting
        except TimeoutError:
            text = f"the connection was not open within {timeout:g} s"
            raise ActorError("action", "timed_out", text, reason="DEADLINE_EXCEEDED") from None

    async def close(self) -> None:
        """Disconnect; nothing more is delivered."""
        if self.status != "closed":
            self.closed(None, "")
            await self._stream.close()

    async def settled(self) -> None:
        """At the end of a block: wait for an opening under way, raise what nobody heard."""
        while self.status == "connecting" and self.connection_id is None:
            await self.ready(self._timeout)
        if self._error is not None and not self.told:
            self.told = True
            raise self._closed_error()

    async def quiet(self) -> None:
        """Wait, after `close`, until whoever hears of the connection has heard of its end."""
        for listeners in (self.on_status, self.on_open, self.on_error, self.on_close):
            await listeners.settled()

    def on(
        self, name: str, function: Function, slow_reader: str, *, once: bool = False
    ) -> Callable[[], None]:
        """Hear of events and messages of this name; gives what ends that."""
        key = name, slow_reader
        named = self._named.get(key)
        if named is None:
            named = self._named[key] = Named(self.failed)
        if named.feed is None:
            named.feed = self._feed((name,), None, SLOW_READERS[slow_reader], named)

        def emptied() -> None:
            if self._named.get(key) is named and named.feed is not None:
                del self._named[key]
                self._forget(named.feed)

        return named.listeners.add(function, once=once, emptied=emptied)

    def events(self, names: tuple[str, ...], start: int | None, slow_reader: str) -> Events:
        """An iterator of events."""
        buffer = Buffer()
        feed = self._feed(names, start, SLOW_READERS[slow_reader], buffer)
        if self.status == "closed":
            buffer.failed(self._closed_error())
        return Events(feed, buffer, self._forget)

    async def invoke(self, call: Call) -> Reply:
        """Run an action on the connection."""
        return await self._transport.invoke_on(call, self)

    def stream(self, call: Call) -> AsyncGenerator[Encoded, None]:
        """Run a streaming action on the connection."""
        return self._transport.iterate_on(call, self)

    async def usable(self, timeout: float | None) -> Any:
        """The stream of the open connection, for a call on it."""
        await self.ready(timeout)
        return self._stream

    def failed(self, error: Exception) -> None:
        """Tell whoever listens for errors, or else the log."""
        if len(self.on_error):
            self.told = True
            self.on_error.call(error)
        else:
            log_error(f"a listener of the connection to {self._request.target.name!r}")(error)

    # The session's side

    def opened(self, connection_id: str, actor_id: str) -> None:
        """It is open, or open again."""
        if self.status == "closed":
            return
        fresh = connection_id != self.connection_id
        self.connection_id, self.actor_id = connection_id, actor_id
        self._reported_params = False
        self._set("connected")
        for feed in list(self._feeds):
            if feed.parked:
                feed.open()
        self._wake()
        if fresh:
            self.on_open.call()

    def message(self, name: str, args: Encoded, number: int, missed: int | None) -> None:
        """A message: the listeners of its name hear it, without a subscription."""
        if self.status == "closed":
            return
        if missed is not None:
            self.failed(EventsTrimmed("messages", missed, number))
        size = len(name) + len(args.data)
        found = [self._named[key] for key in self._named if key[0] == name]

        def handled() -> None:
            self._stream.handled(number, size)

        try:
            values = self._decode(name, args) if found else ()
        except DecodeError as error:
            self.failed(error)
            found = []
        if not found:
            handled()
        done = last_of(len(found), handled)
        for named in found:
            named.listeners.call(*values, done=done)

    def cut(self) -> None:
        """It cannot be reached; the session opens it again by itself."""
        if self.status != "closed":
            self._set("disconnected")

    def lost(self, error: ActorError) -> None:
        """It must be opened anew."""
        if self.status == "closed":
            return
        for feed in self._feeds:
            feed.park()
        self._set("connecting")
        self._loop.call_later(self._stream.pause(), self._open)

    def closed(self, error: Exception | None, reason: str) -> None:
        """It is over."""
        if self.status == "closed":
            return
        self._error = error
        if self._opening is not None:
            self._opening.cancel()
        self._set("closed")
        feeds, self._feeds = list(self._feeds), {}
        for feed in feeds:
            feed.close()
            if isinstance(feed.sink, Buffer):
                feed.sink.failed(StopReading() if error is None else self._closed_error())
        self._named.clear()
        self._wake()
        if error is not None and len(self.on_error):
            self.failed(error)
        self.on_close.call()

    # Within

    def _open(self) -> None:
        if self.status == "closed":
            return
        if callable(self._params):
            self._opening = self._loop.create_task(self._ask_and_open())
        else:
            self._connect(self._params)

    async def _ask_and_open(self) -> None:
        try:
            value = self._params()
            if inspect.isawaitable(value):
                value = await value
        except Exception as error:
            if not self._reported_params:
                self._reported_params = True
                self.failed(error)
            self._loop.call_later(self._stream.pause(), self._open)
            return
        finally:
            self._opening = None
        self._connect(value)

    def _connect(self, params: Any) -> None:
        try:
            encoded = encode_value(params, self._request.encoding)
            self._stream.open(encoded)
        except Exception as error:
            self.closed(error, "")
            return
        for feed in list(self._feeds):
            feed.open()

    def _feed(self, names: tuple[str, ...], start: int | None, slow: int, sink: Any) -> Feed:
        feed = Feed(start, sink, self._decode)
        if self.status == "closed":
            feed.closed = True
            return feed
        request = Subscribe(
            namespace=self._request.namespace,
            target=self._request.target,
            names=names,
            encoding=self._request.encoding,
            slow_reader=slow,
        )
        feed.carrier = self._transport.subscription(request, feed, self._stream)
        self._feeds[feed] = None
        if self._transport.holds(self._request.namespace, self._stream):
            feed.open()
        return feed

    def _forget(self, feed: Feed) -> None:
        feed.close()
        self._feeds.pop(feed, None)

    def _set(self, status: str) -> None:
        if status != self.status:
            self.status = status
            self.on_status.call(status)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _closed_error(self) -> Exception:
        error = self._error
        if error is None:
            return HoldfastError("the connection is closed")
        return type(error)(*error.args) if isinstance(error, HoldfastError) else error


__all__ = ["SLOW_READERS", "ConnectionCore"]
