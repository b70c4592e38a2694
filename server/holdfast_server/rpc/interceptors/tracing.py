"""Observes the RPCs of our own services, and gives their turns something to come from.

Other services, health checks above all, are left alone, and so are RPCs whose
caller streams, which may last for days. A wrapped handler is kept for each
method, since `intercept_service` runs for every call; it is wrapped anew when
another interceptor has answered with another handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc

from holdfast_server.core.trace import trace_in
from holdfast_server.rpc.trace import own_trace
from holdfast_server.telemetry.observer import RpcObserver, RpcSpan

_OURS = "/holdfast.v1."

Context = grpc.aio.ServicerContext[Any, Any]


class TracingInterceptor(grpc.aio.ServerInterceptor):
    """Tells an RpcObserver."""

    def __init__(self, observer: RpcObserver) -> None:
        self._observer = observer
        # By method: the handler as it is, and as it is observed.
        self._wrapped: dict[str, tuple[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler, method = await continuation(handler_call_details), handler_call_details.method
        if handler is None or not method.startswith(_OURS):
            return handler
        kept = self._wrapped.get(method)
        if kept is None or kept[0] is not handler:
            kept = self._wrapped[method] = handler, self._wrap(handler, method)
        return kept[1]

    def _wrap(self, handler: Any, method: str) -> Any:
        coders = handler.request_deserializer, handler.response_serializer
        if handler.unary_unary is not None:
            run = self._answering(handler.unary_unary, method)
            return grpc.unary_unary_rpc_method_handler(run, *coders)
        if handler.unary_stream is not None:
            stream = self._streaming(handler.unary_stream, method)
            return grpc.unary_stream_rpc_method_handler(stream, *coders)
        return handler

    def _answering(self, run: Callable[[Any, Context], Awaitable[Any]], method: str) -> Any:
        async def observed(request: Any, context: Context) -> Any:
            span = self._begin(method, context)
            if span is None:
                return await run(request, context)
            try:
                response = await run(request, context)
            except BaseException as error:
                span.ended(_status(context, error))
                raise
            span.ended(_status(context), replayed=getattr(response, "replayed", False))
            return response

        return observed

    def _streaming(
        self, run: Callable[[Any, Context], AsyncGenerator[Any, None]], method: str
    ) -> Any:
        async def observed(request: Any, context: Context) -> AsyncGenerator[Any, None]:
            span = self._begin(method, context)
            try:
                # A reader that goes away must not leave the handler to the collector.
                async with aclosing(run(request, context)) as responses:
                    async for response in responses:
                        yield response
            except BaseException as error:
                if span is not None:
                    span.ended(_status(context, error))
                raise
            if span is not None:
                span.ended(_status(context))

        return observed

    def _begin(self, method: str, context: Context) -> RpcSpan | None:
        trace = trace_in(context.invocation_metadata() or ())
        span = self._observer.rpc_began(method, trace, context.peer())
        if span is not None:
            # The RPC has a task of its own, with which this goes.
            own_trace.set(span.trace)
        return span


def _status(context: Context, error: BaseException | None = None) -> str:
    """The name of the code that the RPC is answered with."""
    code: Any = context.code()
    if code is not None:
        return str(code.name)
    if error is None:
        return "OK"
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        left = context.time_remaining()
        return "CANCELLED" if left is None or left > 0 else "DEADLINE_EXCEEDED"
    return "UNKNOWN"
