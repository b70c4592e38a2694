"""grpc.health.v1.Health for the whole server: all services serve, or none does.

They stop serving while the store is failed, and for good when a drain begins.
The protocol has no place for a reason, so Check says it in the trailing
metadata `holdfast-reason`. Watchers are ended here, since an open stream would
hold the end of the server up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast_server.core import errors
from holdfast_server.core.errors import HoldfastError
from holdfast_server.rpc.guard import Context, abort

# This package has no types.
pb: Any = health_pb2

NAME: Final = pb.DESCRIPTOR.services_by_name["Health"].full_name
REASON_KEY: Final = "holdfast-reason"


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Whether this server can be called. Used from the loop's thread only."""

    def __init__(self, services: Iterable[str], watches_max: int) -> None:
        self._services = frozenset(["", NAME, *services])
        self._watches_max = watches_max
        self._watches = 0
        self._changed = asyncio.Event()
        self._reason = ""
        self._stopping = False
        self._closed = False

    @property
    def reason(self) -> str:
        """Why nothing is served; empty while everything is."""
        return self._reason

    def set(self, reason: str) -> None:
        """Serve, or do not for this reason; without effect once a drain has begun."""
        if not self._stopping and reason != self._reason:
            self._reason = reason
            self._notify()

    def stop(self, reason: str) -> None:
        """Never serve again."""
        self._stopping = True
        self._reason = reason
        self._notify()

    def close(self) -> None:
        """End the watches; they have heard by then that nothing is served."""
        self._closed = True
        self._notify()

    async def Check(self, request: Any, context: Context) -> Any:
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        if self._reason:
            shown = self._reason.encode("ascii", "replace").decode("ascii")
            context.set_trailing_metadata(((REASON_KEY, shown),))
        return pb.HealthCheckResponse(status=self._status(request.service))

    async def Watch(self, request: Any, context: Context) -> AsyncIterator[Any]:
        if self._watches >= self._watches_max:
            await abort(context, HoldfastError(errors.SERVER_OVERLOADED))
        self._watches += 1
        try:
            sent = None
            while not self._closed:
                changed = self._changed
                status = self._status(request.service)
                if status != sent:
                    sent = status
                    yield pb.HealthCheckResponse(status=status)
                    continue
                await changed.wait()
        finally:
            self._watches -= 1
        await abort(context, HoldfastError(errors.SERVER_DRAINING))

    def _status(self, service: str) -> Any:
        if service not in self._services:
            return pb.HealthCheckResponse.SERVICE_UNKNOWN
        if self._reason:
            return pb.HealthCheckResponse.NOT_SERVING
        return pb.HealthCheckResponse.SERVING

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
