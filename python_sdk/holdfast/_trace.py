"""What a transport does for tracing: headers for the server, and word to an observer.

The headers are those of W3C trace context. There are none where opentelemetry-api
is not installed or no span is current. An observer is there only if the user has
asked for one, with `holdfast.contrib.opentelemetry`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message

from holdfast.errors import ActorError

T = TypeVar("T")


class RpcObserver(Protocol):
    """Sees the RPCs of a transport, each one with all its tries.

    `kind` is the type of the request, by which an RPC is known.
    """

    def unary(self, kind: type[Message], run: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """`run`, observed."""
        ...

    def stream(
        self, kind: type[Message], items: AsyncGenerator[T, None]
    ) -> AsyncGenerator[T, None]:
        """`items`, observed."""
        ...

    def retried(self, error: ActorError, delay_s: float) -> None:
        """A try has failed with `error`; the next comes in `delay_s` seconds. Called
        while the RPC runs, in its context."""
        ...


try:
    from opentelemetry import trace as _trace
except ImportError:  # pragma: no cover - the extra "otel" is not installed

    def trace_headers() -> list[tuple[str, str]]:
        """None: there is no tracing here."""
        return []

else:

    def trace_headers() -> list[tuple[str, str]]:
        """`traceparent`, and `tracestate` if there is any, of the current span."""
        span = _trace.get_current_span().get_span_context()
        if not span.is_valid:
            return []
        parent = f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}"
        headers = [("traceparent", parent)]
        if span.trace_state:
            headers.append(("tracestate", span.trace_state.to_header()))
        return headers
