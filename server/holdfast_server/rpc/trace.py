"""The trace context of the RPC that is being answered."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import grpc

from holdfast_server.core.trace import TraceContext, trace_in

# Where the RPC has a span of its own: the context of that span.
own_trace: ContextVar[TraceContext | None] = ContextVar("holdfast_rpc_trace", default=None)


def trace_of(context: grpc.aio.ServicerContext[Any, Any]) -> TraceContext:
    """What the turns of this RPC come from: its span, else what its caller sent."""
    own = own_trace.get()
    return trace_in(context.invocation_metadata() or ()) if own is None else own
