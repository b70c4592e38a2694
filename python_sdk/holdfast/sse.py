"""Server-sent events: the format of text/event-stream, and two ways to send it.

A generator makes its events itself; an EventStream is kept by the actor, and any turn
may send to it:

    return Response(event_stream(self.tokens(prompt)))     # an async generator of events

    stream = EventStream(c)                                # in on_request
    c.vars.add(stream)
    return Response(stream)
    ...
    await stream.send({"n": 1}, event="tick")              # in any turn of the actor
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from holdfast.context import Context, EventStreamHost

CONTENT_TYPE: Final = "text/event-stream; charset=utf-8"
KEEP_ALIVE: Final = b":\n\n"
# What the format takes for the end of a line.
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSentEvent:
    """One event. `data` is text, or what JSON can say; `retry_s` is how many seconds the
    client waits before it reconnects. Raises ValueError or TypeError for what the format
    cannot carry, when it is sent."""

    data: Any = ""
    event: str | None = None
    id: str | None = None
    retry_s: float | None = None

    def encode(self) -> bytes:
        """The event as it is sent."""
        lines: list[str] = []
        if self.event is not None:
            lines.append(f"event: {_line('event', self.event)}")
        if self.id is not None:
            if "\0" in self.id:
                raise ValueError("the id of an event has no NUL")
            lines.append(f"id: {_line('id', self.id)}")
        if self.retry_s is not None:
            lines.append(f"retry: {round(self.retry_s * 1000)}")
        text = self.data
        if not isinstance(text, str):
            text = json.dumps(text, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        lines += [f"data: {line}" for line in _LINE_END.split(text)]
        return ("\n".join(lines) + "\n\n").encode("utf-8")


def _line(name: str, value: str) -> str:
    if _LINE_END.search(value):
        raise ValueError(f"the {name} of an event is one line")
    return value


def event_of(item: Any) -> ServerSentEvent:
    """An item of a stream as an event: one already, or the data of one."""
    return item if isinstance(item, ServerSentEvent) else ServerSentEvent(data=item)


def event_stream(events: AsyncIterable[Any]) -> AsyncIterable[bytes]:
    """The body of a Response that sends the items of `events`, each when it comes.

    An item is a ServerSentEvent, or the data of one. Raises TypeError for what is no async
    iterator.
    """
    return _Events(events)


class _Events(AsyncIterable[bytes]):
    """The items of an iterator as events."""

    content_type: str = CONTENT_TYPE

    def __init__(self, events: AsyncIterable[Any]) -> None:
        if not isinstance(events, AsyncIterable):
            raise TypeError(f"events is an async iterator, not {type(events).__name__}")
        self._events = events

    async def __aiter__(self) -> AsyncIterator[bytes]:
        items = aiter(self._events)
        try:
            async for item in items:
                yield event_of(item).encode()
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()


class EventStream(AsyncIterable[bytes]):
    """A stream of server-sent events to one client, which any turn of its actor may send to.

    Made in `on_request` and returned as the body of its Response; from then on it holds no
    turn, and keeps the actor awake while it is open. A comment is sent every `keepalive_s`
    seconds in which nothing else was, so that proxies do not cut it; None for never. Closed
    by `close`, by its client, by a sleep or a drain, and when its client reads so slowly
    that `event_stream_bytes_max` bytes wait.
    """

    content_type: str = CONTENT_TYPE

    def __init__(self, c: Context[Any, Any], *, keepalive_s: float | None = 15.0) -> None:
        if keepalive_s is not None and not keepalive_s > 0:
            raise ValueError("keepalive_s is a positive number of seconds, or None")
        self.keepalive_s: float | None = keepalive_s
        """Seconds of silence after which a comment is sent; None for never."""
        self.host: EventStreamHost = c.open_event_stream()
        """The runner's side."""

    @property
    def closed(self) -> bool:
        """Whether nothing reaches a client any more."""
        return self.host.closed

    async def send(
        self,
        data: Any,
        *,
        event: str | None = None,
        id: str | None = None,
        retry_s: float | None = None,
    ) -> None:
        """Send an event; one to a closed stream is dropped.

        In a turn it leaves once that has committed; elsewhere it waits until there is room.
        """
        one = ServerSentEvent(data=data, event=event, id=id, retry_s=retry_s)
        await self.host.send(one.encode())

    def close(self) -> None:
        """End the stream after what was sent; in a turn, once that has committed."""
        self.host.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.host.read(self.keepalive_s):
            yield data


__all__ = ["EventStream", "ServerSentEvent", "event_stream"]
