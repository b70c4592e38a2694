"""gRPC without a network: the client's stubs call the server's handlers in this process.

Requests and answers are serialized, deadlines count, errors become statuses and come
back as AioRpcError: what is left out is HTTP/2. A handler runs in a task of the server's
domain, with a context of its own, as a real one does. When the server dies, its calls
end UNAVAILABLE, as those of a broken connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, Final, NoReturn

import grpc
import grpc.aio

from holdfast_server.rpc.direct import Aborted, DirectContext
from holdfast_server.runtime.procedures import Metadata
from holdfast_server.testing.duplex import Pipe, SessionFaults
from holdfast_server.testing.wire import Server, Wire

_EMPTY: Final = grpc.aio.Metadata()
# What GrpcTransport sets for its channels, and so what its answers may have.
_ANSWER_BYTES_MAX: Final = 16 << 20


def failure(code: grpc.StatusCode, details: str, trailing: Metadata = ()) -> grpc.aio.AioRpcError:
    """An RPC's failure as grpc.aio raises it."""
    return grpc.aio.AioRpcError(
        code, _EMPTY, grpc.aio.Metadata(*trailing), details=details, debug_error_string=""
    )


def broken(why: str) -> grpc.aio.AioRpcError:
    """What a client sees of a connection that breaks."""
    return failure(grpc.StatusCode.UNAVAILABLE, why)


class _Rpc:
    """One RPC from the client's side: its deadline, its handler's task and its end."""

    def __init__(
        self, channel: InProcessChannel, server: Server, timeout: float | None, metadata: Metadata
    ) -> None:
        loop = asyncio.get_running_loop()
        self.loop = loop
        self._server = server
        self.ended: asyncio.Future[grpc.aio.AioRpcError | None] = loop.create_future()
        self._tasks: list[asyncio.Task[None]] = []
        deadline = None if timeout is None else loop.time() + timeout
        self.context = DirectContext(loop, deadline, metadata)
        self._timer = None
        if timeout is not None:
            error = failure(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
            self._timer = loop.call_later(timeout, self.end, error, True)
        server.rpcs[id(self)] = self

    def run(self, serving: Any) -> asyncio.Task[None]:
        """Run a handler in the server's domain."""
        task: asyncio.Task[None] = self.loop.create_task(
            serving, context=self._server.domain.context()
        )
        self._tasks.append(task)
        return task

    def end(self, error: grpc.aio.AioRpcError | None, cancel: bool = False) -> None:
        """The client hears no more of this RPC than `error`; None for its good end."""
        if self._timer is not None:
            self._timer.cancel()
        self._server.rpcs.pop(id(self), None)
        if not self.ended.done():
            self.ended.set_result(error)
        if cancel:
            for task in self._tasks:
                task.cancel()

    def failed(self, error: BaseException) -> grpc.aio.AioRpcError:
        """What the client gets of a handler that raised."""
        if isinstance(error, Aborted):
            return failure(error.code, error.details, error.trailing)
        if isinstance(error, asyncio.CancelledError):
            return failure(grpc.StatusCode.CANCELLED, "the handler was cancelled")
        return failure(grpc.StatusCode.UNKNOWN, f"Unexpected {type(error)}: {error}")


class UnaryCall:
    """A unary RPC under way; awaiting it gives the response."""

    def __init__(self, answer: asyncio.Task[Any], trailing: Callable[[], Metadata]) -> None:
        self._answer = answer
        self._trailing = trailing

    def __await__(self) -> Generator[Any, None, Any]:
        return self._answer.__await__()

    async def trailing_metadata(self) -> Metadata:
        await asyncio.wait([self._answer])
        return self._trailing()

    def cancel(self) -> bool:
        return self._answer.cancel()


class StreamCall:
    """A server-streaming RPC under way; iterating gives the responses."""

    def __init__(self, items: AsyncIterator[Any], rpc: _Rpc | None) -> None:
        self._items = items
        self._rpc = rpc

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._items

    def cancel(self) -> bool:
        if self._rpc is None or self._rpc.ended.done():
            return False
        self._rpc.end(failure(grpc.StatusCode.CANCELLED, "Locally cancelled"), True)
        return True


class _DuplexContext(DirectContext):
    """That of a handler which reads and writes by it."""

    def __init__(self, rpc: _Duplex, metadata: Metadata) -> None:
        super().__init__(rpc.loop, None, metadata)
        self._rpc = rpc
        self.deserialize: Any = None
        self.serialize: Any = None

    async def read(self) -> Any:
        data = await self._rpc.up.get()
        return grpc.aio.EOF if data is None else self.deserialize(data)

    async def write(self, message: Any) -> None:
        if self._rpc.faults.answers(message):
            why = "the connection broke before the answer came: injected"
            self._rpc.end(broken(why), cancel=True)
        try:
            await self._rpc.down.put(self.serialize(message))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # Nobody reads it; whoever ended the RPC cancels its handler.
            await self._rpc.loop.create_future()


class _Duplex(_Rpc):
    """An RPC whose both sides send as they like."""

    def __init__(
        self, channel: InProcessChannel, server: Server, timeout: float | None, metadata: Metadata
    ) -> None:
        super().__init__(channel, server, timeout, metadata)
        self.up = Pipe()
        self.down = Pipe()
        self.faults = SessionFaults(channel.wire)
        self.duplex = _DuplexContext(self, metadata)
        self.context = self.duplex

    async def serve(self, method: str) -> None:
        """The handler, from its beginning to its end."""
        try:
            handler = self._server.handler(method)
            if handler is None or handler.stream_stream is None:
                await self.context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            self.duplex.deserialize = handler.request_deserializer
            self.duplex.serialize = handler.response_serializer
            await handler.stream_stream(None, self.duplex)
        except BaseException as error:
            self.end(self.failed(error))
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            self.end(None)

    def end(self, error: grpc.aio.AioRpcError | None, cancel: bool = False) -> None:
        super().end(error, cancel)
        self.up.close(error)
        self.down.close(error)


class DuplexCall:
    """A bidirectional RPC under way: `write`, `read` until EOF, `cancel`."""

    def __init__(self, method: str, rpc: _Duplex | None, serialize: Any, deserialize: Any) -> None:
        self._rpc = rpc
        self._serialize = serialize
        self._deserialize = deserialize
        if rpc is not None:
            rpc.run(rpc.serve(method))

    async def write(self, message: Any) -> None:
        rpc = self._begun()
        if rpc.faults.commands(message):
            rpc.end(broken("the connection broke before the call was sent: injected"), True)
        await rpc.up.put(self._serialize(message))

    async def read(self) -> Any:
        data = await self._begun().down.get()
        return grpc.aio.EOF if data is None else self._deserialize(data)

    def cancel(self) -> bool:
        if self._rpc is None or self._rpc.ended.done():
            return False
        self._rpc.end(failure(grpc.StatusCode.CANCELLED, "Locally cancelled"), True)
        return True

    def _begun(self) -> _Duplex:
        if self._rpc is None:
            raise broken("failed to connect: the server is down")
        return self._rpc


class InProcessChannel:
    """A grpc.aio.Channel whose other end is whatever server runs."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        **_: Any,
    ) -> Callable[..., UnaryCall]:
        def call(request: Any, *, timeout: float | None = None, metadata: Any = ()) -> UnaryCall:
            contexts: list[DirectContext] = []
            data = request_serializer(request) if request_serializer else request

            async def run() -> Any:
                answer = await self._unary(method, data, timeout, tuple(metadata or ()), contexts)
                return response_deserializer(answer) if response_deserializer else answer

            task = asyncio.get_running_loop().create_task(run())
            return UnaryCall(task, lambda: contexts[-1].trailing if contexts else ())

        return call

    def unary_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        **_: Any,
    ) -> Callable[..., StreamCall]:
        def call(request: Any, *, timeout: float | None = None, metadata: Any = ()) -> StreamCall:
            data = request_serializer(request)
            try:
                server = self._begin(method, data)
            except grpc.aio.AioRpcError as error:
                return StreamCall(_raising(error), None)
            rpc = _Rpc(self, server, timeout, tuple(metadata or ()))
            return StreamCall(_items(server, method, rpc, data, response_deserializer), rpc)

        return call

    def stream_unary(self, method: str, *_: Any, **__: Any) -> Any:
        return _unsupported(method)

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        **_: Any,
    ) -> Callable[..., DuplexCall]:
        def call(*, metadata: Any = (), timeout: float | None = None) -> DuplexCall:
            server = self.wire.server
            rpc = _Duplex(self, server, timeout, tuple(metadata or ())) if server else None
            return DuplexCall(method, rpc, request_serializer, response_deserializer)

        return call

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        up = self.wire.server is not None
        return grpc.ChannelConnectivity.READY if up else grpc.ChannelConnectivity.IDLE

    async def close(self, grace: float | None = None) -> None:
        """Nothing is held."""

    def _begin(self, method: str, data: bytes) -> Server:
        """The server that takes this RPC."""
        server = self.wire.server
        if server is None:
            raise broken("failed to connect: the server is down")
        if self.wire.take("drop_call", method, data):
            raise broken("the connection broke before the call was sent: injected")
        if len(data) > server.message_bytes_max:
            raise failure(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"SERVER: Received message larger than max ({len(data)} vs. "
                f"{server.message_bytes_max})",
            )
        return server

    async def _unary(
        self,
        method: str,
        data: bytes,
        timeout: float | None,
        metadata: Metadata,
        contexts: list[DirectContext],
    ) -> bytes:
        server = self._begin(method, data)
        rpc = _Rpc(self, server, timeout, metadata)
        contexts.append(rpc.context)
        answers: list[bytes] = []
        copies = 2 if self.wire.take("duplicate_call", method, data) else 1
        left = copies

        async def serve(context: DirectContext) -> None:
            nonlocal left
            try:
                answer = await _handle(server, method, data, context)
            except BaseException as error:
                ended: grpc.aio.AioRpcError | None = rpc.failed(error)
                if isinstance(error, asyncio.CancelledError) and rpc.ended.done():
                    raise
            else:
                answers.append(answer)
                ended = None
            left -= 1
            if left == 0:
                rpc.end(self._answered(method, data, answers, ended))

        for _ in range(copies):
            rpc.run(serve(rpc.context))
        try:
            error = await asyncio.shield(rpc.ended)
        except asyncio.CancelledError:
            rpc.end(None, True)
            raise
        if error is not None:
            raise error
        return answers[-1]

    def _answered(
        self, method: str, data: bytes, answers: list[bytes], error: grpc.aio.AioRpcError | None
    ) -> grpc.aio.AioRpcError | None:
        if self.wire.take("drop_reply", method, data):
            return broken("the connection broke before the answer came: injected")
        if error is None and len(answers[-1]) > _ANSWER_BYTES_MAX:
            return failure(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"CLIENT: Received message larger than max ({len(answers[-1])} vs. "
                f"{_ANSWER_BYTES_MAX})",
            )
        return error


async def _handle(server: Server, method: str, data: bytes, context: DirectContext) -> bytes:
    handler = server.handler(method)
    if handler is None or handler.unary_unary is None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
    response = await handler.unary_unary(handler.request_deserializer(data), context)
    answer: bytes = handler.response_serializer(response)
    return answer


async def _items(
    server: Server, method: str, rpc: _Rpc, data: bytes, deserialize: Any
) -> AsyncIterator[Any]:
    """The responses of a server stream; the handler is one ahead at most, as with HTTP/2's
    window it would be a few."""
    queue: asyncio.Queue[bytes] = asyncio.Queue(1)

    async def serve() -> None:
        try:
            handler = server.handler(method)
            if handler is None or handler.unary_stream is None:
                await rpc.context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            request = handler.request_deserializer(data)
            async for response in handler.unary_stream(request, rpc.context):
                await queue.put(handler.response_serializer(response))
        except BaseException as error:
            rpc.end(rpc.failed(error))
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            rpc.end(None)

    rpc.run(serve())
    loop = asyncio.get_running_loop()
    following: asyncio.Task[bytes] | None = None
    try:
        while True:
            following = loop.create_task(queue.get())
            either: list[asyncio.Future[Any]] = [following, rpc.ended]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                break
            yield deserialize(following.result())
        error = rpc.ended.result()
        # What was sent before the end is not lost by it.
        while error is None and not queue.empty():
            yield deserialize(queue.get_nowait())
        if error is not None:
            raise error
    finally:
        if following is not None:
            # Whoever reads may stop while it waits; nothing is left to the collector.
            following.cancel()
        rpc.end(None, True)


async def _raising(error: Exception) -> AsyncIterator[Any]:
    raise error
    yield


def _unsupported(method: str) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> NoReturn:
        raise failure(grpc.StatusCode.UNIMPLEMENTED, f"{method} needs harness(..., grpc=True)")

    return call
