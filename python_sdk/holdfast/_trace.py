"""The trace context of the caller, as the W3C headers that carry it to a server.

Does nothing where opentelemetry-api is not installed or no span is current.
"""

from __future__ import annotations

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
