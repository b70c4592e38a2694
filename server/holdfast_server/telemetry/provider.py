"""Where spans go: the tracer provider, as the OTEL_* variables ask for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from holdfast_server.telemetry.exporters import exporters_of, make_resource, on_thread
from holdfast_server.telemetry.otel import OtelObserver, OtelRpcObserver, SpanMaker

log = logging.getLogger("holdfast.telemetry")


class Tracing:
    """Observers that make spans, and the way out for these."""

    def __init__(self, provider: Any, *, own: bool, keys: bool) -> None:
        self._provider = provider
        self._own = own
        maker = SpanMaker(provider.get_tracer("holdfast"), parent_decides=_parent_decides(provider))
        self.observer = OtelObserver(maker, keys=keys)
        self.rpcs = OtelRpcObserver(maker, "grpc")
        self.connect_rpcs = OtelRpcObserver(maker, "connectrpc")

    def share(self) -> None:
        """Let the spans that code of actors makes go the same way, for as long as
        this process runs."""
        if self._own:
            trace.set_tracer_provider(self._provider)

    async def close(self, timeout_s: float) -> None:
        """Send what is left, which takes at most `timeout_s`; the rest is lost."""
        # One that the application has made goes on living.
        flush = self._provider.shutdown if self._own else self._provider.force_flush
        if not await on_thread(flush, "holdfast-spans", timeout_s):
            log.warning("the last spans did not leave within %s s and are lost", timeout_s)


def make_provider(environ: Mapping[str, str]) -> TracerProvider:
    """A provider with the exporters that the environment names."""
    # Closed when the server stops, and not once more when the interpreter exits.
    provider = TracerProvider(resource=make_resource(), shutdown_on_exit=False)
    for exporter in exporters_of(environ, "traces"):
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _parent_decides(provider: Any) -> bool:
    """Whether nothing below a parent that is not sampled ever is, by this provider."""
    sampler = getattr(provider, "sampler", None)
    description = sampler.get_description() if sampler is not None else ""
    return description.startswith("ParentBased{") and all(
        f"{parent}NotSampled:AlwaysOffSampler" in description
        for parent in ("remoteParent", "localParent")
    )
