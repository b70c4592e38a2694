"""The trace context of the RPC that is being answered."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

import grpc

from holdfast_server.core.trace import NO_TRACE, TraceContext, parse

# Where the RPC has a span of its own: the context of that span.
own_trace: ContextVar[TraceContext | None] = ContextVar("holdfast_rpc_trace", default=None)


def trace_of(context: grpc.aio.ServicerContext[Any, Any]) -> TraceContext:
    """What the turns of this RPC come from: its span, else what its caller sent."""
    own = own_trace.get()
    return trace_in(context.invocation_metadata() or ()) if own is None else own


def trace_in(metadata: Iterable[tuple[str, str | bytes]]) -> TraceContext:
    """The context that a caller sent; as W3C has it, none if it sent several."""
    parent = state = ""
    for name, value in metadata:
        if name == "traceparent":
            parent = "several" if parent else str(value)
        elif name == "tracestate":
            state = f"{state},{value!s}" if state else str(value)
    return parse(parent, state) if parent else NO_TRACE
