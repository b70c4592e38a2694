"""Whether this process makes spans; OpenTelemetry is imported only if it does.

It does where the OTEL_* variables name an exporter or an endpoint, or where the
application has set a tracer provider of its own. Without either the variable
that OpenTelemetry would default to "otlp" means none: nobody would listen.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from holdfast_server.telemetry.signals import is_asked_for, is_disabled

if TYPE_CHECKING:
    from holdfast_server.telemetry.provider import Tracing


def open_tracing(environ: Mapping[str, str], *, keys: bool) -> Tracing | None:
    """What makes spans here; None when nobody wants any."""
    if is_disabled(environ):
        return None
    provider = _provider_of_application()
    if provider is None and not is_asked_for(environ, "traces"):
        return None
    from holdfast_server.telemetry.provider import Tracing, make_provider

    own = provider is None
    return Tracing(make_provider(environ) if own else provider, own=own, keys=keys)


def _provider_of_application() -> Any:
    """The global tracer provider, if somebody has set one that makes spans."""
    if "opentelemetry.sdk.trace" not in sys.modules:
        return None
    from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider, get_tracer_provider

    provider = get_tracer_provider()
    return None if isinstance(provider, NoOpTracerProvider | ProxyTracerProvider) else provider
