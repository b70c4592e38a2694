"""Turns failures of handlers into gRPC statuses, in one place for all services."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, NoReturn, Protocol, TypeVar

import grpc

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.rpc.auth import admitted
from holdfast_server.rpc.convert import status_of
from holdfast_server.rpc.retries import pushback_of, retry_after_s
from holdfast_server.runtime.calls import Calls, ends_here, told

Request = TypeVar("Request")
Response = TypeVar("Response")
Context = grpc.aio.ServicerContext[Any, Any]


class Guarded(Protocol):
    """A service whose handlers are wrapped here."""

    calls: Calls


Servicer = TypeVar("Servicer", bound=Guarded)

_CANCELLED: Final = HoldfastError(errors.CANCELLED)


async def abort(context: Context, error: Exception, request: Any = None) -> NoReturn:
    """End the RPC with the status of a failure of `request`."""
    error = told(error)
    delay_s = retry_after_s(error, request)
    code, message, details = status_of(error, delay_s)
    trailers: tuple[tuple[str, str | bytes], ...] = (("grpc-status-details-bin", details),)
    trailers += pushback_of(error, delay_s)
    await context.abort(code, message, trailers)
    raise AssertionError("abort returned")


def unary(
    method: Callable[[Servicer, Request, Context], Awaitable[Response]],
) -> Callable[[Servicer, Request, Context], Awaitable[Response]]:
    """Wrap a unary handler."""

    name = _name_of(method)

    @functools.wraps(method)
    async def guarded(self: Servicer, request: Request, context: Context) -> Response:
        calls, task = self.calls, None
        began = calls.stopwatch()
        try:
            task = calls.enter()
            response = await method(self, request, context)
            calls.rpcs[name].durations.take(calls.stopwatch() - began)
            return response
        except asyncio.CancelledError:
            cut = calls.was_cut(task)
            if cut is None:
                count(calls, name, began, _CANCELLED)
                raise
            failure: Exception = cut
        except Exception as error:
            failure = error
        finally:
            calls.leave(task)
        count(calls, name, began, failure)
        await abort(context, failure, request)
        raise failure

    return guarded


def streaming(
    method: Callable[[Servicer, Request, Context], AsyncGenerator[Response, None]],
    *,
    reads: bool = False,
) -> Callable[[Servicer, Request, Context], AsyncGenerator[Response, None]]:
    """Wrap a server-streaming handler. Where it only `reads`, a drain that cuts it leaves
    nothing in doubt."""

    name = _name_of(method)

    @functools.wraps(method)
    async def guarded(
        self: Servicer, request: Request, context: Context
    ) -> AsyncGenerator[Response]:
        calls, task = self.calls, None
        began, admission = calls.stopwatch(), admitted()
        try:
            task = calls.enter()
            if admission is not None:
                admission.holds.hold(task, admission)
            # gRPC drops the generator of a client that has gone: end it all at once.
            async with aclosing(method(self, request, context)) as responses:
                async for response in responses:
                    yield response
                    calls.check_stream()
            calls.rpcs[name].durations.take(calls.stopwatch() - began)
            return
        except GeneratorExit:
            count(calls, name, began, _CANCELLED)
            raise
        except asyncio.CancelledError:
            cut = calls.was_cut(task)
            if cut is None:
                count(calls, name, began, _CANCELLED)
                raise
            in_doubt = cut.reason is errors.COMMIT_UNKNOWN
            failure: Exception = ends_here() if reads and in_doubt else cut
        except Exception as error:
            failure = error
        finally:
            calls.leave(task)
            if admission is not None and task is not None:
                admission.holds.release(task)
        count(calls, name, began, failure)
        await abort(context, failure, request)

    return guarded


def _name_of(method: Callable[..., object]) -> str:
    """Service/Method of a handler."""
    return method.__qualname__.replace(".", "/")


def count(calls: Calls, name: str, began: float, error: Exception | None) -> None:
    """An RPC that began then is over; with an error, it failed."""
    seconds, tally = calls.stopwatch() - began, calls.rpcs[name]
    if error is None:
        tally.durations.take(seconds)
    else:
        status = error.reason.status if isinstance(error, HoldfastError) else "INTERNAL"
        tally.failed(status, seconds)


def reading(
    method: Callable[[Servicer, Request, Context], AsyncGenerator[Response, None]],
) -> Callable[[Servicer, Request, Context], AsyncGenerator[Response, None]]:
    """Wrap a server-streaming handler that changes nothing."""
    return streaming(method, reads=True)
