"""The trace context of the caller, in the form of W3C `traceparent`.

Does nothing where opentelemetry-api is not installed or no span is current.
"""

from __future__ import annotations

try:
    from opentelemetry import trace as _trace
except ImportError:  # pragma: no cover - the extra "otel" is not installed

    def traceparent() -> str | None:
        """None: there is no tracing here."""
        return None

else:

    def traceparent() -> str | None:
        """The `traceparent` of the current span, None without one."""
        span = _trace.get_current_span().get_span_context()
        if not span.is_valid:
            return None
        return f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}"
