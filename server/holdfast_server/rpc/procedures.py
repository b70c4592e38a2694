"""The RPCs of our services for a front that is not gRPC's; see `runtime/procedures.py`.

They go through the interceptors that a gRPC server would have, so that tokens and tracing are
the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from google.rpc import status_pb2

from holdfast_server.core.errors import HoldfastError
from holdfast_server.rpc.convert import status_of
from holdfast_server.rpc.direct import Aborted, Details, DirectContext, Handlers
from holdfast_server.rpc.retries import retry_after_s
from holdfast_server.runtime.procedures import Caller, Metadata, Procedure, RpcFailed

_STATUS: Final = "grpc-status-details-bin"
# What is between gRPC and its clients.
_OF_GRPC: Final = "grpc-"


class DirectProcedures:
    """Procedures over the handlers of some services, by their full names."""

    def __init__(
        self,
        register: Callable[[Any], None],
        services: Iterable[str],
        interceptors: Sequence[Any],
        *,
        message_bytes_max: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._loop = loop
        self.message_bytes_max = message_bytes_max
        self._handlers = Handlers()
        register(self._handlers)
        self._interceptors = interceptors
        pool = descriptor_pool.Default()
        found = [
            _procedure(method)
            for name in services
            for method in pool.FindServiceByName(name).methods
        ]
        self.all: Sequence[Procedure] = sorted(found, key=lambda each: each.path)
        self._by_path = {each.path: each for each in found}

    def find(self, path: str) -> Procedure | None:
        return self._by_path.get(path)

    async def begin(self, procedure: Procedure, caller: Caller) -> DirectCall:
        context = DirectContext(
            self._loop,
            caller.deadline,
            caller.metadata,
            peer=caller.peer,
            certificate=caller.certificate,
        )
        handler = await self._handler(Details(procedure.path, caller.metadata))
        if handler.stream_stream is not None:
            # Whoever is refused is refused by a handler of this kind, which needs no request.
            await _run(handler.stream_stream(None, context))
        return DirectCall(handler, context)

    def failure_of(self, error: HoldfastError) -> RpcFailed:
        code, message, details = status_of(error, retry_after_s(error, None))
        return RpcFailed(code.name, message, status_pb2.Status.FromString(details).details)

    async def _handler(self, details: Details) -> Any:
        """The handler of a call, as the interceptors give it."""

        async def next_of(index: int, asked: Any) -> Any:
            if index == len(self._interceptors):
                return self._handlers.find(asked.method)
            return await self._interceptors[index].intercept_service(
                lambda following: next_of(index + 1, following), asked
            )

        return await next_of(0, details)


class DirectCall:
    """One call, in the task that awaits it."""

    def __init__(self, handler: Any, context: DirectContext) -> None:
        self._handler = handler
        self._context = context

    @property
    def trailing(self) -> Metadata:
        return _of_users(self._context.trailing)

    async def answer(self, request: Message) -> Message:
        response: Message = await _run(self._handler.unary_unary(request, self._context))
        return response

    async def items(self, request: Message) -> AsyncGenerator[Message, None]:
        try:
            async with aclosing(self._handler.unary_stream(request, self._context)) as responses:
                async for response in responses:
                    yield response
        except Aborted as aborted:
            raise _failed(aborted) from None


async def _run(running: Awaitable[Any]) -> Any:
    try:
        return await running
    except Aborted as aborted:
        raise _failed(aborted) from None


def _failed(aborted: Aborted) -> RpcFailed:
    status = status_pb2.Status()
    for name, value in aborted.trailing:
        if name == _STATUS and isinstance(value, bytes):
            status.ParseFromString(value)
    trailing = _of_users(aborted.trailing)
    return RpcFailed(aborted.code.name, aborted.details, status.details, trailing)


def _of_users(metadata: Metadata) -> Metadata:
    return tuple(each for each in metadata if not each[0].startswith(_OF_GRPC))


def _procedure(method: MethodDescriptor) -> Procedure:
    return Procedure(
        f"/{method.containing_service.full_name}/{method.name}",
        method,
        message_factory.GetMessageClass(method.input_type),
        method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS,
    )
