"""Every raw WebSocket and open response stream of one node: what ends, or moves, them all.

A WebSocket outlives the activation of its actor, as a connection does; a response stream
does not.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.node import Node


class OpenSocket(Protocol):
    """A WebSocket, as the node has to know it."""

    # The runner's own: the object that handlers see, in this activation.
    face: Any

    @property
    def actor_id(self) -> bytes: ...
    def stop(self) -> None:
        """Its actor goes to sleep."""
        ...

    def retire(self) -> None:
        """on_sleep is over, in which its actor may have spoken to it."""
        ...

    def lose(self) -> None:
        """What its actor's turns did that was not durable is lost."""
        ...

    def shut_down(self) -> None:
        """The server stops, and wakes no actor any more."""
        ...

    def fail(self, error: HoldfastError) -> None: ...
    def resume(self) -> None:
        """The store is open again."""
        ...


class OpenStream(Protocol):
    """A response that is sent in parts."""

    @property
    def actor_id(self) -> bytes: ...
    @property
    def pushed(self) -> bool:
        """Whether turns push its parts, which another stream could go on with."""
        ...

    def cut(self) -> None:
        """It ends before its next part."""
        ...


class Raw:
    """The open sockets and streams of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        # Dicts for sets, since these keep their order.
        self._sockets: dict[bytes, dict[OpenSocket, None]] = {}
        self._streams: dict[bytes, dict[OpenStream, None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = 0

    def __len__(self) -> int:
        return self._open

    def admit(self) -> None:
        """SERVER_OVERLOADED if no further socket may be opened."""
        limit = self._node.limits.websockets_max
        if self._open >= limit:
            raise HoldfastError(
                errors.SERVER_OVERLOADED,
                f"{limit} WebSockets are open; nothing ran",
                metadata={"limit": str(limit)},
            )
        self._open += 1

    def leave(self) -> None:
        """One that was admitted has gone."""
        self._open -= 1

    def add(self, socket: OpenSocket) -> None:
        self._sockets.setdefault(socket.actor_id, {})[socket] = None

    def remove(self, socket: OpenSocket) -> None:
        _discard(self._sockets, socket.actor_id, socket)

    def sockets_of(self, actor_id: bytes) -> list[OpenSocket]:
        """The open sockets of an actor, in the order in which they were opened."""
        return list(self._sockets.get(actor_id, ()))

    def add_stream(self, stream: OpenStream) -> None:
        self._streams.setdefault(stream.actor_id, {})[stream] = None

    def remove_stream(self, stream: OpenStream) -> None:
        _discard(self._streams, stream.actor_id, stream)

    # What happens to an actor

    def stop(self, activation: Activation, *, lost: bool) -> None:
        """An activation goes to sleep, or is lost; then its work is being cancelled."""
        actor_id = activation.actor_id
        for socket in () if lost else self.sockets_of(actor_id):
            socket.stop()
        for stream in list(self._streams.get(actor_id, ())) if lost else ():
            if stream.pushed:
                stream.cut()

    def retire(self, activation: Activation) -> None:
        """An activation that goes to sleep has run on_sleep: what does not outlive it ends."""
        for socket in self.sockets_of(activation.actor_id):
            socket.retire()
        for stream in list(self._streams.get(activation.actor_id, ())):
            if stream.pushed:
                stream.cut()

    def end_actor(self, actor_id: bytes) -> None:
        """The actor has been destroyed."""
        for socket in list(self._sockets.get(actor_id, ())):
            socket.fail(HoldfastError(errors.ACTOR_DESTROYED))
        for stream in list(self._streams.get(actor_id, ())):
            stream.cut()

    # The life of the node

    def fail(self) -> None:
        """The store has failed: whatever was not durable is lost."""
        for socket in self._all_sockets():
            socket.lose()

    def restart(self) -> None:
        """The store is open again."""
        for socket in self._all_sockets():
            socket.resume()

    def drain(self) -> None:
        """Sockets whose actor sleeps and pushed streams end, which clients open elsewhere;
        other streams have a while to come to their own end. Actors that are awake are put
        to sleep, which ends their sockets."""
        for socket in self._all_sockets():
            socket.shut_down()
        self._cut(pushed=True)
        self._node.loop.call_later(self._node.limits.drain_streams_s, self._cut)

    def _cut(self, *, pushed: bool = False) -> None:
        for streams in list(self._streams.values()):
            for stream in list(streams):
                if stream.pushed or not pushed:
                    stream.cut()

    def _all_sockets(self) -> list[OpenSocket]:
        return [socket for sockets in self._sockets.values() for socket in sockets]

    async def drained(self) -> None:
        """Wait until what goes out at the end is out."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._node.limits.hook_timeout_s)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something that belongs to no call."""
        task = self._node.loop.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _discard(table: dict[bytes, dict[Any, None]], actor_id: bytes, item: object) -> None:
    found = table.get(actor_id)
    if found is not None:
        found.pop(item, None)
        if not found:
            del table[actor_id]
