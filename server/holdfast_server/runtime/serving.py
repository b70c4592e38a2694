"""Raw WebSockets: `on_websocket`, from the handshake to the close.

The handler is background work of its activation, in turns: one until it first asks for a
message, then one for each. An open socket keeps its actor awake, unless the class lets its
sockets hibernate: then the handler is cancelled where it waits when the actor goes to
sleep, the socket stays open, and the next message, or its end, wakes the actor and runs
the handler anew. The front's task reads the socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast_server.core import errors
from holdfast_server.core.call import Call, Target
from holdfast_server.core.errors import HoldfastError
from holdfast_server.core.mailbox import Mode
from holdfast_server.core.raw import RequestHead
from holdfast_server.runtime.background import Work
from holdfast_server.runtime.connections import UNSET, Conn
from holdfast_server.runtime.course import Course
from holdfast_server.runtime.execution import settle
from holdfast_server.runtime.fronts import CLOSE_DONE, Socket
from holdfast_server.runtime.sockets import Accept, Channel, Close, size_of
from holdfast_server.runtime.turn import Turn
from holdfast_server.runtime.visiting import let_in

if TYPE_CHECKING:
    from holdfast_server.core.ids import Address
    from holdfast_server.core.values import Durability
    from holdfast_server.runtime.activation import Activation
    from holdfast_server.runtime.node import Node

R = TypeVar("R")

log = logging.getLogger("holdfast.actor")

WEBSOCKET = "$websocket"


async def serve_websocket(node: Node, call: Call, head: RequestHead, socket: Socket) -> None:
    """Serve a WebSocket until it is closed; whatever fails is its close code."""
    call.action = WEBSOCKET
    link = SocketLink(node, call, head, socket)
    admitted = False
    try:
        node.raw.admit()
        admitted = True
        await node.run(call, link.open)
    except HoldfastError as error:
        link.fail(error)
    except BaseException:
        link.gone()
        raise
    try:
        await link.pump()
    except BaseException:
        # The front has ended, and with it the socket.
        link.gone()
        raise
    finally:
        node.raw.remove(link)
        if admitted:
            node.raw.leave()


class SocketLink(Channel):
    """A socket, and whichever run of its handler is under way."""

    def __init__(self, node: Node, call: Call, head: RequestHead, socket: Socket) -> None:
        super().__init__(node, head, socket)
        self.actor_id = b""
        self._address: Address | None = None
        self.resumed = False
        # The runner's own: the object that handlers see, in this activation.
        self.face: Any = None
        self.conn: Conn | None = None
        self._call = call
        # Whether on_connect has been committed, and on_disconnect has not.
        self._inside = False
        # That, and the encoded state of the connection, as far as they are durable.
        self._kept = False, b""
        self._hibernates = False
        self._course: Course | None = None
        self._task: asyncio.Future[None] | None = None
        # The handler waits for a message, and holds no turn; its actor goes to sleep.
        self._outside = self._sleeps = False
        # No handler runs, and the next message wakes the actor.
        self._asleep = self._waking = False

    async def open(self, activation: Activation) -> None:
        """Let the client in, and run the handler."""
        info = activation.info
        if not info.raw.on_websocket:
            raise HoldfastError(errors.HANDLER_WEBSOCKET_NOT_DEFINED)
        # Also where no hook asks for it: the actor has to be awake.
        self.conn = await let_in(activation, self._call, None)
        self._kept = False, self.conn.state
        self._call.deadline = None
        self._hibernates = info.raw.hibernates
        self._run_in(activation)
        self.node.raw.add(self)

    def _run_in(self, activation: Activation) -> None:
        self.actor_id, self._address = activation.actor_id, activation.address
        work = Work.HIBERNATING if self._hibernates else Work.WEBSOCKET
        background = activation.background_now()
        self._sleeps = self._asleep = False
        self._task = background.add(self._run(activation), work)
        # It may be cancelled before it has begun.
        self._task.add_done_callback(
            lambda task: self._cancelled(activation) if task.cancelled() else None
        )

    # The handler

    async def _run(self, activation: Activation) -> None:
        course = Course(activation, self._call, self.conn, inside=self._inside, lasts=True)
        self._course = course
        try:
            async with course.running():
                await course.open()
                await course.instance.on_websocket(course, self)
                await self._finish(course)
        except asyncio.CancelledError as error:
            await course.failed(error)
            self._note(course)
            raise
        except HoldfastError as error:
            await self._failed(course, error)
        self._note(course)

    def _note(self, course: Course) -> None:
        """What is to be known of this run when it is over."""
        self._course = None
        self._inside = course.inside

    async def _finish(self, course: Course) -> None:
        self.end(course.turn, CLOSE_DONE, "")
        self._commits(course, await course.finish())

    async def _failed(self, course: Course, error: HoldfastError) -> None:
        try:
            await course.failed(error)
            await course.bow_out()
        except HoldfastError as other:
            error = other
        if self.ended is None:
            log.info("a WebSocket of %s ends: %s", self._address, error)
        self.fail(error)

    def _cancelled(self, activation: Activation) -> None:
        if self._hibernates and (self._sleeps or not activation.live):
            self.put_back(lost=not activation.live)
            if not activation.live:
                assert self.conn is not None
                self._inside, self.conn.state = self._kept
                self.conn.live = UNSET
            self._asleep = True
            if not self.node.committer.failed:
                # Something came meanwhile.
                self.notify()
        elif not activation.live:
            self.fail(HoldfastError(errors.COMMIT_UNKNOWN))
        else:
            self.go_away()

    # What the handler asks for

    def accept(self, accept: Accept) -> None:
        """Complete the handshake, once the turn has committed."""
        if self.accepting:
            return
        self.accepting, self.subprotocol = True, accept.subprotocol
        self._output(accept, 0)

    def send(self, turn: Turn | None, message: str | bytes) -> None:
        """Send with the commit of `turn`, or, outside turns, now; to a closed socket
        nothing is sent."""
        size, limit = size_of(message), self.node.limits.websocket_message_bytes_max
        if size > limit:
            raise HoldfastError(
                errors.MESSAGE_OUTGOING_TOO_LONG,
                f"message of {size} bytes; at most {limit}",
                metadata={"limit": str(limit), "size": str(size)},
            )
        if turn is None:
            self.outlet.put([(message, size)])
        else:
            turn.output(self.outlet, message, size)

    def end(self, turn: Turn | None, code: int, reason: str) -> None:
        """Close it with the commit of `turn`, or, outside turns, now."""
        if self.ended is not None:
            return
        if turn is None:
            self.close(code, reason)
        else:
            turn.output(self.outlet, Close(code, reason), 0)

    async def receive(self) -> str | bytes:
        """The next message, in the next turn; raises SocketClosed behind the last."""
        course = self._course
        if course is None or self._outside:
            raise HoldfastError(errors.NO_TURN, "one task at a time receives from a WebSocket")
        self.accept(Accept(None, ()))
        return await self._between(course, self._next)

    async def drain(self) -> None:
        """End the turn, and take the next when everything sent has left."""
        course = self._course
        if course is None or self._outside:
            raise HoldfastError(errors.NO_TURN)

        async def drained(durable: asyncio.Future[Durability]) -> None:
            await asyncio.wait([durable])
            await self.outlet.drained()

        await self._between(course, drained)

    async def _between(
        self, course: Course, wait: Callable[[asyncio.Future[Durability]], Awaitable[R]]
    ) -> R:
        if course.turn is None:
            # Its actor is gone.
            await course.begin()

        async def outside(durable: asyncio.Future[Durability]) -> R:
            self._commits(course, durable)
            self._outside = True
            try:
                if self._sleeps:
                    self._hibernate()
                    await self.node.loop.create_future()
                return await wait(durable)
            finally:
                self._outside = False

        return await course.between(outside, ends=True)

    async def _next(self, durable: asyncio.Future[Durability]) -> str | bytes:
        # Who does not read gets no answers to more.
        await self.outlet.room()
        await self.arrival()
        return self.take(keep=self._hibernates)

    def _commits(self, course: Course, durable: asyncio.Future[Durability]) -> None:
        """A turn of the handler is durable with this future."""
        self.settle(durable)
        assert self.conn is not None
        kept = course.inside, self.conn.state

        def done(future: asyncio.Future[Durability]) -> None:
            if not future.cancelled() and future.exception() is None:
                self._kept = kept

        durable.add_done_callback(done)

    def _output(self, item: Accept | Close, size: int) -> None:
        course = self._course
        if course is not None and course.turn is not None:
            course.turn.output(self.outlet, item, size)
        else:
            self.outlet.put([(item, size)])

    # Sleep

    def stop(self) -> None:
        """The actor goes to sleep: a hibernating handler ends where it waits."""
        self._sleeps = self._hibernates
        if self._sleeps and self._outside:
            self._hibernate()

    def retire(self) -> None:
        """on_sleep is over: a socket that does not hibernate is closed, which its handler
        is told."""
        if not self._hibernates:
            self.go_away()

    def _hibernate(self) -> None:
        """The handler, which waits and holds no turn, ends; see `_cancelled`."""
        if self._task is not None:
            self._task.cancel()

    def lose(self) -> None:
        """What turns did that was not durable is lost."""
        self.outlet.lose()

    def shut_down(self) -> None:
        """The server stops: no message wakes a sleeping actor any more."""
        if self._task is None or self._task.done():
            self._asleep = False
            self.go_away()

    def resume(self) -> None:
        """The store is open again."""
        self.notify()

    def notify(self) -> None:
        """There is something for the handler, which is run if it does not."""
        super().notify()
        if self._asleep and not self._waking and self.waiting:
            self._waking = True
            self.node.raw.spawn(self._wake())

    async def _wake(self) -> None:
        assert self._address is not None
        target = Target(actor_id=self.actor_id, namespace=self._address.namespace)
        call = Call(target=target, action=WEBSOCKET, params=self._call.params)
        try:
            await self.node.run(call, lambda activation: self._rerun(activation, call))
        except HoldfastError as error:
            self._asleep = False
            self.fail(error)
        finally:
            self._waking = False

    async def _rerun(self, activation: Activation, call: Call) -> None:
        turn = Turn(activation, Mode.READ_ONLY, call.deadline, WEBSOCKET, call.trace)
        try:
            async with activation.holding(turn, None):
                if activation.actor_id != self.actor_id:
                    raise HoldfastError(errors.ACTOR_DESTROYED)
                await activation.ensure_started(turn, None, create=False)
        except HoldfastError as error:
            await settle(activation, turn, error, None)
            raise
        self.resumed = True
        self._call = call
        self._run_in(activation)
