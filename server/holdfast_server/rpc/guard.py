"""Turns failures of handlers into gRPC statuses, in one place for all services."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import grpc

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.rpc.convert import status_of

log = logging.getLogger("holdfast.rpc")

Servicer = TypeVar("Servicer")
Request = TypeVar("Request")
Response = TypeVar("Response")
Context = grpc.aio.ServicerContext[Any, Any]


async def _abort(context: Context, error: Exception) -> None:
    if not isinstance(error, HoldfastError):
        log.exception("a handler failed", exc_info=error)
        error = HoldfastError(errors.INTERNAL_ERROR)
    code, message, details = status_of(error)
    await context.abort(code, message, (("grpc-status-details-bin", details),))


def unary(
    method: Callable[[Servicer, Request, Context], Awaitable[Response]],
) -> Callable[[Servicer, Request, Context], Awaitable[Response]]:
    """Wrap a unary handler."""

    @functools.wraps(method)
    async def guarded(self: Servicer, request: Request, context: Context) -> Response:
        try:
            return await method(self, request, context)
        except Exception as error:
            failure = error
        await _abort(context, failure)
        raise failure

    return guarded


def streaming(
    method: Callable[[Servicer, Request, Context], AsyncGenerator[Response, None]],
) -> Callable[[Servicer, Request, Context], AsyncGenerator[Response, None]]:
    """Wrap a server-streaming handler."""

    @functools.wraps(method)
    async def guarded(
        self: Servicer, request: Request, context: Context
    ) -> AsyncGenerator[Response, None]:
        failure: Exception | None = None
        try:
            # gRPC drops the generator of a client that has gone: end it all at once.
            async with aclosing(method(self, request, context)) as responses:
                async for response in responses:
                    yield response
        except Exception as error:
            failure = error
        if failure is not None:
            await _abort(context, failure)

    return guarded
