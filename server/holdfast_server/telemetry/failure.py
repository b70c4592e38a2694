"""What is wrong with the OTEL_* variables; known also where OpenTelemetry is not imported."""

from __future__ import annotations


class TracingError(ValueError):
    """An OTEL_* variable asks for what is not there; the message names both."""
