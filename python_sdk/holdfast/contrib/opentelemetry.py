"""A span for every RPC of a client.

    from holdfast.contrib.opentelemetry import instrument

    instrument(client)

Without it a client already tells the server which span is current, so that what
happens there belongs to the caller's trace; this adds the time that the call
took as the caller saw it. A call has one span with all its tries, and an event
for each that failed. A streaming action has one span, open until its last item.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, Final, Protocol, TypeVar

import grpc.aio
from google.protobuf.message import Message
from opentelemetry.context import attach, detach
from opentelemetry.trace import (
    Span,
    SpanKind,
    StatusCode,
    TracerProvider,
    get_current_span,
    get_tracer,
    set_span_in_context,
)

from holdfast._trace import RpcObserver
from holdfast.errors import ActorError

T = TypeVar("T")

# OpenTelemetry's stable conventions for RPCs.
_ERROR_TYPE: Final = "error.type"
_STATUS_CODE: Final = "rpc.response.status_code"


class Observable(Protocol):
    """A client, async or blocking."""

    @property
    def address(self) -> str: ...
    def observe(self, observer: RpcObserver) -> None: ...


def instrument(client: Observable, tracer_provider: TracerProvider | None = None) -> None:
    """Make a span for each RPC of `client` from now on, by the global tracer provider
    if none is given."""
    tracer = get_tracer("holdfast", tracer_provider=tracer_provider)
    client.observe(_Observer(tracer.start_span, client.address))


class _Observer:
    # RpcObserver that makes spans of kind CLIENT.

    def __init__(self, start_span: Any, address: str) -> None:
        self._start_span = start_span
        self._methods: dict[Any, str] = {}
        host, _, port = address.rpartition(":")
        self._server: dict[str, str | int] = {"rpc.system.name": "grpc", "server.address": address}
        if port.isdigit():
            self._server |= {"server.address": host.strip("[]"), "server.port": int(port)}

    async def unary(self, kind: type[Message], run: Coroutine[Any, Any, T]) -> T:
        span = self._begin(kind)
        token = attach(set_span_in_context(span))
        try:
            answer = await run
        except BaseException as error:
            _end_failed(span, error)
            raise
        finally:
            detach(token)
            # Does nothing where it was awaited.
            run.close()
        _end(span, "OK")
        return answer

    async def stream(
        self, kind: type[Message], items: AsyncGenerator[T, None]
    ) -> AsyncGenerator[T, None]:
        span = self._begin(kind)
        context = set_span_in_context(span)
        try:
            async with aclosing(items):
                while True:
                    # Current while the item is fetched, not while the consumer works on it.
                    token = attach(context)
                    try:
                        item = await anext(items)
                    except StopAsyncIteration:
                        break
                    finally:
                        detach(token)
                    yield item
        except BaseException as error:
            _end_failed(span, error)
            raise
        _end(span, "OK")

    def retried(self, error: ActorError, delay_s: float) -> None:
        attributes: dict[str, str | float] = {
            _ERROR_TYPE: error.reason,
            "holdfast.retry.delay_s": delay_s,
        }
        get_current_span().add_event("retry", attributes)

    def _begin(self, kind: type[Message]) -> Span:
        method = self._methods.get(kind)
        if method is None:
            method = self._methods[kind] = _method(kind)
        attributes = {**self._server, "rpc.method": method}
        span: Span = self._start_span(method, kind=SpanKind.CLIENT, attributes=attributes)
        return span


def _method(kind: type[Message]) -> str:
    """ "service/method": a request is of one RPC, and named after it."""
    file = kind.DESCRIPTOR.file
    for service in file.services_by_name.values():
        for method in service.methods:
            if method.input_type is kind.DESCRIPTOR:
                return f"{service.full_name}/{method.name}"
    return kind.DESCRIPTOR.full_name


def _end(span: Span, status: str) -> None:
    span.set_attribute(_STATUS_CODE, status)
    span.end()


def _end_failed(span: Span, error: BaseException) -> None:
    if isinstance(error, GeneratorExit):
        # The consumer has seen enough; nothing has failed.
        _end(span, "CANCELLED")
        return
    span.set_status(StatusCode.ERROR)
    cause = error.__cause__
    if isinstance(error, asyncio.CancelledError):
        status = "CANCELLED"
    elif isinstance(cause, grpc.aio.AioRpcError):
        status = cause.code().name
    else:
        # No status: the RPC was never made.
        span.set_attribute(_ERROR_TYPE, type(error).__qualname__)
        span.end()
        return
    span.set_attribute(_ERROR_TYPE, error.reason if isinstance(error, ActorError) else status)
    _end(span, status)
