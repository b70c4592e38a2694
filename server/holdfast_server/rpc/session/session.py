"""One session: reads commands, keeps its streams, and says what becomes of them.

It ends in one of four ways: its client closes it, which lets calls under way be
answered first; its client vanishes; a failure of the whole session, which the RPC
then ends with; or the server ends it from outside by `end`. However it ends, calls
that answer once go on, and connections wait to be resumed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import grpc
from google.protobuf.message import DecodeError

from holdfast.v1 import session_service_pb2 as pb
from holdfast_server.core import errors
from holdfast_server.core.call import Answer, Target
from holdfast_server.core.errors import HoldfastError, invalid
from holdfast_server.core.ids import format_actor_id
from holdfast_server.core.roles import check_subscribe, role_of_command
from holdfast_server.core.values import Value
from holdfast_server.rpc.convert import fill_payload, status_of
from holdfast_server.rpc.events import cursor_of
from holdfast_server.rpc.retries import delay_s
from holdfast_server.rpc.session.arriving import Arriving
from holdfast_server.rpc.session.calls import CallStream, ItemStream
from holdfast_server.rpc.session.chunks import Assembler, ChunkedTooLong, ChunksFull
from holdfast_server.rpc.session.connections import ConnectionStream
from holdfast_server.rpc.session.credential import Credential
from holdfast_server.rpc.session.outbox import Outbox
from holdfast_server.rpc.session.streams import (
    OPENING,
    UNBOUNDED,
    Kind,
    Stream,
    Streams,
    protocol_error,
)
from holdfast_server.rpc.session.subscriptions import SubscriptionStream
from holdfast_server.rpc.session.terms import Terms, call_of, connect_of, subscribe_of
from holdfast_server.runtime.environment import housekeeping

if TYPE_CHECKING:
    from holdfast_server.core.auth import Identity
    from holdfast_server.core.events import Cursor
    from holdfast_server.rpc.session.shared import Shared


# Streams that a session opens in one tick. A call counts for sixteen: what 63 of them did is
# synced, and answered, while the next ones run.
_BEGUN_A_TICK: Final = 1000
_CALL_COUNTS: Final = 16
# Looked up once, since every call of every session asks.
_CALL_NEEDS: Final = role_of_command("call")


class Transport(Protocol):
    """The stream of the RPC."""

    def read(self) -> Awaitable[Any]: ...
    def write(self, message: Any) -> Awaitable[None]: ...


async def read_frame(transport: Transport) -> pb.OpenSessionRequest | None:
    """The next frame of the client; None when it sends no more."""
    try:
        frame = await transport.read()
    except DecodeError:
        raise protocol_error("frame", "does not decode as an OpenSessionRequest") from None
    return None if frame is grpc.aio.EOF else frame


class Session:
    """One open session."""

    def __init__(
        self,
        shared: Shared,
        terms: Terms,
        peer: str,
        token: str | None,
        identity: Identity,
        task: asyncio.Task[Any],
    ) -> None:
        limits = shared.limits
        self.shared = shared
        self.terms = terms
        self.peer = peer
        self.credential = Credential(shared, terms.namespace, token, identity, self.end)
        self.outbox = Outbox(shared.node.loop, limits.session_chunk_bytes)
        self.streams = Streams(limits.session_streams_max)
        # Subscriptions that have begun and do not stand yet, in order.
        self.subscribing: dict[int, SubscriptionStream] = {}
        # Calls whose tasks have yet to take their first step.
        self.unbegun = 0
        # Whether nothing more is said in it.
        self.over = False
        # Why the server ended it.
        self.failure: HoldfastError | None = None
        self.task = task
        self._chunks = Assembler(shared.message_bytes_max, limits.session_chunks_bytes_max)
        self._heard = shared.node.loop.time()
        self._reading = True
        self._quiet: asyncio.Future[None] | None = None
        # Whether something of it may go on in another session, once it is over.
        self.resumable = False
        # Whether events and messages wait until there is room, and whose came last.
        self.full = False
        self._last_fed = 0
        self._releasing: asyncio.Task[None] | None = None
        self._timer = shared.node.loop.call_later(
            min(limits.session_idle_s, limits.session_stall_s), self._watch
        )

    # Reading

    async def run(self, transport: Transport, first: pb.OpenSessionRequest) -> None:
        """Read until the client closes its side, then answer what is under way."""
        loop = self.shared.node.loop
        del first.commands[0]
        frame: pb.OpenSessionRequest | None = first
        while frame is not None:
            begun = 0
            for command in frame.commands:
                begun += self._receive(command)
                if begun >= _BEGUN_A_TICK:
                    # All that a frame can begin would hold the loop for long.
                    begun = 0
                    await asyncio.sleep(0)
                    await self._keep_pace()
            await self._keep_pace()
            frame = await read_frame(transport)
            self._heard = loop.time()
        self._reading = False
        for stream in self.streams:
            if stream.kind is Kind.STREAMING:
                # Nobody can give it credit; the transport alone holds it up.
                stream.credit(UNBOUNDED)
            elif stream.kind is not Kind.CALL:
                self.streams.end(stream.number)
                self.resumable = self.resumable or stream.resumable
                stream.broken()
        if len(self.streams):
            self._quiet = loop.create_future()
            await self._quiet
        await self.outbox.at_most(0)

    async def _keep_pace(self) -> None:
        """Take no more commands while too much waits for the transport."""
        self._reading = False
        await self.has_room()
        self._reading, self._heard = True, self.shared.node.loop.time()

    async def has_room(self) -> None:
        """Wait while too much waits for the transport."""
        most = self.shared.limits.session_send_bytes_max
        if self.outbox.size > most:
            await self.outbox.at_most(most)

    def _receive(self, command: pb.SessionCommand) -> int:
        """Take in one command; for how many streams that it opens it counts."""
        which, number = command.WhichOneof("command"), command.stream
        if which == "call":
            self.streams.claim(number)
            self._open_call(number, command.call)
            return _CALL_COUNTS
        if which is None:
            raise protocol_error("command", "is required")
        if which in OPENING:
            self.streams.claim(number)
            self._open(which, command)
        elif which == "chunk":
            self._chunk(number, command.chunk)
        elif which in _ABOUT:
            stream = self.streams.about(number, which)
            if stream is not None:
                _ABOUT[which](stream, command)
        elif number:
            raise protocol_error(which, f"is for stream 0, not {number}")
        else:
            _CONTROL[which](self, command)
        return which in OPENING

    def _open(self, which: str, command: pb.SessionCommand) -> None:
        """Open a claimed number; a failure ends that stream only."""
        number = command.stream
        try:
            if which == "call":
                self._open_call(number, command.call)
            elif which == "connect":
                self._connect(number, command.connect)
            else:
                self._subscribe(number, command.subscribe)
        except HoldfastError as error:
            self.failed(number, error)

    def _open_call(self, number: int, said: pb.SessionCall) -> None:
        try:
            self._call(number, said)
        except HoldfastError as error:
            self.failed(number, error, once=bool(said.idempotency_key or said.number))

    def _call(self, number: int, said: pb.SessionCall) -> None:
        shared = self.shared
        if self.credential.identity.role < _CALL_NEEDS:
            self.credential.identity.check_role(_CALL_NEEDS, "call")
        call = call_of(said, self.terms, shared.convert, shared.node.loop.time())
        call.auth = self.credential.identity
        on = said.connection
        connection = self._connection(on) if on else None
        if said.streaming:
            window = self._window(said.window_bytes)
            stream: CallStream = ItemStream(number, self, call, connection, window)
        else:
            stream = CallStream(number, self, call, connection)
        self._add(stream)
        stream.begin()

    def _connect(self, number: int, said: pb.SessionConnect) -> None:
        self.credential.identity.check_role(role_of_command("connect"), "connect")
        shared, window = self.shared, self._window(said.window_bytes)
        now = shared.node.loop.time()
        request = connect_of(said, self.terms, shared.convert, window, now)
        request.auth = self.credential.identity
        stream = ConnectionStream(number, self, request)
        self._add(stream)
        stream.begin()

    def _subscribe(self, number: int, said: pb.SessionSubscribe) -> None:
        self.credential.identity.check_role(role_of_command("subscribe"), "subscribe")
        window = self._window(said.window_bytes)
        request = subscribe_of(said, self.terms, self.shared.convert, window)
        request.auth = self.credential.identity
        check_subscribe(self.credential.identity, creates=request.target.create)
        connection = self._connection(said.connection) if said.connection else None
        stream = SubscriptionStream(number, self, request)
        self._add(stream)
        if connection is None:
            stream.begin()
        else:
            connection.subscribe(stream)

    async def subscribed(self, number: int, target: Target, deadline: float | None) -> None:
        """Wait until what was subscribed to of this actor before stream `number` stands, or
        has failed: whoever listens, and then calls, hears what the call tells."""
        same = self.shared.node.lookup.same
        for stream in list(self.subscribing.values()):
            if stream.number < number and same(stream.target, target):
                await stream.settled(deadline)

    def _add(self, stream: Stream) -> None:
        self.streams.add(stream)
        if self.full:
            stream.hold()

    def _connection(self, number: int) -> ConnectionStream:
        stream = self.streams.get(number)
        if isinstance(stream, ConnectionStream):
            return stream
        if stream is None:
            # It may have ended while this was on its way.
            raise HoldfastError(errors.CONNECTION_NOT_FOUND)
        raise invalid("connection", f"{number} is a {stream.kind.value}")

    def _window(self, asked: int) -> int:
        limits = self.shared.limits
        return min(asked or limits.subscription_window_bytes, limits.session_send_bytes_max)

    def _chunk(self, number: int, chunk: pb.SessionChunk) -> None:
        if not number:
            raise protocol_error("chunk", "is of a stream; 0 is none")
        try:
            if self.streams.is_new(number):
                self.streams.claim(number)
                self.streams.add(Arriving(number, self))
            elif self.streams.about(number, "chunk") is None:
                return
            data = self._chunks.add(number, chunk.data, chunk.last)
        except ChunksFull:
            limit = self.shared.limits.session_chunks_bytes_max
            message = f"unfinished commands of more than {limit} bytes"
            raise protocol_error("chunk", message, limit=limit) from None
        except ChunkedTooLong as error:
            self.failed(number, self._too_long(error.size))
        except HoldfastError as error:
            if error.reason is errors.SESSION_INVALID:
                raise
            self.failed(number, error)
        else:
            if data is not None:
                self._assembled(number, data)

    def _assembled(self, number: int, data: bytes) -> None:
        try:
            command = pb.SessionCommand.FromString(data)
        except DecodeError:
            raise protocol_error("chunk", f"stream {number} does not decode") from None
        which = command.WhichOneof("command")
        if which not in OPENING:
            raise protocol_error("chunk", f"holds {which or 'nothing'}, which opens no stream")
        if command.stream != number:
            raise protocol_error("chunk", f"of stream {number} holds stream {command.stream}")
        self.streams.end(number)
        self._open(which, command)

    def dropped(self, number: int) -> None:
        """A command in chunks is not completed."""
        self._chunks.drop(number)

    def _too_long(self, size: int) -> HoldfastError:
        limit = self.shared.message_bytes_max
        return HoldfastError(
            errors.MESSAGE_INCOMING_TOO_LONG,
            f"chunk: a command of {size} bytes or more; at most {limit}",
            metadata={"field": "chunk", "limit": str(limit), "size": str(size)},
        )

    def _ping(self, command: pb.SessionCommand) -> None:
        self.outbox.open(0, 0).pong.number = command.ping.number

    def _renew(self, command: pb.SessionCommand) -> None:
        self.credential.renew(command.token.token)

    def _hello(self, _: pb.SessionCommand) -> None:
        raise protocol_error("hello", "was said before")

    # Saying

    def welcome(self, token: bytes, *, resumed: bool) -> None:
        """The session is open."""
        limits = self.shared.limits
        welcome = self.outbox.open(0, 0).welcome
        welcome.protocol = 1
        welcome.resume_token = token
        welcome.resumed = resumed
        welcome.streams_max = limits.session_streams_max
        welcome.chunk_bytes = limits.session_chunk_bytes
        welcome.message_bytes_max = self.shared.message_bytes_max
        welcome.connection_grace_s = limits.connection_grace_s

    def go_away(self, reason: str) -> None:
        self.outbox.open(0, 0).go_away.reason = reason

    def result(self, number: int, answer: Answer) -> None:
        """A call has returned."""
        if not self._end(number):
            return
        encoding, data = answer.value
        result = self.outbox.open(number, len(data)).result
        payload = result.result
        payload.encoding = encoding  # type: ignore[assignment]
        payload.data = data
        result.durability = answer.durability  # type: ignore[assignment]
        if answer.replayed:
            result.replayed = True
        result.actor_id = format_actor_id(answer.actor_id)

    def item(self, number: int, value: Value) -> None:
        """An item of a streaming call."""
        if not self.over:
            fill_payload(self.outbox.open(number, len(value.data)).items.items.add(), value)

    def ended(self, number: int, reason: str = "", cursor: Cursor | None = None) -> None:
        """A stream has ended, and nothing failed."""
        if self._end(number):
            end = self.outbox.open(number, len(reason)).end
            end.message = reason
            if cursor is not None:
                end.cursor.CopyFrom(cursor_of(cursor))

    def failed(
        self,
        number: int,
        error: HoldfastError,
        *,
        once: bool = True,
        cursor: Cursor | None = None,
        known: bool = False,
    ) -> None:
        """A stream has failed, or could not be opened; one that is `known` was open, and
        may have ended since."""
        if (not self._end(number) and known) or self.over:
            return
        code, message, details = status_of(error, delay_s(error, once=once))
        end = self.outbox.open(number, len(message) + len(details)).end
        end.code = code.value[0]
        end.message = message
        end.details = details
        if cursor is not None:
            end.cursor.CopyFrom(cursor_of(cursor))

    def _end(self, number: int) -> bool:
        open_before = self.streams.end(number)
        if self._quiet is not None and not len(self.streams) and not self._quiet.done():
            self._quiet.set_result(None)
        return open_before

    # Ending

    def end(self, error: HoldfastError) -> None:
        """End it from outside, at once."""
        if self.over:
            return
        self.failure = error
        self.break_off()
        self.task.cancel()

    def break_off(self) -> None:
        """Nothing more is said in it: let go of its streams."""
        if not self.over:
            self.over = True
            self._timer.cancel()
            self.credential.close()
            streams = self.streams.clear()
            self.resumable = self.resumable or any(stream.resumable for stream in streams)
            for stream in streams:
                stream.broken()
            if self._releasing is not None:
                self._releasing.cancel()

    def fed(self, number: int) -> None:
        """An event or a message of this stream was put. Once too much waits for the
        transport no stream gets more: what is stored is read again when there is room."""
        if self.full or self.outbox.size <= self.shared.limits.session_send_bytes_max:
            return
        self.full, self._last_fed = True, number
        for stream in self.streams:
            stream.hold()
        self._releasing = self.shared.node.loop.create_task(self._release())

    async def _release(self) -> None:
        await self.outbox.at_most(self.shared.limits.session_send_bytes_max // 2)
        self.full = False
        # In turn: one that fills the session each time must not keep it to itself.
        for stream in self.streams.beginning_after(self._last_fed):
            stream.release()
            if self.full:
                return

    def streams_end(self) -> None:
        """The server drains: streaming calls end at their next item."""
        for stream in self.streams:
            stream.streams_end()

    @housekeeping
    def _watch(self) -> None:
        """End a session whose client is silent, or takes nothing."""
        loop, limits = self.shared.node.loop, self.shared.limits
        now, since = loop.time(), self.outbox.writing_since
        idle_at = (self._heard if self._reading else now) + limits.session_idle_s
        stalled_at = (now if since is None else since) + limits.session_stall_s
        if now >= idle_at:
            self.end(_lost("session_idle_s", limits.session_idle_s, "sent no frame"))
        elif now >= stalled_at:
            self.end(_lost("session_stall_s", limits.session_stall_s, "took no frame"))
        else:
            self._timer = loop.call_at(min(idle_at, stalled_at), self._watch)


def _lost(limit: str, seconds: float, what: str) -> HoldfastError:
    return HoldfastError(
        errors.DEADLINE_EXCEEDED,
        f"the client {what} for {seconds:g} s ({limit}); the session counts as broken",
        metadata={"limit": limit},
    )


_ABOUT: Final[Mapping[str, Callable[[Any, pb.SessionCommand], None]]] = {
    "cancel": lambda stream, _: stream.cancel(),
    "credit": lambda stream, command: stream.credit(command.credit.bytes),
    "acknowledge": lambda stream, command: stream.acknowledge(command.acknowledge.message),
}
_CONTROL: Final[Mapping[str, Callable[[Session, pb.SessionCommand], None]]] = {
    "hello": Session._hello,
    "ping": Session._ping,
    "token": Session._renew,
}
